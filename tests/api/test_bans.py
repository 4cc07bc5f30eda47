"""Bans: what is open is rejected, page by page and for certain; the end of a ban gives back exactly what it took."""

import asyncio
from datetime import timedelta

import pytest
from psycopg_pool import AsyncConnectionPool

from ledger import bans, partners
from ledger.bans import find_sweep, sweep_page, unfinished
from ledger.events import CommissionRejected, CommissionReopened
from ledger.store import LedgerRecorder
from projections.rebuild import rebuild
from projections.verify import verify
from schemas.errors import RetryableError
from tests.support.api import NOW, running
from tests.support.read_models import dump, execute
from tests.support.sweeps import carry_out


@pytest.fixture
async def api(database_url):
    """Yield the running application, with Jane and five orders of hers: pending, approved, held, rejected, reversed."""
    async with running(database_url) as app:
        app.jane = await app.partner()
        await app.post("/orders", [app.order() for _ in range(5)])
        await app.post("/commissions/o-2/approve")
        await app.post("/commissions/o-3/hold", {"reason": "look"})
        await app.post("/commissions/o-4/reject", {"reason": "fraud"})
        await app.post("/orders", app.refund("o-5", "100.00"))
        yield app


@pytest.fixture
async def pool(database_url):
    """Yield connections for the read side, as the worker has them."""
    options = {"open": False, "min_size": 1, "max_size": 1, "kwargs": {"autocommit": True}}
    async with AsyncConnectionPool(database_url, **options) as opened:
        yield opened


async def ban(api, move="ban"):
    """Ban Jane (or end it), and bring the read models there."""
    body = {"reason": "fraud"} if move == "ban" else None
    answer = await api.post(f"/partners/{api.jane['id']}/{move}", body)
    assert answer.status == 200, answer.text
    await api.project()


async def states(api):
    """Return the state of each order."""
    await api.project()
    return {row["order_id"]: row["status"] for row in (await api.get("/commissions")).json["data"]}


BEFORE = {"o-1": "pending", "o-2": "approved", "o-3": "held", "o-4": "rejected", "o-5": "reversed"}
BANNED = {"o-1": "rejected", "o-2": "rejected", "o-3": "rejected", "o-4": "rejected", "o-5": "reversed"}


@pytest.mark.parametrize("page", [1, 2, 500])
async def test_a_ban_takes_what_is_open_and_its_end_gives_it_back(api, pool, page):
    """Pending, approved and held become rejected; reinstated they are where they were, and what others did stays."""
    await ban(api)
    assert await carry_out(api.ledger, pool, page=page) == 1
    assert await states(api) == BANNED
    story = (await api.get("/commissions/o-2")).json
    assert story["reason"] == "partner_banned"
    (balance,) = (await api.get("/balances")).json["data"]
    assert {balance[name]["amount"] for name in ("pending", "approved", "held", "payable")} == {"0.00"}
    assert verify(api.database_url).differences == []
    await ban(api, "reinstate")
    assert await carry_out(api.ledger, pool, page=page) == 1
    assert await states(api) == BEFORE
    assert (await api.post("/commissions/o-3/release")).json["status"] == "pending"
    await api.project()
    assert verify(api.database_url).differences == []
    told = dump(api.database_url)
    rebuild(api.database_url)
    assert dump(api.database_url) == told


async def test_a_sweep_waits_for_the_read_models(api, pool):
    """While the read models do not know the ban, its sweep does not begin: it could miss what they do not show yet."""
    await api.project()
    await api.post(f"/partners/{api.jane['id']}/ban", {"reason": "fraud"})
    assert await carry_out(api.ledger, pool) == 0
    await api.project()
    assert await carry_out(api.ledger, pool) == 1
    assert unfinished(api.ledger, 9) == []
    assert await carry_out(api.ledger, pool) == 0


async def test_an_order_of_before_the_ban_that_is_told_later_is_taken_as_well(api, pool):
    """It was earned, and is rejected at once by the same ban; reinstated it is given back with the others."""
    await ban(api)
    await carry_out(api.ledger, pool)
    parked = api.refund("o-6", "40.00")
    told = await api.post("/orders", [parked, api.order(), api.order(occurred_at="2026-11-22T13:00:00Z")])
    assert [row["outcome"] for row in told.json["results"]] == ["adjusted", "earned", "skipped"]
    assert {name: state for name, state in (await states(api)).items() if name > "o-5"} == {
        "o-6": "rejected", "o-7": "skipped",
    }  # fmt: skip
    await ban(api, "reinstate")
    await carry_out(api.ledger, pool)
    assert (await states(api))["o-6"] == "pending"
    assert (await api.get("/commissions/o-6")).json["commission"]["amount"] == "6.00"


