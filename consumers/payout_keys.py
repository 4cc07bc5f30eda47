"""Tells, when a process starts, of keys of payout details that are missing or wrong; everything else goes on.

Nobody would notice before somebody is to be paid. What is put back in the environment comes with a new process; what
another process seals anew under a key that is here is seen by looking again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from ledger.application import Ledger
from ledger.payout_keys import key_faults, told
from ledger.sealing import KeyRing

_log = structlog.get_logger(__name__)

CONDITION = "payout_keys"

_AGAIN_S = 600.0
_RETRY_S = 5.0


@asynccontextmanager
async def keys_looked_at(
    ledger: Ledger,
    keys: KeyRing | None,
    tell: Callable[[str | None], None] = lambda _: None,
    *,
    again_s: float = _AGAIN_S,
    retry_s: float = _RETRY_S,
) -> AsyncIterator[None]:
    """Look while inside, until nothing is wrong; `tell` gets what is, None once it is not any more."""
    task = asyncio.create_task(_look(ledger, keys, tell, again_s, retry_s), name=CONDITION)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _look(
    ledger: Ledger, keys: KeyRing | None, tell: Callable[[str | None], None], again_s: float, retry_s: float
) -> None:
    known = None
    while True:
        try:
            found = await asyncio.to_thread(key_faults, ledger, keys)
        except Exception as error:  # noqa: BLE001 - a database that is away is told of by others
            _log.debug("the keys of payout details were not looked at", reason=repr(error))
            await asyncio.sleep(retry_s)
            continue
        wrong = told(found)
        tell(wrong)
        if wrong is None:
            return
        if wrong != known:
            _log.error("payout details cannot be opened", reason=wrong, keys=[each.key_id for each in found])
        known = wrong
        await asyncio.sleep(again_s)
