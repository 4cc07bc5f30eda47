"""What happens around every request: its id, its measurement, and errors made into problems."""

from collections.abc import Awaitable, Callable
from time import perf_counter

from aiohttp import hdrs, web

from web.limits import LIMITS
from web.measures import MEASURES
from web.pages.errors import error_page, wants_page
from web.problems import answer_error
from web.request_ids import HEADER, request_id_of
from web.services import SERVICES

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Where the service is reached by TLS, a browser that was there once comes by nothing else for a year.
_ONLY_TLS = "max-age=31536000"

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


@web.middleware
async def answer_always(request: web.Request, handler: Next) -> web.StreamResponse:
    """Return the handler's answer, or the problem that its error is."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        if request.method == hdrs.METH_OPTIONS:
            return web.Response(status=204, headers={"Allow": error.headers["Allow"]})
        return await _told(request, error)
    except Exception as error:  # the one place where every error becomes an answer
        response = await _told(request, error)
        if request.writer.output_size > 0:
            # Half of another answer is out. Cut off, it is no complete one; a problem behind it would be part of it.
            response.force_close()
            raise ConnectionResetError("the answer broke off") from error
        if request.can_read_body and not request.content.at_eof():
            # What is left of a refused body would be read as the next request, or waited for.
            response.force_close()
        return response


async def _told(request: web.Request, error: Exception) -> web.Response:
    told = answer_error(error, request_id_of(request))
    return await error_page(request, told) if wants_page(request) else told


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Give an answer, before it begins, the headers that every answer has, and those of the key's limits."""
    complete(request, response)
    if request.app[SERVICES].options.public_url.startswith("https:"):
        response.headers.setdefault("Strict-Transport-Security", _ONLY_TLS)
    response.headers.update(request.app[LIMITS].headers(request))


def complete(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Give an answer the headers that every answer has."""
    response.headers[HEADER] = request_id_of(request)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)


@web.middleware
async def measure(request: web.Request, handler: Next) -> web.StreamResponse:
    """Count and time the request under its route's pattern, so that ids never become labels."""
    began = perf_counter()
    response = await handler(request)
    resource = request.match_info.route.resource
    method = request.method if request.method in hdrs.METH_ALL else "other"
    pattern = resource.canonical if resource else "unmatched"
    request.app[MEASURES].request_s.labels(method, pattern, str(response.status)).observe(perf_counter() - began)
    return response
