"""Connections: how many, how long one may be idle, and what is answered to what is no HTTP."""

import asyncio
from http import HTTPStatus
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from web.middlewares import complete
from web.problems import answer_error, problem
from web.request_ids import request_id_of
from web.services import SERVICES, WebOptions

_log = structlog.get_logger(__name__)

# Bytes. An address and a header may be as long as nearly everybody allows; they differ so that one can tell from the
# limit that was hit what was too long.
_ADDRESS_BYTES_MAX = 8_190
_HEADER_BYTES_MAX = 8_192
_HEADERS_MAX = 100
# Connections beyond the limit that are told so; what comes beyond these is closed without a word.
_REFUSED_MAX = 100
_REFUSED_IDLE_S = 1.0
_RETRY_AFTER_S = "5"


# Measured instead (`web.measures`): a line per request would be most of the log.
_NO_ACCESS_LOG: Any = None


class Connection(web.RequestHandler):
    """One client's connection. A client that does not read its answer is cut off."""

    __slots__ = ("_unread", "_wire", "_write_wait_s")

    def __init__(self, server: web.Server, options: WebOptions, idle_s: float) -> None:
        super().__init__(
            server, loop=asyncio.get_running_loop(), keepalive_timeout=idle_s, max_line_size=_ADDRESS_BYTES_MAX,
            max_field_size=_HEADER_BYTES_MAX, max_headers=_HEADERS_MAX, access_log=_NO_ACCESS_LOG,
        )  # fmt: skip
        self._write_wait_s = options.write_wait_s
        self._wire: asyncio.Transport | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; called by asyncio."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - asyncio's own
        self._wire = transport
        super().connection_made(transport)

    def pause_writing(self) -> None:
        """Begin to wait for a client that has enough to read; called by asyncio."""
        super().pause_writing()
        self._unread = self._loop.call_later(self._write_wait_s, self._cut_off)

    def resume_writing(self) -> None:
        """Go on; called by asyncio when the client has read most of it."""
        self._keep()
        super().resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End; called by asyncio."""
        self._keep()
        super().connection_lost(exc)

    def _keep(self) -> None:
        if self._unread:
            self._unread.cancel()
            self._unread = None

    def _cut_off(self) -> None:
        _log.info("a client does not read its answer", seconds=self._write_wait_s)
        if self._wire:
            self._wire.abort()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer; aiohttp's own refusals that come before any of our code (`Expect`) in our words."""
        if isinstance(resp, web.HTTPException):
            resp = _closing(request, answer_error(resp, request_id_of(request)))
        return await super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the problem of what is no HTTP, or of an error outside of the application; the connection closes.

        Raises ConnectionError where half of an answer is out already: there is nothing more to be said.
        """
        if request.writer.output_size > 0:
            raise ConnectionError("the answer broke off")
        request_id = request_id_of(request)
        if isinstance(exc, HttpProcessingError):
            return _closing(request, _of_no_http(exc, request_id))
        error = exc if isinstance(exc, Exception) else RuntimeError(message or f"status {status}")
        return _closing(request, answer_error(error, request_id))


class Server(web.Server):
    """Makes a connection of each client, up to a limit; those beyond it are told to come back."""

    def __init__(self, application: web.Server, options: WebOptions, *, cancels: bool) -> None:
        super().__init__(
            application.request_handler, request_factory=application.request_factory, handler_cancellation=cancels
        )
        self._options = options
        self._refusing = web.Server(_refuse, request_factory=application.request_factory)

    def __call__(self) -> web.RequestHandler:
        """Return what speaks with the next client; called by asyncio."""
        options = self._options
        if len(self.connections) < options.connections_max:
            return Connection(self, options, options.idle_s)
        if len(self._refusing.connections) < _REFUSED_MAX:
            return Connection(self._refusing, options, _REFUSED_IDLE_S)
        return _Closed(self._refusing, options, _REFUSED_IDLE_S)

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - aiohttp's own
        """Let what is under way finish, at most so many seconds."""
        await super().shutdown(timeout)
        await self._refusing.shutdown(timeout)


class Runner(web.AppRunner):
    """Runs the application behind connections of ours."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return Server(made, self.app[SERVICES].options, cancels=made.handler_cancellation)


class _Closed(Connection):
    """A connection too many."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.force_close()


async def _refuse(request: web.BaseRequest) -> web.StreamResponse:
    detail = "too many connections are open; try again"
    headers = {"Retry-After": _RETRY_AFTER_S}
    status = HTTPStatus.SERVICE_UNAVAILABLE
    return _closing(request, problem(status, "too_many_connections", detail, request_id_of(request), headers=headers))


def _of_no_http(error: HttpProcessingError, request_id: str) -> web.Response:
    status, code, detail = HTTPStatus.BAD_REQUEST, "bad_request", "this is no HTTP that can be read"
    if isinstance(error, LineTooLong) and _ADDRESS_BYTES_MAX in error.args:
        status, code = HTTPStatus.REQUEST_URI_TOO_LONG, "address_too_long"
        detail = f"the address has more than {_ADDRESS_BYTES_MAX} bytes"
    elif isinstance(error, LineTooLong):
        status, code = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large"
        detail = f"a header has more than {_HEADER_BYTES_MAX} bytes"
    elif error.message.startswith("Too many headers"):
        status, code = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large"
        detail = f"there are more than {_HEADERS_MAX} headers"
    _log.info("a request that is no HTTP", request_id=request_id, error=type(error).__name__)
    return problem(status, code, detail, request_id)


def _closing(request: web.BaseRequest, response: web.Response) -> web.Response:
    complete(request, response)
    response.force_close()
    return response
