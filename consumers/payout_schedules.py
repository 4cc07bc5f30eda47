"""Prepares the payout runs of programs that pay on a day: once a day, by whichever worker comes first.

The id of a run is that of its day, so that two workers, a restart and a clock that jumps make one. A worker that was
down makes up for the last week; what is older is told as missed, and waits for a person.
"""

import asyncio
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import structlog

from consumers.health import Health
from consumers.paying import Paying
from consumers.payout_choosing import Payables, Wanted, prepare_run
from consumers.rounds import in_rounds
from ledger import merchants, payout_runs, payout_schedules
from ledger.application import Ledger
from ledger.hashes import run_id
from ledger.merchants import Merchant
from ledger.payout_letters import SCHEDULE
from ledger.payout_schedules import Scheduled
from ledger.payouts import Act
from ledger.terms import Schedule, schedule_of
from schemas.errors import NotFoundError

_log = structlog.get_logger(__name__)

CONDITION = "payout_schedules"
CAUSE = "timer/payout-schedule"

_PAUSE_S = 5.0
_LEASE = timedelta(minutes=5)
_BEHIND_AGAIN = timedelta(seconds=1)
_AT_ONCE = 16
_MADE_UP_FOR = timedelta(days=payout_schedules.MADE_UP_FOR)


class PayoutSchedules:
    """`work` prepares the runs whose day has come, `run` does it for ever."""

    def __init__(
        self,
        paying: Paying,
        ledger: Ledger,
        payables: Payables,
        health: Health,
        now: Callable[[], datetime],
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._paying, self._ledger, self._payables = paying, ledger, payables
        self._health, self._now, self._pause_s = health, now, pause_s
        # What the log held when the day of each was first looked at: the read models have to know it.
        self._awaited: dict[tuple[str, date], int] = {}

    async def run(self) -> None:
        """Work until cancelled. What goes wrong is told once, and tried again."""
        await in_rounds(self.work, self._health, CONDITION, "scheduled payout runs are not prepared", self._pause_s)

    async def work(self) -> int:
        """Look at the programs whose day has come; return how many runs were prepared.

        Raises the first thing that went wrong, when all others have been looked at.
        """
        taken = await asyncio.to_thread(lambda: payout_schedules.take(self._ledger, self._now(), _LEASE, _AT_ONCE))
        made, broken = 0, []
        for each in taken:
            try:
                made += await asyncio.to_thread(partial(self._one, each))
            except Exception as error:  # noqa: BLE001 - told below, when nobody has to wait for it
                broken.append(error)
        if broken:
            raise broken[0]
        return made

    def _one(self, taken: Scheduled) -> bool:
        """Do what is to be done about one program; returns whether its run was prepared."""
        merchant, now = merchants.find(self._ledger, taken.merchant_id), self._now()
        schedule = schedule_of(merchant.terms)
        day = None if schedule is None else _come(schedule, merchant, now, taken.since_at)
        next_at = None if schedule is None else _next_at(schedule, merchant, now)
        if day is None or self._is_made(merchant, day):
            payout_schedules.put_off(self._ledger, taken, next_at)
            return False
        if now.astimezone(ZoneInfo(merchant.time_zone)).date() - day > _MADE_UP_FOR:
            _log.error(
                "a scheduled payout run was missed: nobody made it in time", merchant=merchant.merchant_id,
                day=day.isoformat(),
            )  # fmt: skip
            payout_schedules.put_off(self._ledger, taken, next_at, missed_on=day)
            return False
        if not self._knows(merchant, day):
            payout_schedules.put_off(self._ledger, taken, now + _BEHIND_AGAIN)
            return False
        self._prepare(merchant, day, now)
        payout_schedules.put_off(self._ledger, taken, next_at)
        return True

    def _prepare(self, merchant: Merchant, day: date, now: datetime) -> None:
        id_ = _id_of(merchant, day)
        wanted = Wanted(payout_schedules.began_at(day, merchant.time_zone))
        run = prepare_run(
            self._paying, self._payables, merchant.merchant_id, id_, merchant.terms, wanted, Act(now, CAUSE, SCHEDULE)
        )
        _log.info(
            "a scheduled payout run was prepared", merchant=merchant.merchant_id, run=id_, day=day.isoformat(),
            partners=run.prepared.partners_in, needs_approval=run.prepared.needs_approval,
        )  # fmt: skip

    def _is_made(self, merchant: Merchant, day: date) -> bool:
        try:
            payout_runs.find(self._paying.books, merchant.merchant_id, _id_of(merchant, day))
        except NotFoundError:
            return False
        return True

    def _knows(self, merchant: Merchant, day: date) -> bool:
        """Return whether the read models know all that was on the books when the day was first looked at."""
        name = (merchant.merchant_id, day)
        awaited = self._awaited.setdefault(name, self._ledger.head())
        if self._payables.position() < awaited:
            return False
        del self._awaited[name]
        return True


def _come(schedule: Schedule, merchant: Merchant, now: datetime, since_at: datetime) -> date | None:
    """Return the newest day of the schedule that has come; None where it is older than the schedule itself."""
    zone = ZoneInfo(merchant.time_zone)
    # Not before everything that fell due by then can be on the books.
    come_on = (now - payout_schedules.AFTER_THE_DAY_BEGAN).astimezone(zone).date()
    day = payout_schedules.latest_day(schedule, come_on)
    return None if day is None or day < since_at.astimezone(zone).date() else day


def _next_at(schedule: Schedule, merchant: Merchant, now: datetime) -> datetime | None:
    today = now.astimezone(ZoneInfo(merchant.time_zone)).date()
    days = (today, today + timedelta(days=1))
    found = [payout_schedules.due_at(schedule, merchant.time_zone, day) for day in days]
    return next((at for at in found if at is not None and at > now), None)


def _id_of(merchant: Merchant, day: date) -> str:
    return run_id(merchant.merchant_id, "schedule", day.isoformat())
