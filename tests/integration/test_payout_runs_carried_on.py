"""Payout runs carried on by workers: all of the list, once, whoever is at it, dies, or changes the terms meanwhile."""

import asyncio
import os
import signal
import subprocess
import sys
from datetime import timedelta
from threading import Barrier

import pytest

from consumers.payout_runs import CONDITION, PayoutRuns
from ledger import merchants, partners, payout_runs
from ledger.payout_run_rows import RunCancelledError, hold_run, take_run
from ledger.payout_store import SqlPayoutStore
from tests.support.payout_program import CHECKER, MAKER, NOW, payout_program
from tests.support.waiting import until


@pytest.fixture
async def program(database_url):
    """Yield a program on a database of its own."""
    async with payout_program(database_url) as program:
        yield program


def five(program):
    """Return five partners who are owed 10 USD each."""
    found = [program.partner(f"p{number}") for number in range(5)]
    for number, partner_id in enumerate(found):
        program.commission(f"o{number}", partner_id)
    program.look()
    return sorted(found)


async def carried_on(program):
    """Do all that there is to be done about runs."""
    service = PayoutRuns(*program.parts())
    while await service.work():
        pass


async def test_a_run_that_was_prepared_is_carried_on_and_then_left_alone(program):
    """The worker requests what was frozen, approves what was approved, and finds nothing more to do."""
    found = five(program)
    program.terms(payout_approval="second_person")
    program.prepare()
    program.look()
    await carried_on(program)
    assert program.rows() == [(each, 1_000, "requested") for each in found]
    assert not await PayoutRuns(*program.parts()).work()
    payout_runs.approve(program.paying.books, "acme", "run", CHECKER)
    await carried_on(program)
    assert program.rows() == [(each, 1_000, "approved") for each in found]
    payout_runs.cancel(program.paying.books, "acme", "run", MAKER, "wrong month")
    await carried_on(program)
    assert program.rows() == [(each, 1_000, "cancelled") for each in found]
    assert program.asked("SELECT due_at FROM ledger.payout_runs") == [(None,)]


async def test_a_run_waits_for_the_read_models(program):
    """Before the read models know what the log held when the list was frozen nothing is requested."""
    five(program)
    program.prepare()
    assert not await PayoutRuns(*program.parts()).work()
    assert program.rows() == []
    program.look()
    program.now += timedelta(seconds=1)
    assert await PayoutRuns(*program.parts()).work()
    assert len(program.rows()) == 5


async def test_a_run_keeps_the_minimum_that_it_was_made_with(program):
    """Terms that change between the list and the requests leave nobody out, and let nobody in."""
    found = five(program)
    program.terms(minimum_payout_minor={"USD": 600})
    program.prepare()
    program.terms(minimum_payout_minor={"USD": 100_000})
    program.look()
    await carried_on(program)
    assert [row[0] for row in program.rows()] == found
    assert payout_runs.find(program.paying.books, "acme", "run").prepared.minimum_minor == {"USD": 600}


async def test_nobody_is_paid_where_the_list_did_not_say(program):
    """Details that changed after the list was frozen have to cool down: the partner is out, and the others are paid."""
    first, *others = five(program)
    program.prepare()
    program.pay_by(first, "other words")
    program.look()
    await carried_on(program)
    assert [row[0] for row in program.rows()] == others
    assert program.lines()[first] == "changed"


async def test_partners_on_hold_are_out(program):
    """Who is paused or banned is in the list with that reason, and not paid."""
    first, *_ = five(program)
    partners.pause(
        program.ledger, merchant_id="acme", partner_id=first, reason="odd", now=NOW, cause="test"
    )  # fmt: skip
    program.look()
    program.prepare()
    assert program.lines()[first] == "on_hold"


async def test_two_workers_make_every_payout_once(program, monkeypatch):
    """Two at once, without any lease between them, request what the list says and nothing twice."""
    found = five(program)
    monkeypatch.setattr(payout_runs, "EVENTS_A_BATCH", 1)
    monkeypatch.setattr("consumers.payout_runs._LEASE", timedelta(0))
    program.prepare()
    program.look()
    both, take = Barrier(2), take_run

    def take_together(*asked):
        while (taken := take(*asked)) is None:
            pass
        both.wait(30)
        return taken

    monkeypatch.setattr("consumers.payout_runs.take_run", take_together)
    services = [PayoutRuns(*program.parts()) for _ in range(2)]
    assert await asyncio.gather(*(service.work() for service in services)) == [True, True]
    assert program.rows() == [(each, 1_000, "requested") for each in found]


