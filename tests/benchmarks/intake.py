"""Intake: Kafka to committed events, against the least that anything could do: fetch the bytes, COPY the rows."""

import asyncio
import os
import time
from contextlib import ExitStack
from typing import Any

import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.benchmarks.stack import PARTITIONS, Stack, cpu_s, rate, wait_for

_BATCH = 4_000
_HEAD = "SELECT coalesce(sum(consumed), 0) FROM ledger.positions"


def intake(stack: Stack, count: int) -> dict[str, Any]:
    """Return the rates of one worker and of a worker per core, and their ratios to the raw fetch and COPY of the same.

    The raw figure is one process that fetches every message and then copies every row.
    """
    topic = stack.topic(0, count)
    _, one_per_s, _ = _booked(stack, topic, count, workers=1)
    url, per_second, shares = _booked(stack, topic, count, workers=os.cpu_count() or 1)
    fetch_s = asyncio.run(_fetch(stack.broker.bootstrap, topic, count))
    copy_s = _copy(url, count)
    raw = count / (fetch_s + copy_s)
    return {
        "messages": count, "workers": os.cpu_count(), "intake_per_s": round(per_second),
        "one_worker_per_s": round(one_per_s), "raw_fetch_per_s": round(count / fetch_s),
        "raw_copy_per_s": round(count / copy_s), "raw_per_s": round(raw),
        "ratio": round(per_second / raw, 3), "ratio_one_worker": round(one_per_s / raw, 3), "shares": shares,
    }  # fmt: skip


def _booked(stack: Stack, topic: str, count: int, *, workers: int) -> tuple[str, float, list[float]]:
    """Return the database, the rate, and the share of the processor time that each worker had in it."""
    url = stack.database()
    with psycopg.connect(url, autocommit=True) as conn, ExitStack() as running:
        started = [running.enter_context(stack.worker(url, topic, f"group-of-{workers}")) for _ in range(workers)]
        wait_for(conn, _HEAD, 1)
        before = [cpu_s(process.pid) for process in started]
        per_second = rate(wait_for(conn, _HEAD, count))
        used = [cpu_s(process.pid) - begun for process, begun in zip(started, before, strict=True)]
    return url, per_second, [round(one / sum(used), 2) for one in used]


async def _fetch(bootstrap: str, topic: str, count: int) -> float:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        seen, begun = 0, time.perf_counter()
        while seen < count:
            fetched = await consumer.getmany(timeout_ms=1_000, max_records=_BATCH)
            seen += sum(len(records) for records in fetched.values())
        return time.perf_counter() - begun
    finally:
        await consumer.stop()


def _copy(url: str, count: int) -> float:
    """COPY the order events, ready in memory, into a table with the same indexes; durable, with as many commits."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE SCHEMA raw")
        conn.execute("CREATE SEQUENCE raw.ids")
        conn.execute("CREATE TABLE raw.events (LIKE ledger.events INCLUDING ALL)")
        conn.execute("ALTER TABLE raw.events ALTER notification_id SET DEFAULT nextval('raw.ids')")
        rows = conn.execute(
            # What COPY takes for a jsonb: its version, then the text.
            r"SELECT originator_id, originator_version, topic, '\x01'::bytea || convert_to(state::text, 'UTF8')"
            " FROM ledger.events"
            " WHERE starts_with(originator_id, 'order/') ORDER BY notification_id LIMIT %s",
            (count,),
        ).fetchall()
        begun = time.perf_counter()
        for start in range(0, len(rows), _BATCH):
            with (
                conn.transaction(),
                conn.cursor().copy(
                    "COPY raw.events (originator_id, originator_version, topic, state) FROM STDIN (FORMAT BINARY)"
                ) as copy,
            ):
                copy.set_types(["text", "int8", "text", "bytea"])
                for row in rows[start : start + _BATCH]:
                    copy.write_row(row)
        return time.perf_counter() - begun
