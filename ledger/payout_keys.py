"""Whether the keys of payout details are those that sealed what is stored: asked when a process starts."""

from collections.abc import Sequence
from typing import NamedTuple

from psycopg import Connection, sql
from psycopg.rows import DictRow

from ledger.application import Ledger
from ledger.payout_details import SEALED
from ledger.sealing import KeyRing, key_id
from schemas.errors import CorruptionError


class KeyFault(NamedTuple):
    """A key that sealed `values` of what is stored, and does not open them: `missing`, or another under the same id."""

    key_id: str
    values: int
    missing: bool


def key_faults(ledger: Ledger, keys: KeyRing | None) -> list[KeyFault]:
    """Return which keys are missing or wrong, in order of their ids; `keys` None: there are none.

    Of everything that is sealed the ids are looked at, and of each column and id one value is opened. Raises
    RetryableError.
    """
    values: dict[str, int] = {}
    missing: set[str] = set()
    wrong: set[str] = set()
    with ledger.connection() as conn:
        for head, sealed, count in _heads(conn):
            name = _name_of(head)
            values[name] = values.get(name, 0) + count
            if keys is None or name not in keys.ids:
                missing.add(name)
            elif not _opens(keys, sealed):
                wrong.add(name)
    return [KeyFault(name, values[name], name in missing) for name in sorted(missing | wrong)]


def told(faults: Sequence[KeyFault]) -> str | None:
    """Return what is wrong and what to do about it, in a line; None where nothing is wrong."""
    if not faults:
        return None
    lines = [
        f"the key {each.key_id!r} that sealed {each.values:,} values "
        + ("is not in PAYOUT_DETAILS_KEYS" if each.missing else "is another one in PAYOUT_DETAILS_KEYS")
        for each in faults
    ]
    return f"{'; '.join(lines)}: put it back; nobody is paid before whose details it sealed (docs/payout-rails.md)"


def _heads(conn: Connection[DictRow]) -> list[tuple[bytes, bytes, int]]:
    """Return per column and key what everything that it sealed begins with, one such value, and how many there are."""
    found = []
    for table, (_, columns) in SEALED.items():
        place = sql.Identifier(*table.split("."))
        for column in columns:
            names = {"table": place, "column": sql.Identifier(column)}
            for row in conn.execute(_COUNT.format(**names)).fetchall():
                one = conn.execute(_ONE.format(**names), (len(row["head"]), row["head"])).fetchone()
                if one is not None:
                    found.append((bytes(row["head"]), bytes(one["sealed"]), int(row["sealed"])))
    return found


# Format, length of the id, id: what stands in front of everything that was sealed. What is shorter was not sealed.
_COUNT = sql.SQL(
    "SELECT substring({column} FOR 2 + get_byte({column}, 1)) AS head, count(*) AS sealed FROM {table}"
    " WHERE {column} IS NOT NULL AND octet_length({column}) > 1 GROUP BY 1 ORDER BY 1"
)
_ONE = sql.SQL("SELECT {column} AS sealed FROM {table} WHERE substring({column} FOR %s) = %s LIMIT 1")


def _name_of(head: bytes) -> str:
    try:
        return key_id(head)
    except CorruptionError:
        return "?"


def _opens(keys: KeyRing, sealed: bytes) -> bool:
    try:
        keys.unseal(sealed)
    except CorruptionError:
        return False
    return True
