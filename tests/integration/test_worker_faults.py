"""The worker when its surroundings fail: it says so once, waits, and goes on with nothing lost and nothing doubled."""

import time
from datetime import UTC, datetime

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from cli.connection import bring_up_to_date
from cli.embedded import EmbeddedPostgres
from cli.embedded.broker import EmbeddedBroker, admin
from cli.embedded.process import free_port
from ledger.application import Ledger
from ledger.intake import Intake, Message, Source
from schemas.errors import CorruptionError
from tests.support.books import compare, consumed, lying_in, outcomes, positions, until_consumed
from tests.support.kafka import ApacheKafka
from tests.support.order_messages import placed
from tests.support.publishing import producing, publish
from tests.support.registration import HASH_KEY, register
from tests.support.running_worker import ready, running, worker_settings
from tests.support.storefront import Storefront, sample_program
from tests.support.waiting import until
from tests.support.worker_process import HASH_KEY as PROCESS_HASH_KEY
from tests.support.worker_process import Workers

PROGRAM = sample_program()
NOW = datetime(2026, 11, 22, tzinfo=UTC)
TOPIC = "orders"
PARTITIONS = 4


@pytest.fixture
def books(database_url):
    """Return the address of a database whose books know the sample program."""
    return with_program(database_url)


def with_program(database_url, hash_key=HASH_KEY):
    """Put the sample program on the books of a migrated database and return its address."""
    ledger = Ledger(database_url, hash_key=hash_key)
    register(ledger, PROGRAM)
    ledger.close()
    return database_url


def reason(health, condition):
    """Return why the condition is not fine; None while it is, or is on its way there."""
    told = health.report()["checks"].get(condition, "ok")
    return None if told in {"ok", "starting"} else told


# --- the topic is another one -----------------------------------------------------------------------------------------


async def test_a_broker_that_came_back_empty_starts_again_from_its_beginning(books, tmp_path):
    """The embedded broker forgets its topics: what is published after its restart is read from offset 0, all of it."""
    with EmbeddedBroker(tmp_path) as broker:
        await broker.create_topic(TOPIC, PARTITIONS)
        async with running(books, worker_settings(broker.bootstrap, TOPIC)):
            await publish(broker.bootstrap, TOPIC, [placed(f"before-{n}") for n in range(100)])
            await until_consumed(books, 100)
            broker.kill()
            broker.start()
            await broker.create_topic(TOPIC, PARTITIONS)
            # As many again, so that the old positions would be valid ones in the new topic.
            await publish(broker.bootstrap, TOPIC, [placed(f"after-{n}") for n in range(150)])
            await until_consumed(books, 250)
    assert outcomes(books) == {"earned": 250}
    assert len({source for source, *_ in positions(books)}) == 2


async def test_a_topic_that_was_created_again_is_another_log(books, own_broker):
    """Deleted and created again under the same name while the worker runs, a topic is read from its beginning."""
    await own_broker.create_topic(TOPIC, PARTITIONS)
    async with running(books, worker_settings(own_broker.bootstrap, TOPIC)):
        await publish(own_broker.bootstrap, TOPIC, [placed(f"before-{n}") for n in range(60)])
        await until_consumed(books, 60)
        async with admin(own_broker.bootstrap) as client:
            await client.delete_topics([TOPIC])
        await until(lambda: _created(own_broker), "the topic being created again")
        await publish(own_broker.bootstrap, TOPIC, [placed(f"after-{n}") for n in range(90)])
        await until_consumed(books, 150)
    assert outcomes(books) == {"earned": 150}


async def _created(broker):
    """Create the topic; a broker that is still deleting the old one says so, or forgets that it was asked."""
    try:
        await broker.create_topic(TOPIC, PARTITIONS)
    except Exception:  # noqa: BLE001 - it is asked again
        return False
    async with admin(broker.bootstrap) as client:
        return TOPIC in await client.list_topics()


