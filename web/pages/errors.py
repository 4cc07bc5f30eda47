"""Errors as pages: for browsers, where the API answers with a problem."""

from http import HTTPStatus
from urllib.parse import quote

from aiohttp import hdrs, web

from web.pages.render import Shown, render
from web.pages.strangers import Stranger
from web.request_ids import request_id_of

# What is asked by programs, whatever they say that they accept.
_PROGRAMS = ("/api/", "/hooks/", "/static/", "/live", "/healthz", "/readyz", "/metrics")

_SENTENCES = {
    HTTPStatus.BAD_REQUEST: "The browser sent something that cannot be read.",
    HTTPStatus.FORBIDDEN: "This is not open to you, or the form is from an older page: go back and load it again.",
    HTTPStatus.NOT_FOUND: "There is nothing at this address, or it is not yours.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This address does not take that.",
    HTTPStatus.TOO_MANY_REQUESTS: "That was too often. Wait a moment and try again.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The books are not at hand at this moment. Nothing is lost; try again.",
}
_UNEXPECTED = "Something went wrong on our side. The request's id finds it in our log."


def wants_page(request: web.Request) -> bool:
    """Return whether a person looks at what is answered."""
    return "text/html" in request.headers.get(hdrs.ACCEPT, "") and not request.path.startswith(_PROGRAMS)


async def error_page(request: web.Request, problem: web.Response) -> web.Response:
    """Return the page that tells what the problem tells, with its status and headers."""
    status = HTTPStatus(problem.status)
    sentence = _SENTENCES.get(status, _UNEXPECTED if status >= HTTPStatus.INTERNAL_SERVER_ERROR else status.phrase)
    model = {
        "title": status.phrase, "sentence": sentence, "request_id": request_id_of(request), "start": _start(request)
    }  # fmt: skip
    shown = Shown("error.html", model, status)
    page = await render(Stranger(request=request), shown)
    for name in ("Allow", "Retry-After"):
        if name in problem.headers:
            page.headers[name] = problem.headers[name]
    return page


def _start(request: web.Request) -> str:
    """Return where the visitor's pages begin: a partner's at the dashboard's own address."""
    address = request.match_info.get("address")
    return "/" if address is None else "/dashboard/" + quote(address, safe="")
