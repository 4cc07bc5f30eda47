"""The worker end to end: what lies in the topic ends on the books, once, whatever happens to the broker's groups."""

import asyncio
from datetime import UTC, datetime

import aiohttp
import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from ledger.application import Ledger
from ledger.intake import Intake, Message, Source
from tests.support.books import compare, dead_letters, lying_in, outcomes, positions, until_consumed
from tests.support.kcat import kcat_on
from tests.support.order_messages import placed, refunded, told
from tests.support.publishing import producing, publish
from tests.support.registration import HASH_KEY, register
from tests.support.running_worker import ready, running, worker_settings
from tests.support.storefront import Outgoing, Storefront, sample_program
from tests.support.waiting import until

PROGRAM = sample_program()
NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
def books(database_url):
    """Return the address of a database whose books know the sample program."""
    ledger = Ledger(database_url, hash_key=HASH_KEY)
    register(ledger, PROGRAM)
    ledger.close()
    return database_url


# --- the contract of the topic ----------------------------------------------------------------------------------------


async def test_every_row_of_the_contract_ends_as_stated(books, broker, topic):
    """Each row of the second table of order-events.md, published to the topic, has its outcome on the books."""
    rows = [
        ({"earned": 1}, [placed("a")]),
        ({"skipped": 1}, [placed("b", coupon_code="REJECTED10")]),
        ({"ignored": 2}, [placed("c", coupon_code=None), placed("d", coupon_code="NOBODYS")]),
        ({"earned": 1, "duplicate": 1}, [placed("e"), placed("e")]),
        ({"earned": 1, "conflicting_duplicate": 1}, [placed("f"), placed("f", total="90.00")]),
        ({"adjusted": 1, "earned": 1}, [refunded("g", "40.00"), placed("g")]),
        ({"earned": 1, "adjusted": 1}, [placed("h"), told("cancelled", "h")]),
        ({"earned": 1, "adjusted": 2}, [placed("i"), told("disputed", "i"), told("dispute_won", "i")]),
        ({"earned": 1, "refund_exceeds_total": 1}, [placed("j"), refunded("j", "100.01")]),
        ({"earned": 1, "currency_mismatch": 1}, [placed("k"), refunded("k", "1.00", currency="EUR")]),
        ({"unknown_merchant": 1}, [placed("l", merchant_id="nobody")]),
        ({"not_json": 1}, [Outgoing(b"acme/m", b"{not json")]),
    ]
    messages = [message for _, row in rows for message in row]
    await publish(broker.bootstrap, topic, messages)
    async with running(books, worker_settings(broker.bootstrap, topic)):
        await until_consumed(books, len(messages))
    expected: dict[str, int] = {}
    for counts, _ in rows:
        for what, count in counts.items():
            expected[what] = expected.get(what, 0) + count
    codes = [code for *_, code in dead_letters(books)]
    found = {code: codes.count(code) for code in codes} | outcomes(books)
    assert found == expected | {"dead_lettered": len(codes)}
    source = next(iter(positions(books)))[0]
    assert compare(books, PROGRAM, await lying_in(broker.bootstrap, topic, source)) == []


async def test_kcat_publishes(books, broker, topic):
    """A storefront that shares no code and no library with us publishes, and the books are what the oracle says."""
    with kcat_on(broker, topic) as kcat:
        await asyncio.to_thread(kcat.publish, Storefront(3, PROGRAM, loose_keys=0).take(2_000))
    async with running(books, worker_settings(broker.bootstrap, topic)):
        await until_consumed(books, 2_000)
    source = next(iter(positions(books)))[0]
    assert compare(books, PROGRAM, await lying_in(broker.bootstrap, topic, source)) == []


async def test_compressed_messages_are_read(books, broker, topic):
    """Whatever codec a storefront compresses with, its orders earn."""
    codecs = ("gzip", "snappy", "lz4", "zstd")
    for codec in codecs:
        messages = [placed(f"{codec}-{n}") for n in range(200)]
        await publish(broker.bootstrap, topic, messages, compression_type=codec)
    async with running(books, worker_settings(broker.bootstrap, topic)):
        await until_consumed(books, 200 * len(codecs))
    assert outcomes(books) == {"earned": 200 * len(codecs)}


