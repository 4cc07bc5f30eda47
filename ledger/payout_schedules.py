"""The days on which a program's payout runs are prepared by themselves, and the rows by which a worker finds them.

A day counts in the program's time zone. What was payable when it began is paid; the run is made a little later, when
what fell due up to then has been approved and the read models know it.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from psycopg import Cursor
from psycopg.rows import DictRow

from ledger.application import Ledger
from ledger.terms import Schedule, Terms, schedule_of

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
LAST_DAY = 28
"""The last day of a month that every month has."""

AFTER_THE_DAY_BEGAN = timedelta(minutes=15)
"""How long after a day began its run is made."""

MADE_UP_FOR = 7
"""So many days later a run is still made up."""


class Scheduled(NamedTuple):
    """A program whose schedule is to be looked at; `due_at` is until when it was taken, `since_at` when it was set."""

    merchant_id: str
    since_at: datetime
    due_at: datetime


def next_day(schedule: Schedule, from_on: date) -> date | None:
    """Return the schedule's first day from that day on; None where there is no more."""
    if schedule.every == "once":
        return schedule.on if schedule.on is not None and schedule.on >= from_on else None
    # A month has at most 31 days, so one of the next 31 is it, whichever schedule it is.
    return next((day for day in _days(from_on, 1, 31) if _is_day(schedule, day)), None)


def latest_day(schedule: Schedule, until_on: date) -> date | None:
    """Return the schedule's last day up to that day; None where there was none."""
    if schedule.every == "once":
        return schedule.on if schedule.on is not None and schedule.on <= until_on else None
    return next((day for day in _days(until_on, -1, 31) if _is_day(schedule, day)), None)


def began_at(day: date, time_zone: str) -> datetime:
    """Return when the day began there, in UTC; where its midnight was skipped, when the clocks were put forward."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(time_zone)).astimezone(UTC)


def due_at(schedule: Schedule, time_zone: str, from_on: date) -> datetime | None:
    """Return when the run of the first day from that day on is to be made; None where there is no such day."""
    day = next_day(schedule, from_on)
    return None if day is None else began_at(day, time_zone) + AFTER_THE_DAY_BEGAN


def next_run_on(terms: Terms, time_zone: str, now: datetime) -> date | None:
    """Return the day of the next run that is made by itself, None where there is none; today until it is due."""
    schedule = schedule_of(terms)
    if schedule is None:
        return None
    today = now.astimezone(ZoneInfo(time_zone)).date()
    is_over = began_at(today, time_zone) + AFTER_THE_DAY_BEGAN <= now
    return next_day(schedule, today + timedelta(days=1) if is_over else today)


def _days(first: date, step: int, count: int) -> Sequence[date]:
    return [first + timedelta(days=step * number) for number in range(count)]


def _is_day(schedule: Schedule, day: date) -> bool:
    return day.day == schedule.day if schedule.every == "month" else WEEKDAYS[day.weekday()] == schedule.weekday


# --- rows -------------------------------------------------------------------------------------------------------------


def write_schedule(
    curs: Cursor[DictRow], merchant_id: str, terms: Terms, time_zone: str, now: datetime, former: Terms | None = None
) -> None:
    """Note the program's schedule in the caller's transaction, in force from the day of `now` on.

    Nothing changes where it is that of the `former` terms.
    """
    schedule = schedule_of(terms)
    if former is not None and schedule_of(former) == schedule:
        return
    first = None if schedule is None else due_at(schedule, time_zone, now.astimezone(ZoneInfo(time_zone)).date())
    if first is None:
        curs.execute("DELETE FROM ledger.payout_schedules WHERE merchant_id = %s", (merchant_id,))
        return
    curs.execute(
        "INSERT INTO ledger.payout_schedules (merchant_id, since_at, due_at) VALUES (%s, %s, %s)"
        " ON CONFLICT (merchant_id) DO UPDATE SET since_at = excluded.since_at, due_at = excluded.due_at",
        (merchant_id, now, first),
    )


def take(ledger: Ledger, now: datetime, lease: timedelta, limit: int) -> list[Scheduled]:
    """Take the programs whose day has come, for as long as the lease. Raises RetryableError."""
    with ledger.connection() as conn:
        rows = conn.execute(
            "UPDATE ledger.payout_schedules SET due_at = %s WHERE merchant_id IN (SELECT merchant_id"
            " FROM ledger.payout_schedules WHERE due_at <= %s ORDER BY due_at, merchant_id LIMIT %s"
            " FOR UPDATE SKIP LOCKED) RETURNING merchant_id, since_at, due_at",
            (now + lease, now, limit),
        ).fetchall()
    return [Scheduled(**row) for row in rows]


def put_off(ledger: Ledger, taken: Scheduled, again_at: datetime | None, missed_on: date | None = None) -> None:
    """Look at the program again then (None: never), unless its schedule was changed meanwhile.

    `missed_on`: the day whose run nobody made in time. Raises RetryableError.
    """
    with ledger.connection() as conn:
        conn.execute(
            "UPDATE ledger.payout_schedules SET due_at = %s, missed_on = coalesce(%s, missed_on)"
            " WHERE (merchant_id, due_at) = (%s, %s)",
            (again_at, missed_on, taken.merchant_id, taken.due_at),
        )
