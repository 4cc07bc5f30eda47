"""A merchant's users: who works for it, in which role. What they may do is in `ledger.access`."""

import secrets
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Cursor
from psycopg.rows import DictRow

from ledger import password_links, sessions
from ledger.access import Actor, note, once
from ledger.application import Ledger
from ledger.requests import Request
from schemas.errors import ConflictError, NotFoundError

_OWNER = "owner"

# Every change of a user locks the merchant's owners first, and always in this order: so no two changes can take away
# the last two owners at once, and none can wait for one that waits for it.
_LOCK_OWNERS = (
    "SELECT user_id FROM access.users WHERE merchant_id = %s AND role = 'owner' AND disabled_at IS NULL"
    " ORDER BY user_id FOR UPDATE"
)
_SELECT = (
    "SELECT told.user_id, told.role, told.created_at, told.disabled_at, person.name, person.email"
    " FROM access.users AS told JOIN people.users AS person USING (merchant_id, user_id) WHERE merchant_id = %s"
)
_LOCK = _SELECT + " AND user_id = %s FOR UPDATE OF told"
_FIND = _SELECT + " AND (user_id = %s OR person.email_folded = %s)"


class User(NamedTuple):
    """A user as it stands. Name and e-mail are None where nobody told them, or once they are erased."""

    user_id: str
    role: str
    created_at: datetime
    disabled_at: datetime | None
    name: str | None
    email: str | None


def find(ledger: Ledger, merchant_id: str, told: str) -> User:
    """Return the merchant's user with this id or e-mail address. Raises NotFoundError."""
    with ledger.connection() as conn:
        row = conn.execute(_FIND, (merchant_id, told, told.strip().casefold())).fetchone()
    if row is None:
        raise NotFoundError("user", told)
    return User(**row)


def add(
    curs: Cursor[DictRow], merchant_id: str, role: str, name: str | None, email: str, now: datetime, by: Actor
) -> User:
    """Write a new user in the caller's transaction and return it. Raises ConflictError `email_taken`."""
    user = User(f"u_{secrets.token_hex(8)}", role, now, None, name, email)
    curs.execute(
        "INSERT INTO people.users (merchant_id, user_id, name, email, email_folded) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT ON CONSTRAINT users_by_email DO NOTHING",
        (merchant_id, user.user_id, name, email, email.strip().casefold()),
    )
    if curs.rowcount != 1:
        raise ConflictError.at("$.email", "email_taken", "one of your users has this e-mail address already")
    curs.execute(
        "INSERT INTO access.users (merchant_id, user_id, role, created_at) VALUES (%s, %s, %s, %s)",
        (merchant_id, user.user_id, role, now),
    )
    note(curs, merchant_id, by, now, "user.created", user.user_id, role=role)
    return user


def change(
    ledger: Ledger,
    *,
    merchant_id: str,
    user_id: str,
    name: str | None = None,
    role: str | None = None,
    now: datetime,
    by: Actor,
) -> User:
    """Give the user another name or role (None: as it is) and return it; another role takes effect at once.

    Raises NotFoundError, ConflictError `last_owner`.
    """

    def work(curs: Cursor[DictRow]) -> User:
        user = locked(curs, merchant_id, user_id, leaves=role is not None and role != _OWNER)
        if name is not None and name != user.name:
            _set_name(curs, merchant_id, user_id, name)
            note(curs, merchant_id, by, now, "user.renamed", user_id)
        if role is not None and role != user.role:
            _set(curs, merchant_id, user_id, role=role, disabled_at=user.disabled_at)
            note(curs, merchant_id, by, now, "user.role_changed", user_id, role=role, before=user.role)
        return user._replace(name=name or user.name, role=role or user.role)

    return once(ledger, None, work)


def disable(
    ledger: Ledger, *, merchant_id: str, user_id: str, now: datetime, by: Actor, request: Request | None = None
) -> User:
    """Shut the user and the user's keys out, from now on; sessions end. Does nothing where they are. Returns the user.

    Raises NotFoundError, ConflictError `last_owner`.
    """
    return _switch(ledger, merchant_id, user_id, now, now, by, request)


def enable(
    ledger: Ledger, *, merchant_id: str, user_id: str, now: datetime, by: Actor, request: Request | None = None
) -> User:
    """Let the user and the user's keys in again; does nothing where they are. Returns it. Raises NotFoundError."""
    return _switch(ledger, merchant_id, user_id, None, now, by, request)


def _switch(
    ledger: Ledger,
    merchant_id: str,
    user_id: str,
    at: datetime | None,
    now: datetime,
    by: Actor,
    request: Request | None,
) -> User:
    def work(curs: Cursor[DictRow]) -> User:
        user = locked(curs, merchant_id, user_id, leaves=at is not None)
        if (user.disabled_at is None) is (at is None):
            return user
        _set(curs, merchant_id, user_id, role=user.role, disabled_at=at)
        if at is not None:
            # None of them comes to life again when the user does.
            sessions.end_all(curs, merchant_id, user_id=user_id)
            password_links.drop(curs, merchant_id, user_id)
        note(curs, merchant_id, by, now, "user.enabled" if at is None else "user.disabled", user_id)
        return user._replace(disabled_at=at)

    return once(ledger, request, work)


def locked(curs: Cursor[DictRow], merchant_id: str, user_id: str, *, leaves: bool = False) -> User:
    """Return the user, locked in the caller's transaction; one who `leaves` the owners must leave another behind.

    Raises NotFoundError, ConflictError `last_owner`.
    """
    owners = [row["user_id"] for row in curs.execute(_LOCK_OWNERS, (merchant_id,))]
    row = curs.execute(_LOCK, (merchant_id, user_id)).fetchone()
    if row is None:
        raise NotFoundError("user", user_id)
    if leaves and owners == [user_id]:
        raise ConflictError("last_owner", "the last owner cannot be disabled or given another role")
    return User(**row)


def _set_name(curs: Cursor[DictRow], merchant_id: str, user_id: str, name: str) -> None:
    curs.execute(
        "UPDATE people.users SET name = %s WHERE merchant_id = %s AND user_id = %s", (name, merchant_id, user_id)
    )


def _set(curs: Cursor[DictRow], merchant_id: str, user_id: str, **columns: Any) -> None:
    curs.execute(
        "UPDATE access.users SET role = %(role)s, disabled_at = %(disabled_at)s"
        " WHERE merchant_id = %(merchant_id)s AND user_id = %(user_id)s",
        {"merchant_id": merchant_id, "user_id": user_id, **columns},
    )
