"""The API's reads over real HTTP, on read models that the projector has made."""

import asyncio
import json
from base64 import b64decode
from datetime import timedelta

import psycopg
import pytest

from ledger.intake import Intake, Message, Source
from tests.support.api import JANE, JOE, NOW
from web.api.calls import POSITIONS

USD = {"currency": "USD"}


@pytest.fixture
async def books(api):
    """Yield the application with two partners, five orders, a refund, and a merchant beside it that has the same."""
    api.jane, api.joe = await api.partner(), await api.partner(**JOE)
    kim, lee = {"id": "c/1", "email": "kim@example.com", "name": "Kim"}, {"id": "c-2"}
    await api.post(
        "/orders",
        [
            api.order(customer=kim),
            api.order(customer=kim, occurred_at="2026-11-20T23:30:00Z"),
            api.order(customer=lee, coupon_code="joe5", total="20.00"),
            api.order(currency="JPY", total="1000"),
            api.order(coupon_code="NOBODY"),
            api.refund("o-1", "40.00"),
            api.refund("o-2", "500.00", refund_id="too-much"),
        ],
    )
    await api.partner(of="zenith")
    await api.post("/orders", api.order(customer=kim, order_id="o-1"), of="zenith")
    await api.post("/orders", api.refund("o-1", "500.00", refund_id="theirs"), of="zenith")
    await api.post("/commissions/o-2/approve")
    await api.project()
    return api


def money(amount, currency="USD"):
    """Return an amount as the API shows it."""
    return {"amount": amount, "currency": currency}


async def test_balances_are_per_partner_and_currency(books):
    """GET /balances shows each partner's money per currency, and the position that it reflects."""
    answer = await books.get("/balances")
    assert answer.status == 200
    assert int(answer.headers["X-Ledger-Position"]) == await books.project()
    found = {(row["partner_id"], row["currency"]): row for row in answer.json["data"]}
    jane = found[books.jane["id"], "USD"]
    assert (jane["pending"], jane["approved"], jane["payable"]) == (money("6.00"), money("10.00"), money("10.00"))
    assert found[books.jane["id"], "JPY"]["pending"] == money("100", "JPY")
    assert found[books.joe["id"], "USD"]["pending"] == money("5.00")
    one = await books.get("/balances", params={"partner_id": books.jane["id"], **USD})
    assert one.json == {"data": [jane], "next_cursor": None}


async def test_commissions_are_listed_newest_first(books):
    """GET /commissions lists what each order earned, the newest orders first."""
    answer = await books.get("/commissions")
    rows = answer.json["data"]
    assert [row["order_id"] for row in rows][-1] == "o-2"
    first = next(row for row in rows if row["order_id"] == "o-1")
    assert first == {
        "order_id": "o-1",
        "partner_id": books.jane["id"],
        "customer_id": "c/1",
        "coupon_code": "JANE10",
        "status": "pending",
        "reason": None,
        "commission": money("6.00"),
        "clawed_back": money("0.00"),
        "total": money("100.00"),
        "refunded": money("40.00"),
        "occurred_at": "2026-11-22T10:00:00Z",
        "due_at": None,
        "approved_at": None,
        "paid_at": None,
        "payout_id": None,
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, {"o-1", "o-2", "o-3", "o-4"}),
        ({"partner_id": "joe"}, {"o-3"}),
        ({"status": "approved"}, {"o-2"}),
        ({"customer_id": "c/1"}, {"o-1", "o-2"}),
        ({"from": "2026-11-21"}, {"o-1", "o-3", "o-4"}),
        ({"to": "2026-11-21"}, {"o-2"}),
        ({"from": "2026-11-20", "to": "2026-11-20"}, {"o-2"}),
        ({"currency": "JPY"}, {"o-4"}),
        ({"payout_id": "none"}, set()),
        ({"partner_id": "nobody"}, set()),
    ],
)
async def test_commissions_are_filtered(books, query, expected):
    """Every filter of GET /commissions keeps what it says and nothing else."""
    if query.get("partner_id") == "joe":
        query = {"partner_id": books.joe["id"]}
    answer = await books.get("/commissions", params=query)
    assert {row["order_id"] for row in answer.json["data"]} == expected


