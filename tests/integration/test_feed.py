"""GET /events: gap-free and in order, of one merchant alone, and enough to rebuild every balance."""

import asyncio
import json
from collections import defaultdict
from decimal import Decimal

import psycopg
import pytest

from ledger.feed import WINDOW
from projections.verify import verify
from tests.support.api import running
from web.api.calls import ARRIVALS, INTAKE

JOHN = {"name": "John", "email": "john@example.com", "coupon_code": "JOHN5", "rate": {"type": "fixed", "value": "5.00"}}


async def everything(api, *, limit=3, of="acme", types=""):
    """Return the whole feed, read page by page, as a consumer reads it."""
    found, after = [], 0
    while True:
        answer = await api.get(f"/events?after={after}&limit={limit}{types}", of=of)
        assert answer.status == 200, answer.text
        found += answer.json["data"]
        assert answer.json["next_after"] >= after
        after = answer.json["next_after"]
        if not answer.json["more"]:
            return found


async def busy(api):
    """Let everything happen that moves money, to two partners, in two currencies."""
    jane, john = await api.partner(), await api.partner(**JOHN)
    orders = [api.order() for _ in range(6)] + [api.order(currency="EUR", total="33.33")]
    orders += [api.order(coupon_code="JOHN5") for _ in range(2)]
    early = api.refund("late", "10.00")
    await api.post("/orders", [early, *orders, api.order(order_id="late")])
    for order_id in ("o-1", "o-2", "o-3", "o-4"):
        assert (await api.post(f"/commissions/{order_id}/approve")).status == 200
    await api.post("/commissions/o-2/hold", {"reason": "look at it"})
    await api.post("/commissions/o-5/reject", {"reason": "a test order"})
    await api.post("/commissions/o-6/reject", {"reason": "by mistake"})
    await api.post("/commissions/o-6/reopen", {"reason": "it was none"})
    assert (await api.post("/commissions/o-3/mark-paid", {"reference": "wire 1"})).status == 200
    assert (await api.post("/commissions/o-4/mark-paid", {"reference": "wire 2"})).status == 200
    assert (await api.post("/commissions/o-4/mark-unpaid", {"reason": "it came back"})).status == 200
    await api.post("/orders", [api.refund("o-1", "40.00"), api.refund("o-3", "25.50"), api.refund("o-8", "100.00")])
    entry = {"partner_id": john["id"], "amount": "-3.00", "currency": "USD", "reason": "too much"}
    assert (await api.post("/commissions", entry)).status == 201
    return jane, john


async def balances(api, of="acme"):
    """Return what GET /balances says, without zeros."""
    await api.project()
    data = (await api.get("/balances?limit=200", of=of)).json["data"]
    return {
        (row["partner_id"], row["currency"], account): Decimal(row[account]["amount"])
        for row in data
        for account in ("pending", "approved", "held", "in_payout", "paid", "clawed_back")
        if Decimal(row[account]["amount"])
    }


def added_up(entries):
    """Return the balances that the postings of the feed add up to, without zeros; each entry's must sum to zero."""
    found = defaultdict(Decimal)
    for entry in entries:
        postings = entry["data"].get("postings", [])
        assert sum(Decimal(posting["amount"]["amount"]) for posting in postings) == 0
        for posting in postings:
            if posting["account"] != "expense":
                key = (entry["data"]["partner_id"], posting["amount"]["currency"], posting["account"])
                found[key] += Decimal(posting["amount"]["amount"])
    return {key: amount for key, amount in found.items() if amount}


async def test_the_feed_alone_adds_up_to_every_balance(api):
    """Whoever adds up the postings of the feed, and knows no rule of ours, has the balances to the cent."""
    await busy(api)
    entries = await everything(api)
    assert added_up(entries) == await balances(api)
    assert {"clawed_back", "held", "paid", "pending", "approved"} <= {key[2] for key in added_up(entries)}


