"""The days of payout schedules, for every schedule, day and time zone."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import example, given
from hypothesis import strategies as st

from ledger.payout_schedules import (
    AFTER_THE_DAY_BEGAN,
    LAST_DAY,
    WEEKDAYS,
    began_at,
    due_at,
    latest_day,
    next_day,
)
from ledger.terms import Schedule

# Clocks that are put forward at midnight (Beirut, Havana, Asuncion), by half an hour (Lord Howe), that left a day out
# (Apia), and that are far from UTC in either direction.
ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Beirut", "America/Havana", "America/Asuncion", "Africa/Cairo",
    "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu",
)  # fmt: skip

days = st.dates(date(2000, 1, 1), date(2060, 12, 31))
zones = st.sampled_from(ZONES)
months = st.builds(lambda day: Schedule(every="month", day=day), st.integers(1, LAST_DAY))
weeks = st.builds(lambda weekday: Schedule(every="week", weekday=weekday), st.sampled_from(WEEKDAYS))
once = st.builds(lambda on: Schedule(every="once", on=on), days)
schedules = st.one_of(months, weeks, once)


def is_day(schedule, day):
    """Return whether it is one of the schedule's days, said another way than the code says it."""
    return {
        "month": day.day == schedule.day,
        "week": f"{day:%A}".lower() == schedule.weekday,
        "once": day == schedule.on,
    }[schedule.every]


@given(schedules, days)
def test_the_next_day_is_the_first_one_from_then_on(schedule, day):
    """Between a day and the schedule's next there is none, and the latest of that next one is itself."""
    found = next_day(schedule, day)
    if found is None:
        assert schedule.every == "once"
        assert schedule.on < day
        return
    assert is_day(schedule, found)
    assert found >= day
    between = [day + timedelta(days=number) for number in range(min((found - day).days, 40))]
    assert not any(is_day(schedule, each) for each in between)
    assert latest_day(schedule, found) == found


@given(st.one_of(months, weeks), days)
def test_no_day_is_skipped_and_none_comes_twice(schedule, day):
    """From day to day of a schedule it is a week, or a month."""
    first = next_day(schedule, day)
    second = next_day(schedule, first + timedelta(days=1))
    assert latest_day(schedule, second - timedelta(days=1)) == first
    apart = (second - first).days
    assert apart == 7 if schedule.every == "week" else 28 <= apart <= 31


@given(days, zones)
@example(date(2021, 3, 28), "Asia/Beirut")
@example(date(2021, 3, 14), "America/Havana")
@example(date(2021, 11, 7), "America/Havana")
@example(date(2023, 4, 28), "Africa/Cairo")
@example(date(2011, 12, 31), "Pacific/Apia")
def test_a_day_begins_where_the_one_before_ends(day, zone):
    """The instant is that day's there, and the one before it is not, also where midnight was skipped or came twice."""
    began = began_at(day, zone)

    def on(instant):
        return instant.astimezone(ZoneInfo(zone)).date()

    if (zone, day) == ("Pacific/Apia", date(2011, 12, 30)):
        # A day that never was: it began, and ended, when the next one did.
        assert began == began_at(date(2011, 12, 31), zone)
        return
    assert on(began) == day
    assert on(began - timedelta(microseconds=1)) < day


@given(schedules, days, zones)
def test_a_run_is_due_when_its_day_has_begun(schedule, day, zone):
    """It is due a little after the beginning of the schedule's next day there."""
    at = due_at(schedule, zone, day)
    expected = next_day(schedule, day)
    if expected is None:
        assert at is None
    else:
        assert at - AFTER_THE_DAY_BEGAN == began_at(expected, zone)
        assert at.tzinfo is UTC


def test_summer_time_moves_the_instant_and_not_the_day():
    """In Berlin the fifth begins at 23:00 UTC in winter, and at 22:00 in summer."""
    schedule = Schedule(every="month", day=5)
    assert began_at(next_day(schedule, date(2026, 1, 6)), "Europe/Berlin") == datetime(2026, 2, 4, 23, tzinfo=UTC)
    assert began_at(next_day(schedule, date(2026, 6, 6)), "Europe/Berlin") == datetime(2026, 7, 4, 22, tzinfo=UTC)
