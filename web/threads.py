"""Where the synchronous write side runs, so that it never blocks the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from schemas.errors import RetryableError

_Result = TypeVar("_Result")


class Threads:
    """A few threads and a short queue: when both are full the caller is told to come back, instead of piling up."""

    def __init__(self, workers: int, waiting_max: int) -> None:
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="ledger")
        self._places = workers + waiting_max
        self._busy = 0

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """Return what `work` returns, computed in a thread. Raises RetryableError where too many are waiting."""
        if self._busy >= self._places:
            raise RetryableError("too many requests are waiting")
        self._busy += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._busy -= 1

    def close(self) -> None:
        """Finish what is running; nothing new is taken."""
        self._executor.shutdown(wait=True)
