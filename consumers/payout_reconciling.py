"""Compares every rail once a day, in one worker at a time, and tells who runs the installation what does not agree."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from consumers.health import Health
from consumers.paying import Paying
from consumers.payout_reconciliation import Report, compare_from, rails_to_compare, reconcile
from schemas.errors import CorruptionError

_log = structlog.get_logger(__name__)

CONDITION = "reconciliation"

_EVERY = timedelta(days=1)
# Whoever compares has the rail for so long; where it dies, somebody else begins anew.
_LEASE = timedelta(hours=2)
# A provider that did not answer everything is asked again.
_AGAIN = timedelta(minutes=15)
_PAUSE_S = 60.0
_IDS_IN_A_LINE = 20


class PayoutReconciling:
    """`work` compares what is due now, `run` does it for ever. Open findings make nobody less ready: people look."""

    def __init__(
        self, paying: Paying, health: Health, now: Callable[[], datetime], *, pause_s: float = _PAUSE_S
    ) -> None:
        self._paying, self._health, self._now, self._pause_s = paying, health, now, pause_s
        self._known: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Work until cancelled. What goes wrong is told, and tried again; raises CorruptionError."""
        while True:
            try:
                await self.work()
            except CorruptionError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the next round comes
                self._health.tell(CONDITION, f"nothing is compared: {error!r}")
            await asyncio.sleep(self._pause_s)

    async def work(self) -> list[Report]:
        """Compare the rails whose time has come, tell what is open of any, and return what came of them.

        Raises RetryableError.
        """
        reports = [report for name in rails_to_compare(self._paying) for report in await self._one(name)]
        await self._tell()
        return reports

    async def _one(self, rail: str) -> list[Report]:
        findings, now = self._paying.findings, self._now()
        if not await asyncio.to_thread(lambda: findings.claim(rail, now, _LEASE)):
            return []
        since = await compare_from(self._paying, now)
        report = await reconcile(self._paying, rail, since, now, now)
        due_at = now + (_EVERY if report.complete else _AGAIN)
        await asyncio.to_thread(lambda: findings.next_at(rail, due_at))
        if not report.complete:
            _log.warning("payouts were not compared completely", rail=rail, reason=report.reason)
        return [report]

    async def _tell(self) -> None:
        now = self._now()
        home = await asyncio.to_thread(lambda: self._paying.home.look(now))
        opened = await asyncio.to_thread(self._paying.findings.open)
        ids = [kept.finding_id for kept in opened]
        told = [f"{len(ids)} findings are open: {', '.join(ids[:_IDS_IN_A_LINE])}"] if ids else []
        if not home.is_home:
            told.append("this database was restored or copied: nothing is sent before somebody moves payouts in")
        self._health.tell(CONDITION, "; ".join(told) or None)
        new = [kept for kept in opened if kept.finding_id not in self._known]
        if new:
            some = new[:_IDS_IN_A_LINE]
            _log.warning(
                "payouts and providers do not agree",
                count=len(new),
                findings=[f"{each.finding_id} {each.finding.rail} {each.finding.reason}" for each in some],
                payouts=[each.finding.payout_id for each in some],
            )
        self._known = frozenset(ids)