async def test_pages_of_any_size_join_without_a_gap(api):
    """The same entries come in the same order whatever the limit, and there is nothing in them of another merchant."""
    await api.partner(of="zenith", email="zoe@example.com")
    await busy(api)
    await api.post("/orders", [api.order()], of="zenith")
    entries = await everything(api, limit=500)
    assert entries == await everything(api, limit=1)
    positions = [entry["position"] for entry in entries]
    assert positions == sorted(set(positions))
    others = await everything(api, of="zenith")
    assert not {entry["position"] for entry in others} & set(positions)
    with psycopg.connect(api.database_url) as conn:
        (logged,) = conn.execute("SELECT count(*) FROM ledger.events").fetchone()
    assert logged == len(entries) + len(others)


async def test_a_consumer_that_reads_on_sees_only_what_is_new(api):
    """`next_after` of an empty answer is where the log ends, also where others wrote last."""
    await api.partner()
    before = await api.get("/events")
    await api.partner(of="zenith")
    behind = await api.get(f"/events?after={before.json['next_after']}")
    assert behind.json["data"] == []
    assert behind.json["next_after"] > before.json["next_after"]
    assert behind.headers["X-Ledger-Position"] == str(behind.json["next_after"])
    await api.post("/orders", [api.order()])
    news = await api.get(f"/events?after={behind.json['next_after']}")
    assert [entry["type"] for entry in news.json["data"]] == ["commission.earned"]


async def test_only_the_types_that_are_asked_for_come(api):
    """Types and kinds of types are told apart even where one event of ours can be of several."""
    await busy(api)
    partners = await everything(api, types="&types=partner.*,coupon.assigned")
    assert {entry["type"] for entry in partners} == {"partner.registered", "coupon.assigned"}
    reversed_ = await everything(api, types="&types=commission.reversed")
    assert [entry["subject"] for entry in reversed_] == ["order/o-8"]
    for wrong in ("commission.no_such", "partners.*", "*.earned"):
        refused = await api.get(f"/events?types={wrong}")
        assert (refused.status, refused.code) == (422, "unknown_type"), wrong


async def test_a_position_that_the_log_does_not_have_is_refused(api):
    """A consumer whose position is beyond the end (a restored backup) is told so, instead of waiting for ever."""
    head = (await api.get("/events")).json["next_after"]
    refused = await api.get(f"/events?after={head + 1}")
    assert (refused.status, refused.code) == (422, "unknown_position")


async def test_refused_messages_and_what_is_done_about_them_are_told(api):
    """A dead letter is told when it is opened, retried and discarded: by code and id, never by what it said."""
    kim = {"id": "c", "email": "kim@example.com"}
    await api.post("/orders", [api.order(total="-1", customer=kim), api.order(total="x")])
    letters = (await api.get("/dead-letters")).json["data"]
    retried = await api.post(f"/dead-letters/{letters[0]['id']}/retry")
    assert retried.status == 422
    done = await api.post(f"/dead-letters/{letters[1]['id']}/discard", {"reason": "not ours"})
    assert done.status == 200, done.text
    entries = await everything(api, types="&types=dead_letter.*")
    assert [entry["type"] for entry in entries] == ["dead_letter.opened", "dead_letter.opened", "dead_letter.discarded"]
    assert entries[2]["subject"] == f"dead-letter/{letters[1]['id']}"
    assert "kim@" not in str(entries)
    refused = await api.post(f"/dead-letters/{letters[1]['id']}/discard", {"reason": "again"})
    assert (refused.status, refused.code) == (409, "not_open")
    await api.partner()
    with psycopg.connect(api.database_url) as conn:
        right = json.dumps(api.order(merchant_id="acme", order_id="right")).encode()
        conn.execute("UPDATE ledger.dead_letters SET raw = %s WHERE status = 'open'", (right,))
    assert (await api.post(f"/dead-letters/{letters[0]['id']}/retry")).json["outcome"] == "earned"
    told = (await everything(api))[-2:]
    assert [entry["type"] for entry in told] == ["commission.earned", "dead_letter.retried"]
    assert told[1]["data"]["outcome"] == "earned"


