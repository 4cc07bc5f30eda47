"""The servers that a test session shares: one PostgreSQL and one broker for all of its processes.

Each comes from the first that can give it: an address in the environment (`TEST_DATABASE_URL`,
`TEST_KAFKA_BOOTSTRAP_SERVERS`), Docker when `TEST_WITH_DOCKER` is set, the embedded one, Docker when an engine answers.
"""

import asyncio
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from cli.embedded.broker import EmbeddedBroker, binary
from cli.embedded.postgres import EmbeddedPostgres, binaries
from cli.embedded.process import EmbeddedError
from tests.support import kafka
from tests.support.postgres import THROWAWAY_SETTINGS, create_template, drop_template
from tests.support.requirements import missing

# What a worker process of pytest-xdist is told: plain values. With `missing` there is nothing else.
Offer = dict[str, str]


class SessionServers:
    """Starts each server when it is first asked for, once, and ends all of them on `close`."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._stack = ExitStack()
        self._offers: dict[str, Offer] = {}

    def database(self) -> Offer:
        """Return `url` and `template` of the PostgreSQL server."""
        return self._once("database", self._start_database)

    def broker(self) -> Offer:
        """Return `bootstrap` and `cluster_id` of the broker."""
        return self._once("broker", self._start_broker)

    def close(self) -> None:
        """End the servers that were started here."""
        self._stack.close()

    def _once(self, name: str, start: Callable[[], Offer]) -> Offer:
        if name not in self._offers:
            self._offers[name] = start()
        return self._offers[name]

    def _folder(self) -> Path:
        folder = tempfile.TemporaryDirectory(prefix="cl-tests-", ignore_cleanup_errors=True)
        return Path(self._stack.enter_context(folder))

    def _start_database(self) -> Offer:
        url = os.environ.get("TEST_DATABASE_URL") or self._docker_first(self._docker_database)
        if not url and installed(binaries):
            server = EmbeddedPostgres(self._folder(), settings=THROWAWAY_SETTINGS)
            server.start()
            self._stack.callback(server.close)
            self._stack.callback(server.stop, "immediate")  # the last callback runs first: nothing is worth writing
            url = server.url
        url = url or self._docker_last(self._docker_database)
        if not url:
            return {"missing": "PostgreSQL (the extra `embedded`, Docker, or TEST_DATABASE_URL)"}
        template = create_template(url)
        self._stack.callback(drop_template, url, template)
        return {"url": url, "template": template}

    def _start_broker(self) -> Offer:
        bootstrap = os.environ.get("TEST_KAFKA_BOOTSTRAP_SERVERS") or self._docker_first(self._docker_broker)
        if not bootstrap:
            absent = broker_missing(self._kind)
            if not absent:
                broker = new_broker(self._kind, self._folder())
                broker.start()
                self._stack.callback(broker.kill)
                return {"bootstrap": broker.bootstrap, "cluster_id": broker.cluster_id}
            bootstrap = self._docker_last(self._docker_broker)
            if not bootstrap:
                return {"missing": absent}
        shared = asyncio.run(kafka.shared(bootstrap))
        return {"bootstrap": shared.bootstrap, "cluster_id": shared.cluster_id}

    def _docker_first(self, start: Callable[[], str]) -> str:
        return start() if os.environ.get("TEST_WITH_DOCKER") else ""

    def _docker_last(self, start: Callable[[], str]) -> str:
        return start() if docker_answers() else ""

    def _docker_database(self) -> str:
        from testcontainers.community.postgres import PostgresContainer

        container = self._stack.enter_context(PostgresContainer("postgres:18"))
        return str(container.get_connection_url(driver=None))

    def _docker_broker(self) -> str:
        from testcontainers.community.kafka import KafkaContainer

        container = self._stack.enter_context(KafkaContainer().with_kraft())
        return str(container.get_bootstrap_server())


def docker_answers() -> bool:
    """Return whether a Docker engine answers."""
    import docker

    try:
        client = docker.from_env()
    except docker.errors.DockerException:
        return False
    client.close()
    return True


def broker_missing(kind: str) -> str:
    """Return what this machine lacks for a broker of this kind, empty when it has all."""
    if kind == "embedded":
        return "" if installed(binary) else "the embedded broker (the extra `embedded`)"
    if kafka.java() is None:
        return "Java 17 or newer, for Apache Kafka"
    return "" if kafka.jars() else "Maven, to fetch Apache Kafka"


def new_broker(kind: str, data: Path) -> kafka.Broker:
    """Return a broker of this kind (`embedded`, `apache`) that is not started yet."""
    return EmbeddedBroker(data) if kind == "embedded" else kafka.ApacheKafka(data)


def need(offer: Offer) -> Offer:
    """Return the offer; ends the test when there is none."""
    return missing(offer["missing"]) if "missing" in offer else offer


def installed(find: Callable[[], Path]) -> bool:
    """Return whether what `find` looks for (`binaries`, `binary`) is there."""
    try:
        return find().exists()
    except EmbeddedError:
        return False


def broker_kind(config: pytest.Config) -> str:
    """Return which broker the session runs on: `embedded` or `apache`."""
    return str(config.getoption("--kafka"))
