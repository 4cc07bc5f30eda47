"""Payouts over HTTP: previewed, frozen, approved by somebody else, requested, confirmed by hand; lists and stories."""

import asyncio
from datetime import timedelta

import pytest

from ledger.payout_events import payout_stream
from tests.support.api import running
from tests.support.keys import key_of
from tests.support.payouts import confirm, earn, later, payable_to, payouts, run, second_key, work


def usd(amount):
    """Return an amount as the API shows it."""
    return {"amount": amount, "currency": "USD"}


async def jane_is_owed(api, *totals):
    """Register Jane with payout details and approved commissions; return her id."""
    jane = (await api.partner())["id"]
    await payable_to(api, jane)
    await earn(api, *totals)
    return jane


async def test_a_preview_shows_who_would_be_paid_and_writes_nothing(api):
    """A dry run answers with every partner, in or out with a reason and sums per currency, and leaves no trace."""
    jane = await jane_is_owed(api, "100.00", "50.00")
    joe = (await api.partner(name="Joe", email="joe@example.com", coupon_code="JOE10"))["id"]
    await earn(api, "80.00", coupon_code="JOE10")
    before = api.ledger.head()
    answer = await api.post("/payout-runs", {"dry_run": True}, headers={"Idempotency-Key": "look"})
    preview = answer.json
    assert answer.status == 200, answer.text
    assert (preview["id"], preview["status"], preview["partners_in"], preview["partners_out"]) == (
        None,
        "preview",
        1,
        1,
    )
    assert preview["totals"] == [{"currency": "USD", "partners": 1, "commissions": 2, "amount": usd("15.00")}]
    assert preview["out"] == [
        {"reason": "no_payout_details", "currency": "USD", "partners": 1, "amount": usd("8.00")}
    ]  # fmt: skip
    lines = {line["partner_id"]: (line["included"], line["reason"], line["rail"]) for line in preview["lines"]}
    assert lines == {jane: (True, "payable", "manual"), joe: (False, "no_payout_details", None)}
    assert api.ledger.head() == before
    assert (await api.get("/payout-runs")).json["data"] == []
    # Nothing was remembered of it either: what would be paid may be another the next time.
    assert (
        "Idempotency-Replayed"
        not in (await api.post("/payout-runs", {"dry_run": True}, headers={"Idempotency-Key": "look"})).headers
    )


async def test_a_run_is_made_once_and_does_what_the_preview_said(api):
    """The same request makes one run; its list is the preview's, and the worker requests exactly that."""
    jane = await jane_is_owed(api, "100.00", "50.00")
    preview = (await api.post("/payout-runs", {"dry_run": True})).json
    first = await api.post("/payout-runs", {}, headers={"Idempotency-Key": "november"})
    again = await api.post("/payout-runs", {}, headers={"Idempotency-Key": "november"})
    assert (first.status, again.json, again.headers["Idempotency-Replayed"]) == (200, first.json, "true")
    made = first.json
    assert (made["totals"], made["waiting"], made["payouts"]) == (preview["totals"], 1, {})
    other = await api.post("/payout-runs", {"currency": "USD"}, headers={"Idempotency-Key": "november"})
    assert other.code == "idempotency_key_reused"
    await work(api)
    shown = (await api.get(f"/payout-runs/{made['id']}")).json
    assert (shown["waiting"], shown["payouts"], shown["made_by"]["kind"]) == (0, {"requested": 1}, "key")
    (line,) = (await api.get(f"/payout-runs/{made['id']}/lines")).json["data"]
    (payout,) = await payouts(api)
    assert (line["payout_id"], line["partner_id"], line["amount"]) == (payout["id"], jane, usd("15.00"))
    assert (payout["amount"], payout["commissions"], payout["status"]) == (usd("15.00"), 2, "requested")
    (balance,) = (await api.get("/balances")).json["data"]
    assert (balance["payable"], balance["in_payout"]) == (usd("0.00"), usd("15.00"))


async def test_without_a_key_a_repetition_is_the_same_run(api):
    """The same X-Request-Id and body make one run, and the answer is of its list, whatever is payable meanwhile."""
    await jane_is_owed(api, "100.00")
    headers = {"X-Request-Id": "once-and-for-all-0001"}
    first = (await api.post("/payout-runs", {}, headers=headers)).json
    await earn(api, "70.00")
    again = (await api.post("/payout-runs", {}, headers=headers)).json
    assert (again["id"], again["totals"]) == (first["id"], first["totals"])
    assert len((await api.get("/payout-runs")).json["data"]) == 1


