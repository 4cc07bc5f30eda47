"""How users come in and go out: the login, and passwords that were forgotten.

Whether anybody has an address is told by no answer, and by no answer's time: the same is done, and as often, for those
who exist and those who do not.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from aiohttp import hdrs, web

from ledger import lockouts, logins, merchants, password_links, sessions
from ledger.logins import Account
from ledger.password_links import Link
from schemas.errors import RejectedError, UnauthorizedError
from web import letters
from web.api.calls import THREADS
from web.attempts import ATTEMPTS
from web.mail import Letter
from web.pages.forms import Form, Refusal
from web.pages.render import Shown
from web.pages.strangers import Stranger
from web.pages.table import PageTable, see_other
from web.passwords import HASHING
from web.request_ids import request_id_of
from web.services import SERVICES
from web.sessions import (
    USER_COOKIE,
    UserSession,
    check_csrf,
    check_site,
    drop_cookie,
    origin_of,
    session_of,
    set_cookie,
    user_session,
)

HOME = "/overview"

_NEXT_LENGTH_MAX = 2_000
_CHOICE_GOOD_FOR = timedelta(minutes=5)
_WRONG = "The e-mail address or the password is not right."
_NOT_ALIKE = "The two are not the same."


async def stranger_door(request: web.Request, form: Form) -> Stranger | web.StreamResponse:
    """Let anybody in; forms only from pages of this site."""
    if request.method == hdrs.METH_POST:
        check_site(request)
    return Stranger(request=request, form=form)


@dataclass(frozen=True)
class Leaver:
    """Somebody who is logged in, and asks for nothing but to end that: works while the books are away."""

    request: web.Request
    session: UserSession


async def exit_door(request: web.Request, form: Form) -> Leaver | web.StreamResponse:
    """Let those out who are in; the others are out already. Nobody is sent out by another site."""
    check_site(request)
    session = await user_session(request)
    if session is None:
        return _left("logged_out")
    check_csrf(request, session, form.text("csrf"))
    return Leaver(request, session)


logins_pages = PageTable(stranger_door)
exits = PageTable(exit_door)


# --- in ---------------------------------------------------------------------------------------------------------------


@logins_pages.get("/login")
async def show_login(visit: Stranger) -> Shown | web.StreamResponse:
    """Show the login, or lead on where somebody is in already."""
    place = local_address(visit.request.query.get("next"))
    if await user_session(visit.request) is not None:
        return see_other(place)
    return _login_page(place)


@logins_pages.post("/login")
async def log_in(visit: Stranger) -> Shown | web.StreamResponse:
    """Log in with e-mail address and password."""
    place, email, password = local_address(visit.form.text("next")), visit.form.text("email"), raw(visit.form)
    if email is None or password is None:
        visit.refusal = Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "Both are needed.", {})
        return _login_page(place)
    attempts = visit.request.app[ATTEMPTS]
    visit.refusal = await waits(visit.request, attempts.name_of("user", email.casefold()), visit.now)
    if visit.refusal is not None:
        return _login_page(place)
    right = await _right_ones(visit.request, email, password)
    if not right:
        attempts.failed(visit.request)
        visit.refusal = Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, _WRONG, {})
        return _login_page(place)
    if len(right) > 1:
        return await _choice_page(visit, [account for account, _ in right], place)
    account, fresh = right[0]
    return await _begin(visit, account, fresh, place)


@logins_pages.post("/login/as")
async def log_in_as(visit: Stranger) -> Shown | web.StreamResponse:
    """Log in to the one of several programs that was chosen, on the strength of the password that was right before."""
    place = local_address(visit.form.text("next"))
    account = await _chosen(visit.request, visit.form.text("choice") or "", visit.now)
    if account is None:
        visit.refusal = Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "That took too long. Log in again.", {})
        return _login_page(place)
    return await _begin(visit, account, None, place)


async def _right_ones(request: web.Request, email: str, password: str) -> list[tuple[Account, str | None]]:
    """Return the accounts that may come in with this password, each with its hash by today's cost where that is due.

    As many hashes are computed as there are accounts, and one where there is none.
    """
    ledger = request.app[SERVICES].ledger
    found: Sequence[Account | None] = await request.app[THREADS].run(partial(logins.accounts, ledger, email))
    right = []
    for account in found or [None]:
        verdict = await request.app[HASHING].verify(account.hash if account else None, password)
        if account is not None and verdict.right and not account.disabled:
            right.append((account, verdict.fresh))
    return right


async def _begin(visit: Stranger, account: Account, fresh: str | None, place: str) -> Shown | web.StreamResponse:
    request = visit.request
    name_mac = name_of(request, account)
    begin = partial(
        logins.log_in, request.app[SERVICES].ledger, account, came=origin_of(request),
        replaces=session_of(request, USER_COOKIE), name_mac=name_mac, fresh=fresh, now=visit.now,
    )  # fmt: skip
    try:
        token = await request.app[THREADS].run(begin)
    except UnauthorizedError:
        visit.refusal = Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, _WRONG, {})
        return _login_page(place)
    response = see_other(place)
    set_cookie(response, USER_COOKIE, token)
    return response


def _login_page(place: str) -> Shown:
    return Shown("login/login.html", {"next": "" if place == HOME else place})


# --- one address, several programs ------------------------------------------------------------------------------------


async def _choice_page(visit: Stranger, accounts: Sequence[Account], place: str) -> Shown:
    request = visit.request
    ledger = request.app[SERVICES].ledger
    names = [
        (await request.app[THREADS].run(partial(merchants.find, ledger, account.merchant_id))).name
        for account in accounts
    ]
    choices = [_ticket(request, account, visit.now + _CHOICE_GOOD_FOR) for account in accounts]
    return Shown("login/choose.html", {"choices": list(zip(choices, names, strict=True)), "next": place})


def _ticket(request: web.Request, account: Account, until: datetime) -> str:
    """Return what proves for a few minutes that the account's password was right; worthless once that is another."""
    said = f"{account.merchant_id}\n{account.user_id}\n{int(until.timestamp())}".encode()
    return ".".join(urlsafe_b64encode(part).decode() for part in (said, _mac_of(request, said, account)))


