"""Live pages: a stream of server-sent events that says when the books moved, and nothing of what is in them."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import psycopg
import structlog
from aiohttp import hdrs, web

from projections.runner import READ_MODELS_CHANNEL
from schemas.errors import UnauthorizedError
from web.arrivals import Arrivals
from web.live import Live, Stream, Whose
from web.services import SERVICES
from web.sessions import PartnerSession, UserSession, find_partner, find_user, partner_session, user_session

BEAT_S = 15.0
SESSION_CHECK_S = 30.0
# At most one event a second: a page asks for several things each time.
EVENT_EVERY_S = 1.0

_POSITION = re.compile(r"[0-9]{1,18}", re.ASCII)
_RETRY_MS = 2_000
_HEADERS = {
    hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
    hdrs.CACHE_CONTROL: "no-store",
    # A proxy that collects what it passes on would make it late.
    "X-Accel-Buffering": "no",
}

_log = structlog.get_logger(__name__)

_Session = UserSession | PartnerSession
_StillIn = Callable[[], Awaitable[bool]]

LIVE = web.AppKey("live", Live)


def add_live(app: web.Application) -> None:
    """Add the streams to the application, after its services."""
    services = app[SERVICES]
    arrivals = Arrivals(str(services.pool.conninfo), READ_MODELS_CHANNEL)
    # Each keeps a connection: the other half is for those who ask.
    app[LIVE] = Live(services.reads, arrivals, services.options.connections_max // 2)
    app.router.add_route(hdrs.METH_GET, "/live", live_for_user)
    app.router.add_route(hdrs.METH_GET, "/live/partner", live_for_partner)
    app.on_shutdown.append(_close)


async def _close(app: web.Application) -> None:
    """End the streams, before the server waits for them."""
    await app[LIVE].close()


async def live_for_user(request: web.Request) -> web.StreamResponse:
    """Tell a merchant's user when anything of the merchant's moved. Raises UnauthorizedError, RetryableError."""
    session = _let_in(await user_session(request))
    return await _stream(request, session, Whose(session.merchant_id), lambda: _same(find_user, request, session))


async def live_for_partner(request: web.Request) -> web.StreamResponse:
    """Tell a partner when anything of their own moved. Raises UnauthorizedError, RetryableError."""
    session = _let_in(await partner_session(request))
    whose = Whose(session.merchant_id, session.partner_id)
    return await _stream(request, session, whose, lambda: _same(find_partner, request, session))


def _let_in(session: Any) -> Any:
    if session is None:
        raise UnauthorizedError("unauthorized", "log in first")
    return session


async def _same(
    find: Callable[[web.Request], Awaitable[_Session | None]], request: web.Request, session: _Session
) -> bool:
    found = await find(request)
    return found is not None and found.session_sha256 == session.session_sha256


async def _stream(request: web.Request, session: _Session, whose: Whose, still_in: _StillIn) -> web.StreamResponse:
    live = request.app[LIVE]
    response = web.StreamResponse(headers=_HEADERS)
    async with live.stream(session.session_sha256, whose) as stream:
        position = await live.begin(whose, stream.watch, _shown(request))
        # Who went away is nobody's error; who cannot be looked up any more comes back, and is told then.
        with suppress(ConnectionError, psycopg.Error):
            await response.prepare(request)
            await response.write(f"retry: {_RETRY_MS}\n".encode() + _event("here", position))
            await _tell(request, response, stream, position, still_in)
            await response.write_eof()
    return response


async def _tell(
    request: web.Request, response: web.StreamResponse, stream: Stream, position: int, still_in: _StillIn
) -> None:
    """Write an event each time that the books moved; return when the stream is to end."""
    loop, live = asyncio.get_running_loop(), request.app[LIVE]
    checked = beaten = loop.time()
    while not live.closed and not _left(request):
        if stream.crowded:
            await response.write(_event("crowded", position))
            return
        if stream.watch.newest > position:
            position = stream.watch.newest
            await response.write(_event("books", position))
            beaten = loop.time()
            await asyncio.sleep(EVENT_EVERY_S)
            continue
        now = loop.time()
        if now - beaten >= BEAT_S:
            await response.write(b": still here\n\n")
            beaten = now
        if now - checked >= SESSION_CHECK_S:
            if not await still_in():
                return
            checked = now
        await stream.changed(position, max(min(beaten + BEAT_S, checked + SESSION_CHECK_S) - loop.time(), 0.0))


def _left(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _event(name: str, position: int) -> bytes:
    return f"id: {position}\nevent: {name}\ndata: {position}\n\n".encode()


def _shown(request: web.Request) -> int | None:
    """Return as of which position the page is: what the stream told last, or what the page's address of it says."""
    told = request.headers.get("Last-Event-ID") or request.query.get("after", "")
    return int(told) if _POSITION.fullmatch(told) else None
