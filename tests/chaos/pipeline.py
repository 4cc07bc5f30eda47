"""A whole pipeline of real processes that keeps working while it is hurt, and the check of its books at the end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import psycopg
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from cli.connection import bring_up_to_date
from cli.embedded import EmbeddedPostgres
from ledger.application import Ledger
from tests.support.books import compare, consumed, lying_in, positions, until_consumed
from tests.support.checker import lost
from tests.support.kafka import Broker
from tests.support.registration import register
from tests.support.storefront import History, Storefront, read_history, sample_program
from tests.support.waiting import until
from tests.support.worker_process import HASH_KEY, WorkerProcess, Workers

TOPIC = "orders"
PARTITIONS = 4
SESSION_TIMEOUT_S = 2.0
_BATCH = 60
_BATCHES_PER_S = 12
# A transaction that has written has an id; one that only reads has none.
_WRITING = (
    "SELECT application_name FROM pg_stat_activity WHERE datname = current_database() AND backend_xid IS NOT NULL"
)
# A loaded machine, a broker that was away, a member that nobody heard of dying: all of them take their time.
PATIENCE_S = 90.0


def rounds(in_ci: int) -> int:
    """Return how often a fault is made: `CHAOS_ROUNDS` where it is set, else what CI has time for."""
    return int(os.environ.get("CHAOS_ROUNDS") or in_ci)


class Pipeline:
    """PostgreSQL (durable), a broker, a storefront that never stops publishing, and workers that come and go."""

    def __init__(self, folder: Path, broker: Broker, postgres: EmbeddedPostgres, database_url: str, seed: int) -> None:
        self.broker, self.postgres, self.database_url = broker, postgres, database_url
        self.random = Random(f"chaos {seed}")
        self.program = sample_program()
        self.workers = Workers(
            folder, database_url, broker.bootstrap, TOPIC, f"chaos-{seed}", session_timeout_s=SESSION_TIMEOUT_S
        )
        self.running: list[WorkerProcess] = []
        self._storefront = Storefront(seed, self.program)
        self._history_path = folder / "history.jsonl"
        self._history = History(self._history_path)
        self._sent = 0

    # --- the storefront ---

    async def publish(self, stop: asyncio.Event) -> None:
        """Publish at a steady rate until `stop`, then the rest of the orders that were begun."""
        producer = AIOKafkaProducer(bootstrap_servers=self.broker.bootstrap, linger_ms=2, request_timeout_ms=60_000)
        await producer.start()
        try:
            while not stop.is_set():
                await self._send(producer, self._storefront.take(_BATCH))
                try:
                    await asyncio.wait_for(stop.wait(), 1 / _BATCHES_PER_S)
                except TimeoutError:
                    continue
            await self._send(producer, self._storefront.rest())
        finally:
            await producer.stop()
            self._history.close()

    async def _send(self, producer: AIOKafkaProducer, batch: list) -> None:
        first, self._sent = self._sent, self._sent + len(batch)
        self._history.sending(first, batch)
        answers = [await producer.send(TOPIC, message.value, key=message.key) for message in batch]
        for number, answer in enumerate(answers, first):
            try:
                told = await answer
            except KafkaError:
                continue  # the broker may have it or not: what lies in the topic decides
            self._history.acked(number, told.topic, told.partition, told.offset)

    # --- the workers ---

    def start_worker(self) -> WorkerProcess:
        """Start one more worker."""
        worker = self.workers.start()
        self.running.append(worker)
        return worker

    def gone(self, worker: WorkerProcess) -> None:
        """Take note that the worker was ended."""
        self.running.remove(worker)

    def held(self, worker: WorkerProcess) -> dict[int, int]:
        """Return the partitions that the worker began to read after everybody else did, and from which position."""
        begun: dict[int, tuple[str, WorkerProcess, int]] = {}
        for other in self.running:
            for line in other.told("reading"):
                partition = int(line["partition"].rpartition("/")[2])
                if partition not in begun or line["at"] > begun[partition][0]:
                    begun[partition] = (line["at"], other, line["from_position"])
        return {partition: start for partition, (_, holder, start) in begun.items() if holder is worker}

    def progressed(self, worker: WorkerProcess) -> set[int]:
        """Return the partitions that the worker holds and has booked something of since it began to read them."""
        at = {key[2]: row["position"] for key, row in positions(self.database_url).items()}
        return {partition for partition, start in self.held(worker).items() if at.get(partition, -1) >= start}

    async def victim(self) -> WorkerProcess:
        """Return a running worker that has just booked something, chosen by the seed, as soon as there is one."""

        def at_work() -> list[WorkerProcess]:
            return [worker for worker in self.running if self.progressed(worker)]

        return self.random.choice(await until(at_work, "a worker being at work", timeout_s=PATIENCE_S))

    async def everybody_at_work(self) -> None:
        """Return when every running worker has booked something of the partitions that it holds."""
        await until(
            lambda: all(self.progressed(worker) for worker in self.running), "everybody working", timeout_s=PATIENCE_S
        )

    async def writing(self) -> WorkerProcess:
        """Return a worker that is inside a transaction that writes, at the instant of returning or a few ms before."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:

            def inside() -> list[WorkerProcess]:
                names = {row[0] for row in connection.execute(_WRITING)}
                return [worker for worker in self.running if worker.name in names]

            return self.random.choice(await until(inside, "a worker writing", timeout_s=PATIENCE_S))

    async def some_work_later(self) -> None:
        """Return after a random number of further messages was booked: in the middle of something."""
        target = consumed(self.database_url) + self.random.randint(1, 400)
        await until(lambda: consumed(self.database_url) >= target, "work going on", timeout_s=PATIENCE_S)

    async def work_goes_on(self) -> None:
        """Return when more was booked than there is now."""
        before = consumed(self.database_url)
        await until(lambda: consumed(self.database_url) > before, "work going on", timeout_s=PATIENCE_S)

    # --- the end ---

    async def check(self) -> list[str]:
        """Wait until all that lies in the topic is booked; return in sentences what was lost, doubled or miscounted."""
        source = next(iter(positions(self.database_url)))[0]
        lying = await lying_in(self.broker.bootstrap, TOPIC, source)
        await until_consumed(self.database_url, len(lying), timeout_s=PATIENCE_S)
        sent = read_history(self._history_path)
        assert len(sent) == self._sent
        return [*lost(sent, lying), *compare(self.database_url, self.program, lying), *self.workers.errors()]


@asynccontextmanager
async def pipeline(folder: Path, broker: Broker, postgres: EmbeddedPostgres, seed: int) -> AsyncIterator[Pipeline]:
    """Yield a pipeline with a storefront that publishes; on a clean way out its books are checked."""
    url = postgres.database("books")
    bring_up_to_date(url)
    ledger = Ledger(url, hash_key=HASH_KEY)
    pipeline = Pipeline(folder, broker, postgres, url, seed)
    register(ledger, pipeline.program)
    ledger.close()
    await broker.create_topic(TOPIC, PARTITIONS)
    stop = asyncio.Event()
    publishing = asyncio.create_task(pipeline.publish(stop))
    with pipeline.workers:
        try:
            yield pipeline
        except BaseException:
            publishing.cancel()
            raise
        stop.set()
        await publishing
        if differences := await pipeline.check():
            raise AssertionError("\n".join(differences))


def reading_lines(workers: Iterable[WorkerProcess]) -> int:
    """Return how often any of the workers began to read a partition: what a rebalance makes them do."""
    return sum(len(worker.told("reading")) for worker in workers)
