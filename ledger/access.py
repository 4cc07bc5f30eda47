"""Who may do what: roles and scopes, who acts, and the record of every change of users and keys."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import orjson
from psycopg import Cursor
from psycopg.rows import DictRow

from ledger.application import Ledger
from ledger.events import AccessChanged, Stream
from ledger.requests import Request, answer_request
from ledger.store import append_notice
from schemas.errors import ForbiddenError

Result = TypeVar("Result")

ADMIN = "admin"
SCOPES = ("read", "orders:write", "partners", "payouts", ADMIN)
"""What a key can be allowed, in the order in which it is shown. `admin` includes all others."""

ROLES: Mapping[str, frozenset[str]] = {
    "owner": frozenset(SCOPES),
    "finance": frozenset({"read", "payouts"}),
    "manager": frozenset({"read", "orders:write", "partners"}),
    "viewer": frozenset({"read"}),
}
"""What the keys of a user of each role can be allowed."""


class Actor(NamedTuple):
    """Who acts, and what they may pass on: `cause` as in events; the key and the user behind it, where there are."""

    cause: str
    scopes: frozenset[str] = frozenset(SCOPES)
    key_id: str | None = None
    user_id: str | None = None


def effective(scopes: Collection[str], role: str | None) -> frozenset[str]:
    """Return what a key of these scopes may do; a key of nobody (no role) is limited by its scopes alone."""
    told = frozenset(SCOPES) if ADMIN in scopes else frozenset(scopes)
    return told if role is None else told & ROLES[role]


def check_granted(by: Actor, scopes: Collection[str]) -> None:
    """Refuse to give away what the actor does not have: ForbiddenError `scope_not_yours`."""
    beyond = [scope for scope in SCOPES if scope in scopes and scope not in by.scopes]
    if beyond:
        message = f"a key can only pass on scopes that it has itself, not {', '.join(beyond)}"
        raise ForbiddenError.at("$.scopes", "scope_not_yours", message)


def once(ledger: Ledger, request: Request | None, work: Callable[[Cursor[DictRow]], Result]) -> Result:
    """Return what the work returns, done in one transaction, with the request's answer stored beside it.

    Raises RequestRepeatedError, RetryableError, and what the work raises; then nothing was done.
    """
    with ledger.connection() as conn, conn.transaction(), conn.cursor() as curs:
        result = work(curs)
        if request is not None:
            answer_request(request, result, curs, None)
    return result


def note(
    curs: Cursor[DictRow], merchant_id: str, by: Actor, now: datetime, type_: str, subject: str, **details: Any
) -> None:
    """Record a change in its transaction: what (`user.created`), to whom or which, and what it says. No names.

    The log tells of it as well, for the feed: who was changed, in which way, and by whom.
    """
    keep_change(curs, merchant_id, by, now, type_, subject, **details)
    event = AccessChanged(
        merchant_id=merchant_id, occurred_at=now, recorded_at=now, cause=by.cause, change=type_, subject_id=subject,
        role=details.get("role"),
    )  # fmt: skip
    append_notice(curs, Stream.notice(merchant_id, type_.partition(".")[0], subject), event)


def keep_change(
    curs: Cursor[DictRow], merchant_id: str, by: Actor, now: datetime, type_: str, subject: str, **details: Any
) -> None:
    """Record for the access log alone who did what, in its transaction: the feed is not told. No names."""
    curs.execute(
        "INSERT INTO access.changes (merchant_id, at, type, subject, details, cause, key_id, user_id)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (merchant_id, now, type_, subject, orjson.dumps(details).decode(), by.cause, by.key_id, by.user_id),
    )
