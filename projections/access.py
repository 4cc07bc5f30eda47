"""The queries about users, API keys and their changes, and the rows that they return: no read models, the tables."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

USERS: LiteralString = (
    "SELECT told.sequence, told.user_id, told.role, told.created_at, told.disabled_at, person.name, person.email"
    " FROM access.users AS told LEFT JOIN people.users AS person USING (merchant_id, user_id)"
    " WHERE merchant_id = %(merchant_id)s"
)
KEYS: LiteralString = (
    "SELECT sequence, key_id, name, scopes, user_id, created_at, created_by, expires_at, last_used_at, revoked_at,"
    " rotated_from FROM access.api_keys WHERE merchant_id = %(merchant_id)s"
)
CHANGES: LiteralString = (
    "SELECT sequence, at, type, subject, details, cause, key_id, user_id FROM access.changes"
    " WHERE merchant_id = %(merchant_id)s"
)
# The list's next page begins behind the sequence `before`.
NEWEST: LiteralString = " AND sequence < %(before)s ORDER BY sequence DESC LIMIT %(rows)s"


@dataclass(frozen=True, slots=True)
class User:
    """A user; `sequence` orders the list."""

    sequence: int
    user_id: str
    role: str
    created_at: datetime
    disabled_at: datetime | None
    name: str | None
    email: str | None


@dataclass(frozen=True, slots=True)
class Key:
    """An API key without its secret; `sequence` orders the list."""

    sequence: int
    key_id: str
    name: str
    scopes: list[str]
    user_id: str | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    rotated_from: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a user or a key; `sequence` orders the list."""

    sequence: int
    at: datetime
    type: str
    subject: str
    details: dict[str, Any]
    cause: str
    key_id: str | None
    user_id: str | None
