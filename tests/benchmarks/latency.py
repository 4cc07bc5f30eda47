"""From published to readable through `GET /balances`, at a tenth of the peak load, beside a bare insert."""

import asyncio
import json
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import aiohttp
import psycopg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.benchmarks.reads import api_key, free_port, percentile
from tests.benchmarks.stack import PARTITIONS, Stack, order, wait_for

_PROBES = 300
_FIRST_PROBE = 90_000_000
_PAUSE_S = 0.05
_TICK_S = 0.01


def latency(stack: Stack, peak_per_s: float) -> dict[str, Any]:
    """Return p50 and p99 (ms) of both, from the same producer under the same load, and the ratio of the p99s."""
    load_per_s = peak_per_s / 10
    ours = _ours(stack, load_per_s)
    bare = _bare(stack, load_per_s)
    return {
        "load_per_s": round(load_per_s), "probes": _PROBES,
        "readable_p50_ms": percentile(ours, 50), "readable_p99_ms": percentile(ours, 99),
        "bare_p50_ms": percentile(bare, 50), "bare_p99_ms": percentile(bare, 99),
        "ratio_p99": round(percentile(ours, 99) / percentile(bare, 99), 2),
    }  # fmt: skip


def _ours(stack: Stack, load_per_s: float) -> list[float]:
    url, topic, port = stack.database(), stack.topic(0, 1_000), free_port()
    key = api_key(url)
    with ExitStack() as running:
        for process in (stack.projector(url), stack.worker(url, topic), stack.web(url, port)):
            running.enter_context(process)
        with psycopg.connect(url, autocommit=True) as conn:
            wait_for(conn, "SELECT position FROM read.tracked", 1_000)
        with _Load(stack.broker.bootstrap, topic, load_per_s):
            return asyncio.run(_probe_api(stack.broker.bootstrap, topic, port, key))


async def _probe_api(bootstrap: str, topic: str, port: int, key: str) -> list[float]:
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as session:

        async def readable(number: int, total: int) -> None:
            # The probes' partner has no other orders: its pending commission is the sum of the probes that are
            # readable.
            while True:
                async with session.get("/api/v1/balances", params={"partner_id": "probe"}) as answer:
                    rows = (await answer.json())["data"]
                if rows and round(float(rows[0]["pending"]["amount"]) * 100) >= total:
                    return
                await asyncio.sleep(0.001)

        return await _probes(bootstrap, topic, readable)


def probe(number: int) -> bytes:
    """Return an order that earns the probes' partner exactly 1.00."""
    told = json.loads(order(number)) | {"coupon_code": "PROBE", "total": "10.00"}
    return json.dumps(told).encode()


async def _probes(bootstrap: str, topic: str, readable: Callable[[int, int], Awaitable[None]]) -> list[float]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=0)
    await producer.start()
    took = []
    try:
        for count in range(1, _PROBES + 1):
            number = _FIRST_PROBE + count
            begun = time.perf_counter()
            await producer.send_and_wait(topic, probe(number), partition=count % PARTITIONS)
            await asyncio.wait_for(readable(number, count * 100), 30)
            took.append((time.perf_counter() - begun) * 1000)
            await asyncio.sleep(_PAUSE_S)
    finally:
        await producer.stop()
    return took[20:]


# --- the bare insert --------------------------------------------------------------------------------------------------


def _bare(stack: Stack, load_per_s: float) -> list[float]:
    url, topic = stack.postgres.database("bench_bare"), stack.topic(0, 1_000)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE TABLE bare (position bigserial PRIMARY KEY, order_id text UNIQUE, value bytea NOT NULL)")
    process = multiprocessing.Process(target=_insert_for_ever, args=(stack.broker.bootstrap, topic, url), daemon=True)
    process.start()
    try:
        with psycopg.connect(url, autocommit=True) as conn:
            wait_for(conn, "SELECT count(*) FROM bare", 1_000)
        with _Load(stack.broker.bootstrap, topic, load_per_s):
            return asyncio.run(_probe_table(stack.broker.bootstrap, topic, url))
    finally:
        process.kill()
        process.join()


def _insert_for_ever(bootstrap: str, topic: str, url: str) -> None:
    asyncio.run(_insert(bootstrap, topic, url))


async def _insert(bootstrap: str, topic: str, url: str) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    consumer.assign(partitions)
    await consumer.seek_to_beginning(*partitions)
    with psycopg.connect(url, autocommit=True) as conn:
        while True:
            fetched = await consumer.getmany(timeout_ms=1_000, max_records=4_000)
            values = [record.value for records in fetched.values() for record in records]
            if values:
                rows = [(json.loads(value)["order_id"], value) for value in values]
                conn.execute(
                    "INSERT INTO bare (order_id, value) SELECT * FROM unnest(%s::text[], %s::bytea[])",
                    [list(column) for column in zip(*rows, strict=True)],
                )


async def _probe_table(bootstrap: str, topic: str, url: str) -> list[float]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:

        async def readable(number: int, total: int) -> None:
            while True:
                cursor = await conn.execute("SELECT 1 FROM bare WHERE order_id = %s", (f"{number:08}",))
                if await cursor.fetchone():
                    return
                await asyncio.sleep(0.001)

        return await _probes(bootstrap, topic, readable)


class _Load:
    """A process that publishes orders at a steady rate, in ticks of ten milliseconds, as long as the block lasts."""

    def __init__(self, bootstrap: str, topic: str, per_s: float) -> None:
        self._process = multiprocessing.Process(target=_publish_for_ever, args=(bootstrap, topic, per_s), daemon=True)

    def __enter__(self) -> None:
        self._process.start()

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()


def _publish_for_ever(bootstrap: str, topic: str, per_s: float) -> None:
    asyncio.run(_publish(bootstrap, topic, per_s))


async def _publish(bootstrap: str, topic: str, per_s: float) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=0)
    await producer.start()
    number, begun = 1_000, time.perf_counter()
    while True:
        due = 1_000 + int((time.perf_counter() - begun) * per_s)
        for each in range(number, due):
            await producer.send(topic, order(each), partition=each % PARTITIONS)
        number = due
        await asyncio.sleep(_TICK_S)
