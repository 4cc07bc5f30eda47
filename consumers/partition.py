"""One partition while this worker has it: its messages, in order, into the books."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

import stamina
import structlog

from consumers.health import Health
from consumers.positions import Tracked
from ledger.intake import Intake, Message
from ledger.store import PositionTakenError
from schemas.errors import CorruptionError, RetryableError

_log = structlog.get_logger(__name__)

# What a message costs beside its bytes, so that a batch of very small ones is bounded as well.
_MESSAGE_OVERHEAD_BYTES = 64


class Partition:
    """Books one partition's messages batch by batch, each batch behind the position that the one before it left.

    `on_moved` is called (once, with this partition) when somebody else moved the position: whatever is waiting here was
    fetched for another place in the log and is dropped.
    """

    def __init__(
        self,
        found: Tracked,
        next_position: int,
        *,
        intake: Intake,
        health: Health,
        slots: asyncio.Semaphore,
        now: Callable[[], datetime],
        batch_messages: int,
        batch_bytes: int,
        on_moved: Callable[["Partition"], None],
        on_room: Callable[[], None],
    ) -> None:
        self.source = found.source
        self.tracked = found.position
        self.expected = next_position
        self.counts: dict[str, int] = {}
        self._intake, self._health, self._slots, self._now = intake, health, slots, now
        self._batch_messages, self._batch_bytes = batch_messages, batch_bytes
        self._on_moved, self._on_room = on_moved, on_room
        self._waiting: list[Message] = []
        self._waiting_bytes = 0
        self._filled = asyncio.Event()
        self._closed = False
        self._trouble: str | None = None
        self._at_database = False
        self._task = asyncio.create_task(self._run(), name=f"intake {self.name}")

    @property
    def name(self) -> str:
        """The partition as people write it: `orders/3`."""
        return f"{self.source.topic}/{self.source.partition}"

    @property
    def has_room(self) -> bool:
        """Whether more may be fetched: about one batch waits while one is at the database."""
        full = len(self._waiting) >= self._batch_messages or self._waiting_bytes >= self._batch_bytes
        return not self._closed and not full

    @property
    def failure(self) -> BaseException | None:
        """What ended the booking for good, None while it goes on (or was closed)."""
        done = self._task.done() and not self._task.cancelled()
        return self._task.exception() if done else None

    def offer(self, messages: Sequence[Message]) -> None:
        """Add fetched messages behind those that wait. Nothing is added once this is closed (see `close`)."""
        if self._closed:
            return
        self._waiting.extend(messages)
        self._waiting_bytes += sum(map(_size, messages))
        self.expected = messages[-1].position + 1
        self._filled.set()

    async def close(self, timeout_s: float) -> None:
        """Take nothing more; wait for the batch at the database, at most so long. What waits is fetched again.

        A poll may still bring messages meanwhile. Booked behind the batch at the database, they would leave out for
        good those that waited before them.
        """
        self._closed = True
        self._waiting.clear()
        self._filled.set()
        if not self._at_database:
            self._task.cancel()
        # One that takes longer may still commit: whoever has the partition then finds the position moved, and follows.
        await asyncio.wait({self._task}, timeout=timeout_s)
        self._task.cancel()

    async def _run(self) -> None:
        while not self._closed:
            await self._filled.wait()
            for batch in iter(self._next_batch, []):
                await self._book(batch)
            self._filled.clear()

    def _next_batch(self) -> list[Message]:
        batch = self._waiting[: self._batch_messages]
        size = sum(map(_size, batch))
        while size > self._batch_bytes and len(batch) > 1:
            size -= _size(batch.pop())
        del self._waiting[: len(batch)]
        self._waiting_bytes -= size
        self._on_room()
        return batch

    async def _book(self, batch: Sequence[Message]) -> None:
        # The database comes back when it comes back: no number of attempts would be right, and closing ends it.
        async for attempt in stamina.retry_context(
            _worth_another_try, attempts=None, timeout=None, wait_initial=0.1, wait_max=2.0, wait_jitter=0.3
        ):
            with attempt:
                try:
                    await self._take(batch)
                except PositionTakenError:
                    self._moved()
                except RetryableError as error:
                    self._trouble = "database"
                    self._health.down("database", str(error))
                    raise
                except CorruptionError:
                    raise
                except Exception as error:
                    self._stumbled(error)
                    raise

    async def _take(self, batch: Sequence[Message]) -> None:
        async with self._slots:
            self._at_database = True
            try:
                taken = await asyncio.to_thread(self._intake.take, self.source, batch, self._now(), after=self.tracked)
            finally:
                self._at_database = False
        self.tracked = taken.position
        for outcome, count in taken.counts.items():
            self.counts[outcome] = self.counts.get(outcome, 0) + count
        if self._trouble is not None:
            # Told by the partition that had it: to the others the database may have answered all the time.
            self._health.up(self._trouble)
            self._trouble = None

    def _stumbled(self, error: Exception) -> None:
        # A fault of ours. The batch is kept and tried again: going on would lose it, stopping would stop the others.
        if self._trouble != "intake":
            _log.exception("a batch could not be decided", partition=self.name)
        self._trouble = "intake"
        self._health.down("intake", f"{self.name} is stuck: {error!r}")

    def _moved(self) -> None:
        if not self._closed:
            _log.info("another worker moved the position: following", partition=self.name, believed=self.tracked)
            self._closed = True
            self._waiting.clear()
            self._on_moved(self)


def _size(message: Message) -> int:
    return len(message.raw or b"") + _MESSAGE_OVERHEAD_BYTES


def _worth_another_try(error: Exception) -> bool:
    return not isinstance(error, CorruptionError)
