"""Hearing of new events: one connection per process that listens, for all who wait."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import LiteralString

import psycopg
import structlog

EVENTS = "events"
_RECONNECT_S = 1.0
# More are not kept waiting.
_WAITING_MAX = 128

_log = structlog.get_logger(__name__)


class Arrivals:
    """Counts the times that the log has grown, and wakes those who wait for the next one.

    Listening begins with the first who waits. While the database is away nobody is woken: they look by themselves every
    second. `channel` is what is listened to, where that is not the log.
    """

    def __init__(self, database_url: str, channel: LiteralString = EVENTS) -> None:
        self.count = 0
        self._database_url = database_url
        self._channel = channel
        self._changed = asyncio.Condition()
        self._listening = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._waiting = 0

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Yield whether there is room for one more who waits, and keep the place while inside."""
        self._waiting += 1
        try:
            yield self._waiting <= _WAITING_MAX and not self._closed
        finally:
            self._waiting -= 1

    def hears(self) -> bool:
        """Return whether we listen at this moment; who asks begins it."""
        if self._task is None and not self._closed:
            self._task = asyncio.create_task(self._listen(), name="arrivals")
        return self._listening.is_set()

    async def begin(self) -> None:
        """Return once we listen, or after a second without; what grows from then on is counted."""
        self.hears()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._listening.wait(), _RECONNECT_S)

    async def beyond(self, count: int, wait_s: float) -> None:
        """Return when there were more than `count`, after `wait_s` at the latest, and at once when we are closed."""
        if not self._listening.is_set():
            wait_s = min(wait_s, _RECONNECT_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s), self._changed:
                await self._changed.wait_for(lambda: self.count > count or self._closed)

    @property
    def closed(self) -> bool:
        """Whether the process stops: nobody waits any longer."""
        return self._closed

    async def close(self) -> None:
        """Wake everybody, and listen no more."""
        self._closed = True
        await self._tell()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _listen(self) -> None:
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._database_url, autocommit=True) as conn:
                    await conn.execute("LISTEN " + self._channel)
                    self._listening.set()
                    # What came while nobody listened.
                    await self._tell()
                    async for _ in conn.notifies():
                        await self._tell()
            except psycopg.Error as error:
                _log.warning("not woken", channel=self._channel, reason=str(error).strip())
            finally:
                self._listening.clear()
            await asyncio.sleep(_RECONNECT_S)

    async def _tell(self) -> None:
        async with self._changed:
            self.count += 1
            self._changed.notify_all()
