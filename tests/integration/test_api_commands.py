"""The API's commands over real HTTP and a real PostgreSQL."""

import asyncio
from datetime import timedelta

import psycopg
import pytest

from tests.support.api import JANE, NOW


async def test_a_partner_is_registered(api):
    """POST /partners answers 201 with the partner, its codes in canonical form, and where its dashboard is."""
    answer = await api.post("/partners", JANE | {"coupon_code": " jane10 "})
    assert answer.status == 201
    partner = dict(answer.json)
    assert partner.pop("dashboard_url").startswith(f"https://ledger.example/dashboard/{partner['id']}.")
    partner.pop("id")
    assert partner.pop("registered_at") == "2026-11-22T12:00:00Z"
    assert partner == {
        "name": "Jane",
        "email": "jane@example.com",
        "status": "approved",
        "moves": ["pause", "ban"],
        "dashboard_access": "link_open",
        "dashboard_link_expires_at": "2026-12-22T12:00:00Z",
        "coupon_codes": ["JANE10"],
        "tags": [],
        "rate": {"type": "percentage", "value": "10"},
    }
    assert int(answer.headers["X-Ledger-Position"]) > 0


async def test_a_coupon_code_is_unique_without_case(api):
    """A second partner with the same code in other letters is refused, and says which field."""
    await api.partner()
    answer = await api.post("/partners", JANE | {"email": "joe@example.com", "coupon_code": "jane10"})
    assert (answer.status, answer.code) == (409, "coupon_taken")
    assert answer.json["errors"][0]["path"] == "$.coupon_code"


async def test_a_partner_is_moved_and_illegal_moves_say_what_is_legal(api):
    """A pause is followed by a reinstatement; a second pause is 409 with the state and the legal moves."""
    partner = await api.partner()
    address = f"/partners/{partner['id']}"
    paused = await api.post(f"{address}/pause", {"reason": "on holiday"})
    assert (paused.status, paused.json["status"]) == (200, "paused")
    again = await api.post(f"{address}/pause", {"reason": "on holiday"})
    assert (again.status, again.code) == (409, "illegal_move")
    assert (again.json["state"], again.json["legal"]) == ("paused", ["ban", "reinstate"])
    reinstated = await api.post(f"{address}/reinstate")
    assert (reinstated.status, reinstated.json["status"]) == (200, "approved")
    banned = await api.post(f"{address}/ban", {"reason": "fraud"})
    assert (banned.status, banned.json["status"]) == (200, "banned")


async def test_an_application_is_approved_or_rejected(api):
    """A partner that applied earns nothing until it is approved."""
    applied = await api.partner(status="applied")
    assert applied["status"] == "applied"
    rejected = await api.post(f"/partners/{applied['id']}/reject", {"reason": "not our kind"})
    assert (rejected.status, rejected.json["status"]) == (200, "rejected")
    approved = await api.post(f"/partners/{applied['id']}/approve")
    assert (approved.status, approved.json["status"]) == (200, "approved")


async def test_a_rate_is_changed_from_a_day_on(api):
    """PATCH changes the rate; one that reaches behind orders on the books is refused at `rate_from`."""
    partner = await api.partner()
    address = f"/partners/{partner['id']}"
    changed = await api.ask("PATCH", address, {"rate": {"type": "fixed", "value": "5.00"}})
    assert changed.json["rate"] == {"type": "fixed", "value": "5.00"}
    await api.post("/orders", api.order())
    past = {"rate": {"type": "percentage", "value": "1"}, "rate_from": "2026-11-01T00:00:00Z"}
    refused = await api.ask("PATCH", address, past)
    assert (refused.status, refused.json["errors"][0]["path"]) == (422, "$.rate_from")


async def test_coupons_come_and_go(api):
    """A further code is assigned and revoked; revoking it again finds nothing."""
    partner = await api.partner()
    address = f"/partners/{partner['id']}/coupons"
    assert (await api.post(address, {"code": "a/b {ü}"})).status == 201
    gone = await api.ask("DELETE", f"{address}/a%2Fb%20%7B%C3%BC%7D")
    assert (gone.status, gone.text) == (204, "")
    assert (await api.ask("DELETE", f"{address}/a%2Fb%20%7B%C3%BC%7D")).status == 404


