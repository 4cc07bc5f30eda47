"""`web`: the API and the dashboards."""

import asyncio
import gc
import hmac
import signal

import structlog
import typer
from aiohttp import web as http

from cli import leash
from cli.clock import now
from cli.connection import Books, books
from cli.failures import CannotError, UsageError
from cli.logs import configure
from cli.options import ChildOf, Data
from cli.pools import opened
from consumers.paying import paying
from consumers.payout_keys import keys_looked_at
from ledger.application import Ledger
from projections.read import Reads
from schemas.settings import Settings
from web.application import create_app
from web.connections import Runner
from web.mail import Mailer, MailOptions
from web.services import Services, WebOptions

_log = structlog.get_logger(__name__)

_POOL_SIZE_MAX = 8
_COLLECT_AFTER_OBJECTS = 20_000
_KEYS_POOL_SIZE_MAX = 4
_NO_SENDER = "commission-ledger@localhost"
# Requests that are under way when we are asked to stop get this long.
_SHUTDOWN_S = 10.0

app = typer.Typer(rich_markup_mode="markdown", add_completion=False)


@app.command()
def web(*, data: Data = None, child_of: ChildOf = None) -> None:
    """Serve the API and the dashboards at WEB_HOST:WEB_PORT."""
    leash.wear(child_of)
    with books(data) as found:
        configure(found.settings.log_level or "info")
        with found.ledger() as ledger:
            asyncio.run(_serve(found, ledger))


def _collect_seldom() -> None:
    # A page of a list is hundreds of objects that are in no cycle and live as long as the answer.
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER_OBJECTS, 20, 50)


async def _serve(found: Books, ledger: Ledger) -> None:
    settings, stop = found.settings, asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    url = found.database_url
    async with (
        opened(url, _POOL_SIZE_MAX, walled=True) as readers,
        opened(url, _KEYS_POOL_SIZE_MAX) as pool,
        paying(ledger, found.payout_settings) as pays,
        keys_looked_at(ledger, pays.keys if pays else None),
    ):
        options, mail = web_options(settings, found.hash_key), mailer(settings)
        services = Services(
            ledger=ledger, reads=Reads(readers), pool=pool, now=now, options=options, mail=mail, paying=pays
        )  # fmt: skip
        runner = Runner(create_app(services), shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        _collect_seldom()
        try:
            await _listen(runner, settings)
            await stop.wait()
        finally:
            if mail is not None:
                await mail.close()
            await runner.cleanup()
    _log.info("web stopped")


async def _listen(runner: http.AppRunner, settings: Settings) -> None:
    try:
        await http.TCPSite(runner, settings.web_host, settings.web_port).start()
    except OSError as error:
        place = f"{settings.web_host}:{settings.web_port}"
        raise CannotError(f"cannot listen on {place} (WEB_HOST, WEB_PORT): {error.strerror}") from error
    host, port = runner.addresses[0][:2]
    _log.info("web started", host=host, port=port)


def mailer(settings: Settings) -> Mailer | None:
    """Return what sends mail, None where the environment names no way. Raises UsageError where a sender is missing."""
    if settings.smtp_url is None and settings.mail_folder is None:
        return None
    if settings.mail_from is None and settings.smtp_url is not None:
        raise UsageError("MAIL_FROM is not set: the address in whose name SMTP_URL sends")
    sender = settings.mail_from or _NO_SENDER
    return Mailer(MailOptions(sender, settings.smtp_url, settings.mail_folder), now)


def web_options(settings: Settings, hash_key: bytes) -> WebOptions:
    """Return the web's options. The secret of unguessable addresses comes from the hash key: one to keep, not two."""
    return WebOptions(
        public_url=(settings.public_url or f"http://{settings.web_host}:{settings.web_port}").rstrip("/"),
        secret=hmac.digest(hash_key, b"dashboard addresses", "sha256"),
        webhook_allow_private=settings.webhook_allow_private,
        rate_per_s=settings.rate_limit_per_s,
        rate_burst=settings.rate_limit_burst,
        failures_per_s=settings.rate_limit_failures_per_s,
        failures_burst=settings.rate_limit_failures_burst,
        connections_max=settings.web_connections_max,
    )
