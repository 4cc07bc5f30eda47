"""Who looks at a page: sessions of users and partners, their cookies, and proof that a form came from our own page.

Looked up anew for each request: another role, a disabled user or a renewed address is in force at once.
"""

import hmac
import re
from base64 import urlsafe_b64encode
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from psycopg import AsyncConnection
from psycopg.rows import tuple_row
from pydantic import SecretStr

from ledger.access import ADMIN, effective
from ledger.sessions import AGE_MAX, IDLE_MAX, Origin, digest
from schemas.api import Scope
from schemas.errors import ForbiddenError
from web.services import SERVICES, WebOptions

USER_COOKIE: Final = "__Host-user"
PARTNER_COOKIE: Final = "__Host-partner"

_USED_EVERY = timedelta(minutes=1)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_OWN_SITE = ("same-origin", "none")

_FIND_USER = (
    "SELECT told.used_at, told.merchant_id, told.user_id, holder.role, person.name, person.email, told.created_at"
    " FROM access.sessions AS told JOIN access.users AS holder USING (merchant_id, user_id)"
    " LEFT JOIN people.users AS person USING (merchant_id, user_id)"
    " WHERE told.session_sha256 = %s AND told.used_at >= %s AND told.created_at >= %s AND holder.disabled_at IS NULL"
)
_FIND_PARTNER = (
    "SELECT told.used_at, told.merchant_id, told.partner_id, told.created_at"
    " FROM access.sessions AS told LEFT JOIN access.partner_logins AS login USING (merchant_id, partner_id)"
    " WHERE told.session_sha256 = %s AND told.used_at >= %s AND told.created_at >= %s"
    " AND told.partner_id IS NOT NULL AND told.generation = coalesce(login.generation, 1)"
)
_USED = "UPDATE access.sessions SET used_at = %(now)s WHERE session_sha256 = %(session)s AND used_at < %(before)s"


class UserSession(NamedTuple):
    """Somebody who works for the merchant and is logged in. It calls the API in-process as an API key calls it."""

    merchant_id: str
    user_id: str
    role: str
    name: str | None
    email: str | None
    scopes: frozenset[str]
    session_sha256: bytes
    created_at: datetime

    @property
    def key_id(self) -> None:
        """No key was used."""

    @property
    def means(self) -> str:
        """By what means the caller acts, as events tell it."""
        return f"page/{self.user_id}"

    def check(self, scope: Scope | None) -> None:
        """Refuse what the user's role does not allow: ForbiddenError `scope_missing`."""
        if scope is not None and scope not in self.scopes:
            raise ForbiddenError("scope_missing", f"your role ({self.role}) does not allow this")


class PartnerSession(NamedTuple):
    """A partner who is logged in to their dashboard."""

    merchant_id: str
    partner_id: str
    session_sha256: bytes
    created_at: datetime


async def user_session(request: web.Request) -> UserSession | None:
    """Return the session of the user who asks, None where nobody is logged in (any more); the same one each time."""
    looked = request.get(_USER)
    if looked is None:
        looked = request[_USER] = _Looked(await find_user(request))
    return looked.found


async def partner_session(request: web.Request) -> PartnerSession | None:
    """Return the session of the partner who asks, None where nobody is logged in; the same one each time.

    It may be another partner's, or another merchant's, than the address names: compare.
    """
    looked = request.get(_PARTNER)
    if looked is None:
        looked = request[_PARTNER] = _LookedPartner(await find_partner(request))
    return looked.found


def csrf_token(request: web.Request, session: UserSession | PartnerSession) -> str:
    """Return the token that every form of the session's pages carries; it says nothing of the session's own."""
    secret = request.app[SERVICES].options.secret
    mac = hmac.digest(secret, b"form\n" + session.session_sha256, "sha256")
    return urlsafe_b64encode(mac).decode().rstrip("=")


def check_csrf(request: web.Request, session: UserSession | PartnerSession, token: str | None) -> None:
    """Refuse a form that did not come from a page of this session: ForbiddenError `foreign_form`."""
    check_site(request)
    expected = csrf_token(request, session)
    if token is None or not hmac.compare_digest(token.encode(errors="surrogateescape"), expected.encode()):
        raise _foreign()


