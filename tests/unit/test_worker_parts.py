"""The parts of the worker by themselves: batches of a partition, positions, approvals, health, the topic's id."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from io import BytesIO
from types import SimpleNamespace

import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.protocol.metadata import MetadataResponse_v5

from consumers.approvals import Approvals
from consumers.broker import Log, _answer_for_topic
from consumers.health import Health
from consumers.metadata import MetadataResponseV10, TopicId
from consumers.order_intake import OrderIntake
from consumers.partition import Partition
from consumers.positions import Tracked, after_cut, tracked
from consumers.settings import WorkerSettings
from ledger.intake import Message, Source, Taken
from ledger.store import PositionTakenError
from schemas.errors import CorruptionError, RetryableError
from tests.support.running_worker import worker_settings
from tests.support.waiting import until

SOURCE = Source("cluster/topic", "orders", 0)
NOW = datetime(2026, 11, 22, tzinfo=UTC)


class Books:
    """Takes batches as the ledger does, and remembers them; `before` is what each take raises first, in order."""

    def __init__(self, *before, positions=None):
        self.before = list(before)
        self.positions = dict(positions or {})
        self.taken = []
        self.gate = threading.Event()
        self.gate.set()

    def position(self, source):
        """Return the position of that source."""
        return self.positions.get(source.source)

    def take(self, _source, messages, _now, *, after):
        """Book the batch when the gate is open."""
        assert self.gate.wait(10)
        if self.before:
            raise self.before.pop(0)
        self.taken.append((after, [message.position for message in messages]))
        return Taken(messages[-1].position, {"earned": len(messages)}, [], None)


def partition_of(books, *, health=None, moved=None, **limits):
    """Return a partition that reads on from position 10."""
    limits = {"batch_messages": 4, "batch_bytes": 1_000_000} | limits
    return Partition(
        Tracked(SOURCE, 9), 10, intake=books, health=health or Health(), slots=asyncio.Semaphore(2), now=lambda: NOW,
        on_moved=(moved if moved is not None else []).append, on_room=lambda: None, **limits,
    )  # fmt: skip


def messages(*positions, size=10):
    """Return messages at these positions."""
    return [Message(position, b"x" * size) for position in positions]


async def booked(books, count):
    """Wait until so many messages were booked."""
    await until(lambda: sum(len(positions) for _, positions in books.taken) >= count, f"{count} being booked")


# --- batches ----------------------------------------------------------------------------------------------------------


async def test_each_batch_names_the_position_it_continues_from():
    """Batches are taken in order, each behind the position at which the one before it ended, gaps included."""
    books = Books()
    partition = partition_of(books)
    partition.offer(messages(10, 11, 12))
    await booked(books, 3)
    partition.offer(messages(15, 16))
    await booked(books, 5)
    assert books.taken == [(9, [10, 11, 12]), (12, [15, 16])]
    assert (partition.tracked, partition.expected, partition.counts) == (16, 17, {"earned": 5})
    await partition.close(1)


async def test_what_is_fetched_while_a_partition_closes_is_not_booked():
    """Behind messages that were put away to be fetched again nothing is booked: it would leave them out for good."""
    books = Books()
    books.gate.clear()
    partition = partition_of(books)
    partition.offer(messages(10, 11))
    await until(lambda: partition._at_database, "the batch being at the database")
    partition.offer(messages(12, 13))
    closing = asyncio.create_task(partition.close(5))
    await until(lambda: not partition.has_room, "the partition closing")
    partition.offer(messages(14, 15))
    books.gate.set()
    await closing
    assert (books.taken, partition.tracked) == ([(9, [10, 11])], 11)


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [
        ({"batch_messages": 4}, [4, 4, 2]),
        ({"batch_bytes": 3 * (100 + 64)}, [3, 1, 3, 1, 2]),
        ({"batch_bytes": 1}, [1] * 10),
    ],
)
async def test_a_batch_is_bounded(limits, sizes):
    """No batch has more messages or bytes than allowed; a single message that is too large is a batch by itself."""
    books = Books()
    books.gate.clear()
    partition = partition_of(books, **limits)
    for first in range(10, 20, 4):
        partition.offer(messages(*range(first, min(first + 4, 20)), size=100))
    books.gate.set()
    await booked(books, 10)
    taken = [positions for _, positions in books.taken]
    assert [position for batch in taken for position in batch] == list(range(10, 20))
    assert max(len(positions) for positions in taken) == max(sizes)
    await partition.close(1)


async def test_there_is_room_for_one_batch_beside_the_one_at_the_database():
    """While a batch is at the database about one more is fetched, and no more: a backlog stays in the broker."""
    books = Books()
    books.gate.clear()
    partition = partition_of(books)
    partition.offer(messages(10, 11))
    await until(lambda: partition._at_database, "the batch being at the database")
    assert partition.has_room
    partition.offer(messages(12, 13, 14, 15))
    assert not partition.has_room
    books.gate.set()
    await booked(books, 6)
    assert partition.has_room
    await partition.close(1)


async def test_a_database_that_is_away_keeps_the_batch():
    """The same batch is tried until it is taken, its position unchanged; the outage is told and so is its end."""
    books, health = Books(RetryableError("away"), RetryableError("still away")), Health("database")
    partition = partition_of(books, health=health)
    partition.offer(messages(10, 11))
    await until(lambda: health.report()["checks"]["database"] == "still away", "the outage being told")
    await booked(books, 2)
    await until(lambda: health.is_up("database"), "the end of the outage being told")
    assert books.taken == [(9, [10, 11])]
    await partition.close(1)


async def test_a_moved_position_drops_what_waits():
    """Somebody else moved the position: nothing more of what was fetched is booked, and whoever placed us is told."""
    books, moved = Books(PositionTakenError("moved")), []
    partition = partition_of(books, moved=moved, batch_messages=2)
    partition.offer(messages(10, 11))
    partition.offer(messages(12, 13))
    await until(lambda: moved, "the move being told")
    assert moved == [partition]
    assert books.taken == []
    assert not partition.has_room
    await partition.close(1)


async def test_closing_waits_for_the_batch_at_the_database():
    """A partition that is let go finishes the batch at the database and books nothing after it."""
    books = Books()
    books.gate.clear()
    partition = partition_of(books, batch_messages=2)
    partition.offer(messages(10, 11))
    partition.offer(messages(12, 13))
    await until(lambda: partition._at_database, "the batch being at the database")
    closing = asyncio.create_task(partition.close(5))
    books.gate.set()
    await closing
    assert books.taken == [(9, [10, 11])]
    assert partition.tracked == 11


async def test_closing_does_not_wait_for_a_database_that_is_away():
    """A batch that waits for its next try is dropped at once: it is fetched again by whoever is next."""
    books = Books(*[RetryableError("away")] * 100)
    partition = partition_of(books)
    partition.offer(messages(10))
    await until(lambda: len(books.before) < 100, "the first try")
    await asyncio.wait_for(partition.close(30), 5)
    assert books.taken == []


async def test_broken_books_end_the_partition():
    """Nothing is tried again when the books cannot be trusted: the reason is there to be raised."""
    partition = partition_of(Books(CorruptionError("broken")))
    partition.offer(messages(10))
    assert str(await until(lambda: partition.failure, "the failure")) == "broken"
    await partition.close(1)


# --- positions --------------------------------------------------------------------------------------------------------


def test_the_newest_of_the_logs_counts():
    """A log that was cut goes on under the next name, however often, and that is where its position is found again."""
    books = Books()
    assert tracked(books, "c/t", "orders", 3) == Tracked(Source("c/t", "orders", 3), None)
    books.positions = {"c/t": 500, "c/t#2": 20, "c/t#3": 7}
    found = tracked(books, "c/t", "orders", 3)
    assert found == Tracked(Source("c/t#3", "orders", 3), 7)
    assert after_cut(found) == Tracked(Source("c/t#4", "orders", 3), None)
    assert after_cut(Tracked(SOURCE, 5)).source.source == "cluster/topic#2"


# --- approvals --------------------------------------------------------------------------------------------------------


class Timer:
    """Approvals with a clock of the test's own, and a list of what was published."""

    def __init__(self, **changes):
        self.at, self.orders, self.chunks, self.health = NOW, [], [], Health()
        settings = WorkerSettings(approval_chunk=2, approval_retry_s=60, **changes)
        self.approvals = Approvals(settings, None, self.due, self.health, lambda: self.at)

    async def due(self, now, limit):
        """Return what is due, as the read side tells it."""
        assert now == self.at
        return [("acme", order) for order in self.orders[:limit]]

    async def tick(self):
        """Let the timer run once; returns how many orders it published."""
        return await self.approvals.publish_due(self.publish)

    async def publish(self, chunk):
        """Keep the chunk."""
        self.chunks.append([order for _, order in orjson.loads(chunk)])


