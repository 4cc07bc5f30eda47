"""Figures of a whole program: they are what those of its partners add up to, and rank its partners by them."""

import json
from datetime import date, timedelta

import pytest
from psycopg_pool import AsyncConnectionPool

from projections import program_figures, wall
from projections.read import Reads
from projections.runner import Projector
from tests.support.api import JANE
from tests.support.read_models import execute, fill

JOE = JANE | {"name": "Joe", "email": "joe@example.com", "coupon_code": "JOE5"}
DAYS = {"from_on": date(2026, 1, 7), "to_on": date(2026, 2, 20)}


@pytest.fixture
async def reads(database_url):
    """Yield the reads of a random log."""
    fill(database_url, seed=9, orders=400)
    Projector(database_url).catch_up()
    async with AsyncConnectionPool(
        database_url, min_size=1, max_size=2, open=False, kwargs={"autocommit": True}, configure=wall.stand_behind
    ) as pool:
        found = Reads(pool)
        found.url = database_url
        yield found


@pytest.fixture
async def books(api):
    """Yield the application with two partners who sold in two currencies, and a neighbour who has the same ids."""
    api.jane, api.joe = await api.partner(), await api.partner(**JOE)
    await api.post(
        "/orders",
        [
            api.order(total="100.00"),
            api.order(total="50.00", occurred_at="2026-11-20T12:00:00Z"),
            api.order(coupon_code="joe5", total="300.00"),
            api.order(currency="JPY", total="1000"),
            api.refund("o-3", "200.00"),
            api.refund("o-1", "500.00", refund_id="too-much"),
        ],
    )
    await api.partner(of="zenith")
    await api.post("/orders", api.order(order_id="theirs", total="9999.00"), of="zenith")
    await api.project()
    return api


@pytest.mark.parametrize("sort", ["earned", "revenue", "conversions"])
async def test_partners_are_ranked_by_what_their_own_metrics_say(reads, sort):
    """Each partner's figures are those of GET /metrics for that partner; the most comes first, then the id decides."""
    _, rows = await reads.partner_figures("shop", currency="USD", sort=sort, limit=50, **DAYS)
    assert len(rows) > 3
    rank = {
        "earned": lambda row: row.earned_minor,
        "revenue": lambda row: row.gross_minor - row.refunded_minor,
        "conversions": lambda row: row.conversions,
    }[sort]
    assert rows == sorted(rows, key=lambda row: (-rank(row), row.partner_id))
    for row in rows:
        one = await reads.metrics("shop", currency="USD", interval="month", partner_id=row.partner_id, **DAYS)
        for name in ("gross_minor", "refunded_minor", "earned_minor", "paid_minor", "conversions"):
            assert getattr(row, name) == getattr(one.totals, name), (row.partner_id, name)
        (owed,) = (await reads.balances("shop", partner_id=row.partner_id, currency="USD")).rows
        assert row.outstanding_minor == -owed.expense_minor - owed.paid_minor
    whole = await reads.metrics("shop", currency="USD", interval="month", **DAYS)
    assert sum(row.earned_minor for row in rows) == whole.totals.earned_minor
    assert sum(row.conversions for row in rows) == whole.totals.conversions
    _, first = await reads.partner_figures("shop", currency="USD", sort=sort, limit=2, **DAYS)
    assert first == rows[:2]


async def test_a_program_s_balances_are_the_sum_of_its_partners(reads):
    """Per currency, what all partners are owed and were paid together is what their balances add up to."""
    _, rows = await reads.program_balances("shop")
    every = (await reads.balances("shop", limit=200)).rows
    assert [row.currency for row in rows] == sorted({row.currency for row in every})
    for row in rows:
        for name in ("pending_minor", "approved_minor", "held_minor", "in_payout_minor", "paid_minor"):
            expected = sum(getattr(each, name) for each in every if each.currency == row.currency)
            assert getattr(row, name) == expected


async def test_what_waits_is_counted_as_the_lists_count_it(reads):
    """Applications, open dead letters, held commissions and negative balances are as many as their lists have."""
    execute(reads.url, "UPDATE read.partners SET standing = 'applied' WHERE partner_id = 'p2'")
    execute(
        reads.url,
        "UPDATE read.balances SET approved_minor = -5 - clawed_back_minor, expense_minor = expense_minor"
        " + approved_minor + clawed_back_minor + 5 WHERE partner_id = 'p1'",
    )
    found = (await reads.waiting("shop")).row
    held = await reads.commissions("shop", state="held", limit=200)
    below = [row for row in (await reads.balances("shop", limit=200)).rows if row.payable_minor < 0]
    assert found.commissions_held == len(held.rows) > 3
    assert found.partners_applied == 1
    assert found.balances_negative == len(below) > 1
    assert {(row.partner_id, row.currency, row.payable_minor) for row in found.owing} <= {
        (row.partner_id, row.currency, row.payable_minor) for row in below
    }
    assert (found.dead_letters_open, len((await reads.waiting("shop", limit=1)).row.owing)) == (0, 1)


async def test_counting_what_waits_ends_somewhere(reads, monkeypatch):
    """However much waits, no more than a number of it is counted."""
    monkeypatch.setattr(program_figures, "COUNTED_MAX", 2)
    assert (await reads.waiting("shop")).row.commissions_held == 2


def money(amount, currency="USD"):
    """Return an amount as the API shows it."""
    return {"amount": amount, "currency": currency}


