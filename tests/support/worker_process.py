"""The worker as a process of its own, for tests that kill, stop and freeze it.

`python -m tests.support.worker_process JSON`, where JSON has `database_url` beside the fields of `WorkerSettings`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from consumers.settings import WorkerSettings
from consumers.worker import run_worker
from ledger.application import Ledger
from tests.support.registration import HASH_KEY


async def _nothing_due(now: datetime, limit: int) -> Sequence[tuple[str, str]]:
    del now, limit
    return []


def main() -> None:
    """Run a worker until it is told to stop."""
    told = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    ledger = Ledger(told.pop("database_url"), hash_key=HASH_KEY)
    asyncio.run(run_worker(WorkerSettings(**told), ledger, _nothing_due, lambda: datetime.now(UTC)))
    ledger.close()


if __name__ == "__main__":
    main()
