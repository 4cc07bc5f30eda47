"""Commissions by hand over HTTP: entries, payments that are marked, and many moves at once."""

import asyncio

from ledger import entries, partners
from projections.rebuild import rebuild
from projections.verify import verify
from tests.support.keys import key_of
from tests.support.read_models import dump


async def enter(api, partner_id, amount="12.50", *, of="acme", key=None, **more):
    """Enter a commission by hand; return the answer."""
    body = {"partner_id": partner_id, "amount": amount, "currency": "USD", "reason": "a bonus"} | more
    headers = {} if key is None else {"Idempotency-Key": key}
    return await api.post("/commissions", body, of=of, headers=headers)


async def balance(api, partner_id, currency="USD"):
    """Return the partner's balance as amounts, without those that are zero."""
    await api.project()
    (row,) = (await api.get("/balances", params={"partner_id": partner_id, "currency": currency})).json["data"]
    amounts = {name: value["amount"] for name, value in row.items() if isinstance(value, dict)}
    return {name: amount for name, amount in amounts.items() if float(amount)}


async def agree(api):
    """Assert that the read models are what the log says."""
    await api.project()
    assert (await asyncio.to_thread(verify, api.database_url)).differences == []


async def agree_anew(api):
    """Assert that the read models are what the log says, and the same when they are built anew."""
    await agree(api)
    told = dump(api.database_url)
    await asyncio.to_thread(rebuild, api.database_url)
    assert dump(api.database_url) == told


async def test_an_entry_is_owed_and_is_no_revenue(api):
    """POST /commissions answers 201 with the entry; it is payable and listed, and earned without a sale."""
    jane = (await api.partner())["id"]
    await api.post("/orders", api.order())
    answer = await enter(api, jane, reference="ticket 7", occurred_at="2026-11-20T23:30:00+01:00")
    assert answer.status == 201, answer.text
    entry = answer.json
    assert entry == {
        "order_id": entry["order_id"], "status": "approved", "commission": {"amount": "12.50", "currency": "USD"}
    }  # fmt: skip
    assert (await enter(api, jane, "-3.00", currency="JPY")).code == "too_many_decimals"
    assert (await enter(api, jane, "-300", currency="JPY")).status == 201
    assert await balance(api, jane) == {"pending": "10.00", "approved": "12.50", "payable": "12.50"}
    assert await balance(api, jane, "JPY") == {"approved": "-300", "payable": "-300"}

    listed = (await api.get("/commissions")).json["data"]
    assert [row["commission"]["amount"] for row in listed] == ["-300", "10.00", "12.50"]
    assert len((await api.get("/commissions", params={"status": "approved"})).json["data"]) == 2
    story = (await api.get(f"/commissions/{entry['order_id']}")).json
    assert (story["coupon_code"], story["total"]["amount"], story["reason"]) == (None, "0.00", "a bonus")
    assert story["approved_at"] == story["occurred_at"] == "2026-11-20T22:30:00Z"
    (event,) = story["history"]
    assert (event["type"], event["reference"]) == ("CommissionEntered", "ticket 7")
    assert event["summary"] == "12.50 USD was entered by hand (ticket 7): a bonus"
    assert event["cause"].startswith("api/")

    totals = (await api.get("/metrics")).json["totals"]
    assert (totals["commissions"]["earned"]["amount"], totals["commissions"]["outstanding"]["amount"]) == ("22.50",) * 2
    assert (totals["conversions"], totals["entered"], totals["revenue"]["gross"]["amount"]) == (1, 1, "100.00")
    assert (await api.get("/customers")).json["data"] == []
    await agree_anew(api)


