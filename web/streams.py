"""Answers that are longer than memory: sent as they are made, as fast as the client takes them, whole or not at all."""

import struct
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress
from socket import SO_LINGER, SOL_SOCKET

import structlog
from aiohttp import web

from schemas.errors import RetryableError

_log = structlog.get_logger(__name__)

# Zero seconds: what was not sent yet is forgotten, and the other side is told so.
_AT_ONCE = struct.pack("ii", 1, 0)
_IN_ORDER = struct.pack("ii", 0, 0)


class Turns:
    """Lets a few long calls run at once, and fewer of one merchant, so that they leave room for all the short ones."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_of_one = max(1, most // 2)
        self._running: Counter[str] = Counter()

    @contextmanager
    def turn(self, merchant_id: str) -> Iterator[None]:
        """Run inside. Raises RetryableError at once where too many run already."""
        if self._running.total() >= self._most or self._running[merchant_id] >= self._most_of_one:
            raise RetryableError("too many exports or imports are under way")
        self._running[merchant_id] += 1
        try:
            yield
        finally:
            self._running[merchant_id] -= 1
            if not self._running[merchant_id]:
                del self._running[merchant_id]


LONG_CALLS = web.AppKey("long calls", Turns)


async def send(
    request: web.Request, response: web.StreamResponse, pieces: AsyncGenerator[bytes, None]
) -> web.StreamResponse:
    """Send the pieces as the body of the response and return it.

    The next piece is asked for when the client has taken (nearly all of) those before. An error cuts the connection
    off, so that no client takes the part for the whole, and goes up; a client that went away is nobody's error.
    """
    await response.prepare(request)
    _end_with_reset(request, on=True)
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                await response.write(piece)
        _end_with_reset(request, on=False)
        await response.write_eof()
    except ConnectionError:
        _log.info("a client went away before the end of its answer", path=request.path)
    except BaseException:
        if request.transport is not None:
            request.transport.abort()
        raise
    return response


def _end_with_reset(request: web.Request, *, on: bool) -> None:
    """Choose how the connection ends if it ends now, whoever ends it: with a reset, or as connections do.

    An answer without chunks (HTTP/1.0) is at its end where the connection is; a reset is the only other thing that can
    be told.
    """
    if request.transport is not None:
        with suppress(OSError):
            request.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _AT_ONCE if on else _IN_ORDER)
