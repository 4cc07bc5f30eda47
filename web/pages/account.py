"""One's own account: name, password, and where one is logged in."""

from functools import partial
from http import HTTPStatus

from aiohttp import web

from ledger import logins, sessions, users
from ledger.access import Actor
from schemas.api import Body, Name
from schemas.errors import RejectedError
from web.api.bodies import validated
from web.api.calls import THREADS
from web.attempts import ATTEMPTS
from web.pages.doors import user_door
from web.pages.forms import Refusal
from web.pages.login import name_of, raw, unlike, waits
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.visits import Visit
from web.passwords import HASHING
from web.request_ids import request_id_of
from web.sessions import USER_COOKIE, origin_of, set_cookie

ACCOUNT = "/account"

account_pages = PageTable(user_door)


class OwnName(Body):
    """What one is called."""

    name: Name


@account_pages.get(ACCOUNT)
async def show_account(visit: Visit) -> Shown | web.StreamResponse:
    """Show who one is here, and where one is logged in."""
    session = visit.session
    find = partial(sessions.of_user, visit.services.ledger, session.merchant_id, session.user_id, visit.now)
    return Shown("account.html", {"sessions": await visit.request.app[THREADS].run(find)})


@account_pages.post("/account/name")
async def change_name(visit: Visit) -> Shown | web.StreamResponse:
    """Give oneself another name."""
    session = visit.session
    try:
        told = validated(OwnName, visit.form.body("name"), root="$")
    except RejectedError as error:
        visit.refusal = Refusal.of(error)
        return await show_account(visit)
    by = Actor(_cause(visit), session.scopes, None, session.user_id)
    await visit.request.app[THREADS].run(
        partial(
            users.change, visit.services.ledger, merchant_id=session.merchant_id, user_id=session.user_id,
            name=told.name, now=visit.now, by=by,
        )
    )  # fmt: skip
    return visit.moved(ACCOUNT, told="saved")


@account_pages.post("/account/password")
async def change_password(visit: Visit) -> Shown | web.StreamResponse:
    """Set another password, for which the one until now is needed; all other sessions end, and this one is renewed."""
    try:
        response = await _change_password(visit)
    except RejectedError as error:
        visit.refusal = Refusal.of(error)
        return await show_account(visit)
    return await show_account(visit) if response is None else response


async def _change_password(visit: Visit) -> web.StreamResponse | None:
    request, ledger, session = visit.request, visit.services.ledger, visit.session
    account = await request.app[THREADS].run(partial(logins.account, ledger, session.merchant_id, session.user_id))
    current, password = raw(visit.form, "current"), raw(visit.form)
    visit.refusal = _missing(visit) or unlike(visit.form)
    if visit.refusal is not None or account is None or current is None or password is None:
        return None
    # Whoever found an open browser may not guess here, either.
    visit.refusal = await waits(request, name_of(request, account), visit.now)
    if visit.refusal is not None:
        return None
    if not (await request.app[HASHING].verify(account.hash, current)).right:
        request.app[ATTEMPTS].failed(request)
        visit.refusal = _refusal("current", "is not right")
        return None
    about = (session.email, session.name, visit.program.name)
    hashed = await request.app[HASHING].hash_new(password, about)
    change = partial(
        logins.change_password, ledger, account, hashed, came=origin_of(request), name_mac=name_of(request, account),
        cause=_cause(visit), now=visit.now,
    )  # fmt: skip
    response = visit.moved(ACCOUNT, told="password_changed")
    set_cookie(response, USER_COOKIE, await request.app[THREADS].run(change))
    return response


@account_pages.post("/account/sessions/end")
async def end_session(visit: Visit) -> Shown | web.StreamResponse:
    """Log out one other browser of one's own."""
    session = visit.session
    try:
        named = bytes.fromhex(visit.form.text("session") or "")
    except ValueError:
        named = b""
    end = partial(sessions.end_one_of, visit.services.ledger, session.merchant_id, session.user_id, named)
    await visit.request.app[THREADS].run(end)
    return visit.moved(ACCOUNT, told="session_ended")


def _missing(visit: Visit) -> Refusal | None:
    return _refusal("current", "is needed") if raw(visit.form, "current") is None else None


def _refusal(field: str, message: str) -> Refusal:
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "The password was not changed.", {field: message})


def _cause(visit: Visit) -> str:
    return f"{visit.session.means}@{request_id_of(visit.request)}"
