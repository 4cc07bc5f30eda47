"""What a worker does about payouts, beside the Faust app: each of it is a task for as long as the worker runs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime

from consumers.health import Health
from consumers.paying import Paying
from consumers.payout_saga import PayoutSaga
from consumers.payout_worker import PayoutWorker


@asynccontextmanager
async def paying_out(paying: Paying, health: Health, now: Callable[[], datetime]) -> AsyncIterator[None]:
    """Look after payouts while inside."""
    saga = PayoutSaga(paying.books, paying.rails.rails, paying.keys, now)
    refresh = [rail.refresh for rail in paying.rails.limited]
    worker = PayoutWorker(paying.books, saga, health, now, refresh=refresh)
    tasks = [asyncio.create_task(worker.run(), name="payouts")]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
