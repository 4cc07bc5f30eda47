"""How partners come in: at the unguessable address of their dashboard, with a password that they set there first.

The address alone shows nothing of whose it is.
"""

import hmac
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

from aiohttp import hdrs, web
from pydantic import SecretStr

from ledger import partner_logins, password_links, sessions
from ledger.partner_logins import PartnerLogin
from ledger.password_links import Link
from schemas.errors import NotFoundError, RejectedError, UnauthorizedError
from web import letters
from web.api.calls import THREADS, path_of
from web.api.dashboards import dashboard_path
from web.attempts import ATTEMPTS
from web.mail import Letter
from web.pages.forms import Form, Refusal
from web.pages.login import raw, unlike, waits
from web.pages.render import Shown
from web.pages.strangers import Stranger
from web.pages.table import PageTable, see_other
from web.passwords import HASHING
from web.request_ids import request_id_of
from web.services import SERVICES
from web.sessions import (
    PARTNER_COOKIE,
    PartnerSession,
    check_csrf,
    check_site,
    drop_cookie,
    origin_of,
    partner_session,
    session_of,
    set_cookie,
)

DASHBOARD = "/dashboard/{address:[^/]+}"

_WRONG = "The password is not right."


@dataclass(frozen=True)
class Place:
    """A dashboard that there is: whose (told to nobody who is not logged in), and its address on this site."""

    login: PartnerLogin
    path: str

    def is_of(self, session: PartnerSession | None) -> bool:
        """Return whether the session is of this dashboard's partner."""
        if session is None:
            return False
        return (session.merchant_id, session.partner_id) == (self.login.merchant_id, self.login.partner_id)


async def place_of(request: web.Request) -> Place:
    """Return the dashboard that the address names. Raises NotFoundError where there is none (any more)."""
    address = path_of(request)["address"]
    ledger, options = request.app[SERVICES].ledger, request.app[SERVICES].options
    told = f"/dashboard/{address}"
    for login in await request.app[THREADS].run(partial(partner_logins.candidates, ledger, address.rpartition(".")[0])):
        path = dashboard_path(options, login.merchant_id, login.partner_id, login.generation)
        if hmac.compare_digest(path.encode(), told.encode(errors="backslashreplace")):
            return Place(login, path)
    raise NotFoundError("page", "of this address")


@dataclass(kw_only=True)
class Doorstep(Stranger):
    """A page in front of a dashboard, for whoever has its address."""

    place: Place

    @property
    def name_mac(self) -> bytes:
        """Under which name attempts on the password are counted."""
        login = self.place.login
        return self.request.app[ATTEMPTS].name_of("partner", login.merchant_id, login.partner_id)

    @property
    def cause(self) -> str:
        """What is written down of what is done here."""
        return f"dashboard/{self.place.login.partner_id}@{request_id_of(self.request)}"


async def doorstep(request: web.Request, form: Form) -> Doorstep | web.StreamResponse:
    """Let anybody in front of a dashboard that there is; forms only from pages of this site."""
    if request.method == hdrs.METH_POST:
        check_site(request)
    return Doorstep(request=request, form=form, place=await place_of(request))


async def partner_exit(request: web.Request, form: Form) -> Doorstep | web.StreamResponse:
    """Let those out who are in; the others are out already. Nobody is sent out by another site."""
    check_site(request)
    place, session = await place_of(request), await partner_session(request)
    if session is None or not place.is_of(session):
        return _left(place.path, "logged_out")
    check_csrf(request, session, form.text("csrf"))
    return Doorstep(request=request, form=form, place=place)


async def let_in(request: web.Request) -> PartnerSession | web.StreamResponse:
    """Return the session of the partner whose dashboard the address names, or the way to its login.

    For the doors of the pages behind. Raises NotFoundError where there is no such dashboard.
    """
    place, session = await place_of(request), await partner_session(request)
    if session is not None and place.is_of(session):
        return session
    if request.headers.get("HX-Request"):
        return web.Response(status=HTTPStatus.NO_CONTENT, headers={"HX-Redirect": f"{place.path}/login"})
    return see_other(f"{place.path}/login")


