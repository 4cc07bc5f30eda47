"""Payout runs that a schedule prepares: once a day, by whichever worker, made up for, never for days before it."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from cli.pools import opened
from consumers import payout_schedules as service
from consumers.payout_schedules import PayoutSchedules
from ledger import payout_runs
from ledger.hashes import run_id
from ledger.terms import Schedule
from projections.read import Reads
from schemas.errors import RejectedError
from tests.support.payout_program import NOW, payout_program

FIFTH = Schedule(every="month", day=5)
# 5 December in Berlin begins at 23:00 UTC of the day before.
DAY = datetime(2026, 12, 4, 23, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


@pytest.fixture
async def program(database_url):
    """Yield a program in Berlin that pays on the fifth, with one partner who is owed 10 USD."""
    async with payout_program(database_url, time_zone="Europe/Berlin") as program:
        program.jane = program.partner("jane")
        program.commission("o1", program.jane)
        program.terms(payout_schedule=FIFTH)
        yield program


async def at(program, instant, service=None):
    """Let a worker look at the schedules at this instant, with read models that know everything."""
    program.look()
    program.now = instant
    return await (service or PayoutSchedules(*program.parts())).work()


def of_day(day):
    """Return the id of the run of a day."""
    return run_id("acme", "schedule", day)


async def test_a_run_is_prepared_on_its_day_once(program):
    """A quarter of an hour into the day, in the program's time zone; neither before, nor again."""
    assert await at(program, DAY + QUARTER - timedelta(seconds=1)) == 0
    assert await at(program, DAY + QUARTER) == 1
    assert await at(program, DAY + timedelta(hours=23)) == 0
    assert program.runs() == [(of_day("2026-12-05"), "prepared")]
    made = payout_runs.find(program.paying.books, "acme", of_day("2026-12-05")).prepared
    assert (made.maker, made.cause, made.cut_off_at) == ("schedule", "timer/payout-schedule", DAY)
    assert program.lines(of_day("2026-12-05")) == {program.jane: "payable"}
    assert await at(program, datetime(2027, 1, 5, tzinfo=UTC)) == 1
    assert [name for name, _ in program.runs()] == [of_day("2026-12-05"), of_day("2027-01-05")]


async def test_only_what_was_payable_when_the_day_began_is_paid(program):
    """What is approved on the day itself waits for the next one."""
    program.commission("o2", program.jane, at=DAY + timedelta(minutes=1))
    await at(program, DAY + QUARTER)
    lines = program.paying.books.store.lines("acme", of_day("2026-12-05"), waiting=False)
    assert [line.amount_minor for line in lines] == [1_000]


async def test_two_workers_restarts_and_jumping_clocks_make_one(program, monkeypatch):
    """The day is the run's id, whoever looks how often, and whichever way the clock was put."""
    monkeypatch.setattr(service, "_LEASE", timedelta(0))
    program.look()
    program.now = DAY + QUARTER
    found = await asyncio.gather(*(PayoutSchedules(*program.parts()).work() for _ in range(3)))
    assert sum(found) >= 1
    with program.ledger.connection() as conn:
        # As if whoever prepared it had died before it was noted.
        conn.execute("UPDATE ledger.payout_schedules SET due_at = %s", (DAY,))
    for hours in (2, -3, 5):
        await at(program, DAY + timedelta(hours=hours))
    assert program.runs() == [(of_day("2026-12-05"), "prepared")]


@pytest.mark.parametrize(("days", "made"), [(7, 1), (8, 0)])
async def test_what_a_worker_that_was_down_did_not_do_is_made_up_for_a_week(program, days, made):
    """Within seven days the run is made all the same, as of its day; later it is told as missed."""
    with capture_logs() as log:
        assert await at(program, DAY + QUARTER + timedelta(days=days)) == made
    assert len(program.runs()) == made
    missed = [line for line in log if line["log_level"] == "error"]
    assert [line["day"] for line in missed] == ([] if made else ["2026-12-05"])
    ((missed_on,),) = program.asked("SELECT missed_on FROM ledger.payout_schedules")
    assert missed_on == (None if made else date(2026, 12, 5))
    assert await at(program, datetime(2027, 1, 5, tzinfo=UTC)) == 1


async def test_a_missed_day_waits_for_somebody_until_a_run_pays_it(program, database_url):
    """It is told among what waits, for as long as no run of what was payable then was made; called off, it is again."""

    async def missed():
        async with opened(database_url, 1) as pool:
            return (await Reads(pool).waiting("acme")).row.payout_run_missed_on

    assert await at(program, DAY + QUARTER + timedelta(days=8)) == 0
    assert await missed() == date(2026, 12, 5)
    assert (await at(program, datetime(2027, 1, 5, 1, tzinfo=UTC)), await missed()) == (1, None)
    with program.ledger.connection() as conn:
        conn.execute("UPDATE ledger.payout_runs SET state = 'cancelled'")
    assert await missed() == date(2026, 12, 5)
    program.prepare("too-early", DAY - timedelta(seconds=1))
    assert await missed() == date(2026, 12, 5)
    program.prepare("by-hand", DAY)
    assert await missed() is None


async def test_a_new_schedule_is_for_the_days_from_then_on(program):
    """Nothing is made for days before it was set; on the day itself it is, and taken away it makes none."""
    program.now = datetime(2026, 12, 10, 12, tzinfo=UTC)
    program.terms(payout_schedule=Schedule(every="month", day=9))
    assert await at(program, program.now) == 0
    program.terms(payout_schedule=Schedule(every="week", weekday="thursday"))
    assert await at(program, program.now) == 1
    assert program.runs() == [(of_day("2026-12-10"), "prepared")]
    program.terms(payout_schedule=Schedule(every="once", on=date(2026, 12, 10)))
    assert await at(program, program.now) == 0
    program.terms(hold_days=3)
    program.terms(payout_schedule=Schedule(every="once", on=date(2026, 12, 12)))
    assert await at(program, datetime(2026, 12, 12, 12, tzinfo=UTC)) == 1
    program.terms(hold_days=4)
    assert program.asked("SELECT due_at FROM ledger.payout_schedules") == [(None,)]
    with pytest.raises(RejectedError) as refused:
        program.terms(payout_schedule=Schedule(every="once", on=date(2026, 12, 11)))
    assert refused.value.faults[0].path == "$.payout_schedule.on"


async def test_the_read_models_have_to_know_the_day(program):
    """While they are behind what the log held when the day came, the run waits; then it holds everything."""
    program.look()
    program.commission("o2", program.jane, at=DAY - timedelta(seconds=1))
    program.now = DAY + QUARTER
    worker = PayoutSchedules(*program.parts())
    assert await worker.work() == 0
    assert program.runs() == []
    assert await at(program, program.now + timedelta(seconds=2), worker) == 1
    lines = program.paying.books.store.lines("acme", of_day("2026-12-05"), waiting=False)
    assert [line.amount_minor for line in lines] == [2_000]


async def test_where_a_second_person_is_demanded_the_run_waits_and_they_are_written_to(program):
    """Whoever may approve gets a letter about a run of the schedule, and about no other."""
    program.terms(payout_approval="second_person")
    await at(program, DAY + QUARTER)
    run = payout_runs.find(program.paying.books, "acme", of_day("2026-12-05"))
    assert run.prepared.needs_approval
    ((user_id,),) = program.asked("SELECT user_id FROM access.users")
    letter = (of_day("2026-12-05"), user_id, "approval")
    assert [(each.subject_id, each.to_id, each.kind) for each in program.letters()] == [letter]
    program.prepare("by hand")
    assert len(program.letters()) == 1
    assert program.now > NOW
