"""Who looks at the books at this moment, and has to hear when they move: one look for all who wait for the same."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import psycopg
import structlog

from projections.read import Reads
from projections.read_live import moved
from schemas.errors import RetryableError
from web.arrivals import Arrivals

STREAMS_OF_SESSION_MAX = 6
# Looked at this often at most for one merchant (or partner), however quickly the read models move.
_LOOK_EVERY_S = 0.3
_PAUSE_S = 1.0
# While we listen, nothing is missed.
_FOR_EVER_S = 3_600.0

_log = structlog.get_logger(__name__)


class Whose(NamedTuple):
    """Whose books: a merchant's, or what one partner sees of them."""

    merchant_id: str
    partner_id: str | None = None


class Watch:
    """How far somebody's books have come, followed for as long as anybody looks at them.

    `newest` is the position of the last event that is theirs, `looked` how far was looked for one; what was before
    `begun` is not known here.
    """

    def __init__(self, reads: Reads, arrivals: Arrivals, whose: Whose, begun: int) -> None:
        self.begun = self.looked = self.newest = begun
        self.lookers = 0
        self._reads, self._arrivals, self._whose = reads, arrivals, whose
        self._changed = asyncio.Condition()
        self._task = asyncio.create_task(self._follow(), name="live")

    async def changed(self, stream: "Stream", position: int, wait_s: float) -> None:
        """Return when `newest` is beyond the position, when the stream has to go, or after `wait_s` at the latest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s), self._changed:
                await self._changed.wait_for(lambda: self.newest > position or stream.crowded or self._arrivals.closed)

    async def wake(self) -> None:
        """Let everybody who waits look."""
        async with self._changed:
            self._changed.notify_all()

    async def end(self) -> None:
        """Follow no more."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _follow(self) -> None:
        await self._arrivals.begin()
        while not self._arrivals.closed:
            seen = self._arrivals.count
            try:
                await self._look()
                await asyncio.sleep(_LOOK_EVERY_S)
                await self._arrivals.beyond(seen, _FOR_EVER_S)
            except psycopg.Error as error:
                _log.warning("live pages wait for the database", reason=str(error).strip())
                await asyncio.sleep(_PAUSE_S)
        await self.wake()

    async def _look(self) -> None:
        found = await moved(self._reads, *self._whose, self.looked)
        self.looked = found.tracked
        if found.newest is not None:
            self.newest = found.newest
            await self.wake()


class Stream:
    """One page that is kept up to date. `crowded` is set when it has to make room for a newer one."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.crowded = False

    async def changed(self, position: int, wait_s: float) -> None:
        """Return when there is something to do, as `Watch.changed`."""
        await self.watch.changed(self, position, wait_s)


class Live:
    """All streams of this process, and what they wait for; `arrivals` tells when the read models move."""

    def __init__(self, reads: Reads, arrivals: Arrivals, streams_max: int) -> None:
        self._reads, self._arrivals, self._streams_max = reads, arrivals, streams_max
        self._watches: dict[Whose, Watch] = {}
        self._beginning = asyncio.Lock()
        self._streams: defaultdict[bytes, list[Stream]] = defaultdict(list)

    @property
    def closed(self) -> bool:
        """Whether the process stops."""
        return self._arrivals.closed

    @property
    def count(self) -> int:
        """How many streams are open."""
        return sum(map(len, self._streams.values()))

    async def close(self) -> None:
        """Let every stream end."""
        await self._arrivals.close()

    @asynccontextmanager
    async def stream(self, session: bytes, whose: Whose) -> AsyncIterator[Stream]:
        """Keep a place for a stream of the session while inside.

        The oldest of too many of one session has to go: it may be a page that was left, of which nobody tells us.
        Raises RetryableError where there are too many in all, psycopg.Error.
        """
        if self.closed or self.count >= self._streams_max:
            raise RetryableError("too many pages are kept up to date already")
        async with self._watch(whose) as watch:
            opened, streams = Stream(watch), self._streams[session]
            streams.append(opened)
            try:
                if len(streams) > STREAMS_OF_SESSION_MAX:
                    oldest = streams.pop(0)
                    oldest.crowded = True
                    await oldest.watch.wake()
                yield opened
            finally:
                if opened in streams:
                    streams.remove(opened)
                if not self._streams[session]:
                    del self._streams[session]

    @asynccontextmanager
    async def _watch(self, whose: Whose) -> AsyncIterator[Watch]:
        async with self._beginning:
            watch = self._watches.get(whose)
            if watch is None:
                begun = await self._reads.position()
                watch = self._watches[whose] = Watch(self._reads, self._arrivals, whose, begun)
            watch.lookers += 1
        try:
            yield watch
        finally:
            watch.lookers -= 1
            if not watch.lookers:
                del self._watches[whose]
                await watch.end()

    async def begin(self, whose: Whose, watch: Watch, shown: int | None) -> int:
        """Return from which position on a page has to be told, whose figures are as of the position `shown`.

        What is not known (None), or not a position that the read models ever reached, counts as of now. Raises
        psycopg.Error.
        """
        if shown is None or shown >= watch.looked:
            return watch.looked
        if shown < watch.begun and (await moved(self._reads, *whose, shown)).newest is None:
            return watch.begun
        return shown
