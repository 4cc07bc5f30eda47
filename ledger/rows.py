"""The rows that are written beside the events, in their transaction: positions, dead letters, ignored totals, people.

Statements take all rows at once, as JSON (three times cheaper to build than arrays): a batch costs a handful of round
trips whatever its size. Rows that several
batches may touch are written in one order (sorted by key), so that two transactions never wait for each other in a
circle.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

import orjson
from psycopg import Connection, Cursor
from psycopg.rows import DictRow

from ledger.batch import OUTCOMES, Batch, CustomerKey, DeadLetter, Source
from ledger.orders import CustomerOrders
from ledger.store import DIRECTORY_HEAD, PositionTakenError, VersionConflictError

_COUNTS = ", ".join(OUTCOMES)
_MOVE_POSITION = (
    f"UPDATE ledger.positions SET position = %s, consumed = consumed + %s, updated_at = %s, "  # noqa: S608 - our own words
    f"{', '.join(f'{name} = {name} + %s' for name in OUTCOMES)}"
    " WHERE source = %s AND topic = %s AND partition = %s AND position = %s"
)
_FIRST_POSITION = (
    f"INSERT INTO ledger.positions (position, consumed, updated_at, {_COUNTS}, source, topic, partition)"  # noqa: S608
    f" VALUES ({', '.join(['%s'] * (6 + len(OUTCOMES)))})"
)


_SAW = """
INSERT INTO ledger.newest_messages (source, topic, partition, position, seen_at)
SELECT %(source)s, %(topic)s, told.partition, told.position, %(now)s
FROM unnest(%(partitions)s::integer[], %(positions)s::bigint[]) AS told (partition, position)
ORDER BY told.partition
ON CONFLICT (source, topic, partition) DO UPDATE SET position = excluded.position, seen_at = excluded.seen_at
"""


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(rows).decode()


def write_batch(curs: Cursor[DictRow], batch: Batch, now: datetime) -> None:
    """Write what the batch leaves beside its events; the position is moved by `move_position`."""
    if batch.dead_letters:
        _insert_dead_letters(curs, batch.dead_letters, now)
    for cause in sorted(batch.unparked):
        source, _ = Source.of_cause(cause)
        reclassify(curs, source, "adjusted", "dead_lettered")
    if batch.newest:
        _raise_newest(curs, batch)
    if batch.ignored:
        _add_ignored(curs, batch)
    if batch.customers:
        _upsert_customers(curs, batch)
    if batch.notes:
        _insert_notes(curs, batch)


def note_newest(curs: Cursor[DictRow], source: str, topic: str, newest: Mapping[int, int], now: datetime) -> None:
    """Write down the position of the newest message in each of these partitions."""
    told = {
        "source": source,
        "topic": topic,
        "partitions": list(newest),
        "positions": list(newest.values()),
        "now": now,
    }
    curs.execute(_SAW, told)


def move_position(
    curs: Cursor[DictRow], source: Source, after: int | None, to: int, counts: Mapping[str, int], now: datetime
) -> None:
    """Move the position from `after` to `to` and add the counts. Raises PositionTakenError where it is not at `after`.

    This row is the fence: a worker that lost the partition and does not know it yet cannot commit anything.
    """
    values = [to, sum(counts.values()), now, *(counts[name] for name in OUTCOMES), *source]
    if after is None:
        curs.execute(_FIRST_POSITION, values)
        return
    curs.execute(_MOVE_POSITION, [*values, after], prepare=True)
    if curs.rowcount != 1:
        raise PositionTakenError(f"{source.topic}/{source.partition} is not at {after}: another worker has it")


def reclassify(curs: Cursor[DictRow], source: Source, was: str, is_now: str) -> None:
    """Count one message of the source under another outcome; what was consumed stays the same."""
    if was not in OUTCOMES or is_now not in OUTCOMES:
        raise ValueError((was, is_now))
    if was != is_now:
        curs.execute(
            f"UPDATE ledger.positions SET {was} = {was} - 1, {is_now} = {is_now} + 1"  # noqa: S608 - our own words, checked
            " WHERE source = %s AND topic = %s AND partition = %s",
            source,
        )


def _insert_dead_letters(curs: Cursor[DictRow], letters: Sequence[DeadLetter], now: datetime) -> None:
    rows = [
        (
            letter.dead_letter_id,
            letter.merchant_id,
            *letter.source,
            letter.position,
            letter.key,
            letter.raw,
            _headers_json(letter),
            letter.error.code,
            letter.error.path,
            letter.error.message.replace("\x00", "\\x00"),
            now,
        )
        for letter in letters
    ]
    curs.execute(
        "INSERT INTO ledger.dead_letters (dead_letter_id, merchant_id, source, topic, partition, position, key, raw,"
        " headers, code, path, reason, received_at)"
        " SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::int[], %s::bigint[], %s::bytea[],"
        " %s::bytea[], %s::jsonb[], %s::text[], %s::text[], %s::text[], %s::timestamptz[])"
        # The message was retried, booked, and then proved wrong after all: its letter is open again.
        " ON CONFLICT (dead_letter_id) DO UPDATE SET status = 'open', code = excluded.code, path = excluded.path,"
        " reason = excluded.reason, resolved_at = NULL, resolution = NULL",
        [list(column) for column in zip(*rows, strict=True)],
    )


def _headers_json(letter: DeadLetter) -> str:
    # latin-1 keeps every byte as one character; NUL cannot stand in jsonb, and in a header it is as wrong as its
    # message.
    return orjson.dumps(
        [
            (name.replace("\x00", "?"), (value or b"").decode("latin-1").replace("\x00", "?"))
            for name, value in letter.headers
        ]
    ).decode()


def _raise_newest(curs: Cursor[DictRow], batch: Batch) -> None:
    rows = [{"m": m, "p": p, "at": newest} for (m, p), newest in sorted(batch.newest.items())]
    curs.execute(
        "INSERT INTO ledger.partner_orders AS p (merchant_id, partner_id, latest_occurred_at)"
        " SELECT * FROM json_to_recordset(%s) AS t(m text, p text, at timestamptz)"
        " ON CONFLICT (merchant_id, partner_id) DO UPDATE SET latest_occurred_at = excluded.latest_occurred_at"
        " WHERE p.latest_occurred_at < excluded.latest_occurred_at",
        (_json(rows),),
        prepare=True,
    )


def check_directory(curs: Cursor[DictRow], position: int) -> None:
    """Raise VersionConflictError where a merchant, partner or coupon event was recorded behind the position.

    Runs under the lock of the log, so a batch is committed only if it was decided on what is in force.
    """
    curs.execute(DIRECTORY_HEAD, prepare=True)
    row = curs.fetchone()
    if row and row["head"] > position:
        raise VersionConflictError("a partner, coupon code or term changed while the batch was decided")


def check_decision(curs: Cursor[DictRow], batch: Batch) -> None:
    """Raise VersionConflictError where the batch was decided on what is no longer so; count its customers' orders.

    Runs under the lock of the log (docs/decisions/0009, 0011).
    """
    check_directory(curs, batch.directory_position)
    if batch.counted:
        _count_customers(curs, batch)


def read_customer_orders(conn: Connection[DictRow], keys: Collection[CustomerKey]) -> dict[CustomerKey, CustomerOrders]:
    """Return what each of the customers bought so far, without those who bought nothing."""
    rows = conn.execute(
        "SELECT c.* FROM json_to_recordset(%s) AS t(m text, c text) JOIN ledger.customer_orders AS c"
        " ON c.merchant_id = t.m AND c.customer_id = t.c",
        (_json([{"m": m, "c": c} for m, c in keys]),),
        prepare=True,
    ).fetchall()
    return {
        (row["merchant_id"], row["customer_id"]): CustomerOrders(row["orders"], row["first_occurred_at"])
        for row in rows
    }


def _count_customers(curs: Cursor[DictRow], batch: Batch) -> None:
    rows = [
        {"m": m, "c": c, "n": count.orders, "at": count.first_occurred_at, "was": before and before.orders}
        for (m, c), count in batch.counted.items()
        for before in (batch.counted_before.get((m, c)),)
    ]
    written = 0
    for statement in (_COUNT_NEW, _COUNT_MORE):
        curs.execute(statement, (_json(rows),), prepare=True)
        written += curs.rowcount
    if written != len(rows):
        raise VersionConflictError("a customer bought something else while the batch was decided")


_COUNT_NEW = (
    "INSERT INTO ledger.customer_orders (merchant_id, customer_id, orders, first_occurred_at)"
    " SELECT m, c, n, at FROM json_to_recordset(%s) AS t(m text, c text, n bigint, at timestamptz, was bigint)"
    " WHERE was IS NULL ON CONFLICT (merchant_id, customer_id) DO NOTHING"
)
_COUNT_MORE = (
    "UPDATE ledger.customer_orders AS c SET orders = t.n, first_occurred_at = t.at"
    " FROM json_to_recordset(%s) AS t(m text, c text, n bigint, at timestamptz, was bigint)"
    " WHERE c.merchant_id = t.m AND c.customer_id = t.c AND c.orders = t.was"
)


def _add_ignored(curs: Cursor[DictRow], batch: Batch) -> None:
    rows = [
        {"m": m, "day": day, "c": currency, "n": orders, "total": total}
        for (m, day, currency), (orders, total) in sorted(batch.ignored.items())
    ]
    curs.execute(
        "INSERT INTO ledger.ignored_totals AS t (merchant_id, day, currency, orders, total_minor)"
        " SELECT * FROM json_to_recordset(%s) AS t(m text, day date, c text, n bigint, total bigint)"
        " ON CONFLICT (merchant_id, day, currency) DO UPDATE"
        " SET orders = t.orders + excluded.orders, total_minor = t.total_minor + excluded.total_minor",
        (_json(rows),),
    )


def _upsert_customers(curs: Cursor[DictRow], batch: Batch) -> None:
    rows = [
        {"m": m, "c": c, "n": name, "e": email}
        for (m, c), (name, email) in sorted(batch.customers.items(), key=itemgetter(0))
    ]
    curs.execute(
        "INSERT INTO people.customers AS c (merchant_id, customer_id, name, email)"
        " SELECT * FROM json_to_recordset(%s) AS t(m text, c text, n text, e text)"
        " ON CONFLICT (merchant_id, customer_id) DO UPDATE"
        " SET name = coalesce(excluded.name, c.name), email = coalesce(excluded.email, c.email)"
        " WHERE (excluded.name IS NOT NULL AND excluded.name IS DISTINCT FROM c.name)"
        " OR (excluded.email IS NOT NULL AND excluded.email IS DISTINCT FROM c.email)",
        (_json(rows),),
        prepare=True,
    )


def _insert_notes(curs: Cursor[DictRow], batch: Batch) -> None:
    rows = [
        {"m": m, "o": o, "e": e, "c": note.customer_id, "r": note.reason, "told": note.metadata and dict(note.metadata)}
        for (m, o, e), note in sorted(batch.notes.items(), key=itemgetter(0))
    ]
    curs.execute(
        "INSERT INTO people.order_notes (merchant_id, order_id, event_id, customer_id, reason, metadata)"
        " SELECT * FROM json_to_recordset(%s) AS t(m text, o text, e text, c text, r text, told jsonb)"
        " ON CONFLICT (merchant_id, order_id, event_id) DO NOTHING",
        (_json(rows),),
    )
