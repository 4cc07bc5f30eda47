"""What becomes of money around payouts, one case at a time over HTTP; and rows that are wrong are found."""

import asyncio
from datetime import timedelta

import psycopg
import pytest
from psycopg import sql

from ledger import payouts as rules
from ledger.payouts import Act
from projections.verify import verify
from tests.support.keys import key_of
from tests.support.payouts import confirm, earn, later, payable_to, payouts, run


def usd(amount):
    """Return an amount as the API shows it."""
    return {"amount": amount, "currency": "USD"}


async def jane_was_paid(api, *totals):
    """Register Jane and pay her for orders of these totals; return her id, the orders and the payout."""
    jane = (await api.partner())["id"]
    await payable_to(api, jane)
    order_ids = await earn(api, *totals)
    return jane, order_ids, await pay(api, "T-1")


async def pay(api, transaction_id):
    """Make a run and confirm its only payout."""
    await run(api)
    (payout,) = await payouts(api, status="requested")
    return await confirm(api, payout, transaction_id)


async def refund(api, order_id, amount):
    """Give back a part of the order."""
    (result,) = (await api.post("/orders", api.refund(order_id, amount))).json["results"]
    assert result["outcome"] == "adjusted"
    await api.project()


async def decide(api, payout, decision):
    """Decide on the payout as the worker would."""
    act = Act(api.now, "payouts/worker")
    books, name = api.paying.books, ("acme", payout["id"])
    await asyncio.to_thread(books.decide, name, lambda each: decision(each, act), act)
    await api.project()
    return (await api.get(f"/payouts/{payout['id']}")).json


async def balance(api):
    """Return the only balance as amounts, without those that are zero."""
    await api.project()
    (row,) = (await api.get("/balances")).json["data"]
    amounts = {name: value["amount"] for name, value in row.items() if isinstance(value, dict)}
    return {name: amount for name, amount in amounts.items() if float(amount)}


async def reasons(api):
    """Return why partners are in or out of a run now, with what they are owed."""
    lines = (await api.post("/payout-runs", {"dry_run": True})).json["lines"]
    return [(line["reason"], line["amount"]["amount"]) for line in lines]


async def agree(api):
    """Assert that every row is what the log says."""
    assert (await asyncio.to_thread(verify, api.database_url)).differences == []


async def test_a_refund_after_the_payout_is_a_linked_entry_that_later_earnings_pay_for(api):
    """What was paid stays paid; the refund is a negative entry of its order, and the next payout is less by it."""
    _, (order_id,), first = await jane_was_paid(api, "100.00")
    await refund(api, order_id, "40.00")
    assert await balance(api) == {"paid": "10.00", "clawed_back": "-4.00", "payable": "-4.00"}
    story = (await api.get(f"/commissions/{order_id}")).json
    assert (story["status"], story["commission"], story["clawed_back"]) == ("paid", usd("10.00"), usd("-4.00"))
    assert story["payout_id"] == first["id"]
    await earn(api, "90.00")
    second = await pay(api, "T-2")
    assert (second["amount"], second["netted"]) == (usd("5.00"), usd("-4.00"))
    parts = (await api.get(f"/payouts/{second['id']}/commissions")).json["data"]
    assert {(part["kind"], part["amount"]["amount"]) for part in parts} == {
        ("commission", "9.00"), ("clawback", "-4.00")
    }  # fmt: skip
    assert await balance(api) == {"paid": "15.00"}
    story = (await api.get(f"/commissions/{order_id}")).json
    told = [(each["type"], each["payout_id"]) for each in story["history"]]
    assert told[-2:] == [("ClawbackNetted", second["id"]), ("ClawbackSettled", second["id"])]
    assert f"payout {second['id']}" in story["history"][-2]["summary"]
    await agree(api)