async def test_every_order_event_has_its_result(api):
    """POST /orders answers one result per event, in order: good, repeated, foreign, refunded, broken."""
    await api.partner()
    placed, ignored = api.order(), api.order(coupon_code="NOBODY")
    broken = api.order(total="-1")
    answer = await api.post("/orders", [placed, placed, ignored, api.refund("o-1", "40.00"), broken, 7])
    assert answer.status == 200, answer.text
    results = answer.json["results"]
    assert [result["outcome"] for result in results] == [
        "earned", "duplicate", "ignored", "adjusted", "dead_lettered", "dead_lettered",
    ]  # fmt: skip
    assert results[0]["commission"] == {"amount": "10.00", "currency": "USD"}
    assert results[3]["commission"] == {"amount": "6.00", "currency": "USD"}
    assert (results[4]["error"]["code"], results[4]["error"]["path"]) == ("negative", "$.total")
    assert (results[5]["error"]["code"], results[5]["order_id"]) == ("not_an_object", None)


async def test_one_order_event_needs_no_array(api):
    """A single object is taken as it is and answered with one result."""
    await api.partner()
    answer = await api.post("/orders", api.order(merchant_id="acme"))
    assert [result["outcome"] for result in answer.json["results"]] == ["earned"]


@pytest.mark.parametrize("total", ["10.5", "1e400", "9" * 400, "true", '{"a": 1}', '"\\u0000"'])
async def test_numbers_that_are_no_money_are_dead_letters(api, total):
    """Fractions, endless integers and booleans as a total are refused, and the neighbour is booked."""
    await api.partner()
    bad = (
        '{"type":"order.placed","event_id":"e","order_id":"bad","occurred_at":"2026-11-22T10:00:00Z","currency":"USD",'
    )
    good = bad.replace('"bad"', '"good"') + '"coupon_code":"JANE10","total":"1.00"}'
    raw = f'[{bad}"coupon_code":"JANE10","total":{total}}},{good}]'
    answer = await api.ask("POST", "/orders", data=raw, headers={"Content-Type": "application/json"})
    assert answer.status == 200, answer.text
    assert [result["outcome"] for result in answer.json["results"]] == ["dead_lettered", "earned"]
    assert answer.json["results"][0]["error"]["path"].startswith("$.total")


@pytest.mark.parametrize("body", [[], 7, "x", [{}] * 1001])
async def test_only_objects_and_short_arrays_are_orders(api, body):
    """Neither nothing, nor a number, nor more than 1,000 events are an intake."""
    answer = await api.post("/orders", body)
    assert (answer.status, answer.code) == (422, "invalid_body")


async def test_a_commission_is_moved(api):
    """approve, hold, release, reject and reopen go through the states; an illegal move is 409 with the legal ones."""
    await api.partner()
    await api.post("/orders", api.order(order_id="a/b"))
    address = "/commissions/a%2Fb"
    states = []
    for move, body in [
        ("approve", None),
        ("hold", {"reason": "suspicious"}),
        ("release", None),
        ("reject", {"reason": "fraud"}),
        ("reopen", {"reason": "not fraud"}),
    ]:
        answer = await api.post(f"{address}/{move}", body)
        assert answer.status == 200, answer.text
        assert answer.json["order_id"] == "a/b"
        states.append(answer.json["status"])
    assert states[:4] == ["approved", "held", "approved", "rejected"]
    illegal = await api.post(f"{address}/release")
    assert (illegal.status, illegal.code) == (409, "illegal_move")


async def test_terms_are_versioned(api):
    """PATCH /program makes a new version; a change that changes nothing does not."""
    before = (await api.get("/program")).json["terms"]
    changed = await api.ask("PATCH", "/program", {"approval": "after_days", "hold_days": 14})
    assert changed.json["terms"] == before | {
        "approval": "after_days",
        "hold_days": 14,
        "version": before["version"] + 1,
    }
    same = await api.ask("PATCH", "/program", {"hold_days": 14})
    assert same.json["terms"]["version"] == changed.json["terms"]["version"]
    await api.project()
    assert (await api.get("/program")).json == changed.json


async def test_a_dead_letter_is_retried_once_it_is_right(api):
    """A refund of another currency stays refused; a discarded letter cannot be retried."""
    await api.partner()
    await api.post("/orders", [api.order(), api.refund("o-1", "500.00")])
    with psycopg.connect(api.database_url) as conn:
        row = conn.execute("SELECT dead_letter_id FROM ledger.dead_letters").fetchone()
    address = f"/dead-letters/{row[0]}"
    refused = await api.post(f"{address}/retry")
    assert (refused.status, refused.code) == (422, "refund_exceeds_total")
    discarded = await api.post(f"{address}/discard", {"reason": "a typing error"})
    assert (discarded.status, discarded.json["status"]) == (200, "discarded")
    gone = await api.post(f"{address}/retry")
    assert (gone.status, gone.code) == (409, "not_open")