partner_logins_pages = PageTable(doorstep)
partner_exits = PageTable(partner_exit)


# --- in ---------------------------------------------------------------------------------------------------------------


@partner_logins_pages.get(DASHBOARD + "/login")
async def show_partner_login(visit: Doorstep) -> Shown | web.StreamResponse:
    """Show the login, or the first visit's form, or that the address has expired."""
    if visit.place.is_of(await partner_session(visit.request)):
        return see_other(visit.place.path)
    return _login_page(visit)


@partner_logins_pages.post(DASHBOARD + "/login")
async def log_partner_in(visit: Doorstep) -> Shown | web.StreamResponse:
    """Log in with the password."""
    request, login, password = visit.request, visit.place.login, raw(visit.form)
    if password is None:
        return _refused(visit, "The password is needed.")
    visit.refusal = await waits(request, visit.name_mac, visit.now)
    if visit.refusal is not None:
        return _login_page(visit)
    verdict = await request.app[HASHING].verify(login.hash, password)
    if not verdict.right:
        request.app[ATTEMPTS].failed(request)
        return _refused(visit, _WRONG)
    begin = partial(
        partner_logins.log_in, request.app[SERVICES].ledger, login, came=origin_of(request),
        replaces=session_of(request, PARTNER_COOKIE), name_mac=visit.name_mac, fresh=verdict.fresh, now=visit.now,
    )  # fmt: skip
    try:
        return _entered(visit, await request.app[THREADS].run(begin))
    except UnauthorizedError:
        return _refused(visit, _WRONG)


@partner_logins_pages.post(DASHBOARD + "/welcome")
async def welcome_partner(visit: Doorstep) -> Shown | web.StreamResponse:
    """Set the password for the first time, and come in."""
    request, login, password = visit.request, visit.place.login, raw(visit.form)
    if login.access(visit.now) != "link_open":
        # Somebody was faster, or it took too long: the page says which.
        return see_other(f"{visit.place.path}/login")
    visit.refusal = unlike(visit.form)
    if visit.refusal is not None or password is None:
        return _login_page(visit)
    ledger = request.app[SERVICES].ledger
    try:
        hashed = await request.app[HASHING].hash_new(password, await _about(visit))
        begin = partial(
            partner_logins.set_first_password, ledger, login, hashed, came=origin_of(request),
            replaces=session_of(request, PARTNER_COOKIE), cause=visit.cause, now=visit.now,
        )  # fmt: skip
        return _entered(visit, await request.app[THREADS].run(begin))
    except RejectedError as error:
        visit.refusal = Refusal.of(error)
    # As it is now: somebody may have been faster.
    visit.place = await place_of(request)
    return _login_page(visit)


def _entered(visit: Doorstep, token: SecretStr) -> web.StreamResponse:
    response = see_other(visit.place.path)
    set_cookie(response, PARTNER_COOKIE, token)
    return response


def _refused(visit: Doorstep, message: str) -> Shown:
    visit.refusal = Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, message, {})
    return _login_page(visit)


def _login_page(visit: Doorstep) -> Shown:
    templates = {
        "password_set": "dashboard/login.html",
        "link_open": "dashboard/welcome.html",
        "link_expired": "dashboard/expired.html",
    }
    return Shown(templates[visit.place.login.access(visit.now)], {"path": visit.place.path})


async def _about(visit: Doorstep) -> tuple[str | None, ...]:
    """Return what a password may not be made of."""
    login = visit.place.login
    program = partial(partner_logins.program_of, visit.request.app[SERVICES].ledger, login)
    return login.email, await visit.request.app[THREADS].run(program)


# --- out --------------------------------------------------------------------------------------------------------------


@partner_exits.post(DASHBOARD + "/logout")
async def log_partner_out(visit: Doorstep) -> web.StreamResponse:
    """End this session."""
    session = session_of(visit.request, PARTNER_COOKIE)
    if session is not None:
        await visit.request.app[THREADS].run(partial(sessions.end, visit.request.app[SERVICES].ledger, session))
    return _left(visit.place.path, "logged_out")


