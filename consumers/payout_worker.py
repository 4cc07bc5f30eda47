"""Works through the payouts that are due and the hints that came in. Any number of workers may do it at once.

Runs beside the Faust app, not in it, as webhooks do: money does not wait for Kafka.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import structlog

from consumers.health import Health
from consumers.payout_saga import PayoutSaga
from consumers.rounds import in_rounds
from ledger import payouts
from ledger.payout_books import PayoutBooks
from ledger.payout_store import Hint, Name
from schemas.errors import CorruptionError, RetryableError

_log = structlog.get_logger(__name__)

CONDITION = "payouts"

# At once: each is a call of a provider, and a few statements before and behind it.
_AT_ONCE = 8
_A_ROUND = 64
_PAUSE_S = 1.0


class PayoutWorker:
    """`work` does what is to be done now, `run` does it for ever.

    `refresh` are asked before every round: rails that look at what all workers have sent, for their limits.
    """

    def __init__(
        self,
        books: PayoutBooks,
        saga: PayoutSaga,
        health: Health,
        now: Callable[[], datetime],
        pause_s: float = _PAUSE_S,
        refresh: Sequence[Callable[[datetime], Awaitable[None]]] = (),
    ) -> None:
        self._books, self._saga, self._health, self._now, self._pause_s = books, saga, health, now, pause_s
        self._refresh = refresh
        self._free = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """Work until cancelled. What goes wrong is told once, and tried again; raises CorruptionError."""
        await in_rounds(
            self.work, self._health, CONDITION, "payouts are not looked after", self._pause_s, fatal=(CorruptionError,)
        )

    async def work(self) -> int:
        """Take up to a round of what is due, do it, and return how much that was. Raises RetryableError."""
        store, now = self._books.store, self._now()
        for look in self._refresh:
            await look(now)
        names = await asyncio.to_thread(lambda: store.due(now, payouts.QUIET, _A_ROUND))
        hints = await asyncio.to_thread(lambda: store.hints(now, payouts.QUIET, _A_ROUND))
        results = await asyncio.gather(
            *(self._step(name) for name in names),
            *(self._follow(hint, name) for hint, name in hints),
            return_exceptions=True,
        )
        broken = [result for result in results if isinstance(result, BaseException)]
        if broken:
            raise broken[0]
        return len(results)

    async def take_hint(self, hint: Hint) -> bool:
        """Keep what a provider sent, for the next round; returns whether it is new. Raises RetryableError."""
        now = self._now()
        return await asyncio.to_thread(lambda: self._books.store.keep_hint(hint, now))

    async def _step(self, name: Name) -> None:
        await self._one(lambda: self._saga.step(name), payout=name[1])

    async def _follow(self, hint: Hint, name: Name | None) -> None:
        await self._one(lambda: self._saga.follow(hint, name), hint=f"{hint.provider}/{hint.event_id}")

    async def _one(self, act: Callable[[], Awaitable[str]], **about: str) -> None:
        async with self._free:
            try:
                word = await act()
            except RetryableError as error:
                # It is leased, and comes again when the lease is over.
                _log.warning("a payout was not moved on", reason=str(error), **about)
                return
        _log.debug("a payout was looked at", what=word, **about)
