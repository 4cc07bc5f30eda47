"""How a merchant's users come in: their passwords, and the links that set them. Hashing is the caller's, beforehand."""

from datetime import datetime
from typing import NamedTuple

from psycopg import Cursor
from psycopg.rows import DictRow
from pydantic import SecretStr

from ledger import lockouts, merchants, password_links, sessions, users
from ledger.access import Actor, note, once
from ledger.application import Ledger
from ledger.password_links import INVITATION_AGE, RESET_AGE, Link
from ledger.requests import Request
from ledger.sessions import Origin
from ledger.users import User
from schemas.errors import ConflictError, UnauthorizedError

_ACCOUNTS = (
    "SELECT holder.merchant_id, holder.user_id, holder.disabled_at IS NOT NULL AS disabled, password.hash,"
    " person.email_folded"
    " FROM people.users AS person JOIN access.users AS holder USING (merchant_id, user_id)"
    " LEFT JOIN access.passwords AS password USING (merchant_id, user_id)"
)
_BY_EMAIL = _ACCOUNTS + " WHERE person.email_folded = %s ORDER BY merchant_id"
_BY_ID = _ACCOUNTS + " WHERE merchant_id = %s AND user_id = %s"
_TO_WRITE_TO = (
    "SELECT person.merchant_id, person.user_id, person.email FROM people.users AS person"
    " JOIN access.users AS holder USING (merchant_id, user_id)"
    " WHERE person.email_folded = %s AND holder.disabled_at IS NULL ORDER BY merchant_id"
)
# Shared, so that nobody is disabled, and no password changed, between this look and the commit.
_STILL = _ACCOUNTS + " WHERE merchant_id = %s AND user_id = %s FOR SHARE OF holder"
_SET = (
    "INSERT INTO access.passwords (merchant_id, user_id, hash, set_at) VALUES (%(merchant_id)s, %(user_id)s, %(hash)s,"
    " %(now)s) ON CONFLICT (merchant_id, user_id) DO UPDATE SET hash = %(hash)s, set_at = %(now)s"
)
_REHASH = "UPDATE access.passwords SET hash = %s WHERE merchant_id = %s AND user_id = %s"


class Account(NamedTuple):
    """A user as the door knows them; `hash` None: no password yet; `email_folded` None once the person was erased."""

    merchant_id: str
    user_id: str
    disabled: bool
    hash: str | None
    email_folded: str | None


class Invitation(NamedTuple):
    """A user, and the token of the link that sets the password; nobody can be told the token again."""

    user: User
    token: SecretStr
    expires_at: datetime


def accounts(ledger: Ledger, email: str) -> list[Account]:
    """Return the users of all merchants who have this e-mail address, whatever its case."""
    with ledger.connection() as conn:
        rows = conn.execute(_BY_EMAIL, (email.strip().casefold(),)).fetchall()
    return [Account(**row) for row in rows]


def account(ledger: Ledger, merchant_id: str, user_id: str) -> Account | None:
    """Return one user of a merchant, None where there is none of this id."""
    with ledger.connection() as conn:
        row = conn.execute(_BY_ID, (merchant_id, user_id)).fetchone()
    return Account(**row) if row else None


def log_in(
    ledger: Ledger,
    account: Account,
    *,
    came: Origin,
    replaces: bytes | None,
    name_mac: bytes,
    fresh: str | None = None,
    now: datetime,
) -> SecretStr:
    """Begin a session of an account whose password was right, and return its token; `fresh` is the hash to keep now.

    Raises UnauthorizedError where the user was disabled, or the password changed, meanwhile.
    """

    def work(curs: Cursor[DictRow]) -> SecretStr:
        row = curs.execute(_STILL, (account.merchant_id, account.user_id)).fetchone()
        if row is None or Account(**row) != account or account.disabled:
            raise UnauthorizedError("unauthorized", "this account was changed just now; log in again")
        if fresh is not None:
            curs.execute(_REHASH, (fresh, account.merchant_id, account.user_id))
        lockouts.forgive(curs, name_mac)
        return sessions.start_user(
            curs, merchant_id=account.merchant_id, user_id=account.user_id, came=came, replaces=replaces, now=now
        )

    return once(ledger, None, work)


def create(
    ledger: Ledger,
    *,
    merchant_id: str,
    name: str,
    email: str,
    role: str,
    now: datetime,
    by: Actor,
    request: Request | None = None,
) -> Invitation:
    """Add a user to the merchant's and return it with an invitation. Raises ConflictError `email_taken`."""

    def work(curs: Cursor[DictRow]) -> Invitation:
        return _invitation(curs, merchant_id, users.add(curs, merchant_id, role, name, email, now, by), now)

    return once(ledger, request, work)


