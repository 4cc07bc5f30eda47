"""The machine under measurement: a durable PostgreSQL, a broker, a program to sell for, and messages that lie ready."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from aiokafka import AIOKafkaProducer
from psycopg import sql

from cli.embedded import EmbeddedBroker, EmbeddedPostgres
from ledger.application import Ledger
from ledger.schema import migrate
from projections.runner import Projector
from tests.support.oracle_program import BEGINNING, Merchant, Partner, Rate, held_by
from tests.support.registration import register

PARTITIONS = 4
PARTNERS = 200
CUSTOMERS = 20_000
MERCHANT = "bench"
HASH_KEY = b"a key for benchmarks, of 32 letters"
_CHUNK = 20_000
_AT = datetime(2026, 1, 1, tzinfo=UTC)


def program() -> Merchant:
    """Return a merchant with PARTNERS partners, a code each, rates from 5 to 15 per cent."""
    partners = tuple(
        Partner(f"p{number:04}", (Rate(BEGINNING, "percentage", str(5 + number % 11)),)) for number in range(PARTNERS)
    )
    codes = {f"CODE{n:04}": held_by(f"p{n:04}") for n in range(PARTNERS)}
    # One more, whose few orders are waited for one by one (`latency`).
    probe = Partner("probe", (Rate(BEGINNING, "percentage", "10"),))
    return Merchant(MERCHANT, "USD", (*partners, probe), codes | {"PROBE": held_by("probe")})


def order(number: int) -> bytes:
    """Return order `number`: every one has a partner's code, so that each message becomes an event."""
    at = _AT + timedelta(seconds=number * 7 % (300 * 86_400))
    told = {
        "type": "order.placed", "event_id": f"evt-{number:08}", "merchant_id": MERCHANT, "order_id": f"{number:08}",
        "occurred_at": at.isoformat(), "currency": "USD", "total": f"{5 + number % 400}.{number % 100:02}",
        "coupon_code": f"CODE{number % PARTNERS:04}",
        "customer": {"id": f"c-{number % CUSTOMERS:06}", "email": f"kim{number % CUSTOMERS}@example.com"},
    }  # fmt: skip
    return json.dumps(told).encode()


class Stack:
    """PostgreSQL and the broker, with what a measurement does to them."""

    def __init__(self, postgres: EmbeddedPostgres, broker: EmbeddedBroker) -> None:
        self.postgres, self.broker = postgres, broker
        self._databases = self._topics = 0

    def database(self) -> str:
        """Return the address of a new, migrated database that knows the program."""
        self._databases += 1
        url = self.postgres.database(f"bench_{self._databases}")
        migrate(url)
        ledger = Ledger(url, hash_key=HASH_KEY)
        register(ledger, [program()])
        ledger.close()
        Projector(url).catch_up()
        return url

    def rest(self, keep: str) -> None:
        """Drop every database of earlier measurements but `keep`, and return when the server does nothing any more."""
        with psycopg.connect(self.postgres.database("postgres"), autocommit=True) as conn:
            for (name,) in conn.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, 'bench_')"
            ).fetchall():
                if f"/{name}?" not in keep:
                    conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
            quiet(conn)

    def topic(self, first: int, count: int, partitions: int = PARTITIONS) -> str:
        """Return a new topic with orders first .. first + count - 1 in it."""
        self._topics += 1
        name = f"orders-{self._topics}"
        asyncio.run(self._fill(name, first, count, partitions))
        return name

    async def _fill(self, name: str, first: int, count: int, partitions: int) -> None:
        await self.broker.create_topic(name, partitions)
        await self.publish(name, first, count, partitions)

    async def publish(self, name: str, first: int, count: int, partitions: int = PARTITIONS) -> None:
        """Publish orders first .. first + count - 1, spread over the partitions by their number."""
        producer = AIOKafkaProducer(bootstrap_servers=self.broker.bootstrap, linger_ms=5, max_batch_size=512 * 1024)
        await producer.start()
        try:
            for start in range(first, first + count, _CHUNK):
                numbers = range(start, min(start + _CHUNK, first + count))
                sent = [await producer.send(name, order(n), partition=n % partitions) for n in numbers]
                await asyncio.gather(*sent)
        finally:
            await producer.stop()

    @contextmanager
    def worker(self, url: str, topic: str, group: str = "bench") -> Iterator[subprocess.Popen[bytes]]:
        """Run `commission-ledger worker` on the topic, as a member of the group."""
        with self._process("worker", url, ORDERS_TOPIC=topic, KAFKA_APP_ID=f"{group}-{topic}") as process:
            yield process

    @contextmanager
    def projector(self, url: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run `commission-ledger projector`."""
        with self._process("projector", url) as process:
            yield process

    @contextmanager
    def web(self, url: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
        """Run `commission-ledger web` on the port."""
        # One client that asks as fast as it can is what the limits are against.
        unlimited = {"RATE_LIMIT_PER_S": "1000000", "RATE_LIMIT_BURST": "1000000"}
        address = {"WEB_PORT": str(port), "PUBLIC_URL": f"http://127.0.0.1:{port}"}
        with self._process("web", url, **address, **unlimited) as process:
            yield process

    @contextmanager
    def _process(self, command: str, url: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
        environment = os.environ | {
            "DATABASE_URL": url, "LEDGER_HASH_KEY": HASH_KEY.decode(), "KAFKA_BOOTSTRAP_SERVERS": self.broker.bootstrap,
            "KAFKA_REBALANCE_TIMEOUT_MS": "3000", **settings,
        }  # fmt: skip
        with tempfile.TemporaryFile() as log:
            command_line = [sys.executable, "-m", "cli.main", command]
            process = subprocess.Popen(command_line, stdout=log, stderr=log, env=environment)
            try:
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                if process.returncode != 0:
                    log.seek(0)
                    sys.stderr.buffer.write(log.read()[-4000:])


@contextmanager
def running() -> Iterator[Stack]:
    """Start both servers in a folder of their own, durable, with the settings of `up`; stop them at the end."""
    with (
        tempfile.TemporaryDirectory(prefix="commission-ledger-bench-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres") as postgres,
        EmbeddedBroker(Path(folder) / "broker") as broker,
    ):
        yield Stack(postgres, broker)


def quiet(conn: psycopg.Connection[Any]) -> None:
    """Write out what the server holds back, and return when autovacuum has nothing in hand."""
    conn.execute("CHECKPOINT")
    busy = "SELECT (count(*) = 0)::int FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'"
    wait_for(conn, busy, 1)


def cpu_s(pid: int) -> float:
    """Return the processor seconds that a process has used so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for(
    conn: psycopg.Connection[Any], query: str, at_least: int, *, timeout_s: float = 1200
) -> list[tuple[float, int]]:
    """Ask until the query's number is reached; return the (instant, number) pairs on the way. Raises TimeoutError."""
    seen: list[tuple[float, int]] = []
    deadline = time.perf_counter() + timeout_s
    while True:
        row = conn.execute(query).fetchone()
        number = int(row[0] or 0) if row else 0
        now = time.perf_counter()
        if not seen or seen[-1][1] != number:
            seen.append((now, number))
        if number >= at_least:
            return seen
        if now > deadline:
            raise TimeoutError(f"{query}: {number} of {at_least}")
        time.sleep(0.02)


def rate(seen: Sequence[tuple[float, int]], skip: float = 0.05) -> float:
    """Return the numbers per second between the first `skip` of the way (starting up) and the end."""
    last = seen[-1]
    first = next(pair for pair in seen if pair[1] > 0 and pair[1] >= skip * last[1])
    return (last[1] - first[1]) / (last[0] - first[0])
