"""kcat (Debian's, on librdkafka) as the storefront: publishes, and reads back where everything lies.

Nothing of ours makes or reads a Kafka message here, so what the service understands is what others write.
"""

import asyncio
import shutil
import struct
import subprocess
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from cli.embedded.process import LOOPBACK
from tests.support.kafka import SharedBroker
from tests.support.oracle import Message
from tests.support.requirements import require
from tests.support.storefront import Outgoing

# Between messages, and between key and value. kcat takes several bytes, so a value may hold line breaks, tabs, null
# bytes and anything else but these.
MESSAGE_END = b"\x1e\x1e\n"
KEY_END = b"\x1f\x1f"
_HEADING = "%p %o %K %S\\n%k%s"
_TIMEOUT_S = 60


class Kcat:
    """kcat on one topic of one broker."""

    def __init__(self, bootstrap: str, topic: str, cluster_id: str = "cluster") -> None:
        self.bootstrap, self.topic, self.cluster_id = bootstrap, topic, cluster_id

    def publish(self, outgoing: Iterable[Outgoing]) -> None:
        """Publish the messages in their order; returns when the broker has confirmed each. Raises AssertionError."""
        self._produce(outgoing, "-K", _escaped(KEY_END))

    def publish_plain(self, value: bytes, *options: str) -> None:
        """Publish one message as `kcat -P OPTIONS` does: without a key, unless the options name one."""
        self._run("-P", "-t", self.topic, "-D", _escaped(MESSAGE_END), *options, told=value)

    def publish_tombstone(self, key: bytes) -> None:
        """Publish a message whose value is null, which is not the same as empty."""
        self._produce([Outgoing(key, b"")], "-K", _escaped(KEY_END), "-Z")

    def read(self) -> list[Message]:
        """Return what lies in the topic now, partition by partition, each in the order of its offsets."""
        read = self._run("-C", "-q", "-e", "-o", "beginning", "-t", self.topic, "-f", _HEADING)
        return sorted(_messages(read, self.topic, self.cluster_id), key=lambda message: message[1:3])

    def _produce(self, outgoing: Iterable[Outgoing], *options: str) -> None:
        lines = []
        for key, value in outgoing:
            assert MESSAGE_END not in value, "a message that kcat would publish as two"
            assert KEY_END not in value, "a message of which kcat would take the beginning for its key"
            # Without the delimiter in it, the whole line is the value, and there is no key.
            lines.append(value if key is None else key + KEY_END + value)
        told = MESSAGE_END.join([*lines, b""])
        self._run("-P", "-t", self.topic, "-D", _escaped(MESSAGE_END), "-X", "acks=all", *options, told=told)

    def _run(self, *arguments: str, told: bytes = b"") -> bytes:
        done = subprocess.run(
            ["kcat", "-b", self.bootstrap, *arguments], input=told, capture_output=True, check=False, timeout=_TIMEOUT_S
        )
        assert done.returncode == 0, f"kcat {' '.join(arguments)}: {done.stderr.decode(errors='replace')}"
        return done.stdout


@contextmanager
def kcat_on(broker: SharedBroker, topic: str) -> Iterator[Kcat]:
    """Yield kcat on the topic, through a gateway where this kcat cannot talk to this broker.

    Ends the test where there is no kcat.
    """
    require(shutil.which("kcat"), "kcat")
    if talks_to(broker.bootstrap):
        yield Kcat(broker.bootstrap, topic, broker.cluster_id)
        return
    with gateway(broker.bootstrap) as bootstrap:
        yield Kcat(bootstrap, topic, broker.cluster_id)


def talks_to(bootstrap: str) -> bool:
    """Return whether the installed kcat can talk to the broker that answers there."""
    asked = ["kcat", "-L", "-b", bootstrap]
    return subprocess.run(asked, capture_output=True, check=False, timeout=_TIMEOUT_S).returncode == 0


def unpublished(outgoing: Iterable[Outgoing], lying: Iterable[Message]) -> Counter[bytes]:
    """Return the values that were published but do not lie in the topic (or too often: with a negative count)."""
    missing = Counter(value for _, value in outgoing)
    missing.subtract(message.value or b"" for message in lying)
    return Counter({value: count for value, count in missing.items() if count})