# --- idempotency -----------------------------------------------------------------------------------------------------


async def test_the_same_key_gets_the_same_answer(api):
    """A repeated request with its key happens once; the second answer is the first, and says that it is."""
    first = await api.post("/partners", JANE, headers={"Idempotency-Key": "k-1"})
    second = await api.post("/partners", JANE, headers={"Idempotency-Key": "k-1"})
    assert (first.status, second.status) == (201, 201)
    assert second.text == first.text
    assert second.headers["X-Ledger-Position"] == first.headers["X-Ledger-Position"]
    assert ("Idempotency-Replayed" in first.headers, second.headers.get("Idempotency-Replayed")) == (False, "true")


@pytest.mark.parametrize("path", ["/partners", "/orders"])
async def test_the_same_key_with_another_request_is_a_conflict(api, path):
    """A key stands for one request: another body, or another address, is 409."""
    await api.post("/partners", JANE, headers={"Idempotency-Key": "k-1"})
    other = JANE | {"name": "Joe"} if path == "/partners" else JANE
    answer = await api.post(path, other, headers={"Idempotency-Key": "k-1"})
    assert (answer.status, answer.code) == (409, "idempotency_key_reused")


async def test_a_key_is_the_merchants_own(api):
    """Two merchants may use the same key; neither sees the other's answer."""
    await api.post("/partners", JANE, headers={"Idempotency-Key": "k-1"})
    answer = await api.post("/partners", JANE | {"name": "Joe"}, of="zenith", headers={"Idempotency-Key": "k-1"})
    assert (answer.status, answer.json["name"]) == (201, "Joe")


async def test_a_refused_request_leaves_its_key_free(api):
    """A request that was refused changed nothing, so its key can be used once the fault is mended."""
    refused = await api.post("/partners", JANE | {"name": ""}, headers={"Idempotency-Key": "k-1"})
    assert refused.status == 422
    assert (await api.post("/partners", JANE, headers={"Idempotency-Key": "k-1"})).status == 201


@pytest.mark.parametrize("key", ["ü", "x" * 256, "a b"])
async def test_a_key_must_be_printable(api, key):
    """What is no sane key is refused, and the header is named."""
    answer = await api.post("/partners", JANE, headers={"Idempotency-Key": key})
    assert (answer.status, answer.json["errors"][0]["path"]) == (422, "header.Idempotency-Key")


async def test_one_of_many_at_once_happens(api):
    """Ten equal requests at the same time register one partner and get one answer."""
    same = [api.post("/partners", JANE, headers={"Idempotency-Key": "k-1"}) for _ in range(10)]
    answers = await asyncio.gather(*same)
    assert {answer.status for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1


async def test_orders_sent_twice_at_once_are_booked_once(api):
    """The same batch of orders with one key, at the same time: one books it, the other repeats the answer."""
    await api.partner()
    batch = [api.order() for _ in range(20)]
    answers = await asyncio.gather(
        *(api.post("/orders", batch, headers={"Idempotency-Key": "batch"}) for _ in range(5))
    )
    assert {answer.status for answer in answers} == {200}
    outcomes = [[result["outcome"] for result in answer.json["results"]] for answer in answers]
    assert outcomes == [["earned"] * 20] * 5


async def test_orders_without_a_key_are_still_booked_once(api):
    """Without a key the orders' own ids keep the books right: the repetition is all duplicates."""
    await api.partner()
    batch = [api.order() for _ in range(5)]
    answers = await asyncio.gather(*(api.post("/orders", batch) for _ in range(4)))
    outcomes = sorted(tuple(result["outcome"] for result in answer.json["results"]) for answer in answers)
    assert outcomes == [("duplicate",) * 5] * 3 + [("earned",) * 5]


# --- keys and isolation ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer x", "Basic {key}", "Bearer {key}x", "Bearer cl_0000000000000000_{secret}"],
)
async def test_nobody_comes_in_without_a_key(api, authorization):
    """Without a valid key everything is 401, with the scheme to use, and tells nothing."""
    key = api.keys["acme"]
    sent = {} if authorization is None else {
        "Authorization": authorization.format(key=key, secret=key.split("_", 2)[2])
    }  # fmt: skip
    answer = await api.get("/program", of=None, headers=sent)
    assert (answer.status, answer.code) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_revoked_key_is_worth_nothing(api):
    """From the revocation on the key is as good as none."""
    with psycopg.connect(api.database_url) as conn:
        conn.execute("UPDATE access.api_keys SET revoked_at = now() WHERE merchant_id = 'acme'")
    assert (await api.get("/program")).status == 401
    assert (await api.get("/program", of="zenith")).status == 200