@partner_exits.post(DASHBOARD + "/logout-everywhere")
async def log_partner_out_everywhere(visit: Doorstep) -> web.StreamResponse:
    """End all sessions of the partner."""
    login, ledger = visit.place.login, visit.request.app[SERVICES].ledger
    await visit.request.app[THREADS].run(
        partial(partner_logins.end_everywhere, ledger, login.merchant_id, login.partner_id)
    )
    return _left(visit.place.path, "logged_out_everywhere")


def _left(path: str, told: str) -> web.StreamResponse:
    response = see_other(f"{path}/login?told={told}")
    drop_cookie(response, PARTNER_COOKIE)
    return response


# --- forgotten --------------------------------------------------------------------------------------------------------


@partner_logins_pages.get(DASHBOARD + "/forgot")
async def show_partner_forgot(visit: Doorstep) -> Shown | web.StreamResponse:
    """Offer to send a link to the partner's own address, which is not shown; or say whom to ask."""
    mail = visit.request.app[SERVICES].mail
    return Shown("dashboard/forgot.html", {"mail": mail, "asked": False, "path": visit.place.path})


@partner_logins_pages.post(DASHBOARD + "/forgot")
async def ask_for_partner_link(visit: Doorstep) -> Shown | web.StreamResponse:
    """Send the link, where there is a password to forget and an address to write to, and say the same where not."""
    services, attempts = visit.request.app[SERVICES], visit.request.app[ATTEMPTS]
    if services.mail is None:
        return await show_partner_forgot(visit)
    attempts.check(visit.request)
    attempts.failed(visit.request)
    login = visit.place.login
    if attempts.may_write(attempts.name_of("partner letter", login.merchant_id, login.partner_id)):
        services.mail.soon(partial(_reset_letters, visit))
    return Shown("dashboard/forgot.html", {"mail": services.mail, "asked": True, "path": visit.place.path})


async def _reset_letters(visit: Doorstep) -> list[Letter]:
    services, threads, login = visit.request.app[SERVICES], visit.request.app[THREADS], visit.place.login
    token = await threads.run(partial(partner_logins.forgotten, services.ledger, login, visit.now))
    if token is None or login.email is None:
        return []
    program = await threads.run(partial(partner_logins.program_of, services.ledger, login))
    address = f"{services.options.public_url.rstrip('/')}{visit.place.path}/reset/{token.get_secret_value()}"
    return [letters.reset(login.email, program, address)]


@partner_logins_pages.get(DASHBOARD + "/reset/{token}")
async def show_partner_reset(visit: Doorstep) -> Shown | web.StreamResponse:
    """Ask for the new password; to look at the page uses nothing up."""
    return await _reset_page(visit)


@partner_logins_pages.post(DASHBOARD + "/reset/{token}")
async def reset_partner_password(visit: Doorstep) -> Shown | web.StreamResponse:
    """Set the password, and use the link up."""
    request, login, password = visit.request, visit.place.login, raw(visit.form)
    if not await _is_good(visit):
        return _gone(visit)
    visit.refusal = unlike(visit.form)
    if visit.refusal is not None or password is None:
        return await _reset_page(visit)
    try:
        hashed = await request.app[HASHING].hash_new(password, await _about(visit))
        await request.app[THREADS].run(
            partial(
                partner_logins.set_password, request.app[SERVICES].ledger, login, request.match_info["token"], hashed,
                name_mac=visit.name_mac, cause=visit.cause, now=visit.now,
            )
        )  # fmt: skip
    except RejectedError as error:
        visit.refusal = Refusal.of(error)
        return await _reset_page(visit)
    return _left(visit.place.path, "password_set")


async def _is_good(visit: Doorstep) -> bool:
    login, token = visit.place.login, visit.request.match_info["token"]
    find = partial(password_links.find, visit.request.app[SERVICES].ledger, token, visit.now)
    return await visit.request.app[THREADS].run(find) == Link(login.merchant_id, None, login.partner_id)


async def _reset_page(visit: Doorstep) -> Shown:
    return Shown("dashboard/reset.html", {}) if await _is_good(visit) else _gone(visit)


def _gone(visit: Doorstep) -> Shown:
    visit.refusal = None
    return Shown("login/gone.html", {"again": f"{visit.place.path}/forgot"}, HTTPStatus.GONE)
