"""Long answers: as fast as the client takes them, in constant memory, and at an end when the client is gone."""

import asyncio

import pytest
from aiohttp import web

from schemas.errors import RetryableError
from web.streams import Turns, send

PIECE = b"x" * 65_536


class Source:
    """Yields pieces for ever, counts them, and knows when nobody wants any more."""

    def __init__(self) -> None:
        self.count = 0
        self.closed = asyncio.Event()
        self.connections = []

    async def pieces(self):
        """Yield a piece again and again."""
        try:
            while True:
                self.count += 1
                yield PIECE
        finally:
            self.closed.set()


@pytest.fixture
async def server():
    """Yield a source, and the port on which it is sent to whoever asks."""
    source = Source()

    async def handler(request):
        source.connections.append(request.transport)
        return await send(request, web.StreamResponse(), source.pieces())

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield source, runner.addresses[0][1]
    await runner.cleanup()


async def ask(port):
    """Open a connection, ask, and read the first bytes of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await reader.read(100)
    return reader, writer


async def test_a_slow_client_fills_no_memory(server):
    """Where the client does not read, nothing more is made; where it goes away, the source is told at once."""
    source, port = server
    reader, writer = await ask(port)
    before = -1
    while before != source.count:
        before = source.count
        # Nothing announces that a server has stopped: it is given time to show that it has not.
        await asyncio.sleep(0.1)
    # What the kernel keeps of both sides, and nothing of ours.
    assert 0 < source.count < 300
    assert not source.closed.is_set()
    await reader.readexactly(len(PIECE) * 20)
    writer.transport.abort()
    await asyncio.wait_for(source.closed.wait(), 10)


async def test_a_connection_that_is_cut_off_is_no_end(server):
    """Whoever cuts an answer off, the client is told, also where the connection's end would be that of the file."""
    source, port = server
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    (connection,) = source.connections
    connection.abort()
    with pytest.raises(ConnectionResetError):
        await reader.read(-1)


async def test_turns_leave_room_for_others():
    """One merchant has half of the turns at most; a turn that ends, however it ends, is free again."""
    turns = Turns(4)
    with turns.turn("acme"), turns.turn("acme"), turns.turn("bolt"):
        with pytest.raises(RetryableError), turns.turn("acme"):
            pass
        with turns.turn("bolt"), pytest.raises(RetryableError), turns.turn("zenith"):
            pass
    with pytest.raises(KeyError), turns.turn("acme"):
        raise KeyError
    with turns.turn("acme"), turns.turn("acme"):
        pass
