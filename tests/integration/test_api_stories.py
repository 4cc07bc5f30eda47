"""Stories of commissions by HTTP: who acted, the arithmetic of each step, the legal moves, the events themselves."""

from decimal import ROUND_HALF_UP, Decimal

import psycopg
import pytest

from projections import paid_marks
from tests.support.api import running


@pytest.fixture
async def api(database_url):
    """Yield the running application."""
    async with running(database_url) as app:
        yield app


async def placed(api, **change):
    """Register Jane, place an order, and return its id."""
    await api.partner()
    order = api.order(**change)
    answer = await api.post("/orders", order)
    assert answer.json["results"][0]["outcome"] == "earned"
    return order["order_id"]


async def test_who_acted_is_told_by_name(api):
    """An event tells the user behind a key, a key of nobody's by its own name, and messages as messages."""
    order_id = await placed(api)
    user = (await api.post("/users", {"name": "Kim", "email": "kim@acme.example", "role": "manager"})).json
    key = await api.post("/keys", {"name": "office", "scopes": ["partners", "read"], "user_id": user["id"]})
    api.keys["kim"] = key.json["api_key"]
    await api.post(f"/commissions/{order_id}/approve", {}, of="kim")
    await api.post(f"/commissions/{order_id}/hold", {"reason": "looking"})
    await api.project()
    story = (await api.get(f"/commissions/{order_id}")).json
    taken, approved, held = (entry["by"] for entry in story["history"])
    assert taken["kind"] == "message"
    assert approved == {
        "kind": "key", "user_id": user["id"], "user": "Kim", "key_id": key.json["id"], "key": "office"
    }  # fmt: skip
    assert (held["kind"], held["user"]) == ("key", None)
    assert held["key"]
    assert story["legal"] == ["release", "reject"]


async def test_each_refund_is_a_step_of_the_arithmetic(api):
    """Every step says what remains, what the rule gives unrounded, and rounds to what is owed; changes add up to it."""
    order_id = await placed(api, total="33.33", tax="3.33")
    await api.post("/orders", api.refund(order_id, "10.01", event_id="r1", refund_id="r1"))
    await api.post("/orders", api.refund(order_id, "23.32", event_id="r2", refund_id="r2"))
    await api.project()
    story = (await api.get(f"/commissions/{order_id}")).json
    steps = story["steps"]
    assert [(step["kind"], step["remaining"]["amount"]) for step in steps] == [
        ("order", "33.33"), ("refund", "23.32"), ("refund", "0.00"),
    ]  # fmt: skip
    assert [step["unrounded"] for step in steps] == ["3.333", "2.332", "0.00"]
    total = Decimal(0)
    for step in steps:
        total += Decimal(step["change"]["amount"])
        assert Decimal(step["owed"]["amount"]) == total
        assert Decimal(step["unrounded"]).quantize(Decimal("0.01"), ROUND_HALF_UP) == total
    assert total == Decimal(story["commission"]["amount"]) + Decimal(story["clawed_back"]["amount"])
    assert [step["version"] for step in steps] == [1, 2, 3]


async def test_the_events_of_an_order_post_what_it_stands_at(api):
    """The postings of an order's events add up to its state; an order that is not there has none."""
    order_id = await placed(api)
    await api.post(f"/commissions/{order_id}/approve", {})
    await api.post(f"/commissions/{order_id}/mark-paid", {"reference": "transfer 1"})
    await api.post("/orders", api.refund(order_id, "40.00"))
    await api.project()
    events = (await api.get(f"/commissions/{order_id}/events")).json["data"]
    assert [event["type"] for event in events] == [
        "commission.earned", "commission.approved", "commission.paid", "commission.clawed_back",
    ]  # fmt: skip
    sums = {}
    for event in events:
        for posting in event["data"]["postings"]:
            sums[posting["account"]] = sums.get(posting["account"], 0) + Decimal(posting["amount"]["amount"])
    assert {name: amount for name, amount in sums.items() if amount} == {
        "paid": Decimal("10.00"), "clawed_back": Decimal("-4.00"), "expense": Decimal("-6.00"),
    }  # fmt: skip
    assert (await api.get(f"/commissions/{order_id}/events", of="zenith")).status == 404