async def test_a_run_is_for_whom_it_was_asked(api):
    """Partners, exclusions, a currency, a cut-off and a minimum narrow a run down; each is checked."""
    jane = await jane_is_owed(api, "100.00")
    joe = (await api.partner(name="Joe", email="joe@example.com", coupon_code="JOE10"))["id"]
    await payable_to(api, joe)
    later(api, timedelta(minutes=1))
    await earn(api, "80.00", coupon_code="JOE10")

    async def reasons(**criteria):
        answer = await api.post("/payout-runs", {"dry_run": True} | criteria)
        assert answer.status == 200, answer.text
        return {line["partner_id"]: line["reason"] for line in answer.json["lines"]}

    assert await reasons() == {jane: "payable", joe: "payable"}
    assert await reasons(partner_ids=[joe, "nobody"]) == {joe: "payable"}
    assert await reasons(exclude_partner_ids=[joe]) == {jane: "payable", joe: "excluded"}
    assert await reasons(currency="EUR") == {}
    assert await reasons(minimum={"USD": "9.00"}) == {jane: "payable", joe: "below_minimum"}
    assert await reasons(cut_off=(api.now - timedelta(seconds=30)).isoformat()) == {jane: "payable"}
    wrong = {
        "$.cut_off": {"cut_off": (api.now + timedelta(seconds=1)).isoformat()},
        "$.minimum.USD": {"minimum": {"USD": "9.001"}},
        "$.partner_ids": {"partner_ids": ["x"] * 1001},
        "$.dry_run": {"dry_run": "maybe"},
    }
    for path, body in wrong.items():
        answer = await api.post("/payout-runs", {"dry_run": True} | body)
        assert (answer.status, answer.json["errors"][0]["path"]) == (422, path), answer.text


async def test_whoever_made_a_run_cannot_approve_it(api):
    """Where the program demands a second person nothing starts before one approves; the maker is refused with 403."""
    await jane_is_owed(api, "100.00")
    assert (await api.ask("PATCH", "/program", {"payout_approval": "second_person"})).status == 200
    made = await run(api)
    assert (made["needs_approval"], made["status"], made["payouts"]) == (True, "prepared", {"requested": 1})
    (payout,) = await payouts(api)
    story = (await api.get(f"/payouts/{payout['id']}")).json
    assert story["actions"] == ["cancel"]
    assert (await confirm_now(api, payout)).code == "illegal_move"
    mine = await api.post(f"/payout-runs/{made['id']}/approve")
    assert (mine.status, mine.code) == (403, "maker_is_checker")
    other = second_key(api)
    theirs = (await api.get(f"/payouts/{payout['id']}", headers=other)).json
    assert theirs["actions"] == ["approve", "cancel"]
    assert (await api.post(f"/payout-runs/{made['id']}/approve", headers=other)).json["status"] == "approved"
    await work(api)
    shown = (await api.get(f"/payout-runs/{made['id']}")).json
    assert (shown["payouts"], shown["status"]) == ({"approved": 1}, "approved")
    assert shown["approved_by"]["key_id"] != shown["made_by"]["key_id"]
    assert (await api.post(f"/payout-runs/{made['id']}/approve", headers=other)).code == "illegal_move"


async def confirm_now(api, payout, **change):
    """Ask to confirm the payout, and return the answer."""
    body = {"transaction_id": "T-1", "paid_at": api.now.isoformat(), "method": "wire", **payout["amount"]} | change
    return await api.post(f"/payouts/{payout['id']}/confirm", body)


async def test_a_run_that_is_called_off_gives_everything_back(api):
    """A cancelled run's payouts are cancelled with the reason, and what they held is payable again."""
    await jane_is_owed(api, "100.00")
    made = await run(api)
    answer = await api.post(f"/payout-runs/{made['id']}/cancel", {"reason": "wrong month"})
    assert answer.json == {"id": made["id"], "status": "cancelled", "needs_approval": False}
    await work(api)
    shown = (await api.get(f"/payout-runs/{made['id']}")).json
    assert (shown["payouts"], shown["cancelled_because"], shown["waiting"]) == ({"cancelled": 1}, "wrong month", 0)
    (balance,) = (await api.get("/balances")).json["data"]
    assert (balance["payable"], balance["in_payout"]) == (usd("10.00"), usd("0.00"))