def _mac_of(request: web.Request, said: bytes, account: Account) -> bytes:
    whole = b"\n".join((b"login choice", said, (account.hash or "").encode()))
    return hmac.digest(request.app[SERVICES].options.secret, whole, "sha256")


async def _chosen(request: web.Request, ticket: str, now: datetime) -> Account | None:
    try:
        said, mac = (urlsafe_b64decode(part.encode("ascii")) for part in ticket.split("."))
        merchant_id, user_id, until = said.decode().split("\n")
        is_late = now.timestamp() >= int(until)
    except ValueError:
        return None
    account = await request.app[THREADS].run(
        partial(logins.account, request.app[SERVICES].ledger, merchant_id, user_id)
    )
    if account is None or account.hash is None or account.disabled or is_late:
        return None
    return account if hmac.compare_digest(mac, _mac_of(request, said, account)) else None


# --- out --------------------------------------------------------------------------------------------------------------


@exits.post("/logout")
async def log_out(leaver: Leaver) -> web.StreamResponse:
    """End this session."""
    ledger = leaver.request.app[SERVICES].ledger
    await leaver.request.app[THREADS].run(partial(sessions.end, ledger, leaver.session.session_sha256))
    return _left("logged_out")


@exits.post("/logout-everywhere")
async def log_out_everywhere(leaver: Leaver) -> web.StreamResponse:
    """End all sessions of the user."""
    ledger, session = leaver.request.app[SERVICES].ledger, leaver.session
    await leaver.request.app[THREADS].run(partial(logins.end_everywhere, ledger, session.merchant_id, session.user_id))
    return _left("logged_out_everywhere")


def _left(told: str) -> web.StreamResponse:
    response = see_other(f"/login?told={told}")
    drop_cookie(response, USER_COOKIE)
    return response


# --- forgotten --------------------------------------------------------------------------------------------------------


@logins_pages.get("/forgot")
async def show_forgot(visit: Stranger) -> Shown | web.StreamResponse:
    """Ask for the address to which the link goes; or say whom to ask, where no mail is sent from here."""
    return Shown("login/forgot.html", {"mail": visit.request.app[SERVICES].mail, "asked": False})


@logins_pages.post("/forgot")
async def ask_for_link(visit: Stranger) -> Shown | web.StreamResponse:
    """Send a link to everybody with this address, and say the same whether there is anybody."""
    services, attempts = visit.request.app[SERVICES], visit.request.app[ATTEMPTS]
    email = visit.form.text("email")
    if services.mail is None or email is None:
        return await show_forgot(visit)
    attempts.check(visit.request)
    attempts.failed(visit.request)
    if attempts.may_write(attempts.name_of("letter", email.casefold())):
        services.mail.soon(partial(_reset_letters, visit.request, email, visit.now))
    return Shown("login/forgot.html", {"mail": services.mail, "asked": True})


