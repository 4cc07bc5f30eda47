"""Carries payout runs on: what was frozen is requested, what was approved is approved, what was called off cancelled.

Any number of workers may do it at once. A run is one worker's for the length of a lease that every step renews; were
two at it all the same, each would find what the other did. Whoever dies in the middle is followed by somebody else.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

import structlog

from consumers.health import Health
from consumers.paying import Paying
from consumers.payout_choosing import Payables
from consumers.payout_saga import CAUSE
from consumers.rounds import in_rounds
from ledger import payout_runs
from ledger.application import Ledger
from ledger.payout_run_rows import DueRun, run_again_at, take_run
from ledger.payouts import Act

_log = structlog.get_logger(__name__)

CONDITION = "payout_runs"

_PAUSE_S = 1.0
# Longer than one step takes: 10,000 events at most, and what they are read from.
_LEASE = timedelta(seconds=60)
_BEHIND_AGAIN = timedelta(seconds=0.5)
_BROKEN_AGAIN = timedelta(seconds=30)


class PayoutRuns:
    """`work` carries on one run that has something left, `run` does it for ever."""

    def __init__(
        self,
        paying: Paying,
        ledger: Ledger,
        payables: Payables,
        health: Health,
        now: Callable[[], datetime],
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._paying, self._ledger, self._payables = paying, ledger, payables
        self._health, self._now, self._pause_s = health, now, pause_s

    async def run(self) -> None:
        """Work until cancelled. What goes wrong is told once, and tried again."""
        await in_rounds(self.work, self._health, CONDITION, "payout runs are not carried on", self._pause_s)

    async def work(self) -> bool:
        """Carry on the run that has waited longest; return whether there was one that could be.

        Raises what stopped it; the run is left alone for a while then, and others are not kept waiting.
        """
        taken = await asyncio.to_thread(lambda: take_run(self._ledger, self._now(), _LEASE))
        if taken is None:
            return False
        if await asyncio.to_thread(self._payables.position) < taken.position:
            # What was payable when the list was frozen is not all in the read models yet.
            await self._again(taken, self._now() + _BEHIND_AGAIN)
            return False
        try:
            await self._carry_on(taken)
        except Exception:
            await self._again(taken, self._now() + _BROKEN_AGAIN)
            raise
        return True

    async def _carry_on(self, taken: DueRun) -> None:
        about = {"merchant": taken.merchant_id, "run": taken.run_id}
        _log.info("a payout run is carried on", **about)
        touched = 0
        steps = await asyncio.to_thread(lambda: self._steps(taken))
        while (done := await asyncio.to_thread(lambda: next(steps, None))) is not None:
            touched += done
            await self._again(taken, self._now() + _LEASE)
        await self._again(taken, None)
        _log.info("a payout run was carried on", payouts=touched, **about)

    def _steps(self, taken: DueRun) -> Iterator[int]:
        merchant_id, store = taken.merchant_id, self._paying.books.store
        waiting = store.lines(merchant_id, taken.run_id, waiting=True)
        rails = {line.partner_id: line.rail for line in waiting}
        return payout_runs.carry_on(
            self._paying.books,
            merchant_id,
            taken.run_id,
            partial(self._payables.commissions_of, merchant_id),
            partial(self._payees, merchant_id, rails),
            Act(self._now(), CAUSE),
        )

    def _payees(
        self, merchant_id: str, rails: Mapping[str, str | None], partner_ids: Sequence[str]
    ) -> Mapping[str, bytes]:
        """Return the payees who are paid as the list says: whose details changed since is left out."""
        return self._paying.details.payees(merchant_id, partner_ids, (rails, self._now()))

    async def _again(self, taken: DueRun, at: datetime | None) -> None:
        await asyncio.to_thread(lambda: run_again_at(self._ledger, taken, at))