async def test_due_orders_are_published_in_chunks_and_once():
    """What was published is not published again while it is under way, and what is new is."""
    timer = Timer()
    timer.orders = ["a", "b", "c"]
    assert await timer.tick() == 3
    assert await timer.tick() == 0
    timer.orders = ["c", "d"]
    assert await timer.tick() == 1
    assert timer.chunks == [["a", "b"], ["c"], ["d"]]


async def test_an_order_that_stays_due_is_published_again_after_a_while():
    """A chunk may be lost: what is still due after the retry time is published again."""
    timer = Timer()
    timer.orders = ["a"]
    await timer.tick()
    timer.at += timedelta(seconds=59)
    assert await timer.tick() == 0
    timer.at += timedelta(seconds=2)
    assert await timer.tick() == 1


async def test_no_more_is_under_way_than_the_limit():
    """However much is due, no more is published than one answer holds until some of it is approved."""
    timer = Timer(approval_limit=3)
    timer.orders = list("abcdefgh")
    assert [await timer.tick() for _ in range(3)] == [3, 0, 0]
    timer.orders = list("defgh")
    assert await timer.tick() == 3


async def test_a_failing_timer_says_so_and_goes_on():
    """A read side or a broker that is away is told once; the next tick tries again with everything that is due."""
    timer = Timer()
    timer.orders = ["a"]

    async def fail(_chunk):
        raise OSError("no broker")

    assert await timer.approvals.publish_due(fail) == 0
    assert "no broker" in timer.health.report()["checks"]["approvals"]
    assert await timer.tick() == 1
    assert timer.health.ready


