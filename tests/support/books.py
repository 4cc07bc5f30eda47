"""What a database has on its books, read by plain SQL and compared with what the oracle says of the same topic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition

from ledger.events import Event, decode
from tests.support.checker import differences, unaccounted
from tests.support.found import tables
from tests.support.oracle import OUTCOMES, Message, Oracle
from tests.support.oracle_program import Merchant
from tests.support.waiting import until

_COLUMNS = ("position", "consumed", *OUTCOMES)
Positions = dict[tuple[str, str, int], dict[str, int]]


def positions(database_url: str) -> Positions:
    """Return every position with its counts; fails when the outcomes of one do not add up: they do at any instant."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            f"SELECT source, topic, partition, {', '.join(_COLUMNS)} FROM ledger.positions"  # noqa: S608
        ).fetchall()
    found = {row[:3]: dict(zip(_COLUMNS, row[3:], strict=True)) for row in rows}
    assert unaccounted(found) == []
    return found


def consumed(database_url: str) -> int:
    """Return how many messages were consumed, of all partitions and sources."""
    return sum(row["consumed"] for row in positions(database_url).values())


async def until_consumed(database_url: str, count: int, *, timeout_s: float = 30.0) -> None:
    """Wait until exactly so many messages are accounted for."""
    await until(lambda: consumed(database_url) >= count, f"{count} messages being consumed", timeout_s=timeout_s)
    assert consumed(database_url) == count


def outcomes(database_url: str) -> dict[str, int]:
    """Return the outcomes of all partitions, added up, without those that did not occur."""
    totals = {outcome: sum(row[outcome] for row in positions(database_url).values()) for outcome in OUTCOMES}
    return {outcome: count for outcome, count in totals.items() if count}


def dead_letters(database_url: str) -> list[tuple[str, str, int, int, str]]:
    """Return source, topic, partition, position and code of each dead letter."""
    with psycopg.connect(database_url) as connection:
        query = "SELECT source, topic, partition, position, code FROM ledger.dead_letters ORDER BY 1, 2, 3, 4"
        return connection.execute(query).fetchall()


def streams(database_url: str) -> list[list[Event]]:
    """Return the events of each order, in order; fails when the versions of one are not 1, 2, 3, ..."""
    found: dict[str, list[Event]] = {}
    with psycopg.connect(database_url) as connection:
        query = (
            "SELECT originator_id, originator_version, topic, state::text FROM ledger.events"
            " WHERE starts_with(originator_id, 'order/') ORDER BY originator_id, originator_version"
        )
        for stream, version, topic, state in connection.execute(query):
            events = found.setdefault(stream, [])
            events.append(decode(topic, state))
            assert version == len(events), f"{stream} has no version {len(events)}"
    return list(found.values())


def found(database_url: str) -> dict[str, Any]:
    """Return all tables that `checker.differences` compares, as they are on the books."""
    told: dict[str, Any] = tables(streams(database_url))
    return told | {"positions": positions(database_url), "dead_letters": dead_letters(database_url)}


async def lying_in(bootstrap: str, topic: str, source: str = "") -> list[Message]:
    """Return every message that lies in the topic now, partition by partition, read without any group."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in sorted(await _partitions(consumer, topic))]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        messages = []
        for tp in partitions:
            # What a fetch tells of the end can be trusted; the embedded broker's answer to ListOffsets cannot.
            while consumer.highwater(tp) is None or await consumer.position(tp) < consumer.highwater(tp):
                for records in (await consumer.getmany(tp, timeout_ms=200)).values():
                    messages += [Message(topic, tp.partition, r.offset, r.value, source) for r in records]
    finally:
        await consumer.stop()
    return messages


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client._wait_on_metadata(topic)
    return consumer.partitions_for_topic(topic) or set()


def compare(
    database_url: str, program: Iterable[Merchant], topic: Iterable[Message], *, tables: Iterable[str] = ()
) -> list[str]:
    """Return in sentences where the books and the oracle differ after these messages; `tables` picks some of them."""
    expected = Oracle(program).take_all(topic).books()
    told = found(database_url)
    return differences(expected, {name: told[name] for name in tables} if tables else told)