async def test_pages_are_stable_under_inserts(books):
    """Following the cursor shows each row once, whatever is added meanwhile at the front."""
    seen, cursor = [], {}
    while True:
        page = await books.get("/commissions", params={"limit": 1, **cursor})
        seen += [row["order_id"] for row in page.json["data"]]
        await books.post("/orders", books.order(occurred_at="2026-11-22T11:59:00Z"))
        await books.project()
        if page.json["next_cursor"] is None:
            break
        cursor = {"cursor": page.json["next_cursor"]}
    assert sorted(seen) == ["o-1", "o-2", "o-3", "o-4"]


@pytest.mark.parametrize("path", ["/partners", "/commissions", "/balances", "/customers", "/dead-letters"])
async def test_every_list_has_pages(books, path):
    """With limit=1 each list gives the same rows, one at a time, as it gives at once."""
    await books.post("/orders", books.refund("o-2", "600.00", refund_id="far too much"))
    whole = (await books.get(path)).json["data"]
    seen, cursor = [], {}
    for _ in whole:
        page = (await books.get(path, params={"limit": 1, **cursor})).json
        seen += page["data"]
        cursor = {"cursor": page["next_cursor"]}
    assert seen == whole
    assert len(whole) > 1
    assert page["next_cursor"] is None


async def test_a_commission_tells_its_story(books):
    """GET /commissions/{order_id} has every event with its times, cause and money, and a sentence that explains it."""
    answer = await books.get("/commissions/o-1")
    assert answer.status == 200
    earned, adjusted = answer.json["history"]
    assert (earned["type"], earned["version"], earned["amount"]) == ("CommissionEarned", 1, money("10.00"))
    assert earned["summary"] == (
        "An order of 100.00 USD came with code JANE10: 10 % of 100.00 USD (total) is 10.00 USD,"
        " under version 1 of the terms."
    )
    assert earned["cause"].startswith("api/acme/0@")
    assert (adjusted["type"], adjusted["amount"], adjusted["refund_id"]) == (
        "CommissionAdjusted",
        money("-4.00"),
        "r-o-1",
    )
    assert adjusted["summary"] == "A refund of 40.00 USD changed what the partner is owed by -4.00 USD."
    approved = (await books.get("/commissions/o-2")).json["history"][-1]
    assert (approved["from_status"], approved["to_status"]) == ("pending", "approved")
    assert approved["cause"].startswith("api/")


async def test_a_story_ends_where_its_figures_do(books):
    """While the read models are behind, the history shows no event that the figures beside it do not know."""
    await books.post("/commissions/o-1/approve")
    behind = (await books.get("/commissions/o-1")).json
    assert (behind["status"], len(behind["history"])) == ("pending", 2)
    await books.project()
    now = (await books.get("/commissions/o-1")).json
    assert (now["status"], len(now["history"])) == ("approved", 3)


async def test_customers_show_what_they_bought(books):
    """GET /customers shows revenue per currency, and who brought them; one customer's page has the orders."""
    listed = (await books.get("/customers")).json["data"]
    assert [row["id"] for row in listed] == ["c-2", "c/1"]
    story = (await books.get("/customers/c%2F1")).json
    assert [order["order_id"] for order in story.pop("orders")] == ["o-1", "o-2"]
    assert story == listed[1]
    assert story == {
        "id": "c/1",
        "name": "Kim",
        "email": "kim@example.com",
        "partner_id": books.jane["id"],
        "assigned_partner_id": None,
        "assigned_at": None,
        "assignment_reason": None,
        "first_order_at": "2026-11-20T23:30:00Z",
        "last_order_at": "2026-11-22T10:00:00Z",
        "revenue": [
            {
                "currency": "USD",
                "orders": 2,
                "gross": money("200.00"),
                "refunded": money("40.00"),
                "net": money("160.00"),
            }
        ],
    }
    of_joe = await books.get("/customers", params={"partner_id": books.joe["id"]})
    assert [row["id"] for row in of_joe.json["data"]] == ["c-2"]