async def test_notices_do_not_make_a_batch_be_decided_again(api):
    """What no decision reads does not count as a change of the directory, and verify finds the books in order."""
    await api.partner()
    intake = api.client.app[INTAKE]
    await api.post("/orders", [api.order()])
    before = intake.directory.position
    await api.post("/orders", [api.order(total="wrong"), api.order()])
    intake.directory.refresh()
    assert intake.directory.position == before
    await api.project()
    report = await asyncio.to_thread(verify, api.database_url)
    assert not report.differences


async def test_whoever_waits_is_woken_by_the_next_event(api):
    """With `wait_s` an answer comes as soon as there is something, and empty when the time is over."""
    await api.partner()
    after = (await api.get("/events")).json["next_after"]
    waiting = asyncio.create_task(api.get(f"/events?after={after}&wait_s=20"))
    arrivals = api.client.app[ARRIVALS]
    await arrivals.begin()
    await api.partner(of="zenith")
    assert not waiting.done()
    await api.post("/orders", [api.order()])
    answer = await asyncio.wait_for(waiting, 5)
    assert [entry["type"] for entry in answer.json["data"]] == ["commission.earned"]
    loop = asyncio.get_running_loop()
    began = loop.time()
    empty = await api.get(f"/events?after={answer.json['next_after']}&wait_s=1")
    assert empty.json["data"] == []
    assert 0.9 < loop.time() - began < 3


async def test_whoever_waits_is_answered_when_the_process_stops(database_url):
    """A process that is asked to stop does not keep anybody waiting."""
    async with running(database_url) as api:
        after = (await api.get("/events")).json["next_after"]
        waiting = asyncio.create_task(api.get(f"/events?after={after}&wait_s=20"))
        arrivals = api.client.app[ARRIVALS]
        await arrivals.begin()
        await arrivals.close()
        assert (await asyncio.wait_for(waiting, 5)).json["data"] == []


async def test_a_reader_that_follows_misses_nothing_that_writers_at_once_append(api):
    """While several write at once, a consumer that always asks from where it is gets every event, once."""
    await api.partner()
    sent = [[api.order() for _ in range(4)] for _ in range(12)]

    async def write(orders):
        # Too many at once are told to come back.
        while (await api.post("/orders", orders)).status == 503:
            pass

    writing = asyncio.gather(*map(write, sent))
    found, after = [], 0
    while True:
        done = writing.done()
        answer = await api.get(f"/events?after={after}&types=commission.earned")
        found += [entry["data"]["order_id"] for entry in answer.json["data"]]
        after = answer.json["next_after"]
        if done and not answer.json["more"]:
            break
    await writing
    assert sorted(found) == sorted(order["order_id"] for orders in sent for order in orders)


def test_one_merchants_events_are_found_without_touching_anothers(database_url):
    """At any size of the log a page is read from one merchant's place in one index, also behind the wall."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO ledger.events (originator_id, originator_version, topic, state)"
            " SELECT 'order/m' || n % 5 || '/' || n, 1, 'CommissionEarned', '{}' FROM generate_series(1, 20000) AS n"
        )
        conn.execute("ANALYZE ledger.events")
        conn.execute("SET ROLE ledger_reader")
        conn.execute("SET ledger.merchant_id TO 'm3'")
        asked = {"topics": ["CommissionEarned"], "after": 9000, "window": 20}
        plan = conn.execute("EXPLAIN (ANALYZE, BUFFERS OFF) " + WINDOW, asked).fetchall()
        text = "\n".join(line for (line,) in plan)
        assert "events_feed" in text, text
        assert "Sort" not in text, text
        assert "Rows Removed" not in text, text
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("SELECT state FROM ledger.events")
        conn.execute("RESET ledger.merchant_id")
        assert conn.execute("SELECT count(*) FROM ledger.events_of_merchant").fetchone() == (0,)