async def test_a_negative_balance_is_never_sent_and_is_carried_until_it_is_covered(api):
    """While more was clawed back than is owed nothing is paid; then what is left of it is."""
    _, order_ids, _ = await jane_was_paid(api, "100.00", "50.00")
    for order_id in order_ids:
        await refund(api, order_id, "50.00")
    await earn(api, "60.00")
    assert await reasons(api) == [("negative_balance", "-4.00")]
    await earn(api, "40.00")
    assert await reasons(api) == [("nothing_payable", "0.00")]
    await earn(api, "30.00")
    assert await reasons(api) == [("payable", "3.00")]
    payout = await pay(api, "T-2")
    assert (payout["amount"], payout["netted"], payout["commissions"]) == (usd("3.00"), usd("-10.00"), 5)
    await agree(api)


async def test_a_negative_balance_is_written_off_once_and_with_a_reason(api):
    """The write-off is an entry of as much; until the figures show it, another one is refused."""
    jane, (order_id,), _ = await jane_was_paid(api, "100.00")
    body = {"currency": "USD", "reason": "left the program"}
    refused = await api.post(f"/partners/{jane}/write-off", body)
    assert refused.json["errors"][0]["code"] == "not_negative"
    await refund(api, order_id, "100.00")
    first = await api.post(f"/partners/{jane}/write-off", body)
    assert (first.status, first.json["commission"]) == (200, usd("10.00")), first.text
    assert (await api.post(f"/partners/{jane}/write-off", body | {"reason": "again"})).code == "conflicting_duplicate"
    assert (await api.post(f"/partners/{jane}/write-off", body)).code == "entry_exists"
    assert await balance(api) == {"approved": "10.00", "paid": "10.00", "clawed_back": "-10.00"}
    again = await api.post(f"/partners/{jane}/write-off", body)
    assert again.json["errors"][0]["code"] == "not_negative"
    story = (await api.get(f"/commissions/{first.json['order_id']}")).json
    assert story["reason"] == "write-off: left the program"
    await agree(api)


async def test_a_payout_that_comes_back_in_parts_is_owed_again_part_by_part(api):
    """Each part is two entries that say so, no commission moves, and all of it can be paid anew."""
    jane, _, payout = await jane_was_paid(api, "100.00", "50.00")
    for total, owed in ((400, "4.00"), (1_500, "15.00")):
        story = await decide(api, payout, lambda each, act, total=total: rules.returned(each, act, total, "reversed"))
        assert (story["status"], story["returned"]) == ("returned", usd(owed))
        told = await balance(api)
        assert (told["payable"], told.get("paid")) == (owed, None if owed == "15.00" else "11.00")
    assert [step["returned"]["amount"] for step in story["history"][2:]] == ["4.00", "11.00"]
    totals = (await api.get("/metrics")).json["totals"]
    assert totals["payouts"] == {"paid": usd("15.00"), "returned": usd("15.00")}
    assert (totals["commissions"]["paid"], totals["entered"]) == (usd("0.00"), 0)
    lines = (await api.get(f"/partners/{jane}/statements/2026-11")).json["lines"]
    told = [
        (line["type"], line["amount"]["amount"], line["payout_id"]) for line in lines if line["payout_id"] is not None
    ]
    assert told == [
        ("paid", "-15.00", payout["id"]), ("payment_returned", "4.00", payout["id"]),
        ("payment_returned", "11.00", payout["id"]),
    ]  # fmt: skip
    (paid,) = [line for line in lines if line["type"] == "paid"]
    assert (paid["reference"], paid["order_id"]) == ("T-1", None)
    again = await pay(api, "T-2")
    assert again["amount"] == usd("15.00")
    await agree(api)


