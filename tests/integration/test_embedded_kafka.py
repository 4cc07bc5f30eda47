"""Apache Kafka as the tests run it: what the broker tests rely on when they stop and kill it."""

from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from cli.embedded.broker import read_cluster_id
from tests.support.kafka import ApacheKafka
from tests.support.processes import listening_addresses
from tests.support.requirements import require
from tests.support.servers import broker_missing

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def apache(tmp_path_factory: pytest.TempPathFactory):
    """Yield a running Apache Kafka with one topic; the tests of this file restart it in turn."""
    absent = broker_missing("apache")
    require(not absent, absent)
    with ApacheKafka(tmp_path_factory.mktemp("kafka")) as running:
        yield running


async def publish(bootstrap: str, topic: str, value: bytes) -> None:
    """Publish one value and wait until the broker has it."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await producer.send_and_wait(topic, value)


async def read(bootstrap: str, topic: str) -> bytes:
    """Return the first value of the topic."""
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        return bytes((await consumer.getone()).value)


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_topics_and_cluster_id_outlive_the_broker(apache: ApacheKafka, end: str) -> None:
    """After a stop, and after a kill -9, the same cluster answers at the same address with the same messages."""
    bootstrap, cluster_id = apache.bootstrap, apache.cluster_id
    await apache.create_topic(end, 2)
    await publish(bootstrap, end, b"kept")
    getattr(apache, end)()
    apache.start()
    assert apache.bootstrap == bootstrap
    assert await read_cluster_id(bootstrap) == apache.cluster_id == cluster_id
    assert await read(bootstrap, end) == b"kept"


def test_it_listens_on_loopback_only(apache: ApacheKafka) -> None:
    """Neither clients nor the controller can be reached from another machine."""
    hosts = {address.rpartition(":")[0] for address in listening_addresses(apache.process.pid)}
    assert hosts == {"[::ffff:127.0.0.1]"}


async def test_a_new_object_on_the_folder_is_the_same_cluster(apache: ApacheKafka, tmp_path: Path) -> None:
    """The cluster belongs to its folder, not to the object that formatted it."""
    first = ApacheKafka(tmp_path)
    first.start()
    first.stop()
    with ApacheKafka(tmp_path) as second:
        assert second.cluster_id == first.cluster_id != apache.cluster_id
