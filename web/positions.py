"""Reading one's own writes: wait until the read models have reached a position."""

import asyncio
from collections.abc import Awaitable, Callable

from projections.read import Lag
from schemas.errors import RejectedError
from web.problems import NotYetError

WAIT_S_MAX = 5.0
_POLL_S = 0.01


class Positions:
    """Waits for many callers at once with one cheap query every few milliseconds, and none while nobody waits."""

    def __init__(self, lag: Callable[[], Awaitable[Lag]], *, wait_s: float = WAIT_S_MAX) -> None:
        self._lag = lag
        self._wait_s = wait_s
        self._poll: asyncio.Task[Lag] | None = None

    async def reached(self, position: int) -> None:
        """Return once the read models are at the position or beyond.

        Raises NotYetError after at most 5 s, and RejectedError `unknown_position` at once for one that the log does not
        have: nobody was given it.
        """
        try:
            async with asyncio.timeout(self._wait_s):
                here = await self._lag()
                if position > here.head:
                    message = f"the log ends at {here.head}; use the X-Ledger-Position of an answer"
                    raise RejectedError.at("query.min_position", "unknown_position", message)
                while here.position < position:
                    here = await self._next()
        except TimeoutError:
            raise NotYetError(f"the read models have not reached position {position} yet") from None

    async def _next(self) -> Lag:
        if self._poll is None or self._poll.done():
            self._poll = asyncio.create_task(self._poll_once())
        # Shielded: one caller that gives up must not end the wait of the others.
        return await asyncio.shield(self._poll)

    async def _poll_once(self) -> Lag:
        await asyncio.sleep(_POLL_S)
        return await self._lag()