async def test_keys_do_not_matter_to_the_books(books, broker, topic):
    """Messages with the right key, another key, none, or no value at all end in the books they would end in anyway."""
    async with producing(broker.bootstrap) as producer:
        for number, key in enumerate([b"acme/0", b"something else", None, b""]):
            await producer.send_and_wait(topic, placed(str(number)).value, key=key)
            # The refund goes to a partition of its own choice, so it may be read before its order.
            await producer.send_and_wait(topic, refunded(str(number), "100.00").value, key=None)
        await producer.send_and_wait(topic, None, key=b"acme/0")
    async with running(books, worker_settings(broker.bootstrap, topic)):
        await until_consumed(books, 9)
    assert outcomes(books) == {"earned": 4, "adjusted": 4, "dead_lettered": 1}
    assert [code for *_, code in dead_letters(books)] == ["empty"]


async def test_one_bad_message_in_a_thousand_costs_nobody_anything(books, broker, topic):
    """The 999 neighbours of a bad message are booked, and the bad one is a dead letter at its position."""
    messages = [Outgoing(None, placed(str(n)).value) for n in range(1_000)]
    messages[617] = Outgoing(None, b"\xff\xfe not UTF-8")
    async with producing(broker.bootstrap) as producer:
        answers = [await producer.send(topic, message.value, partition=0) for message in messages]
        bad = (await asyncio.gather(*answers))[617]
    async with running(books, worker_settings(broker.bootstrap, topic)):
        await until_consumed(books, 1_000)
    assert outcomes(books) == {"earned": 999, "dead_lettered": 1}
    assert [letter[2:] for letter in dead_letters(books)] == [(0, bad.offset, "not_utf8")]


# --- groups and positions ---------------------------------------------------------------------------------------------


async def test_workers_that_come_and_go_share_the_partitions_and_double_nothing(books, broker, topic):
    """While a second worker joins and the first one leaves, every message is booked once, and the oracle agrees."""
    storefront = Storefront(7, PROGRAM)
    settings = worker_settings(broker.bootstrap, topic)
    async with running(books, settings) as second:
        async with running(books, settings) as first:
            await publish(broker.bootstrap, topic, storefront.take(600))
            await until(lambda: _has(first) and _has(second), "both workers having partitions")
            await publish(broker.bootstrap, topic, storefront.take(600))
            await until_consumed(books, 1_200)
        await publish(broker.bootstrap, topic, storefront.take(600))
        await until_consumed(books, 1_800)
    source = next(iter(positions(books)))[0]
    assert compare(books, PROGRAM, await lying_in(broker.bootstrap, topic, source)) == []


def _has(health):
    return bool(health.report().get("partitions"))


async def test_a_restarted_worker_goes_on_from_the_ledgers_position(books, broker, topic):
    """Kafka's own offsets decide nothing: a worker of a new group, which has none, reads nothing twice."""
    await publish(broker.bootstrap, topic, [placed(str(n)) for n in range(50)])
    async with running(books, worker_settings(broker.bootstrap, topic)):
        await until_consumed(books, 50)
    await publish(broker.bootstrap, topic, [placed(str(n)) for n in range(50, 60)])
    async with running(books, worker_settings(broker.bootstrap, topic)):
        await until_consumed(books, 60)
    assert outcomes(books) == {"earned": 60}


async def test_a_worker_follows_when_its_position_was_moved(books, broker, topic):
    """A worker whose position somebody else moved drops what it holds, reads on from there, and books nothing twice."""
    async with running(books, worker_settings(broker.bootstrap, topic)) as health:
        async with producing(broker.bootstrap) as producer:
            await producer.send_and_wait(topic, placed("0").value, partition=0)
            await until_consumed(books, 1)
            # As a worker does that got the partition while this one was frozen.
            ledger = Ledger(books, hash_key=HASH_KEY)
            source = Source(health.report()["source"], topic, 0)
            other = [Message(n, placed(str(n)).value) for n in (1, 2, 3)]
            Intake(ledger).take(source, other, NOW, after=0)
            ledger.close()
            for number in range(1, 6):
                await producer.send_and_wait(topic, placed(str(number)).value, partition=0)
        await until_consumed(books, 6)
    assert outcomes(books) == {"earned": 6}