async def test_metrics_add_up(books):
    """GET /metrics has a point per day, also the empty ones, and totals that are their sum."""
    answer = await books.get("/metrics", params={"from": "2026-11-19", "to": "2026-11-22"})
    assert answer.status == 200, answer.text
    series, totals = answer.json["series"], answer.json["totals"]
    assert [(point["from"], point["to"]) for point in series] == [(f"2026-11-{day}",) * 2 for day in (19, 20, 21, 22)]
    assert [point["conversions"] for point in series] == [0, 1, 0, 2]
    assert totals["revenue"] == {"gross": money("220.00"), "refunded": money("40.00"), "net": money("180.00")}
    assert totals["commissions"] == {"earned": money("21.00"), "paid": money("0.00"), "outstanding": money("21.00")}
    assert totals["conversions"] == 3


async def test_metrics_of_the_last_thirty_days(books):
    """Without days, GET /metrics shows the thirty days up to today in the program's currency."""
    answer = (await books.get("/metrics")).json
    assert (answer["from"], answer["to"], answer["currency"]) == ("2026-10-24", "2026-11-22", "USD")
    assert len(answer["series"]) == 30
    weeks = (await books.get("/metrics", params={"interval": "week", "from": "2026-11-18", "to": "2026-11-24"})).json
    assert [(point["from"], point["to"]) for point in weeks["series"]] == [
        ("2026-11-18", "2026-11-22"), ("2026-11-23", "2026-11-24"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "path", "code"),
    [
        ({"from": "2026-11-22", "to": "2026-11-21"}, "query.to", "bad_range"),
        ({"from": "1970-01-01", "to": "2199-12-31"}, "query.from", "range_too_long"),
        ({"currency": "XXX"}, "query.currency", "unknown_currency"),
        ({"interval": "year"}, "query.interval", "not_one_of"),
        ({"to": "2200-01-01"}, "query.to", "out_of_range"),
    ],
)
async def test_metrics_that_cannot_be_asked(books, query, path, code):
    """Days in the wrong order, too many points and unknown currencies are refused with their parameter."""
    answer = await books.get("/metrics", params=query)
    assert answer.status == 422
    assert [(each["path"], each["code"]) for each in answer.json["errors"]] == [(path, code)]


async def test_the_longest_ranges_are_answered(books):
    """Everything that can be stored can be asked for, month by month."""
    answer = await books.get("/metrics", params={"from": "1970-01-01", "to": "2199-12-31", "interval": "month"})
    assert (answer.status, len(answer.json["series"])) == (200, 230 * 12)


async def test_partners_are_shown_as_they_were_registered(books):
    """GET /partners/{id} is what POST /partners answered, and the list has each of them."""
    assert (await books.get(f"/partners/{books.jane['id']}")).json == books.jane
    assert (await books.get("/partners")).json["data"] == [books.jane, books.joe]
    assert (await books.get("/partners", params={"status": "paused"})).json["data"] == []


async def test_the_rate_in_force_is_shown(books):
    """A rate that begins later is not shown before it is in force."""
    address = f"/partners/{books.jane['id']}"
    change = {"rate": {"type": "percentage", "value": "20"}, "rate_from": "2026-12-01T00:00:00Z"}
    assert (await books.ask("PATCH", address, change)).status == 200
    await books.project()
    assert (await books.get(address)).json["rate"]["value"] == "10"
    books.now = NOW + timedelta(days=10)
    assert (await books.get(address)).json["rate"]["value"] == "20"


