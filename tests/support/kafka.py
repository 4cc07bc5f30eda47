"""Apache Kafka itself, from Maven Central, as one KRaft node on 127.0.0.1; and what all brokers have in common."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Protocol, Self

from cli.embedded.broker import create_topic, new_cluster_id, read_cluster_id
from cli.embedded.process import LOOPBACK, EmbeddedError, ServerProcess, free_port, require_free, wait_for_port

KAFKA_VERSION = "4.4.0"

_JAVA_MAJOR_MIN = 17
_START_TIMEOUT_S = 60
_START_TRIES = 3

# `slf4j-simple` writes the broker's warnings to its log; without any binding a broker that dies says nothing.
_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>commission-ledger</groupId>
  <artifactId>kafka-for-tests</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{version}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
log.dirs={logs}
num.network.threads=2
num.io.threads=2
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# A killed broker may come back when the controller has missed it this long; the default is 9 s.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
"""


class Broker(Protocol):
    """What every broker can do, whichever it is. `start`, `stop` and `kill` block."""

    @property
    def bootstrap(self) -> str:
        """The address for clients."""

    @property
    def cluster_id(self) -> str:
        """The id of the cluster that runs now."""

    async def create_topic(self, name: str, partitions: int = 1) -> None:
        """Create a topic; nothing happens when it exists."""

    def start(self) -> None:
        """Start it and wait until it accepts connections."""

    def stop(self) -> None:
        """End it in good order."""

    def kill(self) -> None:
        """End it as kill -9 does."""


class SharedBroker:
    """A broker that somebody else runs: it can be used, not stopped."""

    def __init__(self, bootstrap: str, cluster_id: str) -> None:
        self.bootstrap = bootstrap
        self.cluster_id = cluster_id

    async def create_topic(self, name: str, partitions: int = 1) -> None:
        """Create a topic; nothing happens when it exists."""
        await create_topic(self.bootstrap, name, partitions)


def java() -> str | None:
    """Return the Java program when it is new enough for Kafka 4, else None."""
    home = os.environ.get("JAVA_HOME")
    program = shutil.which("java", path=f"{home}/bin" if home else None)
    if program is None:
        return None
    shown = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', shown)
    return program if version and int(version[1]) >= _JAVA_MAJOR_MIN else None


def jars() -> Path | None:
    """Return the folder with Kafka's jars, fetched once with Maven; None when there is no Maven and no cache.

    The cache is `COMMISSION_LEDGER_CACHE` or `~/.cache/commission-ledger`. Raises EmbeddedError when Maven fails.
    """
    cache = Path(os.environ.get("COMMISSION_LEDGER_CACHE", "~/.cache/commission-ledger")).expanduser()
    wanted = cache / f"kafka-{KAFKA_VERSION}"
    if wanted.is_dir():
        return wanted
    maven = shutil.which("mvn")
    return None if maven is None else _fetch(maven, wanted)


def _fetch(maven: str, wanted: Path) -> Path:
    """Fetch the jars beside their place and move them there when all have come: a cut download never looks whole."""
    wanted.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=wanted.parent, prefix="fetching-") as folder:
        pom = Path(folder, "pom.xml")
        pom.write_text(_POM.format(version=KAFKA_VERSION))
        fetched = Path(folder, "jars")
        command = [maven, "-B", "-q", "-f", str(pom), "dependency:copy-dependencies"]
        options = ["-DincludeScope=runtime", f"-DoutputDirectory={fetched}"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise EmbeddedError(f"Maven could not fetch Kafka {KAFKA_VERSION}: {done.stdout[-2000:]}")
        with contextlib.suppress(OSError):  # somebody else was quicker: theirs is as good
            fetched.rename(wanted)
    return wanted


class ApacheKafka:
    """One Kafka node on `data`: its topics and its cluster id outlive a restart, also one by `kill`."""

    def __init__(self, data: Path, *, port: int | None = None) -> None:
        self._data = data.resolve()
        self._port = port
        self._controller_port: int | None = None
        self._cluster_id = ""
        self._process: ServerProcess | None = None

    @property
    def bootstrap(self) -> str:
        """The address for clients; the same after a restart."""
        return f"{LOOPBACK}:{self._port}"

    @property
    def cluster_id(self) -> str:
        """The cluster's id, for as long as the data folder lives."""
        return self._cluster_id

    @property
    def process(self) -> ServerProcess:
        """The running server, for its signals (`freeze`, `thaw`)."""
        assert self._process is not None, "the broker is not started"
        return self._process

    async def create_topic(self, name: str, partitions: int = 1) -> None:
        """Create a topic; nothing happens when it exists."""
        await create_topic(self.bootstrap, name, partitions)

    def start(self) -> None:
        """Start the broker, on an empty folder as a new cluster, and return when it accepts connections."""
        self._data.mkdir(parents=True, exist_ok=True)
        for remaining in reversed(range(_START_TRIES)):
            port = self._port or free_port()
            # The controller's port is known to nobody outside: a new one each time.
            self._configure(port, free_port())
            require_free(port, "Kafka")
            process = self._spawn()
            try:
                wait_for_port(process, port, timeout_s=_START_TIMEOUT_S)
            except BaseException as error:
                process.kill()
                if not isinstance(error, EmbeddedError) or not remaining:
                    raise
            else:
                self._process, self._port = process, port
                return

    def stop(self) -> None:
        """End the broker in good order."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def kill(self) -> None:
        """End the broker as kill -9 does."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _properties(self) -> Path:
        return self._data / "server.properties"

    def _configure(self, port: int, controller_port: int) -> None:
        logs = self._data / "logs"
        text = _PROPERTIES.format(host=LOOPBACK, port=port, controller_port=controller_port, logs=logs)
        self._properties.write_text(text)
        formatted = re.search(r"^cluster\.id=(.+)$", _read(logs / "meta.properties"), re.MULTILINE)
        self._cluster_id = formatted[1] if formatted else self._format()

    def _format(self) -> str:
        cluster_id = new_cluster_id()
        command = self._java("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._properties))
        subprocess.run(command, capture_output=True, check=True)
        return cluster_id

    def _spawn(self) -> ServerProcess:
        return ServerProcess(
            self._java("kafka.Kafka", str(self._properties)),
            log=self._data / "kafka.log",
            stop_signal=signal.SIGTERM,
            cwd=self._data,
        )

    def _java(self, *arguments: str) -> list[str]:
        program, classes = java(), jars()
        assert program, "ask `java()` first"
        assert classes, "ask `jars()` first"
        return [
            *(program, "-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),  # starts in half the time
            *("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{classes}/*", *arguments),
        ]


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def shared(bootstrap: str) -> SharedBroker:
    """Return the broker that answers at `bootstrap`; raises RetryableError when none does."""
    return SharedBroker(bootstrap, await read_cluster_id(bootstrap))
