"""How partners come in: the address of their dashboard, whose generation a merchant can raise, and a password.

While the address is open, whoever comes first sets the password, once. Hashing is the caller's, beforehand.
"""

from datetime import datetime, timedelta
from typing import Literal, NamedTuple, TypeAlias

from psycopg import Cursor
from psycopg.rows import DictRow
from pydantic import SecretStr

from ledger import lockouts, merchants, password_links, sessions
from ledger.access import Actor, note, once
from ledger.application import Ledger
from ledger.password_links import RESET_AGE, Link
from ledger.requests import Request
from ledger.sessions import Origin
from schemas.errors import ConflictError, NotFoundError, UnauthorizedError

Access: TypeAlias = Literal["link_open", "link_expired", "password_set"]

OPEN_FOR = timedelta(days=30)
FIRST_GENERATION = 1

# Before anything was done to it, what stands here follows from the partner's first event.
_LOGINS = """
SELECT
    person.merchant_id, person.partner_id, person.email,
    coalesce(login.generation, 1) AS generation,
    coalesce(login.link_expires_at, (first.state ->> 'occurred_at')::timestamptz + %(open_for)s) AS link_expires_at,
    login.hash, login.set_at
FROM people.partners AS person
JOIN ledger.events AS first
    ON first.originator_id = 'partner/' || person.merchant_id || '/' || person.partner_id
    AND first.originator_version = 1
LEFT JOIN access.partner_logins AS login
    ON login.merchant_id = person.merchant_id AND login.partner_id = person.partner_id
WHERE person.partner_id = %(partner_id)s"""
_RENEW = (
    "INSERT INTO access.partner_logins AS told (merchant_id, partner_id, generation, link_expires_at)"
    " VALUES (%(merchant_id)s, %(partner_id)s, 2, %(expires_at)s)"
    " ON CONFLICT (merchant_id, partner_id) DO UPDATE SET generation = told.generation + 1,"
    " link_expires_at = %(expires_at)s, hash = NULL, set_at = NULL RETURNING generation"
)
# Of two who come at once, one finds the row as it has to be.
_SET = (
    "INSERT INTO access.partner_logins AS told (merchant_id, partner_id, generation, link_expires_at, hash, set_at)"
    " VALUES (%(merchant_id)s, %(partner_id)s, %(generation)s, %(link_expires_at)s, %(hash)s, %(now)s)"
    " ON CONFLICT (merchant_id, partner_id) DO UPDATE SET hash = %(hash)s, set_at = %(now)s"
    " WHERE told.generation = %(generation)s AND told.hash IS NOT DISTINCT FROM %(before)s"
)
_REHASH = (
    "UPDATE access.partner_logins SET hash = %(fresh)s"
    " WHERE merchant_id = %(merchant_id)s AND partner_id = %(partner_id)s"
)
_LOCK = (
    "SELECT generation, hash FROM access.partner_logins"
    " WHERE merchant_id = %(merchant_id)s AND partner_id = %(partner_id)s FOR UPDATE"
)


class PartnerLogin(NamedTuple):
    """A partner as the door knows them; `hash` None: no password yet."""

    merchant_id: str
    partner_id: str
    email: str | None
    generation: int
    link_expires_at: datetime
    hash: str | None
    set_at: datetime | None

    def access(self, now: datetime) -> Access:
        """Return how the partner comes in."""
        return access_of(self.set_at, self.link_expires_at, now)


def access_of(set_at: datetime | None, link_expires_at: datetime, now: datetime) -> Access:
    """Return how a partner comes in whose password was set then (None: never), and whose address is open so long."""
    if set_at is not None:
        return "password_set"
    return "link_open" if now < link_expires_at else "link_expired"


def candidates(ledger: Ledger, partner_id: str) -> list[PartnerLogin]:
    """Return the partners of all merchants who have this id: one at most, unless ids were taken over from elsewhere."""
    with ledger.connection() as conn:
        return [PartnerLogin(**row) for row in conn.execute(_LOGINS, _asked(partner_id)).fetchall()]


def find(ledger: Ledger, merchant_id: str, partner_id: str) -> PartnerLogin:
    """Return one partner of the merchant's. Raises NotFoundError."""
    with ledger.connection() as conn, conn.cursor() as curs:
        return _find(curs, merchant_id, partner_id)


def renew(
    ledger: Ledger, *, merchant_id: str, partner_id: str, now: datetime, by: Actor, request: Request | None = None
) -> PartnerLogin:
    """Give the partner a new address, open for 30 days, and no password; the old one leads nowhere, sessions end.

    Returns how the partner comes in now. Raises NotFoundError.
    """

    def work(curs: Cursor[DictRow]) -> PartnerLogin:
        login = _find(curs, merchant_id, partner_id)
        expires_at = now + OPEN_FOR
        about = {"merchant_id": merchant_id, "partner_id": partner_id, "expires_at": expires_at}
        row = curs.execute(_RENEW, about).fetchone()
        assert row is not None  # noqa: S101 - it was inserted or updated
        sessions.end_all(curs, merchant_id, partner_id=partner_id)
        password_links.drop(curs, merchant_id, partner_id)
        note(curs, merchant_id, by, now, "partner.access_renewed", partner_id)
        return login._replace(
            generation=row["generation"], link_expires_at=expires_at, hash=None, set_at=None
        )  # fmt: skip

    return once(ledger, request, work)