async def test_intake_adds_up(books):
    """GET /intake: what was consumed is the sum of the outcomes, and another merchant's API calls are not shown."""
    rows = (await books.get("/intake")).json["data"]
    assert [(row["source"], row["topic"]) for row in rows] == [("api", "acme")]
    assert rows[0]["consumed"] == sum(rows[0]["outcomes"].values()) == 7
    assert rows[0]["outcomes"]["dead_lettered"] == 1


async def test_dead_letters_are_shown_with_their_reason(books):
    """GET /dead-letters has the reason and the beginning of the message, one letter the whole of it."""
    (letter,) = (await books.get("/dead-letters")).json["data"]
    assert (letter["status"], letter["code"]) == ("open", "refund_exceeds_total")
    assert "too-much" in letter["excerpt"]
    whole = (await books.get(f"/dead-letters/{letter['id']}")).json
    assert {name: whole[name] for name in letter} == letter
    assert set(whole) - set(letter) == {"raw", "raw_base64"}
    assert "too-much" in whole["raw"]
    assert b64decode(whole["raw_base64"]).decode() == whole["raw"]
    await books.post(f"/dead-letters/{letter['id']}/discard", {"reason": "a test"})
    assert (await books.get("/dead-letters", params={"status": "open"})).json["data"] == []
    (discarded,) = (await books.get("/dead-letters", params={"status": "discarded"})).json["data"]
    assert "a test" in discarded["resolution"]


async def test_a_message_that_cannot_be_read_is_the_merchants_dead_letter(api):
    """What a merchant sent by the API and was refused is among its dead letters, also where it names no merchant."""
    results = (await api.post("/orders", [{"order_id": "broken"}, 7])).json["results"]
    assert [result["order_id"] for result in results] == ["broken", None]
    assert len((await api.get("/dead-letters")).json["data"]) == 2
    assert (await api.get("/dead-letters", of="zenith")).json["data"] == []


@pytest.mark.parametrize(
    "path", ["/commissions/missing", "/partners/missing", "/customers/missing", "/dead-letters/missing"]
)
async def test_what_does_not_exist_is_not_found(books, path):
    """A missing thing is a 404 problem that names it."""
    answer = await books.get(path)
    assert (answer.status, answer.code) == (404, "not_found")
    assert "missing" in answer.json["detail"]


@pytest.mark.parametrize(
    "path", ["/partners/{partner}", "/commissions/{order}", "/customers/{customer}", "/dead-letters/{letter}"]
)
async def test_what_belongs_to_another_cannot_be_read(books, path):
    """Another merchant's ids answer exactly as ids that do not exist."""
    await books.post("/orders", books.order(order_id="only-acme", customer={"id": "only-acme"}))
    await books.project()
    with psycopg.connect(books.database_url) as conn:
        query = "SELECT dead_letter_id FROM ledger.dead_letters WHERE merchant_id = 'acme'"
        letter = conn.execute(query).fetchone()[0]
    ids = {"partner": books.jane["id"], "order": "only-acme", "customer": "only-acme", "letter": letter}
    address, absent = path.format(**ids), path.format(**dict.fromkeys(ids, "missing"))
    assert (await books.get(address)).status == 200
    foreign, missing = await books.get(address, of="zenith"), await books.get(absent, of="zenith")
    assert (foreign.status, missing.status) == (404, 404)
    assert foreign.json["detail"].replace(address.rpartition("/")[2], "missing") == missing.json["detail"]


@pytest.mark.parametrize("path", ["/partners", "/commissions", "/balances", "/customers", "/dead-letters", "/intake"])
async def test_lists_hold_nothing_of_another(books, path):
    """With another merchant's ids as filters, and with its cursors, a list shows only what is the caller's own."""
    mine = (await books.get(path, of="zenith")).text
    for secret in (books.jane["id"], books.joe["id"], "o-2", "o-3", "too-much", "acme"):
        assert f'"{secret}"' not in mine
    if path in {"/commissions", "/balances", "/customers"}:
        answer = await books.get(path, params={"partner_id": books.jane["id"]}, of="zenith")
        assert answer.json["data"] == []
    if path != "/intake":
        cursor = (await books.get(path, params={"limit": 1})).json["next_cursor"]
        rows = (await books.get(path, params={"cursor": cursor} if cursor else {}, of="zenith")).text
        assert books.jane["id"] not in rows


