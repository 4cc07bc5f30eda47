"""API keys: `cl_<key id>_<secret>`, shown once, stored as the secret's SHA-256, one merchant each.

The secret has 256 bits of chance, so a plain hash is enough and a lookup costs one indexed read.
"""

import hmac
import re
import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from psycopg import AsyncConnection, Connection
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool

from schemas.errors import UnauthorizedError

_TOKEN = re.compile(r"cl_([0-9a-f]{16})_([A-Za-z0-9_-]{43})", re.ASCII)
_LAST_USED_EVERY = timedelta(minutes=1)
_NOBODY = sha256(b"").digest()

_INSERT = "INSERT INTO access.api_keys (key_id, merchant_id, name, key_sha256, created_at) VALUES (%s, %s, %s, %s, %s)"
_FIND = "SELECT merchant_id, name, key_sha256, last_used_at, revoked_at FROM access.api_keys WHERE key_id = %s"
_USED = (
    "UPDATE access.api_keys SET last_used_at = %(now)s"
    " WHERE key_id = %(key_id)s AND (last_used_at IS NULL OR last_used_at < %(before)s)"
)
_REVOKE = "UPDATE access.api_keys SET revoked_at = %s WHERE merchant_id = %s AND key_id = %s AND revoked_at IS NULL"


class ApiKey(NamedTuple):
    """Who calls: the key and the merchant whose books it opens."""

    key_id: str
    merchant_id: str
    name: str


def create_key(conn: Connection[Any], merchant_id: str, name: str, now: datetime) -> str:
    """Return a new key of the merchant. It is not kept: whoever loses it needs another one."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    conn.execute(_INSERT, (key_id, merchant_id, name, _digest(secret), now))
    return f"cl_{key_id}_{secret}"


def revoke_key(conn: Connection[Any], merchant_id: str, key_id: str, now: datetime) -> bool:
    """Make the key worthless from now on; False where the merchant has no such key in force."""
    return conn.execute(_REVOKE, (now, merchant_id, key_id)).rowcount == 1


async def find_key(pool: AsyncConnectionPool[Any], authorization: str | None, now: datetime) -> ApiKey:
    """Return whose key the `Authorization` header holds. Raises UnauthorizedError, the same one for every reason."""
    if authorization is None:
        raise UnauthorizedError("unauthorized", "send an API key: `Authorization: Bearer cl_...`")
    scheme, _, token = authorization.partition(" ")
    matched = _TOKEN.fullmatch(token.strip())
    if scheme.lower() != "bearer" or matched is None:
        raise _not_valid()
    async with pool.connection() as conn:
        return await _look_up(conn, matched[1], matched[2], now)


async def _look_up(conn: AsyncConnection[Any], key_id: str, secret: str, now: datetime) -> ApiKey:
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(_FIND, (key_id,))
        row = await cursor.fetchone()
    # Compared even where there is no such key, so that the time taken does not tell which ids exist.
    merchant_id, name, digest, last_used_at, revoked_at = row or (None, "", _NOBODY, None, None)
    if not hmac.compare_digest(bytes(digest), _digest(secret)) or revoked_at is not None or merchant_id is None:
        raise _not_valid()
    before = now - _LAST_USED_EVERY
    if last_used_at is None or last_used_at < before:
        await conn.execute(_USED, {"now": now, "key_id": key_id, "before": before})
    return ApiKey(key_id, merchant_id, name)


def _digest(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


def _not_valid() -> UnauthorizedError:
    return UnauthorizedError("unauthorized", "this API key is not (or no longer) valid")
