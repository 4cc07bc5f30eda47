"""The embedded broker is enough of Kafka for the ledger, and forgets everything at its end: its cluster id says so."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from cli.embedded import EmbeddedBroker, EmbeddedError
from cli.embedded.broker import admin, create_topic, read_cluster_id
from cli.embedded.process import free_port
from schemas.errors import RetryableError
from tests.support.processes import ended, listening_addresses


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """Yield a running broker of this test's own."""
    with EmbeddedBroker(tmp_path) as running:
        yield running


async def publish(bootstrap: str, topic: str, *values: bytes) -> None:
    """Publish the values to partition 0 and wait until the broker has them."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=2_000_000)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()


async def first_value(bootstrap: str, topic: str) -> bytes:
    """Return the oldest value of partition 0, read without a group."""
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        return bytes((await consumer.getone()).value)


def member(bootstrap: str, topic: str) -> AIOKafkaConsumer:
    """Return a member of one group that commits only what it is told to."""
    # This broker keeps a join open for half of the session's time-out, and for twice of it after somebody left.
    times = {"session_timeout_ms": 1000, "heartbeat_interval_ms": 300}
    options = {"group_id": "g", "enable_auto_commit": False, "auto_offset_reset": "earliest"}
    return AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, **options, **times)


async def test_a_group_goes_on_where_it_committed(embedded: EmbeddedBroker) -> None:
    """What is published is delivered in order, and a group's next member starts at the committed position."""
    await embedded.create_topic("orders", 2)
    await publish(embedded.bootstrap, "orders", b"one", b"two", b"three")
    async with member(embedded.bootstrap, "orders") as first:
        assert [(await first.getone()).value for _ in range(2)] == [b"one", b"two"]
        await first.commit({TopicPartition("orders", 0): 2})
    async with member(embedded.bootstrap, "orders") as second:
        assert (await second.getone()).value == b"three"


@pytest.mark.parametrize("size", [64 * 1024, 1_000_000])
async def test_large_messages_pass_whole(embedded: EmbeddedBroker, size: int) -> None:
    """A message of the largest size that the contract allows, and one far beyond it, reach the consumer unchanged."""
    await embedded.create_topic("orders")
    await publish(embedded.bootstrap, "orders", os.urandom(16) + b"x" * (size - 16))
    assert len(await first_value(embedded.bootstrap, "orders")) == size


async def test_every_start_is_a_new_cluster_without_topics(embedded: EmbeddedBroker) -> None:
    """Topics do not outlive the broker, and clients can tell: another cluster id answers at the same address."""
    await embedded.create_topic("orders")
    bootstrap, before = embedded.bootstrap, await read_cluster_id(embedded.bootstrap)
    embedded.stop()
    embedded.start()
    assert embedded.bootstrap == bootstrap
    assert await read_cluster_id(bootstrap) == embedded.cluster_id != before
    async with admin(bootstrap) as client:
        assert await client.list_topics() == []


async def test_a_topic_is_created_once(embedded: EmbeddedBroker) -> None:
    """Creating a topic again changes nothing: not even its number of partitions."""
    await embedded.create_topic("orders", 3)
    await embedded.create_topic("orders", 5)
    async with admin(embedded.bootstrap) as client:
        assert len((await client.describe_topics(["orders"]))[0]["partitions"]) == 3


def test_it_listens_on_loopback_only(embedded: EmbeddedBroker) -> None:
    """No port of the broker, for clients or for metrics, can be reached from another machine."""
    assert listening_addresses(embedded.process.pid) == {embedded.bootstrap}


def test_the_environment_does_not_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker reads its options from the environment too: what is set there for others must not open a port."""
    monkeypatch.setenv("LISTENER_URL", f"tcp://0.0.0.0:{free_port()}")
    monkeypatch.setenv("STORAGE_ENGINE", "postgres://somewhere")
    with EmbeddedBroker(tmp_path) as running:
        assert listening_addresses(running.process.pid) == {running.bootstrap}


def test_the_port_can_be_chosen(tmp_path: Path) -> None:
    """A port that the caller names is the one that clients use, and a taken one is named."""
    port = free_port()
    with EmbeddedBroker(tmp_path / "one", port=port) as running:
        assert running.bootstrap == f"127.0.0.1:{port}"
        with pytest.raises(EmbeddedError, match=f"port {port} .* is not free"):
            EmbeddedBroker(tmp_path / "two", port=port).start()


def test_a_second_broker_on_the_same_folder_is_refused(embedded: EmbeddedBroker, tmp_path: Path) -> None:
    """One folder is one stack: a second broker there would write into the first one's log and record."""
    with pytest.raises(EmbeddedError, match="already in use"):
        EmbeddedBroker(tmp_path).start()
    assert embedded.alive


async def test_a_broker_that_is_away_is_a_retryable_error(embedded: EmbeddedBroker) -> None:
    """Nobody at the address means: try again later."""
    embedded.kill()
    with pytest.raises(RetryableError, match=f"no broker answers at {embedded.bootstrap}"):
        await create_topic(embedded.bootstrap, "orders", 1)


async def test_a_frozen_broker_goes_on(embedded: EmbeddedBroker) -> None:
    """A broker can be frozen and go on as the same cluster, with its topics."""
    await embedded.create_topic("orders")
    await publish(embedded.bootstrap, "orders", b"before")
    embedded.process.freeze()
    embedded.process.thaw()
    assert await first_value(embedded.bootstrap, "orders") == b"before"


OWNER = """
import sys, pathlib, signal
from cli.embedded import EmbeddedBroker
broker = EmbeddedBroker(pathlib.Path(sys.argv[1]))
broker.start()
print(broker.process.pid, flush=True)
signal.pause()
"""


def test_the_broker_goes_when_its_owner_is_killed(tmp_path: Path) -> None:
    """A kill -9 of the owner takes the broker with it: the port is free for the next start."""
    with subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        broker = int(owner.stdout.readline())
        owner.kill()
        assert ended(broker, timeout_s=20)
