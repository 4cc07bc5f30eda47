"""Mail: a few letters of plain text, sent in the background by SMTP, or written to a folder where there is no server.

Nobody waits for a letter: neither the visitor, who would learn from the time it takes whether anybody was written to,
nor the process when it stops. What could not be sent is counted and logged, without addresses, words or links.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import aiosmtplib
import stamina
import structlog
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import SecretStr

from schemas.errors import RejectedError

_log = structlog.get_logger(__name__)

# What waits to be written or sent at a time; more than that only somebody has who means ill.
_WAITING_MAX = 200
_SMTP_WAIT_S = 20.0
_ATTEMPTS = 3
_CLOSE_WAIT_S = 5.0
_PORTS = {"smtp": 587, "smtps": 465}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# What a server answers from here on it will answer the next time too (RFC 5321, 4.2.1).
_FOR_GOOD = 500
_AWAY = (aiosmtplib.SMTPConnectError, aiosmtplib.SMTPServerDisconnected, aiosmtplib.SMTPTimeoutError)


class Letter(NamedTuple):
    """What is told to whom."""

    to: str
    subject: str
    text: str


class MailOptions(NamedTuple):
    """Where mail goes: a server, `smtp://user:password@host:port` (or `smtps://`), or else a folder."""

    sender: str
    smtp_url: SecretStr | None = None
    folder: Path | None = None


class Mailer(Collector):
    """Sends letters soon. Counts what became of them, for Prometheus."""

    def __init__(self, options: MailOptions, now: Callable[[], datetime]) -> None:
        self._options, self._now = options, now
        self._outcomes = Counter({"sent": 0, "failed": 0, "dropped": 0})
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def to_folder(self) -> bool:
        """Whether letters are only written to a folder."""
        return self._options.smtp_url is None

    def soon(self, write: Callable[[], Awaitable[Sequence[Letter]]]) -> None:
        """Call `write`, and send the letters that it returns, in the background."""
        if len(self._tasks) >= _WAITING_MAX:
            self._outcomes["dropped"] += 1
            return
        task = asyncio.create_task(self._write_and_send(write))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def deliver(self, letter: Letter, key: str, told_at: datetime) -> None:
        """Send one letter now, and return once the server (or the folder) has it.

        Sent again under its key it is the same file, and has the same Message-ID. Raises RejectedError where nobody can
        be reached there, and what the server's library raises, where it may work later.
        """
        try:
            message = message_of(letter, self._options.sender, self._now(), key)
            if self._options.smtp_url is not None:
                await _deliver(message, letter.to, self._options.smtp_url)
            elif self._options.folder is not None:
                await asyncio.to_thread(_put, self._options.folder, message, f"{told_at:%Y%m%dT%H%M%S}-{key}.eml")
        except ValueError as error:
            self._outcomes["failed"] += 1
            raise RejectedError("bad_address", "is no address that a letter can be sent to") from error
        except aiosmtplib.SMTPRecipientsRefused as error:
            self._outcomes["failed"] += 1
            if all(each.code >= _FOR_GOOD for each in error.recipients):
                raise RejectedError("refused", "the mail server knows nobody there") from None
            raise
        except Exception:
            self._outcomes["failed"] += 1
            raise
        self._outcomes["sent"] += 1

    async def settled(self) -> None:
        """Return when nothing is under way any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Give what is under way a few seconds, and leave the rest."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_CLOSE_WAIT_S)
            for task in late:
                task.cancel()

    def collect(self) -> Iterator[Metric]:
        """Yield the counts; called by the library."""
        metric = CounterMetricFamily(
            "commission_ledger_mails", "Letters by what became of them.", labels=("outcome",)
        )  # fmt: skip
        for outcome, count in self._outcomes.items():
            metric.add_metric((outcome,), count)
        yield metric

    async def _write_and_send(self, write: Callable[[], Awaitable[Sequence[Letter]]]) -> None:
        try:
            letters = await write()
        except Exception as error:  # noqa: BLE001 - nobody waits for it: it is told here or nowhere
            self._failed(error)
            return
        for letter in letters:
            try:
                await self._send(letter)
            except Exception as error:  # noqa: BLE001 - as above
                self._failed(error)
            else:
                self._outcomes["sent"] += 1

    def _failed(self, error: Exception) -> None:
        self._outcomes["failed"] += 1
        code = error.code if isinstance(error, aiosmtplib.SMTPResponseException) else None
        # Not the error itself: servers repeat the address, and the database may repeat more.
        _log.error("mail was not sent", reason=type(error).__name__, smtp_code=code)

    async def _send(self, letter: Letter) -> None:
        message = message_of(letter, self._options.sender, self._now())
        if self._options.smtp_url is not None:
            async for attempt in stamina.retry_context(on=_AWAY, attempts=_ATTEMPTS, wait_initial=1.0, timeout=None):
                with attempt:
                    await _deliver(message, letter.to, self._options.smtp_url)
        elif self._options.folder is not None:
            name = f"{self._now():%Y%m%dT%H%M%S}-{secrets.token_hex(4)}.eml"
            await asyncio.to_thread(_put, self._options.folder, message, name)


def message_of(letter: Letter, sender: str, now: datetime, key: str | None = None) -> EmailMessage:
    """Return the letter as it is sent; by its `key` it is known to be the same one.

    Raises ValueError for an address that is none, or a subject of several lines.
    """
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(addr_spec=sender)
    # Parsed as one address, so that none can name a second recipient.
    message["To"] = Address(addr_spec=letter.to)
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(now)
    domain = sender.rpartition("@")[2]
    message["Message-ID"] = make_msgid(domain=domain) if key is None else f"<{key}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    return message


async def _deliver(message: EmailMessage, to: str, url: SecretStr) -> None:
    told = urlsplit(url.get_secret_value())
    host, user = told.hostname or "", told.username
    implicit_tls = told.scheme == "smtps"
    # Where a password is sent to another machine it is sent encrypted or not at all; else as the server offers it.
    must = True if user is not None and host not in _LOOPBACK else None
    await aiosmtplib.send(
        message,
        recipients=[to],
        hostname=host,
        port=told.port or _PORTS[told.scheme],
        username=None if user is None else unquote(user),
        password=None if told.password is None else unquote(told.password),
        use_tls=implicit_tls,
        start_tls=None if implicit_tls else must,
        timeout=_SMTP_WAIT_S,
    )


def _put(folder: Path, message: EmailMessage, name: str) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A name of its own: whoever was killed while writing left something behind.
    fresh = folder / f".{secrets.token_hex(4)}.new"
    fresh.touch(mode=0o600, exist_ok=False)
    fresh.write_bytes(message.as_bytes())
    fresh.rename(folder / name)
