"""Sends what webhooks are to be told. Any number of workers do it at once: what is due is taken by one of them.

Runs beside the Faust app, not in it: nobody has to wait for Kafka to be told of what is on the books.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from random import SystemRandom
from typing import Any, TypeVar

import structlog

from consumers.health import Health
from consumers.settings import WorkerSettings
from consumers.webhook_sender import Sender
from ledger import deliveries, webhooks
from ledger.application import Ledger
from ledger.deliveries import Claim, Outcome, Patience, Target
from schemas.errors import NotFoundError

_log = structlog.get_logger(__name__)

T = TypeVar("T")

CAUSE = "timer/webhooks"
CONDITION = "webhooks"

# Of one webhook at once: subjects are apart from each other, so this many answers may be awaited. One that fails is
# asked one thing at a time, until it is well.
_EACH_MAX = 4
_ALL_MAX = 256
# At the database: intake comes first.
_STATEMENTS_MAX = 2
_PRUNE_EVERY = timedelta(minutes=5)
_PRUNE_ROWS = 5_000
_RETRY_S = 1.0
# However much there is to do: what there is to do is asked no more often than this.
_ROUND_S = 0.02
# What is under way when we are asked to stop has this long to end.
_GRACE_S = 2.0


class Webhooks:
    """One sender. `work` does what is to be done now, `run` does it for ever."""

    def __init__(
        self,
        settings: WorkerSettings,
        ledger: Ledger,
        health: Health,
        now: Callable[[], datetime],
        sender: Sender,
    ) -> None:
        self._settings, self._ledger, self._health, self._now, self._sender = settings, ledger, health, now, sender
        self._patience = Patience(
            timedelta(days=settings.webhook_retry_days), timedelta(days=settings.webhook_disable_days)
        )
        self._random = SystemRandom()
        self._statements = asyncio.Semaphore(_STATEMENTS_MAX)
        self._sending: dict[str, set[asyncio.Task[None]]] = {}
        self._finished = asyncio.Event()
        self._pruned_at: datetime | None = None

    async def run(self) -> None:
        """Work until cancelled. What goes wrong is told once, and tried again."""
        try:
            while True:
                try:
                    busy = await self.work()
                except Exception as error:  # noqa: BLE001 - whatever it is, the next round comes
                    self._health.down(CONDITION, f"webhooks are not told: {error!r}")
                    await asyncio.sleep(_RETRY_S)
                    continue
                self._health.up(CONDITION)
                if not busy:
                    await self._pause()
        finally:
            await self._give_back()

    async def work(self) -> bool:
        """Make out what is new, and begin to send what is due; return whether anything was done."""
        self._finished.clear()
        targets = await self._ask(lambda: deliveries.targets(self._ledger))
        more = [await self._fill(target) for target in targets if target.behind]
        begun = await self._begin(targets)
        await self._prune()
        return any(more) or begun

    async def settled(self) -> None:
        """Return when everything that was begun has ended."""
        while self._sending:
            await asyncio.wait({task for tasks in self._sending.values() for task in tasks})

    def facts(self) -> Mapping[str, Any]:
        """Return, for `/readyz`: how many messages are being sent, and to how many webhooks."""
        return {"sending": sum(map(len, self._sending.values())), "webhooks": len(self._sending)}

    async def _fill(self, target: Target) -> bool:
        return await self._ask(lambda: deliveries.fill(self._ledger, target.webhook_id, self._now()))

    async def _begin(self, targets: list[Target]) -> bool:
        frees = self._frees(targets)
        if not frees:
            return False
        lease = timedelta(seconds=self._settings.webhook_lease_s)
        taken = await self._ask(lambda: deliveries.claim(self._ledger, frees, self._now(), lease))
        for each in taken:
            task = asyncio.create_task(self._send(each), name=f"webhook {each.webhook_id}")
            self._sending.setdefault(each.webhook_id, set()).add(task)
            task.add_done_callback(partial(self._ended, each.webhook_id))
        return bool(taken)

    def _frees(self, targets: list[Target]) -> list[tuple[str, int]]:
        """Return how many more messages each webhook may be sent now."""
        left = _ALL_MAX - sum(map(len, self._sending.values()))
        frees = []
        for target in targets:
            allowed = 1 if target.failing else _EACH_MAX
            free = min(allowed - len(self._sending.get(target.webhook_id, ())), left)
            if free > 0:
                frees.append((target.webhook_id, free))
                left -= free
        return frees

    async def _send(self, taken: Claim) -> None:
        try:
            outcome = await self._sender.send(taken, self._now())
            reason = await self._ask(
                lambda: deliveries.finish(
                    self._ledger, taken, outcome, self._now(), self._random, self._patience
                )
            )  # fmt: skip
            if reason is not None:
                await self._disable(taken, reason, outcome)
        except asyncio.CancelledError:
            with suppress(Exception):
                await asyncio.to_thread(deliveries.release, self._ledger, taken, self._now())
            raise
        except Exception as error:  # noqa: BLE001 - it falls due again when the lease is over
            _log.warning("what came of a webhook was not written down", webhook=taken.webhook_id, reason=repr(error))

    async def _disable(self, taken: Claim, reason: str, outcome: Outcome) -> None:
        with suppress(NotFoundError):
            await self._ask(
                lambda: webhooks.disable(
                    self._ledger, merchant_id=taken.merchant_id, webhook_id=taken.webhook_id, reason=reason,
                    now=self._now(), cause=CAUSE,
                )
            )  # fmt: skip
        _log.warning(
            "a webhook was switched off", webhook=taken.webhook_id, merchant=taken.merchant_id, reason=reason,
            status=outcome.status, error=outcome.error,
        )  # fmt: skip

    def _ended(self, webhook_id: str, task: "asyncio.Task[None]") -> None:
        tasks = self._sending[webhook_id]
        tasks.discard(task)
        if not tasks:
            del self._sending[webhook_id]
        self._finished.set()

    async def _prune(self) -> None:
        now = self._now()
        if self._pruned_at is None or now - self._pruned_at >= _PRUNE_EVERY:
            self._pruned_at = now
            before = now - timedelta(days=self._settings.webhook_log_days)
            await self._ask(lambda: deliveries.prune(self._ledger, before, _PRUNE_ROWS))

    async def _pause(self) -> None:
        """Wait until somebody is free to send more, and for new events no longer than the interval."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._finished.wait(), self._settings.webhook_interval_s)
            await asyncio.sleep(_ROUND_S)

    async def _give_back(self) -> None:
        tasks = [task for tasks in self._sending.values() for task in tasks]
        if not tasks:
            return
        _, left = await asyncio.wait(tasks, timeout=_GRACE_S)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _ask(self, work: Callable[[], T]) -> T:
        async with self._statements:
            return await asyncio.to_thread(work)


@asynccontextmanager
async def sending(
    settings: WorkerSettings, ledger: Ledger, health: Health, now: Callable[[], datetime]
) -> AsyncIterator[Webhooks]:
    """Send while inside."""
    sender = Sender(timeout_s=settings.webhook_timeout_s, allow_private=settings.webhook_allow_private)
    async with sender:
        service = Webhooks(settings, ledger, health, now, sender)
        task = asyncio.create_task(service.run(), name="webhooks")
        try:
            yield service
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
