"""Sessions: somebody's browser, known by a random token of which the SHA-256 is kept; users' and partners'.

A session ends when it was not used for half a day, after 30 days, and at once when it is ended, when its user is
disabled, or when its partner's address is renewed. What has ended is removed as others begin.
"""

import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

from psycopg import Cursor
from psycopg.rows import DictRow
from pydantic import SecretStr

from ledger.access import once
from ledger.application import Ledger

IDLE_MAX = timedelta(hours=12)
AGE_MAX = timedelta(days=30)

_TOKEN_BYTES = 32
# So many at a time, and none that somebody else removes: nobody who logs in waits for it.
_PURGE = (
    "DELETE FROM access.sessions WHERE session_sha256 IN ("
    "SELECT session_sha256 FROM access.sessions WHERE used_at < %s OR created_at < %s LIMIT 100 FOR UPDATE SKIP LOCKED)"
)
_START = (
    "INSERT INTO access.sessions (session_sha256, merchant_id, user_id, partner_id, generation, created_at, used_at,"
    " address, browser) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
_OF_USER = (
    "SELECT session_sha256, created_at, used_at, address, browser FROM access.sessions"
    " WHERE merchant_id = %s AND user_id = %s AND used_at >= %s AND created_at >= %s ORDER BY used_at DESC"
)


class Origin(NamedTuple):
    """Where a session was begun: the network address, and the browser in a few words."""

    address: str
    browser: str


class Session(NamedTuple):
    """A session as its user sees it. `session_sha256` names it, and opens nothing."""

    session_sha256: bytes
    created_at: datetime
    used_at: datetime
    address: str
    browser: str


def digest(token: str) -> bytes:
    """Return what is stored of a token."""
    return sha256(token.encode(errors="surrogateescape")).digest()


def new_token() -> SecretStr:
    """Return a new token: 256 bits of chance."""
    return SecretStr(secrets.token_urlsafe(_TOKEN_BYTES))


def start_user(
    curs: Cursor[DictRow], *, merchant_id: str, user_id: str, came: Origin, replaces: bytes | None, now: datetime
) -> SecretStr:
    """Begin a session of a user in the caller's transaction and return its token.

    The session that the browser had before (`replaces`) ends: a token from before a login is never good after it.
    """
    return _start(curs, (merchant_id, user_id, None, None), came, replaces, now)


def start_partner(
    curs: Cursor[DictRow],
    *,
    merchant_id: str,
    partner_id: str,
    generation: int,
    came: Origin,
    replaces: bytes | None,
    now: datetime,
) -> SecretStr:
    """Begin a session of a partner who came in by the address of this generation; as `start_user`."""
    return _start(curs, (merchant_id, None, partner_id, generation), came, replaces, now)


def end(ledger: Ledger, session_sha256: bytes) -> None:
    """End one session; does nothing where there is none."""
    once(ledger, None, lambda curs: _end(curs, session_sha256))


def end_one_of(ledger: Ledger, merchant_id: str, user_id: str, session_sha256: bytes) -> None:
    """End one session of the user's; does nothing where it is not one of theirs."""

    def work(curs: Cursor[DictRow]) -> None:
        curs.execute(
            "DELETE FROM access.sessions WHERE session_sha256 = %s AND merchant_id = %s AND user_id = %s",
            (session_sha256, merchant_id, user_id),
        )

    once(ledger, None, work)


def end_all(
    curs: Cursor[DictRow], merchant_id: str, *, user_id: str | None = None, partner_id: str | None = None
) -> None:
    """End all sessions of the user, or of the partner, in the caller's transaction."""
    curs.execute(
        "DELETE FROM access.sessions WHERE merchant_id = %s AND user_id = %s"
        if user_id is not None
        else "DELETE FROM access.sessions WHERE merchant_id = %s AND partner_id = %s",
        (merchant_id, partner_id if user_id is None else user_id),
    )


def of_user(ledger: Ledger, merchant_id: str, user_id: str, now: datetime) -> list[Session]:
    """Return the user's sessions that are still good, the one that was used last first."""
    with ledger.connection() as conn:
        rows = conn.execute(_OF_USER, (merchant_id, user_id, now - IDLE_MAX, now - AGE_MAX)).fetchall()
    return [Session(**row) for row in rows]


def _start(
    curs: Cursor[DictRow], whose: tuple[object, ...], came: Origin, replaces: bytes | None, now: datetime
) -> SecretStr:
    if replaces is not None:
        _end(curs, replaces)
    curs.execute(_PURGE, (now - IDLE_MAX, now - AGE_MAX))
    token = new_token()
    curs.execute(_START, (digest(token.get_secret_value()), *whose, now, now, *came))
    return token


def _end(curs: Cursor[DictRow], session_sha256: bytes) -> None:
    curs.execute("DELETE FROM access.sessions WHERE session_sha256 = %s", (session_sha256,))
