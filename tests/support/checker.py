"""Says in plain sentences where the real system and the oracle differ.

The real system is given as plain dicts, read by the test from wherever it likes (tables, API, exports); rows have the
keys and columns of `oracle.Books`. What is not there is not compared, so a test names the tables that it wants. Figures
that are all zero may be missing on either side; orders, positions and dead letters may not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tests.support.oracle import OUTCOMES, Books, Message
from tests.support.storefront import Sent

Row = Mapping[str, Any]

# The name under which a test gives a table: where it is in Books, what a row is called, whether zeros may be missing.
TABLES: Mapping[str, tuple[str, str, bool]] = {
    "balances": ("balances", "the balance", True),
    "commissions": ("orders", "the commission", False),
    "revenue": ("revenue", "the revenue", True),
    "customers": ("customers", "the customer", True),
    "ignored": ("ignored", "the ignored orders", True),
    "positions": ("intake", "the position", False),
}


def differences(expected: Books, found: Mapping[str, Any], *, limit: int = 10) -> list[str]:
    """Return a sentence per difference, the first `limit` of each table; none when the two are the same.

    `found` has one or more of TABLES (each `{key: row}`) and `dead_letters`, a list of (source, topic, partition,
    position, code). Raises ValueError for nothing to compare, or for a table that is unheard of.
    """
    unheard = set(found) - {*TABLES, "dead_letters"}
    if unheard or not found:
        raise ValueError(f"nothing to compare, or tables that are unheard of: {sorted(unheard)}")
    sentences: list[str] = []
    for name, rows in found.items():
        if name == "dead_letters":
            told = _dead_letters(expected.dead_letters, rows)
        else:
            where, what, zeros = TABLES[name]
            told = _table(what, getattr(expected, where), rows, zeros=zeros)
            if name == "positions":
                told = [*unaccounted(rows), *told]
        sentences += told[:limit]
        if len(told) > limit:
            sentences.append(f"{name}: {len(told) - limit} more differences")
    return sentences


def unaccounted(positions: Mapping[Any, Row]) -> list[str]:
    """Return a sentence for each position whose outcomes do not add up to what was consumed (true at any instant)."""
    return [
        f"the position {_key(key)}: {row['consumed']} consumed, but the outcomes add up to {_sum(row)}"
        for key, row in positions.items()
        if row["consumed"] != _sum(row)
    ]


def lost(sent: Mapping[int, Sent], topic: Iterable[Message]) -> list[str]:
    """Return a sentence for each message that the broker took (it said where) but that does not lie there."""
    lying = {(message.topic, message.partition, message.offset): message.value for message in topic}
    sentences = []
    for number, (outgoing, place) in sent.items():
        if place is None:
            continue
        if place not in lying:
            sentences.append(f"message {number} was taken at {_key(place)}, where nothing lies")
        elif lying[place] != outgoing.value:
            sentences.append(f"message {number} was taken at {_key(place)}, where another one lies")
    return sentences


def _sum(row: Row) -> int:
    return sum(row[outcome] for outcome in OUTCOMES)


def _table(what: str, expected: Mapping[Any, Row], found: Mapping[Any, Row], *, zeros: bool) -> list[str]:
    sentences = []
    for key in sorted({*expected, *found}, key=repr):
        name = f"{what} {_key(key)}"
        if key in expected and key in found:
            sentences += _row(name, expected[key], found[key])
        elif key in expected and not (zeros and _nothing(expected[key])):
            sentences.append(f"{name} is missing; it should be {_told(expected[key])}")
        elif key in found and not (zeros and _nothing(found[key])):
            sentences.append(f"{name} should not be there; it is {_told(found[key])}")
    return sentences


def _row(name: str, expected: Row, found: Row) -> list[str]:
    return [
        f"{name}: {column} is {found[column]!r}, should be {value!r}"
        if column in found
        else f"{name}: {column} is not told, should be {value!r}"
        for column, value in expected.items()
        if column not in found or found[column] != value
    ]


def _dead_letters(expected: Iterable[tuple], found: Iterable[tuple]) -> list[str]:
    should, does = Counter(expected), Counter(found)
    sentences = [f"the dead letter {_key(key)} is missing" for key in sorted(should - does)]
    for key in sorted(does - should):
        again = " twice" if key in should else ""
        sentences.append(f"the dead letter {_key(key)} should not be there{again}")
    return sentences


def _nothing(row: Row) -> bool:
    return not any(row.values())


def _told(row: Row) -> str:
    return ", ".join(f"{column} {value}" for column, value in row.items() if value) or "all zero"


def _key(key: Iterable[object]) -> str:
    return "/".join(str(part) for part in key)