async def test_the_same_key_is_the_same_entry(api):
    """However often and at once a request with its key is sent, one entry is made, and its answer repeated."""
    jane = (await api.partner())["id"]
    answers = await asyncio.gather(*(enter(api, jane, key="k-1") for _ in range(5)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert (await enter(api, jane, key="k-2")).json["order_id"] != answers[0].json["order_id"]
    assert (await enter(api, jane, "13.00", key="k-1")).code == "idempotency_key_reused"
    same = {"X-Request-Id": "retry-1"}
    body = {"partner_id": jane, "amount": "1.00", "currency": "USD", "reason": "no key"}
    assert (await api.post("/commissions", body, headers=same)).status == 201
    again = await api.post("/commissions", body, headers=same)
    assert (again.status, again.code) == (409, "entry_exists")
    assert (await balance(api, jane))["approved"] == "26.00"


async def test_an_entry_that_cannot_be_made_says_why(api):
    """Zero, the future, unknown currencies and partners are refused by field; another merchant's partner is unknown."""
    jane = (await api.partner())["id"]
    theirs = (await api.partner(of="zenith"))["id"]
    applied = (await api.partner(email="new@example.com", coupon_code="NEW", status="applied"))["id"]
    refused = [
        (jane, "0.00", {}, "zero_amount", "$.amount"),
        (jane, "1,00", {}, "invalid_body", "$.amount"),
        (jane, "1", {"currency": "XAU"}, "unknown_currency", "$.currency"),
        (jane, "1", {"occurred_at": "2026-11-22T12:00:01Z"}, "in_the_future", "$.occurred_at"),
        (jane, "1", {"reason": " "}, "invalid_body", "$.reason"),
        (jane, "1", {"partner": jane}, "invalid_body", "$.partner"),
        (applied, "1", {}, "partner_not_approved", "$.partner_id"),
        (theirs, "1", {}, "unknown_partner", "$.partner_id"),
        ("p_nobody", "1", {}, "unknown_partner", "$.partner_id"),
    ]
    for partner_id, amount, more, code, path in refused:
        answer = await enter(api, partner_id, amount, **more)
        assert (answer.status, answer.code, answer.json["errors"][0]["path"]) == (422, code, path)
    foreign, nobody = await enter(api, theirs), await enter(api, "p_nobody")
    assert foreign.text.replace(theirs, "X").replace(foreign.headers["X-Request-Id"], "R") == nobody.text.replace(
        "p_nobody", "X"
    ).replace(nobody.headers["X-Request-Id"], "R")


async def test_from_a_banned_partner_money_is_only_taken_back(api):
    """After a ban a positive entry is refused and a negative one made."""
    jane = (await api.partner())["id"]
    await api.post(f"/partners/{jane}/ban", {"reason": "fraud"})
    assert (await enter(api, jane)).code == "partner_banned"
    assert (await enter(api, jane, "-12.50")).status == 201
    assert await balance(api, jane) == {"approved": "-12.50", "payable": "-12.50"}


async def test_a_ban_and_an_entry_cannot_pass_each_other(api, monkeypatch):
    """A partner that is banned between the decision of an entry and its commit is not owed it."""
    jane = (await api.partner())["id"]
    decide = entries.decide

    def decide_before_the_ban(*told, **details):
        monkeypatch.undo()
        event = decide(*told, **details)
        partners.ban(api.ledger, merchant_id="acme", partner_id=jane, reason="fraud", now=api.now, cause="test")
        return event

    monkeypatch.setattr(entries, "decide", decide_before_the_ban)
    assert (await enter(api, jane)).code == "partner_banned"


async def test_storefronts_have_no_say_in_an_entry(api):
    """An order, a refund or a cancellation with an entry's id is a dead letter, and the entry stays as it is."""
    jane = (await api.partner())["id"]
    entry = (await enter(api, jane)).json["order_id"]
    cancelled = {"type": "order.cancelled", "event_id": "c", "order_id": entry, "occurred_at": "2026-11-22T11:00:00Z"}
    answer = await api.post("/orders", [api.order(order_id=entry), api.refund(entry, "1.00"), cancelled])
    assert [result["error"]["code"] for result in answer.json["results"]] == [
        "conflicting_duplicate", "not_an_order", "not_an_order",
    ]  # fmt: skip
    assert await balance(api, jane) == {"approved": "12.50", "payable": "12.50"}
    await agree(api)


async def test_a_payment_is_marked_and_taken_back(api):
    """mark-paid and mark-unpaid are both kept, with their words; a refund in between lowers what is owed again."""
    jane = (await api.partner())["id"]
    await api.post("/orders", api.order(order_id="1"))
    early = await api.post("/commissions/1/mark-paid", {"reference": "bank 4711"})
    assert (early.status, early.json["state"], early.json["legal"]) == (409, "pending", ["approve", "hold", "reject"])
    await api.post("/commissions/1/approve")
    paid = await api.post("/commissions/1/mark-paid", {"reference": "bank 4711", "note": "by hand"})
    assert (paid.status, paid.json["status"]) == (200, "paid")
    await api.post("/orders", api.refund("1", "40.00"))
    assert await balance(api, jane) == {"paid": "10.00", "clawed_back": "-4.00", "payable": "-4.00"}
    unpaid = await api.post("/commissions/1/mark-unpaid", {"reason": "the bank sent it back", "note": "wrong IBAN"})
    assert (unpaid.json["status"], unpaid.json["commission"]["amount"]) == ("approved", "6.00")
    assert await balance(api, jane) == {"approved": "6.00", "payable": "6.00"}
    assert (await api.post("/commissions/1/mark-paid", {"reference": "bank 4712"})).json["status"] == "paid"
    assert await balance(api, jane) == {"paid": "6.00"}
    totals = (await api.get("/metrics")).json["totals"]["commissions"]
    assert (totals["paid"]["amount"], totals["outstanding"]["amount"]) == ("6.00", "0.00")
    history = (await api.get("/commissions/1")).json["history"]
    told = [(event["type"], event["reference"], event["note"]) for event in history if "aid" in event["type"]]
    assert told == [
        ("CommissionPaid", "bank 4711", "by hand"),
        ("CommissionMarkedUnpaid", None, "wrong IBAN"),
        ("CommissionPaid", "bank 4712", None),
    ]
    await agree(api)


async def test_many_are_moved_at_once_and_each_says_what_became_of_it(api):
    """One call, a result per id in order: what can be moved is moved, the rest says its state and its legal moves."""
    jane = (await api.partner())["id"]
    await api.post("/orders", [api.order(order_id="1"), api.order(order_id="2"), api.order(order_id="b/3")])
    await api.post("/commissions/2/reject", {"reason": "fraud"})
    entry = (await enter(api, jane)).json["order_id"]
    ids = ["1", "2", "nothing", "b/3", entry]
    headers = {"Idempotency-Key": "bulk-1"}
    answer = await api.post("/commissions/bulk", {"action": "approve", "order_ids": ids}, headers=headers)
    assert answer.status == 200, answer.text
    results = answer.json["results"]
    assert [result["order_id"] for result in results] == ids
    assert [result["status"] for result in results] == ["approved", None, None, "approved", None]
    assert [result["ok"] for result in results] == [True, False, False, True, False]
    assert results[0]["commission"] == {"amount": "10.00", "currency": "USD"}
    assert (results[1]["error"]["state"], results[1]["error"]["legal"]) == ("rejected", ["reopen"])
    assert (results[2]["error"]["code"], results[2]["error"]["legal"]) == ("not_found", None)
    assert results[4]["error"]["legal"] == ["hold", "mark-paid", "reject"]
    again = await api.post("/commissions/bulk", {"action": "approve", "order_ids": ids}, headers=headers)
    assert again.text == answer.text
    paid = {"action": "mark-paid", "order_ids": ["1", "b/3", entry], "reference": "run 1"}
    assert [result["status"] for result in (await api.post("/commissions/bulk", paid)).json["results"]] == ["paid"] * 3
    assert await balance(api, jane) == {"paid": "32.50"}
    foreign = await api.post("/commissions/bulk", {"action": "approve", "order_ids": ["1"]}, of="zenith")
    assert foreign.json["results"][0]["error"]["code"] == "not_found"
    await agree(api)


async def test_a_bulk_move_that_is_no_single_move_is_refused(api):
    """An id twice, none or too many, and members that the move lacks or does not take are refused by field."""
    for change, path, code in [
        ({"order_ids": ["1", "2", "1"]}, "$.order_ids[2]", "repeated"),
        ({"order_ids": []}, "$.order_ids", "too_short"),
        ({"order_ids": [str(n) for n in range(101)]}, "$.order_ids", "too_long"),
        ({"action": "pay"}, "$.action", "not_one_of"),
        ({"reason": "why"}, "$.reason", "not_taken"),
        ({"action": "reject"}, "$.reason", "missing"),
        ({"action": "mark-paid", "reason": "x"}, "$.reference", "missing"),
        ({"action": "hold", "reason": "x", "note": "y"}, "$.note", "not_taken"),
    ]:
        answer = await api.post("/commissions/bulk", {"action": "approve", "order_ids": ["1"]} | change)
        assert answer.status == 422
        assert (path, code) in [(error["path"], error["code"]) for error in answer.json["errors"]]


async def test_a_bulk_move_needs_the_scope_of_the_single_move(api):
    """Who may only pay marks payments in bulk and moves nothing else; who may only move commissions marks none."""
    for scope in ("partners", "payouts", "read"):
        api.keys[scope] = key_of(api.ledger, "acme", (scope,))
    bulk = {
        "partners": {"action": "approve", "order_ids": ["1"]},
        "payouts": {"action": "mark-paid", "order_ids": ["1"], "reference": "bank"},
    }
    for holder in ("partners", "payouts", "read"):
        for scope, body in bulk.items():
            answer = await api.post("/commissions/bulk", body, of=holder)
            assert answer.status == (200 if holder == scope else 403), (holder, scope)


async def test_bulk_moves_at_the_same_time_move_each_commission_once(api):
    """Two calls that overlap: each commission is moved by one of them, and refused to the other."""
    await api.partner()
    orders = [api.order() for _ in range(20)]
    await api.post("/orders", orders)
    ids = [order["order_id"] for order in orders]
    answers = await asyncio.gather(
        *(api.post("/commissions/bulk", {"action": "approve", "order_ids": chosen}) for chosen in (ids, ids[::-1]))
    )
    moved = [result["order_id"] for answer in answers for result in answer.json["results"] if result["ok"]]
    assert sorted(moved) == sorted(ids)