async def test_the_last_use_of_a_key_is_kept_by_the_minute(api):
    """A key's last use is written down, at most once a minute."""

    def last_used():
        with psycopg.connect(api.database_url) as conn:
            return conn.execute("SELECT last_used_at FROM access.api_keys WHERE merchant_id = 'acme'").fetchone()[0]

    await api.get("/program")
    assert last_used() == NOW
    api.now = NOW + timedelta(seconds=59)
    await api.get("/program")
    assert last_used() == NOW
    api.now = NOW + timedelta(seconds=61)
    await api.get("/program")
    assert last_used() == api.now


async def test_a_key_is_stored_as_a_hash(api):
    """The key itself is nowhere in the database."""
    secret = api.keys["acme"].split("_", 2)[2]
    with psycopg.connect(api.database_url) as conn:
        rows = conn.execute("SELECT api_keys::text FROM access.api_keys").fetchall()
    assert rows
    assert not any(secret in row[0] for row in rows)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/partners/{partner}", {"name": "Mine now"}),
        ("POST", "/partners/{partner}/approve", None),
        ("POST", "/partners/{partner}/reject", {"reason": "x"}),
        ("POST", "/partners/{partner}/pause", {"reason": "x"}),
        ("POST", "/partners/{partner}/reinstate", None),
        ("POST", "/partners/{partner}/ban", {"reason": "x"}),
        ("POST", "/partners/{partner}/coupons", {"code": "MINE"}),
        ("DELETE", "/partners/{partner}/coupons/JANE10", None),
        ("POST", "/commissions/{order}/approve", None),
        ("POST", "/commissions/{order}/reject", {"reason": "x"}),
        ("POST", "/commissions/{order}/reopen", {"reason": "x"}),
        ("POST", "/commissions/{order}/hold", {"reason": "x"}),
        ("POST", "/commissions/{order}/release", None),
        ("POST", "/dead-letters/{letter}/retry", None),
        ("POST", "/dead-letters/{letter}/discard", {"reason": "x"}),
    ],
)
async def test_what_belongs_to_another_is_not_found(api, method, path, body):
    """Another merchant's ids answer exactly as ids that do not exist, and nothing is changed."""
    partner = await api.partner()
    await api.post("/orders", [api.order(), api.order(total="x")])
    with psycopg.connect(api.database_url) as conn:
        letter = conn.execute("SELECT dead_letter_id FROM ledger.dead_letters").fetchone()[0]
        before = conn.execute("SELECT max(notification_id) FROM ledger.events").fetchone()
    ids = {"partner": partner["id"], "order": "o-1", "letter": letter}
    missing = dict.fromkeys(ids, "missing")
    foreign = await api.ask(method, path.format(**ids), body, of="zenith")
    absent = await api.ask(method, path.format(**missing), body, of="zenith")
    assert (foreign.status, absent.status) == (404, 404)
    shown = foreign.json["detail"]
    for name in ids.values():
        shown = shown.replace(name, "missing")
    assert shown == absent.json["detail"]
    with psycopg.connect(api.database_url) as conn:
        assert conn.execute("SELECT max(notification_id) FROM ledger.events").fetchone() == before


async def test_an_order_cannot_name_another_merchant(api):
    """An event that names another merchant is refused, and never becomes that merchant's to see or to retry."""
    await api.partner(of="zenith")
    named = [api.order(merchant_id="zenith"), api.order(merchant_id="nobody-at-all")]
    results = (await api.post("/orders", named)).json["results"]
    assert [result["outcome"] for result in results] == ["dead_lettered"] * 2
    assert len({result["error"]["code"] for result in results}) == 1
    assert (await api.get("/dead-letters", of="zenith")).json["data"] == []
    letters = (await api.get("/dead-letters")).json["data"]
    assert len(letters) == 2
    for letter in letters:
        assert (await api.post(f"/dead-letters/{letter['id']}/retry", of="zenith")).status == 404
        assert (await api.post(f"/dead-letters/{letter['id']}/retry")).status == 422