async def test_metrics_hold_nothing_of_another(books):
    """A merchant's figures are its own, also with another merchant's partner as the filter."""
    mine = (await books.get("/metrics", of="zenith")).json["totals"]
    assert mine["conversions"] == 1
    foreign = (await books.get("/metrics", params={"partner_id": books.jane["id"]}, of="zenith")).json["totals"]
    assert (foreign["conversions"], foreign["revenue"]["gross"]) == (0, money("0.00"))


async def test_a_client_reads_its_own_writes(api):
    """With the position of a write as min_position a read waits until the read models are there."""
    await api.partner()
    written = await api.post("/orders", api.order())
    waiting = asyncio.create_task(api.get("/balances", params={"min_position": written.headers["X-Ledger-Position"]}))
    await api.get("/balances")
    assert not waiting.done()
    await api.project()
    answer = await waiting
    assert answer.json["data"][0]["pending"] == money("10.00")
    assert int(answer.headers["X-Ledger-Position"]) >= int(written.headers["X-Ledger-Position"])


async def test_waiting_ends(api):
    """A position that is not reached in time is 503 `not_yet`, with when to try again."""
    written = await api.post("/partners", JANE)
    api.client.app[POSITIONS]._wait_s = 0.05
    answer = await api.get("/balances", params={"min_position": written.headers["X-Ledger-Position"]})
    assert (answer.status, answer.code) == (503, "not_yet")
    assert int(answer.headers["Retry-After"]) > 0


async def test_a_position_that_nobody_was_given_is_not_waited_for(api):
    """A position behind the end of the log is refused at once: it would never come, or mean something else."""
    answer = await api.get("/balances", params={"min_position": 10**9})
    assert (answer.status, answer.code) == (422, "unknown_position")


async def test_an_erased_person_is_gone_from_the_answers(books):
    """Once a person's row is blank, the API shows nulls; the figures stay."""
    with psycopg.connect(books.database_url) as conn:
        conn.execute("UPDATE people.partners SET name = NULL, email = NULL")
        conn.execute("DELETE FROM people.customers")
    partner = (await books.get(f"/partners/{books.jane['id']}")).json
    assert (partner["name"], partner["email"], partner["coupon_codes"]) == (None, None, JANE["coupon_code"].split())
    customer = (await books.get("/customers/c%2F1")).json
    assert (customer["name"], customer["email"], customer["revenue"][0]["orders"]) == (None, None, 2)


async def test_lag_is_what_the_broker_has_and_is_not_read(books):
    """A partition's lag is its newest message minus its position, as of when a worker looked; unknown without one."""
    intake = Intake(books.ledger)
    source = Source("cluster-1", "orders", 3)
    placed = json.dumps(books.order(order_id="by-kafka", event_id="by-kafka", merchant_id="acme")).encode()
    await asyncio.to_thread(intake.take, source, [Message(7, placed)], books.now, after=None)

    async def told():
        rows = (await books.get("/intake")).json["data"]
        return next((row["lag"], row["lag_at"]) for row in rows if row["source"] == "cluster-1")

    assert await told() == (None, None)
    await asyncio.to_thread(intake.saw, "cluster-1", "orders", {3: 11, 4: 2}, books.now)
    assert await told() == (4, "2026-11-22T12:00:00Z")
    await asyncio.to_thread(intake.saw, "cluster-1", "orders", {3: 5}, books.now)
    assert (await told())[0] == 0
    exposition = (await books.get("//metrics")).text
    assert 'commission_ledger_intake_lag_messages{partition="3",source="cluster-1",topic="orders"} 0.0' in exposition