# --- health -----------------------------------------------------------------------------------------------------------


def test_health_is_told_once_per_change(capsys):
    """The same outage, told again and again, is one line when it begins and one when it ends."""
    health = Health("broker")
    assert not health.ready
    for _ in range(3):
        health.up("broker")
    for attempt in range(3):
        health.down("broker", f"away, attempt {attempt}")
    assert health.report() == {"ready": False, "checks": {"broker": "away, attempt 2"}}
    for _ in range(3):
        health.up("broker")
    lines = [line for line in capsys.readouterr().out.splitlines() if "broker" in line]
    assert len(lines) == 3
    assert "away, attempt 0" in lines[1]


# --- the topic's id ---------------------------------------------------------------------------------------------------


def test_a_topic_id_is_read_as_kafka_prints_it():
    """An id is 22 characters both ways; the zero id is none."""
    raw = bytes(range(16))
    assert TopicId.decode(BytesIO(raw)) == "AAECAwQFBgcICQoLDA0ODw"
    assert TopicId.encode("AAECAwQFBgcICQoLDA0ODw") == raw
    assert (TopicId.decode(BytesIO(bytes(16))), TopicId.encode("")) == ("", bytes(16))


def test_a_source_names_cluster_and_topic():
    """Positions are kept under the cluster's id and the start of the topic's; an old broker leaves the cluster's id."""
    assert Log("cluster", "AAECAwQFBgcICQoLDA0ODw").source == "cluster/AAECAwQF"
    assert Log("cluster", "").source == "cluster"


def test_an_old_broker_has_no_topic_ids():
    """The answer of a broker that knows no topic ids is understood; so is a topic that does not exist."""
    new = MetadataResponseV10(0, [], "c", 1, [(0, "orders", "AAECAwQFBgcICQoLDA0ODw", False, [], 0, {})], 0, {})
    old = MetadataResponse_v5(0, [], "c", 1, [(0, "orders", False, [])])
    assert _answer_for_topic(new) == (0, "AAECAwQFBgcICQoLDA0ODw")
    assert _answer_for_topic(old) == (0, "")
    assert _answer_for_topic(MetadataResponse_v5(0, [], "c", 1, [])) == (3, "")


class Ends:
    """A consumer that knows where one partition ends."""

    def assignment(self):
        """Return what is assigned."""
        return {TopicPartition("orders", 0)}

    def highwater(self, _):
        """Return the position behind the newest message."""
        return 10

    async def stop(self):
        """Leave."""


async def test_what_the_broker_has_is_written_down_anew_in_each_session():
    """The newest message is told once while it stays the newest, and again in the next session."""
    told = []
    books = SimpleNamespace(saw=lambda source, topic, newest, _: told.append((source, topic, newest)))
    broker = SimpleNamespace(topic="orders")
    intake = OrderIntake(worker_settings("127.0.0.1:9", "orders"), books, broker, Health("intake"), lambda: NOW)
    for cluster in ("one", "other"):
        intake._source_name = cluster
        intake._partitions = {TopicPartition("orders", 0): partition_of(Books())}
        await intake._tell_newest(Ends())
        await intake._tell_newest(Ends())
        await intake._end_session(Ends())
    assert told == [("one", "orders", {0: 9}), ("other", "orders", {0: 9})]
