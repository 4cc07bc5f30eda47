"""The read models as they stand, for tests that compare them; and logs of random, legal histories in a database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from ledger.application import Ledger
from projections.schema import MODELS
from tests.support import random_log
from tests.support.registration import HASH_KEY

TABLES = tuple(table for model in MODELS for table in model.tables)


@contextmanager
def ledger(url: str) -> Iterator[Ledger]:
    """Lend the write side of the database."""
    opened = Ledger(url, hash_key=HASH_KEY)
    try:
        yield opened
    finally:
        opened.close()


def fill(url: str, seed: int = 1, orders: int = 300) -> int:
    """Write a random log; returns the position of its last event."""
    with ledger(url) as opened:
        return random_log.append(opened, random_log.log(seed, orders))


def fill_more(url: str, seed: int) -> int:
    """Write orders of another seed, of merchants that are there already; returns the last position."""
    events = [e for e in random_log.log(seed, 20) if e.originator_id.startswith("order/")]
    events = [e._replace(originator_id=e.originator_id + f"-{seed}", event=renamed(e.event, seed)) for e in events]
    with ledger(url) as opened:
        return random_log.append(opened, events)


def renamed(event: Any, suffix: object) -> Any:
    """Return the event as one of another order."""
    return msgspec.structs.replace(event, order_id=f"{event.order_id}-{suffix}")


def dump(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables, sorted, and the position."""
    with psycopg.connect(url) as conn:
        found = {
            table: sorted(conn.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier("read", table))), key=repr)
            for table in TABLES
        }
        return found | {"position": conn.execute("SELECT position FROM read.tracked").fetchall()}


def execute(url: str, statement: str, *params: Any) -> list[tuple[Any, ...]]:
    """Run one statement in a transaction of its own; returns its rows, if it has any."""
    with psycopg.connect(url, autocommit=True) as conn:
        cursor = conn.execute(statement, params or None)
        return cursor.fetchall() if cursor.description else []