async def test_the_api_ranks_partners(books):
    """GET /metrics/partners shows the partners of the days asked for, with names, in the order asked for."""
    answer = await books.get("/metrics/partners", params={"from": "2026-11-22", "to": "2026-11-22"})
    assert int(answer.headers["X-Ledger-Position"]) == await books.project()
    assert {name: answer.json[name] for name in ("from", "to", "currency", "sort")} == {
        "from": "2026-11-22", "to": "2026-11-22", "currency": "USD", "sort": "earned",
    }  # fmt: skip
    joe, jane = sorted(answer.json["data"], key=lambda row: row["name"], reverse=True)
    assert jane == {
        "partner_id": books.jane["id"],
        "name": "Jane",
        "revenue": {"gross": money("100.00"), "refunded": money("0.00"), "net": money("100.00")},
        "commissions": {"earned": money("10.00"), "paid": money("0.00"), "outstanding": money("15.00")},
        "conversions": 1,
    }
    assert joe["revenue"] == {"gross": money("300.00"), "refunded": money("200.00"), "net": money("100.00")}
    wide = (await books.get("/metrics/partners", params={"sort": "conversions", "limit": 1})).json
    assert [row["name"] for row in wide["data"]] == ["Jane"]
    file = (await books.get("/metrics/partners.jsonl", params={"sort": "conversions"})).text.splitlines()
    every = (await books.get("/metrics/partners", params={"sort": "conversions", "limit": 50})).json["data"]
    assert [json.loads(line) for line in file] == every
    yen = (await books.get("/metrics/partners", params={"currency": "JPY"})).json["data"]
    assert [(row["name"], row["revenue"]["net"]) for row in yen] == [("Jane", money("1000", "JPY"))]


@pytest.mark.parametrize(
    ("query", "path", "code"),
    [
        ({"limit": "51"}, "query.limit", "out_of_range"),
        ({"sort": "name"}, "query.sort", "not_one_of"),
        ({"from": "2026-11-22", "to": "2026-11-21"}, "query.to", "bad_range"),
        ({"currency": "XXL"}, "query.currency", "unknown_currency"),
    ],
)
async def test_what_cannot_be_ranked_is_refused(books, query, path, code):
    """Too many, an unknown order, days in the wrong order and unknown currencies are answered with the field."""
    answer = await books.get("/metrics/partners", params=query)
    assert answer.status == 422
    assert [(error["path"], error["code"]) for error in answer.json["errors"]] == [(path, code)]


async def test_the_api_tells_balances_of_a_program_and_what_waits(books):
    """GET /program/balances has a row per currency, GET /waiting what somebody has to look at."""
    rows = (await books.get("/program/balances")).json["data"]
    assert [(row["currency"], row["first_on"], row["pending"], row["payable"]) for row in rows] == [
        ("JPY", "2026-11-22", money("100", "JPY"), money("0", "JPY")),
        ("USD", "2026-11-20", money("25.00"), money("0.00")),
    ]
    await books.post("/partners/apply", JANE | {"email": "kim@example.com", "coupon_code": "KIM"})
    await books.post("/commissions/o-1/hold", {"reason": "odd"})
    await books.project()
    assert (await books.get("/waiting")).json == {
        "partners_applied": 1, "dead_letters_open": 1, "commissions_held": 1, "balances_negative": 0, "owing": [],
        "payout_runs_to_approve": 0, "payouts_in_review": 0, "payout_findings_open": 0,
        "payout_run_missed_on": None, "behind_since": None,
    }  # fmt: skip


async def test_figures_that_are_behind_say_since_when(books):
    """While events wait for the read models, GET /waiting tells when the oldest of them was recorded."""
    await books.post("/orders", books.order())
    books.now += timedelta(minutes=5)
    await books.post("/orders", books.order())
    assert (await books.get("/waiting")).json["behind_since"] == "2026-11-22T12:00:00Z"
    assert (await books.get("/waiting", of="zenith")).json["behind_since"] is None
    await books.project()
    assert (await books.get("/waiting")).json["behind_since"] is None


async def test_figures_of_a_program_hold_nothing_of_another(books):
    """Each merchant sees its own partners, balances and waiting things alone."""
    (theirs,) = (await books.get("/metrics/partners", of="zenith")).json["data"]
    assert theirs["revenue"]["gross"] == money("9999.00")
    (balance,) = (await books.get("/program/balances", of="zenith")).json["data"]
    assert balance["pending"] == money("999.90")
    assert (await books.get("/waiting", of="zenith")).json["dead_letters_open"] == 0


async def test_what_is_given_back_of_a_skipped_order_was_never_revenue(books):
    """A refund of an order that earned nothing changes no revenue: not the program's, not the partner's."""
    before = (await books.get("/metrics")).json["totals"]
    await books.post(f"/partners/{books.jane['id']}/pause", {"reason": "quiet"})
    books.now += timedelta(minutes=10)
    late = "2026-11-22T12:05:00Z"
    await books.post("/orders", [books.order(order_id="skipped", occurred_at=late)])
    await books.post("/orders", [books.refund("skipped", "30.00", occurred_at=late)])
    await books.project()
    assert (await books.get("/commissions/skipped")).json["refunded"] == money("30.00")
    for whose in ({}, {"partner_id": books.jane["id"]}):
        after = (await books.get("/metrics", params=whose)).json["totals"]
        assert after["skipped"] == 1
        assert after["revenue"]["refunded"] == (before["revenue"]["refunded"] if not whose else money("0.00"))
