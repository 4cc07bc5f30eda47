"""What a worker does about payouts, beside the Faust app: each of it is a task for as long as the worker runs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial

from consumers.health import Health
from consumers.paying import Paying
from consumers.payout_choosing import Payables
from consumers.payout_letters import PayoutLetters, Post
from consumers.payout_reconciling import PayoutReconciling
from consumers.payout_runs import PayoutRuns
from consumers.payout_saga import PayoutSaga
from consumers.payout_schedules import PayoutSchedules
from consumers.payout_worker import PayoutWorker
from ledger.application import Ledger


@asynccontextmanager
async def paying_out(
    paying: Paying,
    ledger: Ledger,
    payables: Payables,
    health: Health,
    now: Callable[[], datetime],
    post: Post | None = None,
) -> AsyncIterator[None]:
    """Look after payouts while inside; without a `post` nobody is written to."""
    saga = PayoutSaga(paying.books, paying.rails.rails, paying.keys, now)

    async def at_home(now: datetime) -> None:
        await asyncio.to_thread(paying.home.look, now)

    # First: what the rails are told of the switches depends on where payouts are at home.
    refresh = [at_home, *(rail.refresh for rail in paying.rails.limited)]
    worker = PayoutWorker(paying.books, saga, health, now, refresh=refresh)
    runs = PayoutRuns(paying, ledger, payables, health, now)
    schedules = PayoutSchedules(paying, ledger, payables, health, now)
    letters = PayoutLetters(paying, ledger, post, health, now)
    tasks = [
        asyncio.create_task(worker.run(), name="payouts"),
        asyncio.create_task(runs.run(), name="payout runs"),
        asyncio.create_task(schedules.run(), name="payout schedules"),
        asyncio.create_task(letters.run(), name="payout letters"),
        asyncio.create_task(PayoutReconciling(paying, health, now).run(), name="payout reconciliation"),
    ]
    for task in tasks:
        task.add_done_callback(partial(_ended, health))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _ended(health: Health, task: "asyncio.Task[None]") -> None:
    """Tell of a task that stopped because the books cannot be trusted: nobody else would."""
    if not task.cancelled() and (error := task.exception()) is not None:
        health.down(task.get_name(), f"stopped, until somebody has looked: {error!r}")