@pytest.mark.kafka
async def test_a_log_that_lost_its_end_is_read_again_as_a_log_of_its_own(books, apache):
    """Where the log ends before our position its offsets mean other messages: none of them may be passed over."""
    async with running(books, worker_settings(apache.bootstrap, TOPIC)) as health:
        await ready(health)
        source = health.report()["source"]
    ledger = Ledger(books, hash_key=HASH_KEY)
    Intake(ledger).take(Source(source, TOPIC, 0), [Message(500, placed("lost").value)], NOW, after=None)
    ledger.close()
    async with producing(apache.bootstrap) as producer:
        for number in range(3):
            await producer.send_and_wait(TOPIC, placed(str(number)).value, partition=0)
        for worker in (1, 2):  # the second one must go on in the second log, not in the first
            async with running(books, worker_settings(apache.bootstrap, TOPIC)):
                await producer.send_and_wait(TOPIC, placed(f"for worker {worker}").value, partition=0)
                await until_consumed(books, 4 + worker)
    assert {key[0]: row["position"] for key, row in positions(books).items()} == {source: 500, f"{source}#2": 4}
    assert outcomes(books) == {"earned": 6}


@pytest.mark.kafka
async def test_messages_that_expired_unread_are_told(books, apache, capsys, caplog):
    """A topic that no longer has the next message is an error in the log that tells how many; the rest is booked."""
    settings = worker_settings(apache.bootstrap, TOPIC)
    async with producing(apache.bootstrap) as producer:
        for number in range(10):
            await producer.send_and_wait(TOPIC, placed(str(number)).value, partition=0)
        async with running(books, settings):
            await until_consumed(books, 10)
        for number in range(10, 30):
            await producer.send_and_wait(TOPIC, placed(str(number)).value, partition=0)
    async with admin(apache.bootstrap) as client:
        await client.delete_records({TopicPartition(TOPIC, 0): RecordsToDelete(before_offset=25)})
    async with running(books, settings):
        await until_consumed(books, 15)
    told = [line for line in [*capsys.readouterr().out.splitlines(), *caplog.messages] if "expired unread" in line]
    assert len(told) == 1
    # As text, or as the dictionary that it is once a command set up the log in this process.
    assert any(words in told[0] for words in ("lost=15", "'lost': 15"))


@pytest.fixture
async def apache(tmp_path):
    """Yield an Apache Kafka of this test's own, with the topic."""
    with ApacheKafka(tmp_path / "kafka") as broker:
        await broker.create_topic(TOPIC, PARTITIONS)
        yield broker


# --- servers that are away --------------------------------------------------------------------------------------------


async def test_a_worker_that_starts_before_its_servers_waits_for_them(tmp_path, capsys, caplog):
    """With neither broker nor database there, the worker says so once each, is not ready, and works when they come."""
    postgres, broker = EmbeddedPostgres(tmp_path / "pg"), EmbeddedBroker(tmp_path / "broker", port=free_port())
    with postgres:
        url = postgres.database("books")
        bring_up_to_date(url)
        with_program(url)
        postgres.stop()
        settings = worker_settings(f"127.0.0.1:{broker._wanted_port}", TOPIC)
        async with running(url, settings) as health:
            await until(lambda: reason(health, "broker"), "the worker missing its broker")
            broker.start()
            await broker.create_topic(TOPIC, PARTITIONS)
            await publish(broker.bootstrap, TOPIC, [placed(str(n)) for n in range(20)])
            await until(lambda: reason(health, "database"), "the worker missing its database")
            assert not health.ready
            postgres.start()
            await until_consumed(url, 20)
            await ready(health)
        broker.stop()
    # Where the lines go depends on whether a test before this one configured logging as the commands do.
    lines = [line for line in [*capsys.readouterr().out.splitlines(), *caplog.messages] if "warning" in line]
    assert [sum(f"{name}: " in line for line in lines) for name in ("broker", "database")] == [1, 1]