async def test_a_payout_is_confirmed_once_and_exactly(api):
    """Its amount must equal, its transaction is nobody else's, the same again is the same, other data is 409."""
    await jane_is_owed(api, "100.00")
    await run(api)
    (payout,) = await payouts(api)
    assert (await confirm_now(api, payout, amount="9.99")).json["errors"][0]["code"] == "amount_differs"
    assert (await confirm_now(api, payout, currency="EUR")).json["errors"][0]["code"] == "amount_differs"
    assert (await confirm_now(api, payout, method="Wire!")).json["errors"][0]["code"] == "bad_method"
    assert (await confirm_now(api, payout, transaction_id=" x")).json["errors"][0]["code"] == "bad_transaction_id"
    future = (api.now + timedelta(hours=1)).isoformat()
    assert (await confirm_now(api, payout, paid_at=future)).json["errors"][0]["code"] == "paid_in_the_future"
    first = await confirm_now(api, payout)
    assert first.json == {"id": payout["id"], "status": "processed", "amount": usd("10.00")}
    assert int(first.headers["X-Ledger-Position"]) == api.ledger.head()
    again = await confirm_now(api, payout)
    assert (again.status, again.json) == (200, first.json)
    assert (await confirm_now(api, payout, transaction_id="T-2")).code == "confirmed_otherwise"
    await earn(api, "60.00")
    await run(api)
    (second,) = await payouts(api, status="requested")
    assert (await confirm_now(api, second)).code == "transaction_used"
    assert (await confirm_now(api, second, transaction_id="T-2")).status == 200


async def test_a_payouts_story_tells_every_event(api):
    """Each event has a sentence, who did it and its facts; where it goes is masked, and hidden from readers."""
    jane = (await api.partner())["id"]
    await payable_to(api, jane, address="Jane Doe, 12 Elm Street")
    order_ids = await earn(api, "100.00")
    await run(api)
    (payout,) = await payouts(api)
    story = await confirm(api, payout, "T-1")
    assert [step["type"] for step in story["history"]] == ["PayoutRequested", "PayoutProcessed"]
    assert "10.00 USD were reserved" in story["history"][0]["summary"]
    assert "paid by wire: T-1" in story["history"][1]["summary"]
    assert story["history"][1]["by"]["kind"] == "key"
    assert (story["transaction_id"], story["actions"], story["netted"]) == ("T-1", [], usd("0.00"))
    assert story["processed_at"] is not None
    assert "Elm" not in str(story)
    assert story["payee"]["method"] == "manual"
    reader = {"Authorization": f"Bearer {key_of(api.ledger, 'acme', ['read'], now=api.now)}"}
    theirs = (await api.get(f"/payouts/{payout['id']}", headers=reader)).json
    assert (theirs["payee"], theirs["actions"], theirs["amount"]) == (None, [], usd("10.00"))
    (commission,) = (await api.get("/commissions", params={"payout_id": payout["id"]})).json["data"]
    assert (commission["order_id"], commission["commission"]) == (order_ids[0], usd("10.00"))


async def test_payouts_are_listed_by_what_is_asked(api):
    """Partner, status, currency, run, rail, days and transaction narrow the list down; pages do not lose anything."""
    jane = await jane_is_owed(api, "100.00")
    made = []
    for number in range(3):
        made.append(await run(api))
        (payout,) = await payouts(api, status="requested")
        await confirm(api, payout, f"T-{number}")
        await earn(api, "40.00")
        later(api, timedelta(days=1))
    everything = await payouts(api)
    assert [each["run_id"] for each in everything] == [each["id"] for each in reversed(made)]
    first = (await api.get("/payouts", params={"limit": "2"})).json
    await run(api)
    rest = (await api.get("/payouts", params={"limit": "2", "cursor": first["next_cursor"]})).json
    assert [*first["data"], *rest["data"]] == everything
    assert rest["next_cursor"] is None
    asked = {
        "partner_id": (jane, 4), "status": ("processed", 3), "currency": ("EUR", 0), "run_id": (made[1]["id"], 1),
        "rail": ("stripe", 0), "transaction_id": ("T-2", 1), "from": ("2026-11-24", 2), "to": ("2026-11-22", 1),
    }  # fmt: skip
    for name, (value, count) in asked.items():
        assert len(await payouts(api, **{name: value})) == count, name
    assert (await api.get("/payouts", params={"cursor": "x"})).code == "bad_cursor"
    file = (await api.get("/payouts.csv")).text.splitlines()
    assert (len(file), file[0].split(",")[:4]) == (5, ["id", "run_id", "partner_id", "amount.amount"])
    assert len((await api.get(f"/payout-runs/{made[0]['id']}/lines.csv")).text.splitlines()) == 2
    assert len((await api.get("/payout-runs.csv")).text.splitlines()) == 5


