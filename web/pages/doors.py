"""Who is let in to a merchant's pages: a user who is logged in, with the token of its own session on every form."""

from http import HTTPStatus
from urllib.parse import urlencode

from aiohttp import hdrs, web

from web.pages.forms import Form
from web.pages.table import see_other
from web.pages.visits import Visit
from web.sessions import check_csrf, user_session

LOGIN = "/login"


async def user_door(request: web.Request, form: Form) -> Visit | web.StreamResponse:
    """Return the visit of the user who is logged in, or the way to the login, and from there back.

    Raises ForbiddenError for a form that does not come from a page of this session.
    """
    session = await user_session(request)
    if session is None:
        return to_login(request)
    if request.method == hdrs.METH_POST:
        check_csrf(request, session, form.text("csrf"))
    return await Visit.begin(request, session, form)


def to_login(request: web.Request) -> web.StreamResponse:
    """Return the way to the login page; a part of a page that is asked for anew takes the whole browser there."""
    if request.headers.get("HX-Request"):
        return web.Response(status=HTTPStatus.NO_CONTENT, headers={"HX-Redirect": LOGIN})
    if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD) or request.path == "/":
        return see_other(LOGIN)
    return see_other(LOGIN + "?" + urlencode({"next": request.path_qs}))
