"""API keys: `cl_<key id>_<secret>`, shown once, stored as the secret's SHA-256, one merchant each.

The secret has 256 bits of chance, so a plain hash is enough and a lookup costs one indexed read. Keys are never
deleted: what is no good any more still says who did what.
"""

import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

from psycopg import Cursor
from psycopg.rows import DictRow
from pydantic import SecretStr

from ledger.access import ROLES, SCOPES, Actor, check_granted, note, once
from ledger.application import Ledger
from ledger.requests import Request
from schemas.errors import ConflictError, NotFoundError, RejectedError

_COLUMNS = "key_id, name, scopes, user_id, created_at, created_by, expires_at, last_used_at, revoked_at, rotated_from"
_INSERT = (
    "INSERT INTO access.api_keys (merchant_id, key_id, key_sha256, name, scopes, user_id, created_at, created_by,"
    " expires_at, rotated_from) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
_LOCK = f"SELECT {_COLUMNS} FROM access.api_keys WHERE merchant_id = %s AND key_id = %s FOR UPDATE"  # noqa: S608


class Key(NamedTuple):
    """A key as it stands, without its secret. `scopes` are what it was given, whatever its user's role leaves of it."""

    key_id: str
    name: str
    scopes: list[str]
    user_id: str | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    rotated_from: str | None = None

    def in_force(self, now: datetime) -> bool:
        """Return whether the key opens anything (as far as it is up to the key)."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class NewKey(NamedTuple):
    """A key that was made just now, with the whole of it: nobody can be told again."""

    key: Key
    token: SecretStr


def digest(secret: str) -> bytes:
    """Return what is stored of a secret."""
    return sha256(secret.encode()).digest()


def create(
    ledger: Ledger,
    *,
    merchant_id: str,
    name: str,
    scopes: Collection[str],
    user_id: str | None = None,
    expires_at: datetime | None = None,
    now: datetime,
    by: Actor,
    request: Request | None = None,
) -> NewKey:
    """Make a key of the merchant's, of one of its users where one is named, and return it.

    Raises ForbiddenError `scope_not_yours`, RejectedError `not_in_the_future`, `unknown_user`, `beyond_role`,
    ConflictError `user_disabled`.
    """
    check_granted(by, scopes)
    if expires_at is not None and expires_at <= now:
        raise RejectedError.at("$.expires_at", "not_in_the_future", "must be in the future")

    def work(curs: Cursor[DictRow]) -> NewKey:
        if user_id is not None:
            _check_user(curs, merchant_id, user_id, scopes)
        told = [scope for scope in SCOPES if scope in scopes]
        new = _write(curs, merchant_id, name, told, user_id, expires_at, now, by, None)
        expiry = expires_at and expires_at.isoformat()
        note(curs, merchant_id, by, now, "key.created", new.key.key_id, scopes=told, user_id=user_id, expires_at=expiry)
        return new

    return once(ledger, request, work)


def rotate(
    ledger: Ledger,
    *,
    merchant_id: str,
    key_id: str,
    overlap: timedelta,
    now: datetime,
    by: Actor,
    request: Request | None = None,
) -> NewKey:
    """Make a key that takes the place of another, which goes on working for the overlap, and return it.

    Raises NotFoundError, ConflictError `not_in_force`, `rotated_already`, ForbiddenError `scope_not_yours`.
    """

    def work(curs: Cursor[DictRow]) -> NewKey:
        old = _locked(curs, merchant_id, key_id)
        if not old.in_force(now):
            raise ConflictError("not_in_force", "this key was revoked or has expired; make a new one")
        check_granted(by, old.scopes)
        if curs.execute("SELECT FROM access.api_keys WHERE rotated_from = %s", (key_id,)).fetchone() is not None:
            raise ConflictError("rotated_already", "this key has a successor already; rotate that one")
        end = min(now + overlap, old.expires_at or now + overlap)
        curs.execute("UPDATE access.api_keys SET expires_at = %s WHERE key_id = %s", (end, key_id))
        new = _write(curs, merchant_id, old.name, old.scopes, old.user_id, old.expires_at, now, by, key_id)
        note(curs, merchant_id, by, now, "key.rotated", key_id, successor=new.key.key_id, works_until=end.isoformat())
        return new

    return once(ledger, request, work)


def revoke(ledger: Ledger, *, merchant_id: str, key_id: str, now: datetime, by: Actor) -> None:
    """Make the key worthless from now on; does nothing where it was revoked before. Raises NotFoundError."""

    def work(curs: Cursor[DictRow]) -> None:
        if _locked(curs, merchant_id, key_id).revoked_at is None:
            curs.execute("UPDATE access.api_keys SET revoked_at = %s WHERE key_id = %s", (now, key_id))
            note(curs, merchant_id, by, now, "key.revoked", key_id)

    once(ledger, None, work)


def _write(
    curs: Cursor[DictRow], merchant_id: str, name: str, scopes: list[str], user_id: str | None,
    expires_at: datetime | None, now: datetime, by: Actor, rotated_from: str | None,
) -> NewKey:  # fmt: skip
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    key = Key(key_id, name, scopes, user_id, now, by.cause, expires_at, rotated_from=rotated_from)
    curs.execute(
        _INSERT,
        (merchant_id, key_id, digest(secret), name, scopes, user_id, now, by.cause, expires_at, rotated_from),
    )
    return NewKey(key, SecretStr(f"cl_{key_id}_{secret}"))


def _check_user(curs: Cursor[DictRow], merchant_id: str, user_id: str, scopes: Collection[str]) -> None:
    # Shared, so that nobody changes the role or disables the user between this look and the commit.
    user = curs.execute(
        "SELECT role, disabled_at FROM access.users WHERE merchant_id = %s AND user_id = %s FOR SHARE",
        (merchant_id, user_id),
    ).fetchone()
    if user is None:
        raise RejectedError.at("$.user_id", "unknown_user", f"there is no user {user_id!r}")
    if user["disabled_at"] is not None:
        raise ConflictError.at("$.user_id", "user_disabled", "this user is disabled")
    beyond = [scope for scope in SCOPES if scope in scopes and scope not in ROLES[user["role"]]]
    if beyond:
        message = f"a key of a user who is {user['role']} cannot have {', '.join(beyond)}"
        raise RejectedError.at("$.scopes", "beyond_role", message)


def _locked(curs: Cursor[DictRow], merchant_id: str, key_id: str) -> Key:
    row = curs.execute(_LOCK, (merchant_id, key_id)).fetchone()
    if row is None:
        raise NotFoundError("key", key_id)
    return Key(**row)