async def test_what_is_anothers_is_not_there(api):
    """Runs and payouts of another merchant are not found, whatever is asked of them."""
    await jane_is_owed(api, "100.00")
    made = await run(api)
    (payout,) = await payouts(api)
    declared = {"declared": "nothing was paid"}
    calls = [
        ("GET", f"/payout-runs/{made['id']}", None), ("GET", f"/payout-runs/{made['id']}/lines", None),
        ("POST", f"/payout-runs/{made['id']}/approve", None),
        ("POST", f"/payout-runs/{made['id']}/cancel", {"reason": "x"}),
        ("GET", f"/payouts/{payout['id']}", None), ("POST", f"/payouts/{payout['id']}/check", None),
        ("POST", f"/payouts/{payout['id']}/cancel", {"reason": "x"}),
        ("POST", f"/payouts/{payout['id']}/retry", declared),
        ("POST", f"/payouts/{payout['id']}/declare-dead", declared),
        ("GET", f"/partners/{payout['partner_id']}/payout-standing", None),
        ("POST", f"/partners/{payout['partner_id']}/hold-payouts", {"reason": "x"}),
        ("POST", f"/partners/{payout['partner_id']}/write-off", {"reason": "x", "currency": "USD"}),
    ]  # fmt: skip
    for method, path, body in calls:
        assert (await api.ask(method, path, body, of="zenith")).status == 404, path
    assert (await api.get("/payouts", of="zenith")).json["data"] == []


async def test_a_partner_whose_payouts_are_held_is_left_out_until_released(api):
    """Held back, a partner is `frozen` in runs, and the standing says who did it and why; released, it is paid."""
    jane = await jane_is_owed(api, "100.00")
    held = await api.post(f"/partners/{jane}/hold-payouts", {"reason": "odd orders"})
    assert (held.json["frozen"], held.json["partner_id"]) == ("odd orders", jane)
    await api.post(f"/partners/{jane}/hold-payouts", {"reason": "once more"})
    preview = (await api.post("/payout-runs", {"dry_run": True})).json
    assert [line["reason"] for line in preview["lines"]] == ["frozen"]
    assert (await api.get(f"/partners/{jane}/payout-standing")).json["frozen"] == "odd orders"
    assert (await api.post(f"/partners/{jane}/release-payouts", {"reason": "looked"})).json["frozen"] is None
    standing = (await api.get(f"/partners/{jane}/payout-standing")).json
    assert [(each["frozen"], each["reason"]) for each in standing["history"]] == [
        (False, "looked"), (True, "odd orders")
    ]  # fmt: skip
    assert (await run(api))["payouts"] == {"requested": 1}


async def test_without_a_key_that_seals_details_nobody_is_paid(database_url):
    """Where the operator has set nothing up, commands on payouts say so with 409, and lists are empty."""
    async with running(database_url, payouts=None) as api:
        answer = await api.post("/payout-runs", {"dry_run": True})
        assert (answer.status, answer.code) == (409, "payouts_not_set_up")
        assert (await api.get("/payouts")).json["data"] == []


async def test_checking_makes_a_payout_due_and_only_where_there_is_something_to_see(api):
    """`check` has the worker look now; of a payout that a person pays by hand there is nothing to look at."""
    await jane_is_owed(api, "100.00")
    await run(api)
    (payout,) = await payouts(api)
    assert (await api.post(f"/payouts/{payout['id']}/check")).code == "illegal_move"


@pytest.mark.parametrize("path", ["/payout-runs/x/approve", "/payouts/x/cancel", "/payouts/x/confirm"])
async def test_moving_money_needs_the_scope(api, path):
    """A key that may only read or look after partners cannot move money."""
    for scopes in (["read"], ["partners"], ["orders:write"]):
        key = {"Authorization": f"Bearer {key_of(api.ledger, 'acme', scopes, now=api.now)}"}
        assert (await api.post(path, {}, headers=key)).code == "scope_missing"


async def test_the_position_of_a_command_is_that_of_its_events(api):
    """A client that waits for the position of its command finds the payout as the command left it."""
    await jane_is_owed(api, "100.00")
    await run(api)
    (payout,) = await payouts(api)
    answer = await api.post(f"/payouts/{payout['id']}/cancel", {"reason": "no"})
    stream = api.ledger.stream(payout_stream("acme", payout["id"]))
    assert (answer.json["status"], len(stream)) == ("cancelled", 2)
    await asyncio.gather(api.project())
    position = answer.headers["X-Ledger-Position"]
    (balance,) = (await api.get("/balances", params={"min_position": position})).json["data"]
    assert balance["payable"] == usd("10.00")
