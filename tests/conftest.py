"""What all tests share: a database of their own on one server, a topic of their own on one broker."""

import logging
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from cli.embedded import EmbeddedError, EmbeddedPostgres
from cli.embedded.postgres import binaries
from tests.support import postgres
from tests.support.api import Api, running
from tests.support.kafka import Broker, SharedBroker
from tests.support.kcat import Kcat, kcat_on
from tests.support.requirements import require
from tests.support.servers import Offer, SessionServers, broker_kind, broker_missing, installed, need, new_broker
from tests.support.service import Service

TOPIC_PARTITIONS = 4

_servers = pytest.StashKey[SessionServers]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the broker be chosen (the embedded one, or Apache Kafka itself), and how long the search is."""
    parser.addoption(
        "--kafka",
        choices=("embedded", "apache"),
        default=os.environ.get("TEST_KAFKA", "embedded"),
        help="the broker to test on: embedded (default) or apache (needs Java 17 and Maven)",
    )
    parser.addoption(
        "--seeds", type=int, default=300, help="how many stories the search for double payments tells (default 300)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Prepare, without starting, the servers that this process and its workers share."""
    config.stash[_servers] = SessionServers(broker_kind(config))


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the servers that were started here, after all workers are done."""
    if _servers in config.stash:
        config.stash[_servers].close()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark every test that uses a broker as `kafka` when that broker is Apache Kafka, so that `-m kafka` finds them."""
    if broker_kind(config) == "apache":
        for item in items:
            if {"broker", "own_broker"} & set(getattr(item, "fixturenames", ())):
                item.add_marker("kafka")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Under pytest-xdist the controlling process runs the servers, for it outlives its workers."""
    servers = node.config.stash[_servers]
    try:
        node.workerinput["servers"] = {"database": servers.database(), "broker": servers.broker()}
    except EmbeddedError as error:
        pytest.exit(str(error), returncode=3)


def _offer(config: pytest.Config, name: str) -> Offer:
    """Return what the controlling process offers, or, without one, start it here."""
    workerinput = getattr(config, "workerinput", None)
    offer: Offer = workerinput["servers"][name] if workerinput else getattr(config.stash[_servers], name)()
    return need(offer)


@pytest.fixture(autouse=True)
def log_of_its_own() -> Iterator[None]:
    """Put the log back as it was: a command that ran in this process has set it up, on a stream that is closed now."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.setLevel(level)
    for handler in [each for each in root.handlers if each not in before]:
        root.removeHandler(handler)


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the address of a migrated, empty database of this test's own."""
    server = _offer(request.config, "database")
    with postgres.cloned(server["url"], server["template"]) as url:
        yield url


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    """Yield the running application of two merchants, acme and zenith."""
    async with running(database_url) as app:
        yield app


@pytest.fixture
def server_url(request: pytest.FixtureRequest) -> str:
    """Return the shared PostgreSQL server's address, for a test that makes its databases itself."""
    return _offer(request.config, "database")["url"]


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> SharedBroker:
    """Return the session's broker, of the kind that `--kafka` names: shared, so no test stops it."""
    return SharedBroker(**_offer(request.config, "broker"))


@pytest.fixture
async def topic(broker: SharedBroker) -> str:
    """Return a new topic with four partitions on the session's broker."""
    name = f"orders-{secrets.token_hex(6)}"
    await broker.create_topic(name, TOPIC_PARTITIONS)
    return name


@pytest.fixture
def service(database_url: str, broker: SharedBroker, topic: str, tmp_path: Path) -> Iterator[Service]:
    """Yield worker, projector and web, running as processes of their own."""
    with Service(database_url, broker, topic, tmp_path / "service") as running_service:
        yield running_service


@pytest.fixture
def kcat(broker: SharedBroker, topic: str) -> Iterator[Kcat]:
    """Yield kcat on the topic."""
    with kcat_on(broker, topic) as ready:
        yield ready


@pytest.fixture
def own_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """Yield a started broker of this test's own, of the kind that `--kafka` names: to be stopped and killed."""
    kind = broker_kind(request.config)
    absent = broker_missing(kind)
    require(not absent, absent)
    own = new_broker(kind, tmp_path / "broker")
    own.start()
    yield own
    own.kill()


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """Yield a started, durable PostgreSQL server of this test's own: to be stopped, killed and started."""
    require(installed(binaries), "the embedded PostgreSQL (the extra `embedded`)")
    own = EmbeddedPostgres(tmp_path / "postgres")
    own.start()
    yield own
    own.stop("immediate")
    own.close()
