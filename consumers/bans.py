"""Bans and their ends, carried through all the commissions of their partners, page by page, by the leader.

The work is a list in the database (`ledger.bans`), written with the ban itself; each page is committed with the place
that it reached. So whoever leads next goes on where the last one was, and two leaders at once do no harm.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from consumers.health import Health
from consumers.settings import WorkerSettings
from ledger import bans
from ledger.application import Ledger
from ledger.bans import Sweep
from schemas.errors import CorruptionError

Swept = Callable[[str, str, Sequence[str], int | None, int], Awaitable[tuple[int, list[tuple[str, int]]]]]
"""Asks the read side for the commissions of a partner (merchant id, partner id) in these states, before this place, at
most so many: returns the position that it has reached, and their order ids and places."""

CAUSE = "timer/bans"

_PARTNERS_AT_ONCE = 100


class Bans:
    """Carries out what is on the list of sweeps."""

    def __init__(
        self, settings: WorkerSettings, ledger: Ledger, swept: Swept, health: Health, now: Callable[[], datetime]
    ) -> None:
        self._settings, self._ledger, self._swept, self._health, self._now = settings, ledger, swept, health, now

    async def carry_out(self) -> int:
        """Sweep what is on the list now; returns how many sweeps have ended. Raises CorruptionError, and nothing else.

        What goes wrong is told once, and the next tick tries again. A sweep whose ban the read models have not reached
        yet waits for that.
        """
        ended = 0
        try:
            for merchant_id, partner_id in await asyncio.to_thread(bans.unfinished, self._ledger, _PARTNERS_AT_ONCE):
                sweep = await asyncio.to_thread(bans.find_sweep, self._ledger, merchant_id, partner_id)
                if sweep is not None:
                    ended += await self._finish(sweep)
        except CorruptionError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the next tick comes
            self._health.down("bans", f"bans were not carried out: {error!r}")
            return ended
        self._health.up("bans")
        return ended

    async def _finish(self, sweep: Sweep) -> bool:
        """Return whether the sweep has ended."""
        limit = self._settings.ban_page
        left: Sweep | None = sweep
        while left is not None:
            position, page = await self._swept(left.merchant_id, left.partner_id, left.states, left.place, limit)
            if position < left.position:
                return False
            place = page[-1][1] if len(page) == limit else None
            orders = [order_id for order_id, _ in page]
            left = await asyncio.to_thread(
                bans.sweep_page, self._ledger, left, orders, place, self._now(), CAUSE
            )  # fmt: skip
        return True