async def test_the_database_may_go_away_and_come_back(broker, topic, own_postgres):
    """PostgreSQL stopped as by a power cut: the worker keeps partitions and batch; nothing is lost or doubled."""
    url = own_postgres.database("books")
    bring_up_to_date(url)
    with_program(url)
    storefront = Storefront(11, PROGRAM)
    async with running(url, worker_settings(broker.bootstrap, topic)) as health:
        await publish(broker.bootstrap, topic, storefront.take(500))
        await until_consumed(url, 500)
        for after in (1_000, 1_500):
            own_postgres.stop("immediate")
            await publish(broker.bootstrap, topic, storefront.take(500))
            await until(lambda: reason(health, "database"), "the worker missing its database")
            own_postgres.start()
            await until_consumed(url, after)
            await ready(health)
        source = health.report()["source"]
    assert compare(url, PROGRAM, await lying_in(broker.bootstrap, topic, source)) == []


async def test_the_broker_may_be_away_for_ten_seconds(books, own_broker):
    """While no broker answers the worker is not ready and says so; when it is back, the orders go on being booked."""
    await own_broker.create_topic(TOPIC, PARTITIONS)
    async with running(books, worker_settings(own_broker.bootstrap, TOPIC)) as health:
        await publish(own_broker.bootstrap, TOPIC, [placed(f"before-{n}") for n in range(50)])
        await until_consumed(books, 50)
        own_broker.kill()
        gone_at = time.monotonic()
        await until(lambda: reason(health, "broker"), "the worker missing its broker")
        await until(lambda: time.monotonic() - gone_at > 10, "ten seconds passing")
        assert not health.ready
        own_broker.start()
        await own_broker.create_topic(TOPIC, PARTITIONS)
        await publish(own_broker.bootstrap, TOPIC, [placed(f"after-{n}") for n in range(50)])
        await until_consumed(books, 100)
        await ready(health)
    assert outcomes(books) == {"earned": 100}


# --- faults of ours ---------------------------------------------------------------------------------------------------


async def test_a_fault_of_ours_keeps_the_batch_and_says_so(books, broker, topic, monkeypatch):
    """A batch that cannot be decided for a reason that nobody thought of is kept, told, and tried until it can be."""
    real, broken = Intake.take, [True]

    def take(self, source, messages, now, *, after):
        if broken and source.partition == 0:
            raise ZeroDivisionError("nobody thought of this")
        return real(self, source, messages, now, after=after)

    monkeypatch.setattr(Intake, "take", take)
    async with producing(broker.bootstrap) as producer:
        for number in range(8):
            await producer.send_and_wait(topic, placed(str(number)).value, partition=number % PARTITIONS)
    async with running(books, worker_settings(broker.bootstrap, topic)) as health:
        await until(lambda: consumed(books) == 6, "the other partitions being booked")
        assert "nobody thought of this" in await until(lambda: reason(health, "intake"), "the worker being stuck")
        broken.clear()
        await until_consumed(books, 8)
        await ready(health)


async def test_broken_books_stop_the_worker(books, broker, topic, monkeypatch):
    """When the books cannot be trusted the worker writes nothing more: it stops, with the reason."""

    def take(*_, **__):
        raise CorruptionError("a version is missing")

    monkeypatch.setattr(Intake, "take", take)
    await publish(broker.bootstrap, topic, [placed("1")])
    with pytest.raises(CorruptionError, match="a version is missing"):
        async with running(books, worker_settings(broker.bootstrap, topic)) as health:
            await until(lambda: health.report()["checks"]["app"] == "restarting", "the worker stopping")
    assert consumed(books) == 0


async def test_sigterm_ends_a_worker_cleanly(database_url, broker, topic, tmp_path):
    """A worker that is told to end finishes what is at the database, leaves no half of a batch, and exits with 0."""
    url = with_program(database_url, PROCESS_HASH_KEY)
    messages = Storefront(5, PROGRAM).take(4_000)
    await publish(broker.bootstrap, topic, messages)
    with Workers(tmp_path, url, broker.bootstrap, topic, f"test-{topic}") as workers:
        first = workers.start()
        await until(lambda: consumed(url), "the first batch being booked")
        first.stop()
        assert first.returncode == 0
        workers.start()
        await until_consumed(url, 4_000)
        assert workers.errors() == []
    source = next(iter(positions(url)))[0]
    assert compare(url, PROGRAM, await lying_in(broker.bootstrap, topic, source)) == []
