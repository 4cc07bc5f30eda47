"""Who calls: API keys, looked up and compared so that a wrong one tells nothing, not even by the time it takes."""

import hmac
import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool

from ledger.access import effective
from ledger.keys import digest
from schemas.api import Scope
from schemas.errors import UnauthorizedError
from web.arrivals import Arrivals
from web.callers import check_scope

_TOKEN = re.compile(r"cl_([0-9a-f]{16})_([A-Za-z0-9_-]{43})", re.ASCII)
_LAST_USED_EVERY = timedelta(minutes=1)
_NOBODY = digest("")
_NO_KEY_ID = ""
_KNOWN_MAX = 10_000
_NOTHING = (0, datetime.min.replace(tzinfo=UTC), None)

_FIND = (
    "SELECT told.merchant_id, told.name, told.key_sha256, told.scopes, told.user_id, holder.role, told.expires_at,"
    " told.last_used_at, told.revoked_at, holder.disabled_at"
    " FROM access.api_keys AS told LEFT JOIN access.users AS holder USING (merchant_id, user_id) WHERE told.key_id = %s"
)
_USED = (
    "UPDATE access.api_keys SET last_used_at = %(now)s"
    " WHERE key_id = %(key_id)s AND (last_used_at IS NULL OR last_used_at < %(before)s)"
)


class ApiKey(NamedTuple):
    """Who calls: the key, the merchant whose books it opens, the user whose it is (None: nobody's), what it may do.

    `used_at` is its last use as it is written down.
    """

    key_id: str
    merchant_id: str
    name: str
    scopes: frozenset[str]
    user_id: str | None = None
    role: str | None = None
    expires_at: datetime | None = None
    used_at: datetime | None = None

    def check(self, scope: Scope | None) -> None:
        """Refuse a call that needs another scope: ForbiddenError `scope_missing`; None: any valid key will do."""
        check_scope(self.scopes, scope, f"this call needs a key with the scope `{scope}`")

    @property
    def means(self) -> str:
        """By what the caller came, for the causes of events."""
        return f"api/{self.key_id}"


class KnownKeys:
    """Keys that were good when they were looked up, for as long as nothing happened since.

    Every change of a key or its user is told in the log (`ledger.access`), so a key is taken from here only while we
    listen to the log and it has not grown. A busy log empties this often, and costs one look-up a key each time.
    """

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._known: dict[bytes, tuple[int, datetime, ApiKey]] = {}

    async def find(self, pool: AsyncConnectionPool[Any], authorization: str | None, now: datetime) -> ApiKey:
        """Return whose key it is, as `find_key` does, which is asked when nothing is known here."""
        name = sha256((authorization or "").encode(errors="surrogateescape")).digest()
        hears, count = self._arrivals.hears(), self._arrivals.count
        count_then, until, key = self._known.get(name, _NOTHING)
        if key is not None and hears and count_then == count and now < until:
            return key
        key = await find_key(pool, authorization, now)
        # As of before it was looked up: what came meanwhile may have been about it.
        if hears:
            self._keep(name, count, key)
        return key

    def forget(self) -> None:
        """Know nothing any more: this process itself changed something, and has not heard of it yet."""
        self._known.clear()

    def _keep(self, name: bytes, count: int, key: ApiKey) -> None:
        if key.used_at is None:
            return
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        # Until its next use is worth being written down.
        until = key.used_at + _LAST_USED_EVERY
        self._known[name] = count, until if key.expires_at is None else min(until, key.expires_at), key


class _Row(NamedTuple):
    merchant_id: str | None
    name: str
    key_sha256: bytes
    scopes: list[str]
    user_id: str | None
    role: str | None
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    disabled_at: datetime | None

    def in_force(self, now: datetime) -> bool:
        return (
            self.merchant_id is not None
            and self.revoked_at is None
            and self.disabled_at is None
            and (self.expires_at is None or now < self.expires_at)
        )


_STRANGER = _Row(None, "", _NOBODY, [], None, None, None, None, None, None)


async def find_key(pool: AsyncConnectionPool[Any], authorization: str | None, now: datetime) -> ApiKey:
    """Return whose key the `Authorization` header holds.

    Raises UnauthorizedError, the same one after the same work for every reason: another scheme, no key by its form,
    unknown, another secret, revoked, expired, its user disabled.
    """
    if authorization is None:
        raise UnauthorizedError("unauthorized", "send an API key: `Authorization: Bearer cl_...`")
    scheme, _, token = authorization.partition(" ")
    matched = _TOKEN.fullmatch(token.strip()) if scheme.lower() == "bearer" else None
    key_id, secret = matched.groups() if matched else (_NO_KEY_ID, token)
    async with pool.connection() as conn:
        return await _look_up(conn, key_id, secret, now)


async def _look_up(conn: AsyncConnection[Any], key_id: str, secret: str, now: datetime) -> ApiKey:
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(_FIND, (key_id,))
        found = await cursor.fetchone()
    # Compared even where there is no such key, so that the time taken does not tell which ids exist.
    row = _STRANGER if found is None else _Row(*found)
    same = hmac.compare_digest(bytes(row.key_sha256), digest(secret))
    if not same or not row.in_force(now) or row.merchant_id is None:
        raise UnauthorizedError("unauthorized", "this API key is not (or no longer) valid")
    before, used_at = now - _LAST_USED_EVERY, row.last_used_at
    if used_at is None or used_at < before:
        await conn.execute(_USED, {"now": now, "key_id": key_id, "before": before})
        used_at = now
    return ApiKey(
        key_id,
        row.merchant_id,
        row.name,
        effective(row.scopes, row.role),
        row.user_id,
        row.role,
        row.expires_at,
        used_at,
    )