def invite(
    ledger: Ledger, *, merchant_id: str, user_id: str, now: datetime, by: Actor, request: Request | None = None
) -> Invitation:
    """Make a new link for the user, who may have a password or not; those from before are worthless. Returns it.

    Raises NotFoundError, ConflictError `user_disabled`.
    """

    def work(curs: Cursor[DictRow]) -> Invitation:
        user = users.locked(curs, merchant_id, user_id)
        if user.disabled_at is not None:
            raise ConflictError("user_disabled", "this user is disabled")
        password_links.drop(curs, merchant_id, user_id)
        made = _invitation(curs, merchant_id, user, now)
        note(curs, merchant_id, by, now, "user.invited", user_id)
        return made

    return once(ledger, request, work)


def forgotten(ledger: Ledger, email: str, now: datetime) -> list[tuple[str, str, SecretStr]]:
    """Return for each account with this address, disabled ones apart: merchant, address as it is kept, token of a link.

    Links from before stay good: whoever asks for one in another's name must not take that one's invitation away.
    """

    def work(curs: Cursor[DictRow]) -> list[tuple[str, str, SecretStr]]:
        rows = curs.execute(_TO_WRITE_TO, (email.strip().casefold(),)).fetchall()
        return [
            (row["merchant_id"], row["email"], _reset(curs, row["merchant_id"], row["user_id"], now)) for row in rows
        ]

    return once(ledger, None, work)


def about(ledger: Ledger, merchant_id: str, user_id: str) -> tuple[User, str]:
    """Return the user, and the name of the program. Raises NotFoundError."""
    return users.find(ledger, merchant_id, user_id), merchants.find(ledger, merchant_id).name


def set_password(ledger: Ledger, token: str, hashed: str, *, name_mac: bytes | None, cause: str, now: datetime) -> Link:
    """Use a user's link up: the password is set, all sessions end. Returns whose it is.

    Raises ConflictError `link_not_valid`, also for the link of a user who is disabled.
    """

    def work(curs: Cursor[DictRow]) -> Link:
        link = password_links.take(curs, token, now)
        if link.user_id is None:
            raise password_links.unknown_link()
        if users.locked(curs, link.merchant_id, link.user_id).disabled_at is not None:
            raise password_links.unknown_link()
        _write(curs, link.merchant_id, link.user_id, hashed, now)
        if name_mac is not None:
            lockouts.forgive(curs, name_mac)
        by = Actor(cause, user_id=link.user_id)
        note(curs, link.merchant_id, by, now, "user.password_set", link.user_id)
        return link

    return once(ledger, None, work)


def change_password(
    ledger: Ledger, account: Account, hashed: str, *, came: Origin, name_mac: bytes, cause: str, now: datetime
) -> SecretStr:
    """Give the user another password; all sessions end, and a new one begins whose token is returned.

    `account` is as it was when the old password was right. Raises UnauthorizedError where it changed meanwhile.
    """

    def work(curs: Cursor[DictRow]) -> SecretStr:
        users.locked(curs, account.merchant_id, account.user_id)
        row = curs.execute(_BY_ID, (account.merchant_id, account.user_id)).fetchone()
        if row is None or Account(**row) != account or account.disabled:
            raise UnauthorizedError("unauthorized", "this account was changed just now; log in again")
        _write(curs, account.merchant_id, account.user_id, hashed, now)
        lockouts.forgive(curs, name_mac)
        token = sessions.start_user(
            curs, merchant_id=account.merchant_id, user_id=account.user_id, came=came, replaces=None, now=now
        )
        by = Actor(cause, user_id=account.user_id)
        note(curs, account.merchant_id, by, now, "user.password_set", account.user_id)
        return token

    return once(ledger, None, work)


def end_everywhere(ledger: Ledger, merchant_id: str, user_id: str) -> None:
    """End all sessions of the user."""
    once(ledger, None, lambda curs: sessions.end_all(curs, merchant_id, user_id=user_id))


def put_password(ledger: Ledger, merchant_id: str, user_id: str, hashed: str, *, now: datetime, by: Actor) -> None:
    """Give a user this password, whatever it was; sessions and links end. Raises NotFoundError."""

    def work(curs: Cursor[DictRow]) -> None:
        users.locked(curs, merchant_id, user_id)
        _write(curs, merchant_id, user_id, hashed, now)
        note(curs, merchant_id, by, now, "user.password_set", user_id)

    once(ledger, None, work)


def _write(curs: Cursor[DictRow], merchant_id: str, user_id: str, hashed: str, now: datetime) -> None:
    curs.execute(_SET, {"merchant_id": merchant_id, "user_id": user_id, "hash": hashed, "now": now})
    sessions.end_all(curs, merchant_id, user_id=user_id)
    password_links.drop(curs, merchant_id, user_id)


def _invitation(curs: Cursor[DictRow], merchant_id: str, user: User, now: datetime) -> Invitation:
    expires_at = now + INVITATION_AGE
    link = Link(merchant_id, user.user_id, None)
    return Invitation(user, password_links.make(curs, link, expires_at=expires_at, now=now), expires_at)


def _reset(curs: Cursor[DictRow], merchant_id: str, user_id: str, now: datetime) -> SecretStr:
    link = Link(merchant_id, user_id, None)
    return password_links.make(curs, link, expires_at=now + RESET_AGE, now=now)
