"""Links that set a password: invitations and resets, of users and partners. Random, used once, kept as SHA-256."""

from datetime import datetime, timedelta
from typing import NamedTuple

from psycopg import Cursor
from psycopg.rows import DictRow
from pydantic import SecretStr

from ledger.application import Ledger
from ledger.sessions import digest, new_token
from schemas.errors import ConflictError

INVITATION_AGE = timedelta(hours=72)
RESET_AGE = timedelta(hours=1)

_PURGE = (
    "DELETE FROM access.password_links WHERE token_sha256 IN ("
    "SELECT token_sha256 FROM access.password_links WHERE expires_at < %s LIMIT 100 FOR UPDATE SKIP LOCKED)"
)
_MAKE = (
    "INSERT INTO access.password_links (token_sha256, merchant_id, user_id, partner_id, expires_at)"
    " VALUES (%s, %s, %s, %s, %s)"
)
_FIND = "SELECT merchant_id, user_id, partner_id FROM access.password_links WHERE token_sha256 = %s AND expires_at > %s"
_TAKE = (
    "DELETE FROM access.password_links WHERE token_sha256 = %s AND expires_at > %s"
    " RETURNING merchant_id, user_id, partner_id"
)


class Link(NamedTuple):
    """Whose password a link sets: a user's, or a partner's."""

    merchant_id: str
    user_id: str | None
    partner_id: str | None


def make(curs: Cursor[DictRow], link: Link, *, expires_at: datetime, now: datetime) -> SecretStr:
    """Write a new link beside those that there are, in the caller's transaction, and return its token."""
    curs.execute(_PURGE, (now,))
    token = new_token()
    curs.execute(_MAKE, (digest(token.get_secret_value()), *link, expires_at))
    return token


def find(ledger: Ledger, token: str, now: datetime) -> Link | None:
    """Return whose the link is, and use nothing up; None where it is not (or no longer) good."""
    with ledger.connection() as conn:
        row = conn.execute(_FIND, (digest(token), now)).fetchone()
    return Link(**row) if row else None


def take(curs: Cursor[DictRow], token: str, now: datetime) -> Link:
    """Use the link up, in the caller's transaction, and return whose it is.

    Raises ConflictError `link_not_valid`; of two who use it at once, one does.
    """
    row = curs.execute(_TAKE, (digest(token), now)).fetchone()
    if row is None:
        raise unknown_link()
    return Link(**row)


def drop(curs: Cursor[DictRow], merchant_id: str, whose: str) -> None:
    """Make all links of the user or partner worthless, in the caller's transaction."""
    curs.execute(
        "DELETE FROM access.password_links WHERE merchant_id = %s AND coalesce(user_id, partner_id) = %s",
        (merchant_id, whose),
    )


def unknown_link() -> ConflictError:
    """Return the error of a link that never was, was used, or has expired: which of these is not told."""
    return ConflictError("link_not_valid", "this link was used already, or has expired; ask for a new one")