async def test_a_payout_that_comes_back_whole_gives_its_commissions_back(api):
    """Its commissions are payable again under their own names, a mark by hand is nowhere, and a run pays them anew."""
    jane, order_ids, payout = await jane_was_paid(api, "100.00", "50.00")
    await decide(api, payout, lambda each, act: rules.returned(each, act, 1_500, "returned"))
    listed = (await api.get("/commissions")).json["data"]
    assert {(row["order_id"], row["status"], row["payout_id"]) for row in listed} == {
        (order_id, "approved", None) for order_id in order_ids
    }
    assert (await api.get("/paid-marks")).json["data"] == []
    story = (await api.get(f"/commissions/{order_ids[0]}")).json
    assert (story["history"][-1]["payout_id"], "mark-paid" in story["legal"]) == (payout["id"], True)
    lines = (await api.get(f"/partners/{jane}/statements/2026-11")).json["lines"]
    assert [(line["type"], line["amount"]["amount"]) for line in lines if line["payout_id"]] == [
        ("paid", "-15.00"), ("payment_returned", "15.00")
    ]  # fmt: skip
    second = await pay(api, "T-2")
    assert (second["amount"], second["id"] != payout["id"]) == (usd("15.00"), True)
    await agree(api)


async def test_what_a_payout_netted_off_is_owed_by_the_partner_again_when_it_comes_back(api):
    """Money that comes back brings the clawback back that it was less by, so the next payout nets it off again."""
    _, (order_id,), _ = await jane_was_paid(api, "100.00")
    await refund(api, order_id, "40.00")
    await earn(api, "90.00")
    second = await pay(api, "T-2")
    await decide(api, second, lambda each, act: rules.returned(each, act, 500, "returned"))
    assert await balance(api) == {"approved": "9.00", "paid": "10.00", "clawed_back": "-4.00", "payable": "5.00"}
    story = (await api.get(f"/commissions/{order_id}")).json
    assert story["history"][-1]["type"] == "ClawbackOwedAgain"
    third = await pay(api, "T-3")
    assert (third["amount"], third["netted"]) == (usd("5.00"), usd("-4.00"))
    totals = (await api.get("/metrics")).json["totals"]
    assert (totals["payouts"], totals["commissions"]["paid"]) == (
        {"paid": usd("20.00"), "returned": usd("5.00")}, usd("15.00")
    )  # fmt: skip
    await agree(api)


async def test_a_payout_that_failed_is_run_again(api):
    """What a failed payout held is payable again, with the clawback that it netted off, and the next run pays it."""
    _, (order_id,), _ = await jane_was_paid(api, "100.00")
    await refund(api, order_id, "20.00")
    await earn(api, "80.00")
    await run(api)
    (payout,) = await payouts(api, status="requested")
    await decide(api, payout, lambda each, act: rules.start(each, act, "sha", timedelta(hours=1)))
    failed = await decide(api, payout, lambda each, act: rules.rejected(each, act, "transfers_not_allowed"))
    assert (failed["status"], failed["reason"]) == ("failed", "transfers_not_allowed")
    assert [step["type"] for step in failed["history"]] == [
        "PayoutRequested", "PayoutSubmissionStarted", "PayoutFailed"
    ]  # fmt: skip
    assert failed["history"][1]["key"] == f"payout-{payout['id']}-1"
    assert await balance(api) == {"approved": "8.00", "clawed_back": "-2.00", "paid": "10.00", "payable": "6.00"}
    again = await pay(api, "T-2")
    assert (again["amount"], again["netted"]) == (usd("6.00"), usd("-2.00"))
    await agree(api)


async def test_in_review_only_a_person_decides_and_not_too_early(api):
    """Declared dead, it is payable again; a retry begins the next attempt; neither while something may be under way."""
    await jane_was_paid(api, "100.00")
    await earn(api, "50.00")
    await run(api)
    (payout,) = await payouts(api, status="requested")
    await decide(api, payout, lambda each, act: rules.start(each, act, "sha", timedelta(hours=1)))
    assert (await api.post(f"/payouts/{payout['id']}/cancel", {"reason": "x"})).code == "illegal_move"
    story = await decide(api, payout, lambda each, act: rules.review(each, act, "no_body"))
    assert (story["actions"], story["reason"]) == (["confirm", "check"], "no_body")
    told = {"declared": "looked at the bank's page: nothing was paid"}
    assert (await api.post(f"/payouts/{payout['id']}/declare-dead", told)).code == "too_early"
    later(api)
    story = (await api.get(f"/payouts/{payout['id']}")).json
    assert story["actions"] == ["confirm", "declare-dead", "retry", "check"]
    assert (await api.post(f"/payouts/{payout['id']}/retry", told)).json["status"] == "approved"
    assert (await api.post(f"/payouts/{payout['id']}/cancel", {"reason": "x"})).code == "illegal_move"
    await decide(api, payout, lambda each, act: rules.start(each, act, "sha", timedelta(hours=1)))
    await decide(api, payout, lambda each, act: rules.review(each, act, "no_body"))
    later(api)
    assert (await api.post(f"/payouts/{payout['id']}/declare-dead", told)).json["status"] == "failed"
    assert (await balance(api))["payable"] == "5.00"
    story = (await api.get(f"/payouts/{payout['id']}")).json
    assert told["declared"] in story["history"][-1]["summary"]
    assert story["history"][-1]["declared"] == told["declared"]
    await agree(api)


