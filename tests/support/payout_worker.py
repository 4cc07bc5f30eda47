"""What a worker of payouts does that the tests of faults fork: as `commission-ledger worker`, but for orders."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog

from consumers.health import Health
from consumers.paying import Paying, paying
from consumers.payouts import paying_out
from consumers.rails import Attempt
from ledger.application import Ledger
from projections.payables import SqlPayables
from schemas.payout_settings import PayoutSettings
from tests.support.fast_clock import FastClock
from tests.support.worker_process import HASH_KEY

if TYPE_CHECKING:
    from tests.support.payout_processes import Orders


def work(orders: Orders) -> None:
    """Work until a signal ends it."""
    log = os.open(orders.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    # Whoever started the tests and ends them by Ctrl-C ends us itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    structlog.configure(processors=[structlog.stdlib.add_log_level, structlog.processors.JSONRenderer()])
    asyncio.run(_work(orders))


async def _work(orders: Orders) -> None:
    ledger = Ledger(orders.database_url, hash_key=HASH_KEY)
    async with pays(ledger, orders.settings) as found, AsyncExitStack() as stack:
        for rail in found.rails.limited if orders.wrong else ():
            _WRONG[orders.wrong](rail)
        now = FastClock(orders.clock).now
        await stack.enter_async_context(paying_out(found, ledger, SqlPayables(ledger), Health(), now))
        await asyncio.Event().wait()


@asynccontextmanager
async def pays(ledger: Ledger, settings: Any) -> AsyncIterator[Paying]:
    """Lend what pays, by these settings."""
    async with paying(ledger, PayoutSettings(**settings)) as found:
        assert found is not None
        yield found


def _random_keys(rail: Any) -> None:
    """Let every sending have a key of its own: what the rules are against."""
    submit = rail.submit

    async def wrong(attempt: Attempt) -> Any:
        key = f"{attempt.instruction.key}-{secrets.token_hex(4)}"
        body = attempt.body.replace(attempt.instruction.key.encode(), key.encode())
        return await submit(attempt._replace(instruction=attempt.instruction._replace(key=key), body=body))

    rail.submit = wrong


_WRONG = {"random keys": _random_keys}