def _messages(read: bytes, topic: str, source: str) -> Iterator[Message]:
    at = 0
    while at < len(read):
        end = read.index(b"\n", at)
        partition, offset, key_length, length = map(int, read[at:end].split())
        start = end + 1 + max(0, key_length)
        at = start + max(0, length)
        yield Message(topic, partition, offset, None if length < 0 else read[start:at], source)


def _escaped(delimiter: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in delimiter)


# --- a gateway for old clients ----------------------------------------------------------------------------------------
#
# librdkafka 2.0.2 (Debian 12's) takes the length of a tagged field in an ApiVersions answer for one more than it is.
# With Apache Kafka's answer it gets away with that, with the embedded broker's it reads over the end and gives up. The
# gateway leaves those fields out, and puts its own port into the answers that tell where brokers are, so that clients
# stay with it.

_METADATA, _FIND_COORDINATOR, _API_VERSIONS, _DESCRIBE_CLUSTER = 3, 10, 18, 60
_FIRST_WITH_TAGS = 3
_INT = struct.Struct(">i")
_REQUEST = struct.Struct(">hhi")


@contextmanager
def gateway(bootstrap: str) -> Iterator[str]:
    """Yield another address of the broker, under which old clients understand it. Only for brokers on loopback."""
    loop = asyncio.new_event_loop()
    running = _Gateway(int(bootstrap.rpartition(":")[2]))
    thread = threading.Thread(target=loop.run_forever, name="kafka-gateway", daemon=True)
    thread.start()
    try:
        port = asyncio.run_coroutine_threadsafe(running.start(), loop).result(_TIMEOUT_S)
        yield f"{LOOPBACK}:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(running.stop(), loop).result(_TIMEOUT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Gateway:
    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._server: asyncio.Server | None = None
        self._ours = self._theirs = b""
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0)
        port = int(self._server.sockets[0].getsockname()[1])
        self._theirs, self._ours = (LOOPBACK.encode() + _INT.pack(each) for each in (self._broker_port, port))
        return port

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for client in self._clients:
                client.cancel()
            await asyncio.gather(*self._clients, return_exceptions=True)
            await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass  # one of the two hung up
        finally:
            self._clients.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked: dict[int, tuple[int, int]] = {}
        broker_reader, broker_writer = await asyncio.open_connection(LOOPBACK, self._broker_port)
        pumps = [
            asyncio.create_task(_pump(reader, broker_writer, lambda request: _note(asked, request))),
            asyncio.create_task(_pump(broker_reader, writer, lambda answer: self._mend(asked, answer))),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for each in (writer, broker_writer):
                each.close()
                with suppress(OSError):
                    await each.wait_closed()

    def _mend(self, asked: dict[int, tuple[int, int]], answer: bytes) -> bytes:
        api, version = asked.pop(_INT.unpack_from(answer)[0], (-1, 0))
        if api == _API_VERSIONS and version >= _FIRST_WITH_TAGS:
            return _without_tags(answer)
        if api in {_METADATA, _FIND_COORDINATOR, _DESCRIBE_CLUSTER}:
            return answer.replace(self._theirs, self._ours)
        return answer


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change) -> None:
    """Carry messages from one side to the other; `change` returns what is to be carried in place of each."""
    while True:
        size = _INT.unpack(await reader.readexactly(_INT.size))[0]
        message = change(await reader.readexactly(size))
        writer.write(_INT.pack(len(message)) + message)
        await writer.drain()


def _note(asked: dict[int, tuple[int, int]], request: bytes) -> bytes:
    api, version, correlation_id = _REQUEST.unpack_from(request)
    asked[correlation_id] = api, version
    return request


def _without_tags(answer: bytes) -> bytes:
    """Leave out the tagged fields: what stands behind correlation id, error, the list of calls and throttle time."""
    count_at = _INT.size + 2
    count = answer[count_at] - 1  # a compact array of fewer than 127, each of 7 bytes
    return answer[: count_at + 1 + 7 * count + _INT.size] + b"\0"
