"""What happens around every request: its id, its measurement, and errors made into problems."""

from collections.abc import Awaitable, Callable
from time import perf_counter

from aiohttp import hdrs, web

from web.measures import MEASURES
from web.problems import answer_error
from web.request_ids import HEADER, request_id_of

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


@web.middleware
async def answer_always(request: web.Request, handler: Next) -> web.StreamResponse:
    """Return the handler's answer, or the problem that its error is, with the headers that every answer carries."""
    request_id = request_id_of(request)
    try:
        response = await handler(request)
    except Exception as error:  # noqa: BLE001 - the one place where every error becomes an answer
        response = answer_error(error, request_id)
        if request.can_read_body and not request.content.at_eof():
            # What is left of a refused body would be read as the next request, or waited for.
            response.force_close()
    response.headers[HEADER] = request_id
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


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