async def test_what_is_won_back_during_the_ban_is_taken(api, pool):
    """A dispute that is open when the ban comes leaves nothing to take; once it is won, the ban takes what is back."""
    dispute = {"type": "order.disputed", "event_id": "d-1", "order_id": "o-1", "occurred_at": "2026-11-22T11:00:00Z"}
    won = dispute | {"type": "order.dispute_won", "event_id": "d-2", "occurred_at": "2026-11-22T11:30:00Z"}
    await api.post("/orders", dispute)
    await ban(api)
    await carry_out(api.ledger, pool)
    assert (await states(api))["o-1"] == "reversed"
    await api.post("/orders", won)
    assert (await states(api))["o-1"] == "rejected"
    await ban(api, "reinstate")
    await carry_out(api.ledger, pool)
    assert await states(api) == BEFORE
    assert verify(api.database_url).differences == []


async def test_what_is_refunded_during_the_ban_is_reversed_afterwards(api, pool):
    """Refunds reach what a ban took; nothing remains of the order, so the end of the ban brings nothing back."""
    await ban(api)
    await carry_out(api.ledger, pool)
    await api.post("/orders", [api.refund("o-1", "100.00"), api.refund("o-2", "40.00")])
    await ban(api, "reinstate")
    await carry_out(api.ledger, pool)
    assert await states(api) == BEFORE | {"o-1": "reversed"}
    (balance,) = (await api.get("/balances")).json["data"]
    assert (balance["pending"]["amount"], balance["approved"]["amount"]) == ("0.00", "6.00")
    assert verify(api.database_url).differences == []


async def test_what_somebody_decided_during_the_ban_stays(api, pool):
    """Reopened by hand it stays open, and rejected again by hand it stays rejected, whatever the ban took before."""
    await ban(api)
    await carry_out(api.ledger, pool)
    for order_id in ("o-1", "o-2"):
        assert (await api.post(f"/commissions/{order_id}/reopen", {"reason": "his due"})).status == 200
    await api.post("/commissions/o-2/reject", {"reason": "no"})
    await api.project()
    bans_name = f"partner/acme/{api.jane['id']}@2"
    with api.ledger.connection() as conn, conn.cursor() as curs:
        bans.begin_sweep(curs, "acme", api.jane["id"], 2)
    await carry_out(api.ledger, pool)
    assert (await states(api)) == BANNED | {"o-1": "pending"}
    await api.post("/orders", api.refund("o-1", "10.00"))
    assert (await states(api))["o-1"] == "pending"
    await ban(api, "reinstate")
    await carry_out(api.ledger, pool)
    assert await states(api) == BEFORE | {"o-2": "rejected"}
    taken = [e.event for e in api.ledger.stream("order/acme/o-1") if isinstance(e.event, CommissionRejected)]
    assert [event.ban for event in taken] == [bans_name]


async def test_a_second_ban_and_a_second_end(api, pool):
    """Banned, reinstated and banned again before anything was swept: the last word counts, nothing is left behind."""
    await ban(api)
    await carry_out(api.ledger, pool, page=1)
    await ban(api, "reinstate")
    await ban(api)
    assert await carry_out(api.ledger, pool) == 1
    assert await states(api) == BANNED
    await ban(api, "reinstate")
    await carry_out(api.ledger, pool)
    assert await states(api) == BEFORE
    assert verify(api.database_url).differences == []


async def test_a_sweep_goes_on_where_a_crash_left_it(api, pool, monkeypatch):
    """A crash in the middle of a page writes nothing of it, one between pages repeats nothing: each is taken once."""
    await ban(api)
    append, calls = LedgerRecorder.append, []

    def crash(self, rows, **options):
        calls.append(len(rows))
        if len(calls) == 2:
            options["after"] = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        return append(self, rows, **options)

    with monkeypatch.context() as patched:
        patched.setattr(LedgerRecorder, "append", crash)
        with pytest.raises(KeyboardInterrupt):
            await carry_out(api.ledger, pool, page=1)
    assert list((await states(api)).values()).count("rejected") == 2  # one by hand, one by the first page
    assert await carry_out(api.ledger, pool, page=1) == 1
    assert await states(api) == BANNED
    for order_id in ("o-1", "o-2", "o-3"):
        events = [recorded.event for recorded in api.ledger.stream(f"order/acme/{order_id}")]
        assert sum(isinstance(event, CommissionRejected) for event in events) == 1