async def test_a_run_that_broke_keeps_no_other_waiting_and_comes_again(program, monkeypatch):
    """What stops one run is told and tried again later; the next one is carried on meanwhile."""
    first, *others = five(program)
    program.prepare("broken", partner_ids=[first])
    program.now += timedelta(seconds=1)
    program.prepare("fine", partner_ids=others)
    program.look()
    commit = SqlPayoutStore.commit

    def refuse(store, changes, **more):
        if any(change.payout.opened.run_id == "broken" for change in changes):
            raise RuntimeError("odd")
        return commit(store, changes, **more)

    monkeypatch.setattr(SqlPayoutStore, "commit", refuse)
    service = PayoutRuns(*program.parts(), pause_s=0.01)
    task = asyncio.create_task(service.run())
    try:
        await until(lambda: len(program.rows("fine")) == 4, "the run that is fine being carried on")
    finally:
        task.cancel()
    assert program.rows("broken") == []
    monkeypatch.setattr(SqlPayoutStore, "commit", commit)
    program.now += timedelta(minutes=1)
    await carried_on(program)
    assert len(program.rows("broken")) == 1


async def test_what_is_called_off_while_it_is_requested_is_not_requested(program):
    """A transaction that requests payouts proves that the run is not cancelled."""
    five(program)
    program.prepare()
    program.look()
    first = program.payables.commissions_of

    def called_off(owners, at):
        payout_runs.cancel(program.paying.books, "acme", "run", MAKER, "wrong month")
        return first("acme", owners, at)

    steps = payout_runs.carry_on(
        program.paying.books, "acme", "run", called_off,
        lambda ids: program.paying.details.payees("acme", ids), MAKER,
    )  # fmt: skip
    assert list(steps) == []
    assert program.rows() == []
    with program.ledger.connection() as conn, conn.cursor() as curs, pytest.raises(RunCancelledError):
        hold_run(curs, "acme", "run")


_DIES = """
import asyncio, os, signal, sys
from datetime import timedelta
from consumers import payout_runs as service
from consumers.health import Health
from consumers.paying import paying
from ledger import payout_runs
from ledger.application import Ledger
from ledger.payout_store import SqlPayoutStore
from projections.payables import SqlPayables
from pydantic import SecretStr
from schemas.payout_settings import PayoutSettings
from tests.support.payout_program import KEY, NOW
from tests.support.registration import HASH_KEY

payout_runs.EVENTS_A_BATCH = 1
left, when = int(sys.argv[2]), sys.argv[3]
commit = SqlPayoutStore.commit

def dies(store, changes, **more):
    global left
    left -= 1
    if left < 0 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    done = commit(store, changes, **more)
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

SqlPayoutStore.commit = dies

async def main():
    ledger = Ledger(sys.argv[1], hash_key=HASH_KEY)
    async with paying(ledger, PayoutSettings(payout_details_keys=(SecretStr(KEY),))) as pays:
        await service.PayoutRuns(pays, ledger, SqlPayables(ledger), Health(), lambda: NOW).work()

asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["before", "behind"])
async def test_a_worker_that_is_killed_is_followed_by_another(program, when):
    """Killed in the middle of a run, by its own hand and for good, it leaves to the next one what is left."""
    found = five(program)
    program.prepare()
    program.look()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _DIES, program.url, "2", when, stderr=subprocess.PIPE, env=dict(os.environ)
    )
    _, told = await process.communicate()
    assert process.returncode == -signal.SIGKILL, told.decode()
    assert len(program.rows()) == (2 if when == "before" else 3)
    assert not await PayoutRuns(*program.parts()).work()
    # The lease of the one that died is over.
    program.now += timedelta(minutes=2)
    await carried_on(program)
    assert program.rows() == [(each, 1_000, "requested") for each in found]


async def test_trouble_is_told_and_over_when_it_is(program, monkeypatch):
    """While the database is away the worker's condition says so."""
    service = PayoutRuns(*program.parts(), pause_s=0.01)

    def away(*_):
        raise OSError("away")

    monkeypatch.setattr("consumers.payout_runs.take_run", away)
    task = asyncio.create_task(service.run())
    try:
        await until(lambda: not program.health.is_up(CONDITION), "the trouble being told")
        monkeypatch.undo()
        await until(lambda: program.health.is_up(CONDITION), "the trouble being over")
    finally:
        task.cancel()
    assert merchants.find(program.ledger, "acme").name == "Acme"