async def _reset_letters(request: web.Request, email: str, now: datetime) -> list[Letter]:
    """Return a letter for each account with the address; called when the answer is out."""
    ledger, threads = request.app[SERVICES].ledger, request.app[THREADS]
    made = []
    for merchant_id, to, token in await threads.run(partial(logins.forgotten, ledger, email, now)):
        program = await threads.run(partial(merchants.find, ledger, merchant_id))
        address = letters.reset_address(request.app[SERVICES].options.public_url, token.get_secret_value())
        made.append(letters.reset(to, program.name, address))
    return made


@logins_pages.get("/reset/{token}")
async def show_reset(visit: Stranger) -> Shown | web.StreamResponse:
    """Ask for the new password. To look at the page uses nothing up: mail programs look at links, too."""
    return await _reset_page(visit)


@logins_pages.post("/reset/{token}")
async def reset_password(visit: Stranger) -> Shown | web.StreamResponse:
    """Set the password, and use the link up."""
    request, threads, ledger = visit.request, visit.request.app[THREADS], visit.request.app[SERVICES].ledger
    link, password = await _link(visit), raw(visit.form)
    if link is None or link.user_id is None:
        return _gone(visit)
    visit.refusal = unlike(visit.form)
    if visit.refusal is not None or password is None:
        return await _reset_page(visit)
    user, program = await threads.run(partial(logins.about, ledger, link.merchant_id, link.user_id))
    account = await threads.run(partial(logins.account, ledger, link.merchant_id, link.user_id))
    try:
        hashed = await request.app[HASHING].hash_new(password, (user.email, user.name, program))
        await threads.run(
            partial(
                logins.set_password, ledger, request.match_info["token"], hashed, now=visit.now,
                name_mac=name_of(request, account) if account else None,
                cause=f"page/{link.user_id}@{request_id_of(request)}",
            )
        )  # fmt: skip
    except RejectedError as error:
        visit.refusal = Refusal.of(error)
        return await _reset_page(visit)
    # Whoever was logged in here may have been somebody else.
    return _left("password_set")


async def _reset_page(visit: Stranger) -> Shown:
    link = await _link(visit)
    if link is None or link.user_id is None:
        return _gone(visit)
    ledger = visit.request.app[SERVICES].ledger
    user, program = await visit.request.app[THREADS].run(partial(logins.about, ledger, link.merchant_id, link.user_id))
    return Shown("login/reset.html", {"email": user.email or "", "program": program})


async def _link(visit: Stranger) -> Link | None:
    services = visit.request.app[SERVICES]
    find = partial(password_links.find, services.ledger, visit.request.match_info["token"], visit.now)
    return await visit.request.app[THREADS].run(find)


def _gone(visit: Stranger) -> Shown:
    visit.refusal = None
    return Shown("login/gone.html", {"again": "/forgot"}, HTTPStatus.GONE)


# --- what other doors need, too ---------------------------------------------------------------------------------------


def name_of(request: web.Request, account: Account) -> bytes:
    """Return under which name attempts on the account's password are counted: that of its address, as typed in."""
    return request.app[ATTEMPTS].name_of("user", account.email_folded or "")


async def waits(request: web.Request, name_mac: bytes, now: datetime) -> Refusal | None:
    """Count an attempt on a password, and return the refusal of one that has to wait; None: go on.

    Raises TooManyRequestsError where too much failed from the address.
    """
    request.app[ATTEMPTS].check(request)
    count = partial(lockouts.attempt, request.app[SERVICES].ledger, name_mac, now)
    wait_s = await request.app[THREADS].run(count)
    if not wait_s:
        return None
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, f"Too many attempts. Try again in {wait_s} seconds.", {})


def raw(form: Form, name: str = "password") -> str | None:
    """Return the field exactly as it was typed, None where it is empty."""
    return next(iter(form.all(name)), None)


def unlike(form: Form) -> Refusal | None:
    """Return the refusal of a new password that is missing or was not typed twice alike, None where it was."""
    password, again = raw(form), raw(form, "again")
    if password is not None and password == again:
        return None
    faults = {"password": "is needed"} if password is None else {"again": _NOT_ALIKE}
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "The password was not set.", faults)


def local_address(told: str | None) -> str:
    """Return the address of a page of this site that somebody told, else the first page: nobody is led elsewhere."""
    if not told or len(told) > _NEXT_LENGTH_MAX or not told.startswith("/") or told.startswith(("//", "/login")):
        return HOME
    # Browsers take a backslash for a slash, and leave out tabs and line breaks.
    if "\\" in told or any(character <= " " or character == "\x7f" for character in told):
        return HOME
    try:
        parts = urlsplit(told)
    except ValueError:
        return HOME
    if parts.scheme or parts.netloc:
        return HOME
    return quote(told, safe="/?#[]@!$&'()*+,;=%:~-._")