async def test_an_overtaken_sweep_writes_nothing(api, pool):
    """Whoever still sweeps for a ban that has ended, or the same page as somebody else, changes nothing any more."""
    await ban(api)
    late = find_sweep(api.ledger, "acme", api.jane["id"])
    await ban(api, "reinstate")
    assert sweep_page(api.ledger, late, ["o-1"], None, NOW, "test") is None
    assert (await states(api))["o-1"] == "pending"
    sweep = find_sweep(api.ledger, "acme", api.jane["id"])
    assert (sweep.banned, sweep.states) == (False, ("rejected",))
    assert sweep_page(api.ledger, sweep, [], None, NOW, "test") is None
    assert unfinished(api.ledger, 9) == []


async def test_another_partners_commission_is_not_taken(api):
    """A page that names somebody else's order, or none that exists, leaves it alone."""
    await api.partner(name="Joe", email="joe@example.com", coupon_code="JOE")
    await api.post("/orders", api.order(coupon_code="JOE"))
    await ban(api)
    sweep = find_sweep(api.ledger, "acme", api.jane["id"])
    sweep_page(api.ledger, sweep, ["o-6", "o-99"], None, NOW, "test")
    assert (await states(api))["o-6"] == "pending"


async def test_orders_that_arrive_while_the_partner_is_banned_are_all_accounted_for(api, pool):
    """Orders, bans and sweeps at the same time: in the end nothing of a banned partner is open."""

    async def sell(number):
        for n in range(10):
            await api.post(
                "/orders", [api.order(order_id=f"x-{number}-{n}-{k}", event_id=f"x{number}{n}{k}") for k in range(5)]
            )

    async def bans_her():
        for move in ("ban", "reinstate", "ban"):
            await asyncio.sleep(0)
            await ban(api, move)
            await carry_out(api.ledger, pool, page=7)

    await asyncio.gather(sell(1), sell(2), bans_her())
    await api.project()
    await carry_out(api.ledger, pool)
    assert unfinished(api.ledger, 9) == []
    await api.project()
    open_ones = "SELECT count(*) FROM read.commissions WHERE state IN ('pending', 'approved', 'held')"
    assert execute(api.database_url, open_ones) == [(0,)]
    assert verify(api.database_url).differences == []
    await ban(api, "reinstate")
    await carry_out(api.ledger, pool)
    await api.project()
    assert execute(api.database_url, open_ones) == [(103,)]


async def test_a_busy_order_is_read_again(api, monkeypatch):
    """An order that somebody moved meanwhile is decided anew; one that is never left alone ends the attempt."""
    await ban(api)
    sweep = find_sweep(api.ledger, "acme", api.jane["id"])
    read, stale = api.ledger.streams, api.ledger.streams(["order/acme/o-1"])
    await api.post("/commissions/o-1/approve")
    monkeypatch.setattr(api.ledger, "streams", lambda names: stale if list(stale) == names else read(names))
    with pytest.raises(RetryableError, match="written by somebody else"):
        sweep_page(api.ledger, sweep, ["o-1"], None, NOW, "test")
    monkeypatch.undo()
    assert sweep_page(api.ledger, sweep, ["o-1"], None, NOW + timedelta(days=1), "test") is None
    rejected = api.ledger.stream("order/acme/o-1")[-1].event
    assert (rejected.from_state, str(rejected.occurred_on)) == ("approved", "2026-11-23")


async def test_banning_twice_is_illegal_and_begins_nothing(api):
    """A ban of a banned partner is refused with what is legal, and no sweep is begun by what was refused."""
    await ban(api)
    again = await api.post(f"/partners/{api.jane['id']}/ban", {"reason": "again"})
    assert (again.status, again.json["legal"]) == (409, ["reinstate"])
    assert (
        find_sweep(api.ledger, "acme", api.jane["id"]).version
        == partners.find(api.ledger, "acme", api.jane["id"]).version
    )
    reopened = [e for e in api.ledger.stream("order/acme/o-1") if isinstance(e.event, CommissionReopened)]
    assert reopened == []
