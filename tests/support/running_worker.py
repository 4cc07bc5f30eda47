"""A worker inside the test's own process and event loop, for as long as a test wants it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from consumers.bans import Swept
from consumers.health import Health
from consumers.settings import WorkerSettings
from consumers.worker import CONDITIONS, run_worker
from ledger.application import Ledger
from tests.support.registration import HASH_KEY
from tests.support.waiting import until

Due = Callable[[datetime, int], Awaitable[Sequence[tuple[str, str]]]]


def worker_settings(bootstrap: str, topic: str, **changes: object) -> WorkerSettings:
    """Return settings for a worker with a group of its own, quick to form and quick to notice a dead member."""
    told = {
        "bootstrap_servers": bootstrap,
        "orders_topic": topic,
        "app_id": f"test-{secrets.token_hex(4)}",
        "session_timeout_s": 3.0,
        "heartbeat_interval_s": 0.3,
        "rebalance_timeout_s": 1.0,
        "stop_timeout_s": 10.0,
    }
    return WorkerSettings(**(told | changes))


async def nothing_due(now: datetime, limit: int) -> Sequence[tuple[str, str]]:
    """Return that no approval is due."""
    del now, limit
    return []


async def nothing_read(
    merchant_id: str, partner_id: str, states: Sequence[str], before: int | None, limit: int
) -> tuple[int, list[tuple[str, int]]]:
    """Return that the read models have not begun, so that no ban is carried out."""
    del merchant_id, partner_id, states, before, limit
    return 0, []


@asynccontextmanager
async def running(
    database_url: str, settings: WorkerSettings, *, due: Due = nothing_due, swept: Swept = nothing_read
) -> AsyncIterator[Health]:
    """Run a worker while inside; yields its health at once. Raises what the worker raised, if it did."""
    ledger = Ledger(database_url, hash_key=HASH_KEY)
    stop, health = asyncio.Event(), Health(*CONDITIONS)
    worker = asyncio.create_task(
        run_worker(settings, ledger, due, swept, lambda: datetime.now(UTC), stop=stop, health=health), name="worker"
    )
    try:
        yield health
    finally:
        stop.set()
        try:
            await asyncio.wait_for(worker, 30)
        finally:
            ledger.close()


async def ready(health: Health) -> None:
    """Wait until the worker says that it is ready."""
    await until(lambda: health.ready, f"the worker being ready ({health.report()['checks']})")