def set_first_password(
    ledger: Ledger, login: PartnerLogin, hashed: str, *, came: Origin, replaces: bytes | None, cause: str, now: datetime
) -> SecretStr:
    """Set the password of a partner who has none, and begin a session, whose token is returned.

    Raises ConflictError `link_expired`, `password_set` (somebody was faster, or the address was renewed meanwhile).
    """
    if login.access(now) == "link_expired":
        raise ConflictError("link_expired", "this address has expired; ask whoever sent it for a new one")

    def work(curs: Cursor[DictRow]) -> SecretStr:
        if login.hash is not None or not _write(curs, login, hashed, None, now):
            raise ConflictError("password_set", "a password was set already; log in with it")
        token = _begin(curs, login, came, replaces, now)
        by = Actor(cause)
        note(curs, login.merchant_id, by, now, "partner.password_set", login.partner_id)
        return token

    return once(ledger, None, work)


def log_in(
    ledger: Ledger,
    login: PartnerLogin,
    *,
    came: Origin,
    replaces: bytes | None,
    name_mac: bytes,
    fresh: str | None = None,
    now: datetime,
) -> SecretStr:
    """Begin a session of a partner whose password was right, and return its token; `fresh` is the hash to keep now.

    Raises UnauthorizedError where the password or the address changed meanwhile.
    """

    def work(curs: Cursor[DictRow]) -> SecretStr:
        about = {"merchant_id": login.merchant_id, "partner_id": login.partner_id, "fresh": fresh}
        row = curs.execute(_LOCK, about).fetchone()
        if row is None or (row["generation"], row["hash"]) != (login.generation, login.hash) or login.hash is None:
            raise UnauthorizedError("unauthorized", "the password was changed just now; log in again")
        if fresh is not None:
            curs.execute(_REHASH, about)
        lockouts.forgive(curs, name_mac)
        return _begin(curs, login, came, replaces, now)

    return once(ledger, None, work)


def forgotten(ledger: Ledger, login: PartnerLogin, now: datetime) -> SecretStr | None:
    """Return the token of a link that sets another password; None where there is no password, or no address to mail."""
    if login.hash is None or login.email is None:
        return None
    link = Link(login.merchant_id, None, login.partner_id)
    return once(
        ledger, None, lambda curs: password_links.make(curs, link, expires_at=now + RESET_AGE, now=now)
    )  # fmt: skip


def program_of(ledger: Ledger, login: PartnerLogin) -> str:
    """Return the name of the partner's program."""
    return merchants.find(ledger, login.merchant_id).name


def set_password(
    ledger: Ledger, login: PartnerLogin, token: str, hashed: str, *, name_mac: bytes, cause: str, now: datetime
) -> None:
    """Use the link up: the partner has another password, all sessions end.

    Raises ConflictError `link_not_valid`, also for another partner's link.
    """

    def work(curs: Cursor[DictRow]) -> None:
        link = password_links.take(curs, token, now)
        if link != Link(login.merchant_id, None, login.partner_id) or not _write(curs, login, hashed, login.hash, now):
            raise password_links.unknown_link()
        sessions.end_all(curs, login.merchant_id, partner_id=login.partner_id)
        password_links.drop(curs, login.merchant_id, login.partner_id)
        lockouts.forgive(curs, name_mac)
        note(curs, login.merchant_id, Actor(cause), now, "partner.password_set", login.partner_id)

    once(ledger, None, work)


def change_password(
    ledger: Ledger, login: PartnerLogin, hashed: str, *, came: Origin, name_mac: bytes, cause: str, now: datetime
) -> SecretStr:
    """Give the partner another password; all sessions end, and a new one begins whose token is returned.

    `login` is as it was when the old password was right. Raises UnauthorizedError where it changed meanwhile.
    """

    def work(curs: Cursor[DictRow]) -> SecretStr:
        if login.hash is None or not _write(curs, login, hashed, login.hash, now):
            raise UnauthorizedError("unauthorized", "the password was changed just now; log in again")
        sessions.end_all(curs, login.merchant_id, partner_id=login.partner_id)
        password_links.drop(curs, login.merchant_id, login.partner_id)
        lockouts.forgive(curs, name_mac)
        note(curs, login.merchant_id, Actor(cause), now, "partner.password_set", login.partner_id)
        return _begin(curs, login, came, None, now)

    return once(ledger, None, work)


def end_everywhere(ledger: Ledger, merchant_id: str, partner_id: str) -> None:
    """End all sessions of the partner."""
    once(ledger, None, lambda curs: sessions.end_all(curs, merchant_id, partner_id=partner_id))


def _find(curs: Cursor[DictRow], merchant_id: str, partner_id: str) -> PartnerLogin:
    asked = {**_asked(partner_id), "merchant_id": merchant_id}
    row = curs.execute(_LOGINS + " AND person.merchant_id = %(merchant_id)s", asked).fetchone()
    if row is None:
        raise NotFoundError("partner", partner_id)
    return PartnerLogin(**row)


def _asked(partner_id: str) -> dict[str, object]:
    return {"partner_id": partner_id, "open_for": OPEN_FOR}


def _write(curs: Cursor[DictRow], login: PartnerLogin, hashed: str, before: str | None, now: datetime) -> bool:
    """Set the password where it is still the one from before, and return whether it was."""
    curs.execute(
        _SET,
        {
            "merchant_id": login.merchant_id, "partner_id": login.partner_id, "generation": login.generation,
            "link_expires_at": login.link_expires_at, "hash": hashed, "before": before, "now": now,
        },
    )  # fmt: skip
    return curs.rowcount == 1


def _begin(
    curs: Cursor[DictRow], login: PartnerLogin, came: Origin, replaces: bytes | None, now: datetime
) -> SecretStr:
    return sessions.start_partner(
        curs, merchant_id=login.merchant_id, partner_id=login.partner_id, generation=login.generation, came=came,
        replaces=replaces, now=now,
    )  # fmt: skip
