"""Approvals that are due: asked for by the leader, spread over all workers, booked by whoever gets them.

The leader publishes ids, never decisions: `ledger.approvals.approve_due` looks at each order's stream again, so a chunk
that comes twice, late, or after somebody held the commission does no harm.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta

import orjson
import structlog

from consumers.health import Health
from consumers.settings import WorkerSettings
from ledger.application import Ledger
from ledger.approvals import approve_due
from schemas.errors import CorruptionError

_log = structlog.get_logger(__name__)

OrderName = tuple[str, str]
"""Merchant id and order id."""

Due = Callable[[datetime, int], Awaitable[Sequence[OrderName]]]
"""Asks the read side which pending commissions are due at that instant; at most so many, the oldest first."""

Publish = Callable[[bytes], Awaitable[object]]

CAUSE = "timer/approvals"


class Approvals:
    """The two halves of the approval timer: `publish_due` on the leader, `book` on any worker."""

    def __init__(
        self, settings: WorkerSettings, ledger: Ledger, due: Due, health: Health, now: Callable[[], datetime]
    ) -> None:
        self._settings, self._ledger, self._due, self._health, self._now = settings, ledger, due, health, now
        # What was published and not yet seen to be approved. Never more than one answer of `due`.
        self._published: dict[OrderName, datetime] = {}

    async def publish_due(self, publish: Publish) -> int:
        """Publish the orders that are due, in chunks; returns how many. What is under way is not published again yet.

        It must not fail, or the timer stops for good: what goes wrong is told once, and the next tick tries again.
        """
        try:
            fresh = self._fresh(await self._due(self._now(), self._settings.approval_limit))
            for start in range(0, len(fresh), self._settings.approval_chunk):
                await publish(orjson.dumps(fresh[start : start + self._settings.approval_chunk]))
        except Exception as error:  # noqa: BLE001 - whatever it is, the next tick comes
            self._health.down("approvals", f"due approvals were not published: {error!r}")
            self._published.clear()
            return 0
        self._health.up("approvals")
        return len(fresh)

    def _fresh(self, due: Iterable[OrderName]) -> list[OrderName]:
        now = self._now()
        again = now - timedelta(seconds=self._settings.approval_retry_s)
        names = [(merchant_id, order_id) for merchant_id, order_id in due]
        under_way = {name: at for name in names if (at := self._published.get(name)) is not None and at > again}
        fresh = [name for name in names if name not in under_way]
        self._published = under_way | dict.fromkeys(fresh, now)
        return fresh

    async def book(self, chunk: bytes) -> int:
        """Approve those of a chunk that are (still) due; returns how many. What fails comes again with a later tick."""
        try:
            orders = [(str(merchant_id), str(order_id)) for merchant_id, order_id in orjson.loads(chunk)]
            return await asyncio.to_thread(approve_due, self._ledger, orders, self._now(), CAUSE)
        except CorruptionError:
            raise
        except Exception as error:  # noqa: BLE001 - the leader asks again
            _log.warning("a chunk of approvals was not booked", reason=repr(error))
            return 0