async def test_kafkas_offsets_are_kept_as_a_hint(books, broker, topic):
    """After a worker has left, the group's committed offsets tell where the ledger stands, for tools that watch lag."""
    settings = worker_settings(broker.bootstrap, topic)
    await publish(broker.bootstrap, topic, [placed(str(n)) for n in range(40)])
    async with running(books, settings):
        await until_consumed(books, 40)
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, group_id=f"{settings.app_id}-orders")
    await consumer.start()
    expected = {TopicPartition(topic, key[2]): row["position"] + 1 for key, row in positions(books).items()}
    consumer.assign(list(expected))
    try:
        assert {tp: await consumer.committed(tp) for tp in expected} == expected
    finally:
        await consumer.stop()


async def test_the_newest_message_of_each_partition_is_written_down(books, broker, topic):
    """While a worker runs, the ledger knows what the broker has in each partition, which makes its lag; then none."""
    await publish(broker.bootstrap, topic, [placed(str(n)) for n in range(40)])
    async with running(books, worker_settings(broker.bootstrap, topic)):
        await until_consumed(books, 40)
        expected = {key[2]: row["position"] for key, row in positions(books).items()}
        await until(lambda: newest(books, topic) == expected, "what the broker has")


def newest(books, topic):
    """Return the position of each partition's newest message as it is written down."""
    with psycopg.connect(books) as conn:
        return dict(
            conn.execute("SELECT partition, position FROM ledger.newest_messages WHERE topic = %s", (topic,)).fetchall()
        )


# --- the process's surroundings ---------------------------------------------------------------------------------------


async def test_a_missing_topic_is_waited_for_or_created(books, broker):
    """A worker without its topic says so and waits; told to create the topic, it does."""
    async with running(books, worker_settings(broker.bootstrap, "not-there-yet")) as health:
        reason = await until(lambda: _not_starting(health, "topic"), "the worker missing its topic")
        assert "not-there-yet" in reason
        assert not health.ready
        async with running(
            books, worker_settings(broker.bootstrap, "not-there-yet", orders_topic_partitions=2)
        ) as other:
            await ready(other)
            await ready(health)


def _not_starting(health, condition):
    reason = health.report()["checks"][condition]
    return None if reason in {"starting", "ok"} else reason


async def test_health_is_told_over_http(books, broker, topic, unused_tcp_port):
    """`/readyz` tells each condition and each partition's position, lag and outcomes; `/healthz` that we are alive."""
    await publish(broker.bootstrap, topic, [placed(str(n)) for n in range(10)])
    settings = worker_settings(broker.bootstrap, topic, health_port=unused_tcp_port)
    address = f"http://127.0.0.1:{unused_tcp_port}"
    async with running(books, settings) as health, aiohttp.ClientSession() as session:
        await ready(health)
        await until_consumed(books, 10)
        async with session.get(f"{address}/healthz") as answer:
            assert answer.status == 200
        async with session.get(f"{address}/readyz") as answer:
            report = await answer.json()
            assert (answer.status, report["ready"], set(report["checks"].values())) == (200, True, {"ok"})
        assert sum(partition["outcomes"].get("earned", 0) for partition in report["partitions"].values()) == 10
        assert {partition["lag"] for partition in report["partitions"].values()} == {0}
        health.down("database", "away")
        async with session.get(f"{address}/readyz") as answer:
            assert (answer.status, (await answer.json())["checks"]["database"]) == (503, "away")


async def test_a_worker_leaves_nothing_on_the_disk(books, broker, topic, tmp_path, monkeypatch):
    """A worker writes no files where it is started: what it knows is in PostgreSQL."""
    monkeypatch.chdir(tmp_path)
    async with running(books, worker_settings(broker.bootstrap, topic)) as health:
        await ready(health)
    assert files_in(tmp_path) == []


def files_in(folder):
    """Return what lies in the folder."""
    return list(folder.iterdir())