_WRONG = {
    "payouts": [
        "UPDATE ledger.payouts SET state = 'failed'", "UPDATE ledger.payouts SET returned_minor = 1",
        "UPDATE ledger.payouts SET is_open = true", "DELETE FROM ledger.payouts",
        "DELETE FROM ledger.events WHERE topic = 'CommissionPaid'",
    ],
    "payout_lines": [
        "UPDATE ledger.payout_lines SET amount_minor = amount_minor + 1", "DELETE FROM ledger.payout_lines",
        "UPDATE ledger.payout_lines SET requested = false",
    ],
    "payout_runs": [
        "UPDATE ledger.payout_runs SET state = 'cancelled'", "DELETE FROM ledger.payout_runs",
        "UPDATE ledger.payout_runs SET partners_in = 7",
    ],
}  # fmt: skip


async def test_a_wrong_row_is_found(api):
    """Whatever of payouts, runs or lines is not what the log says, verify names it."""
    await jane_was_paid(api, "100.00")
    await agree(api)
    for table, statements in _WRONG.items():
        for statement in statements:
            assert table in await asyncio.to_thread(_found_after, api.database_url, statement), statement
    await agree(api)


_TABLES = ("payouts", "payout_lines", "payout_runs", "events")


def _found_after(url, statement):
    """Return what verify finds after the statement, whose tables are then as they were."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")
        for table in _TABLES:
            conn.execute(_on("CREATE TABLE {kept} AS SELECT * FROM {table}", table))
        try:
            conn.execute(statement.encode())
            return [each.model for each in verify(url).differences]
        finally:
            for table in _TABLES:
                with conn.transaction():
                    conn.execute(_on("DELETE FROM {table}", table))
                    conn.execute(_on("INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM {kept}", table))
                conn.execute(_on("DROP TABLE {kept}", table))


def _on(statement, table):
    """Return the statement about a table and its copy."""
    named = {"table": sql.Identifier("ledger", table), "kept": sql.Identifier("public", f"kept_{table}")}
    return sql.SQL(statement).format(**named)


@pytest.mark.parametrize("scopes", [["read"], ["payouts"]])
async def test_nobody_sees_where_a_payout_goes_in_full(api, scopes):
    """The address is masked for whoever may see it, and in no list, file or feed."""
    jane = (await api.partner())["id"]
    await payable_to(api, jane, "bank", "DE89370400440532013000", name="Jane Doe")
    await earn(api, "100.00")
    answers = [await api.post("/payout-runs", {"dry_run": True})]
    await payable_to(api, jane, "manual", "Jane Doe, 12 Elm Street")
    later(api, timedelta(days=4))
    await run(api)
    (payout,) = await payouts(api)
    key = {"Authorization": f"Bearer {key_of(api.ledger, 'acme', scopes, now=api.now)}"}
    paths = (f"/payouts/{payout['id']}", "/payouts", "/payouts.csv", "/events")
    answers += [await api.get(path, headers=key) for path in paths]
    told = "".join(answer.text for answer in answers)
    assert "Elm" not in told
    assert "0532013000" not in told
