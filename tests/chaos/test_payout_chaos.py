"""Workers that pay are killed and frozen, the database goes away, providers answer badly: everybody is paid once.

Every kind of fault is counted, and has to have happened. `CHAOS_ROUNDS` sets how many faults each test makes.
"""

import asyncio
import signal
import time
from contextlib import asynccontextmanager

import pytest

from ledger.payouts import QUIET
from tests.chaos.payout_town import MERCHANT, PATIENCE_S, SPEED, town
from tests.chaos.pipeline import rounds
from tests.support.waiting import until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3_600)]

# Of a provider that nobody hears of: each of them has to have been made, and outlived, in the whole of a story.
_FAULTS = ("time-out", "connection reset", "cut body", "500", "502 in HTML")


@asynccontextmanager
async def bad_days(town):
    """Let both providers be slow and often wrong, and what they took be claimed, denied, held and given back."""
    for provider in ("stripe", "paypal"):
        await town.doubles.post(f"/{provider}/slow", seconds=0.1)
        await town.doubles.post(f"/{provider}/faults", chance=0.15)
    fates = asyncio.create_task(_fates(town))
    try:
        yield
    finally:
        fates.cancel()


async def _fates(town):
    while True:
        after = ["SUCCESS", "SUCCESS", "SUCCESS", "UNCLAIMED", "ONHOLD", "FAILED"]
        await town.doubles.post("/paypal/items", **{"from": "PENDING", "to": after, "most": 10})
        await town.doubles.post("/paypal/items", **{"from": "UNCLAIMED", "to": ["SUCCESS", "RETURNED"], "most": 2})
        await town.doubles.post("/paypal/items", **{"from": "ONHOLD", "to": ["SUCCESS", "REFUNDED"], "most": 2})
        await town.doubles.post("/paypal/items", **{"from": "SUCCESS", "to": ["REVERSED"], "most": 1})
        await town.take_back(100)
        await asyncio.sleep(0.3)


async def made(town):
    """Fail where a kind of fault was never made, or nothing was told twice, lost, claimed, given back."""
    counts = await town.doubles.get("/counts")
    counted = {word: sum(each.get(word, 0) for each in counts.values()) for word in set().union(*counts.values())}
    for kind in _FAULTS:
        assert counted.get(f"fault: {kind}", 0) + counted.get(f"fault: {kind} before", 0) > 0, kind
    for word in ("webhook: 200", "webhook: lost", "reversed", "moved to REVERSED", "moved to FAILED", "told: changed"):
        assert counted.get(word, 0) > 0, word


@pytest.mark.parametrize("seed", [1])
async def test_kill_9_in_the_middle_of_paying(own_postgres, tmp_path, seed):
    """Workers killed one after the other, most in the middle of a call, pay everybody once and lose nothing."""
    kills, in_a_call, gone = 0, 0, 0
    async with town(tmp_path, own_postgres, seed, partners=300) as t:
        await t.run(2)
        async with bad_days(t):
            t.workers.start()
            t.workers.start()
            while kills < rounds(40):
                await t.calls_later()
                before, gone = gone, await t.doubles.counted("POST caller gone")
                in_a_call += gone > before
                assert t.victim().kill() == -signal.SIGKILL
                kills += 1
                t.workers.start()
                await t.keep_busy()
        await made(t)
        await t.come_to_rest()
        assert in_a_call > kills // 4
        assert await t.wrong() == []


@pytest.mark.parametrize("seed", [2])
async def test_a_frozen_worker_and_a_database_that_goes_away(own_postgres, tmp_path, seed):
    """Whoever wakes up after others took over drops what it held; what the database did not keep is found out again."""
    freezes = cuts = 0
    async with town(tmp_path, own_postgres, seed, partners=100) as t:
        await t.run(1)
        async with bad_days(t):
            t.workers.start()
            t.workers.start()
            while freezes < rounds(2):
                await t.calls_later()
                victim = t.victim()
                victim.send(signal.SIGSTOP)
                frozen_at, calls = time.monotonic(), await t.came_in()
                # Long enough for what it sent to be concluded from by the other one.
                while time.monotonic() - frozen_at < 1.2 * QUIET.total_seconds() / SPEED:
                    await t.keep_busy()
                    await asyncio.sleep(0.1)
                assert await t.came_in() > calls
                victim.send(signal.SIGCONT)
                freezes += 1
            while cuts < rounds(2):
                await t.keep_busy()
                await t.calls_later()
                before = t.missed()
                own_postgres.stop("immediate")
                cuts += 1
                await until(lambda: t.missed() > before, "a worker noticing", timeout_s=PATIENCE_S)  # noqa: B023
                own_postgres.start()
            assert len(t.workers.running) == 2
            await t.keep_busy()
            await t.calls_later()
        await t.come_to_rest()
        assert await t.wrong() == []


@pytest.mark.parametrize("seed", [3])
async def test_kill_9_in_the_middle_of_a_run(own_postgres, tmp_path, seed):
    """A run of 30,000 commissions, cut short again and again, makes the payouts that it froze, once each."""
    kills = halfway = 0
    async with town(tmp_path, own_postgres, seed, partners=200, payable=False) as t:
        await t.run(150)
        (run_id,) = t.runs
        frozen = {line.payout_id: line.amount_minor for line in t.books.store.lines(MERCHANT, run_id, waiting=False)}
        while t.waiting():
            t.workers.start()
            left = t.waiting()
            await until(lambda: t.requesting() or t.waiting() < left, "a run going on")  # noqa: B023
            await asyncio.sleep(t.random.uniform(0, 0.4))
            halfway += 0 < t.waiting() < len(frozen)
            if kills < rounds(6):
                t.workers.kill_all()
                kills += 1
        assert kills
        assert halfway
        assert {row[0]: row[3] for row in t.rows()} == frozen
        assert sum(frozen.values()) == t.in_payout()


@pytest.mark.parametrize("seed", [4])
async def test_a_worker_that_is_wrong_is_found_out(own_postgres, tmp_path, seed):
    """The same checks find a worker whose every sending has a key of its own: without them they would prove nothing."""
    async with town(tmp_path, own_postgres, seed, partners=30) as t:
        await t.run(1)
        await t.doubles.post("/paypal/faults", chance=0.5, kinds=["500", "cut body"])
        t.workers.start(wrong="random keys")
        await until(t.paid_twice, "somebody being paid twice", timeout_s=PATIENCE_S)
        assert [each for each in await t.wrong() if "twice" in each]
