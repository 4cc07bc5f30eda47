"""The address under which storefronts reach the embedded broker: what older clients cannot read is mended on the way.

librdkafka up to at least 2.0.2 (Debian 12's, and so its kcat) takes the length of a tagged field in an ApiVersions
answer for one more than it is. With Apache Kafka's answer it gets away with that; with the embedded broker's it reads
over the end and gives up, whatever its options. Those fields, which no client needs, are left out here; and answers
that tell where brokers are name this address, so that clients stay with it. Everything else passes as it is.
"""

import asyncio
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

from cli.embedded import EmbeddedError
from cli.embedded.process import LOOPBACK, free_port, require_free

_METADATA, _FIND_COORDINATOR, _API_VERSIONS, _DESCRIBE_CLUSTER = 3, 10, 18, 60
_TELL_ADDRESSES = {_METADATA, _FIND_COORDINATOR, _DESCRIBE_CLUSTER}
_FIRST_WITH_TAGS = 3
_INT = struct.Struct(">i")
_SHORT = struct.Struct(">h")
_REQUEST = struct.Struct(">hhi")
_CALL_BYTES = 7
_SIZE_MAX = 128 << 20
_TIMEOUT_S = 10.0

Calls = dict[int, tuple[int, int]]
"""What was asked under each correlation id and not answered yet: the call and its version."""


class Gateway:
    """Listens on a port of 127.0.0.1 and carries everything to the broker on another. `port` 0 takes a free one."""

    def __init__(self, port: int) -> None:
        self._wanted = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._broker_port = 0
        self._addresses = (b"", b"")
        self.port = 0

    @property
    def address(self) -> str:
        """Where storefronts connect."""
        return f"{LOOPBACK}:{self.port}"

    def start(self, bootstrap: str) -> None:
        """Listen, for the broker at that address. Raises EmbeddedError where the port is taken."""
        self._broker_port = int(bootstrap.rpartition(":")[2])
        port = self._wanted or free_port()
        require_free(port, "the broker")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gateway", daemon=True)
        self._thread.start()
        listening = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._accept, LOOPBACK, port), self._loop)
        try:
            self._server = listening.result(_TIMEOUT_S)
        except OSError as error:
            raise EmbeddedError(f"port {port} (the broker) is not free: {error.strerror}") from error
        self.port = port
        self._addresses = (_address(self._broker_port), _address(port))

    def stop(self) -> None:
        """Hang up on everybody; nothing happens where it was never started."""
        if self._loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_TIMEOUT_S)
        self._loop.close()
        self._loop = self._thread = None

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio runs this in one
        self._clients.add(task)
        try:
            await self._carry(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            return  # one of the two hung up, or we did
        finally:
            self._clients.discard(task)
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls: Calls = {}
        broker_reader, broker_writer = await asyncio.open_connection(LOOPBACK, self._broker_port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, broker_writer, lambda request: noted(calls, request)))
                both.create_task(_pump(broker_reader, writer, lambda answer: mended(calls, answer, self._addresses)))
        except* (OSError, EOFError) as hung_up:
            raise EOFError from hung_up
        finally:
            broker_writer.close()
            with suppress(OSError):
                await broker_writer.wait_closed()


def noted(calls: Calls, request: bytes) -> bytes:
    """Return the request as it is, and note what it asks."""
    call, version, correlation_id = _REQUEST.unpack_from(request)
    calls[correlation_id] = call, version
    return request


def mended(calls: Calls, answer: bytes, addresses: tuple[bytes, bytes]) -> bytes:
    """Return the answer as every client can read it, with the second of the addresses in place of the first."""
    call, version = calls.pop(_INT.unpack_from(answer)[0], (-1, 0))
    if call == _API_VERSIONS and version >= _FIRST_WITH_TAGS:
        return _without_tags(answer)
    return answer.replace(*addresses) if call in _TELL_ADDRESSES else answer


def _without_tags(answer: bytes) -> bytes:
    """Leave out the tagged fields: they stand behind correlation id, error, the list of calls and throttle time."""
    if _SHORT.unpack_from(answer, _INT.size)[0]:
        return answer  # an error, told in the oldest version
    count_at = _INT.size + _SHORT.size
    count = answer[count_at] - 1  # of fewer than 127 calls, as the broker has
    return answer[: count_at + 1 + _CALL_BYTES * count + _INT.size] + b"\0"


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], bytes]) -> None:
    """Carry messages from one side to the other until one hangs up."""
    while True:
        size = _INT.unpack(await reader.readexactly(_INT.size))[0]
        if not _REQUEST.size <= size <= _SIZE_MAX:
            raise EOFError(f"{size} bytes are no message of Kafka's")
        message = change(await reader.readexactly(size))
        writer.write(_INT.pack(len(message)) + message)
        await writer.drain()


def _address(port: int) -> bytes:
    """Return the address as it stands in answers: the host's characters and the port."""
    return LOOPBACK.encode() + _INT.pack(port)