def check_site(request: web.Request) -> None:
    """Refuse a form that another site sent: ForbiddenError `foreign_form`. Enough where nobody is logged in.

    Browsers say which site a form came from, and no page can keep them from it. Who says nothing is no browser, and
    cannot be led to send what it did not mean to.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        if site not in _OWN_SITE:
            raise _foreign()
        return
    # Browsers that do not say it, and all of them where the page came over plain HTTP from another machine.
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and not _is_own(origin, request):
        raise _foreign()


def origin_of(request: web.Request) -> Origin:
    """Return where the request comes from: the network address, and the browser in a few words of ours."""
    return Origin(request.remote or "unknown", browser_of(request.headers.get(hdrs.USER_AGENT, "")))


def browser_of(agent: str) -> str:
    """Return which browser on which system a `User-Agent` names; nothing of its own text is kept."""
    browser = next((name for word, name in _BROWSERS if word in agent), "another program")
    system = next((name for word, name in _SYSTEMS if word in agent), None)
    return browser if system is None else f"{browser}, {system}"


def session_of(request: web.Request, cookie: str) -> bytes | None:
    """Return the digest of the token that the cookie brings, good or not, None where it brings none."""
    token = request.cookies.get(cookie, "")
    return digest(token) if _TOKEN.fullmatch(token) else None


def set_cookie(response: web.StreamResponse, cookie: str, token: SecretStr) -> None:
    """Give the browser the token of a new session."""
    response.set_cookie(
        cookie, token.get_secret_value(), max_age=int(AGE_MAX.total_seconds()), path="/", secure=True, httponly=True,
        samesite="Lax",
    )  # fmt: skip


def drop_cookie(response: web.StreamResponse, cookie: str) -> None:
    """Let the browser forget the token. As it was set: a `__Host-` cookie is not changed by one without `Secure`."""
    response.set_cookie(cookie, "", max_age=0, path="/", secure=True, httponly=True, samesite="Lax")


class _Looked(NamedTuple):
    found: UserSession | None


class _LookedPartner(NamedTuple):
    found: PartnerSession | None


_USER = web.RequestKey("user_session", _Looked)
_PARTNER = web.RequestKey("partner_session", _LookedPartner)
# Most programs say they are several: the first that is found is what it is.
_BROWSERS = (
    ("Firefox/", "Firefox"), ("Edg/", "Edge"), ("OPR/", "Opera"), ("SamsungBrowser/", "Samsung Internet"),
    ("Chrome/", "Chrome"), ("CriOS/", "Chrome"), ("FxiOS/", "Firefox"), ("Safari/", "Safari"), ("curl/", "curl"),
)  # fmt: skip
_SYSTEMS = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"), ("Mac OS X", "Mac"),
    ("CrOS", "Chromebook"), ("Linux", "Linux"),
)  # fmt: skip


async def find_user(request: web.Request) -> UserSession | None:
    """Return the session of the user who asks as it is at this moment: for requests that take long."""
    session = session_of(request, USER_COOKIE)
    row = None if session is None else await _look_up(request, session, _FIND_USER)
    if row is None or session is None:
        return None
    merchant_id, user_id, role, name, email, created_at = row
    return UserSession(merchant_id, user_id, role, name, email, effective([ADMIN], role), session, created_at)


async def find_partner(request: web.Request) -> PartnerSession | None:
    """Return the session of the partner who asks as it is at this moment: for requests that take long."""
    session = session_of(request, PARTNER_COOKIE)
    row = None if session is None else await _look_up(request, session, _FIND_PARTNER)
    if row is None or session is None:
        return None
    merchant_id, partner_id, created_at = row
    return PartnerSession(merchant_id, partner_id, session, created_at)


async def _look_up(request: web.Request, session: bytes, query: str) -> tuple[Any, ...] | None:
    services = request.app[SERVICES]
    now = services.now()
    async with services.pool.connection() as conn, conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(query, (session, now - IDLE_MAX, now - AGE_MAX))
        row: tuple[Any, ...] | None = await cursor.fetchone()
        if row is None:
            return None
        used_at, *rest = row
        if used_at < now - _USED_EVERY:
            await _mark_used(conn, session, now)
    return tuple(rest)


async def _mark_used(conn: AsyncConnection[Any], session: bytes, now: datetime) -> None:
    await conn.execute(_USED, {"now": now, "session": session, "before": now - _USED_EVERY})


def _is_own(origin: str, request: web.Request) -> bool:
    told = urlsplit(origin)
    return bool(told.netloc) and (told.netloc == request.host or _same(told, request.app[SERVICES].options))


def _same(told: Any, options: WebOptions) -> bool:
    public = urlsplit(options.public_url)
    return (told.scheme, told.netloc) == (public.scheme, public.netloc)


def _foreign() -> ForbiddenError:
    message = "this form did not come from a page of yours that is still open; load the page anew and try again"
    return ForbiddenError("foreign_form", message)
