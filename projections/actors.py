"""The names of keys and users, for whoever shows who acted. Who has no name is called by the e-mail address."""

from collections.abc import Collection
from typing import LiteralString, NamedTuple

from psycopg.rows import class_row

from projections.read import Reads

_NAMES: LiteralString = """
SELECT key.key_id, key.name AS key_name, key.user_id, coalesce(person.name, person.email) AS user_name
FROM access.api_keys AS key LEFT JOIN people.users AS person USING (merchant_id, user_id)
WHERE merchant_id = %(merchant_id)s AND key.key_id = ANY(%(keys)s)
UNION ALL
SELECT NULL, NULL, user_id, coalesce(name, email) FROM people.users
WHERE merchant_id = %(merchant_id)s AND user_id = ANY(%(users)s)"""


class Name(NamedTuple):
    """A key with the user whose it is, or a user alone."""

    key_id: str | None
    key_name: str | None
    user_id: str | None
    user_name: str | None


async def names(reads: Reads, merchant_id: str, *, keys: Collection[str], users: Collection[str]) -> list[Name]:
    """Return those of the merchant's keys and users that there are. Raises psycopg.Error."""
    if not keys and not users:
        return []
    asked = {"merchant_id": merchant_id, "keys": list(keys), "users": list(users)}
    async with reads.moment(merchant_id) as conn:
        return await (await conn.cursor(row_factory=class_row(Name)).execute(_NAMES, asked)).fetchall()