async def test_what_was_marked_together_is_one_payment(api):
    """Marks with one reference are one row; what was taken back is a negative one; all of them are what was paid."""
    await api.partner()
    orders = [api.order() for _ in range(5)]
    await api.post("/orders", orders)
    ids = [order["order_id"] for order in orders]
    await api.post("/commissions/bulk", {"action": "approve", "order_ids": ids})
    await api.post("/commissions/bulk", {"action": "mark-paid", "order_ids": ids[:2], "reference": "transfer 1"})
    await api.post("/commissions/bulk", {"action": "mark-paid", "order_ids": ids[2:4], "reference": "transfer 1"})
    await api.post(f"/commissions/{ids[4]}/mark-paid", {"reference": "transfer 2", "note": "late"})
    await api.post(f"/commissions/{ids[0]}/mark-unpaid", {"reason": "came back"})
    await api.project()
    partner_id = (await api.get("/partners")).json["data"][0]["id"]
    marks = (await api.get(f"/paid-marks?partner_id={partner_id}")).json["data"]
    assert [(mark["kind"], mark["amount"]["amount"], mark["commissions"]) for mark in marks] == [
        ("unpaid", "-10.00", 1), ("paid", "10.00", 1), ("paid", "40.00", 4),
    ]  # fmt: skip
    assert [mark["order_id"] for mark in marks] == [ids[0], ids[4], None]
    assert [mark["reference"] for mark in marks] == [None, "transfer 2", "transfer 1"]
    assert marks[1]["note"] == "late"
    paid = (await api.get("/balances")).json["data"][0]["paid"]["amount"]
    assert sum(Decimal(mark["amount"]["amount"]) for mark in marks) == Decimal(paid)
    assert (await api.get(f"/paid-marks?partner_id={partner_id}", of="zenith")).json["data"] == []
    assert (await api.get("/paid-marks", of="zenith")).json["data"] == []


async def test_pages_of_payments_are_the_whole_list(api):
    """However few a page holds, all pages together are every payment, once each, in the same order."""
    await api.partner()
    orders = [api.order() for _ in range(6)]
    await api.post("/orders", orders)
    for number, order in enumerate(orders):
        await api.post(f"/commissions/{order['order_id']}/approve", {})
        await api.post(f"/commissions/{order['order_id']}/mark-paid", {"reference": f"transfer {number // 2}"})
    await api.project()
    whole = (await api.get("/paid-marks")).json["data"]
    assert [mark["reference"] for mark in whole] == ["transfer 2", "transfer 1", "transfer 0"]
    found, cursor = [], ""
    while cursor is not None:
        page = (await api.get("/paid-marks?limit=1" + (f"&cursor={cursor}" if cursor else ""))).json
        found += page["data"]
        cursor = page["next_cursor"]
    assert found == whole


async def test_balances_are_narrowed_to_what_is_payable(api):
    """`payable` leaves those that are owed something, or those that owe; nobody who is even."""
    for name, amount in (("owed", "5.00"), ("owing", "-5.00")):
        partner = await api.partner(name=name, email=f"{name}@example.com", coupon_code=name)
        body = {"partner_id": partner["id"], "amount": amount, "currency": "USD", "reason": "correction"}
        assert (await api.post("/commissions", body)).status == 201
    await api.partner(name="even", email="even@example.com", coupon_code="even")
    await api.post("/orders", api.order(coupon_code="even"))
    await api.project()
    assert len((await api.get("/balances")).json["data"]) == 3
    for payable, amount in (("positive", "5.00"), ("negative", "-5.00")):
        data = (await api.get(f"/balances?payable={payable}")).json["data"]
        assert [row["payable"]["amount"] for row in data] == [amount]
    assert (await api.get("/balances?payable=none")).status == 422


async def test_payments_are_found_in_an_index_of_their_own(api):
    """A page of payments, of all partners or of one, looks at the marks and at nothing else of the log."""
    await api.partner()
    await api.project()
    (partner,) = (await api.get("/partners")).json["data"]
    fill = """
    INSERT INTO ledger.events (originator_id, originator_version, topic, state)
    SELECT
        'order/acme/x' || n, 1, CASE WHEN mod(n, 50) = 0 THEN 'CommissionPaid' ELSE 'CommissionHeld' END,
        jsonb_build_object(
            'partner_id', %s::text, 'currency', 'USD', 'amount_minor', 1, 'occurred_on', '2026-11-22', 'cause', 'test',
            'recorded_at', '2026-11-22T10:00:00Z', 'order_id', 'x' || n, 'reference', 'r' || n
        )
    FROM generate_series(1, 20000) AS n"""
    async with await psycopg.AsyncConnection.connect(api.database_url, autocommit=True) as conn:
        await conn.execute(fill, (partner["id"],))
        await conn.execute("ANALYZE ledger.events")
        for partner_id, index in ((None, "events_paid"), (partner["id"], "events_paid_of_partner")):
            query, asked = paid_marks.asked("acme", partner_id=partner_id, before=None, limit=50)
            await conn.execute("SELECT set_config('ledger.merchant_id', 'acme', false)")
            rows = await (await conn.execute("EXPLAIN " + query, asked)).fetchall()
            plan = "\n".join(row[0] for row in rows)
            assert f"using {index} " in plan or f"on {index} " in plan, plan
