"""Statements from the log in the database: the same as a look at every event, and the same as page, CSV and PDF."""

import csv
import io
from collections import defaultdict
from datetime import date

import pytest
from psycopg_pool import AsyncConnectionPool
from pypdf import PdfReader

from projections import read_statements, wall
from projections.read import Reads
from projections.runner import Projector
from schemas.money import Money
from tests.support import random_log, visitors
from tests.support.movements import balances_of, moved_by
from tests.support.read_models import execute, ledger
from web.api.statements import last_of, statement_of

SEED, ORDERS = 11, 250
MONTHS = [date(2026, month, 1) for month in range(1, 5)]


@pytest.fixture
async def reads(database_url):
    """Yield the reads of a random log, and the log itself."""
    recorded = random_log.log(SEED, ORDERS)
    with ledger(database_url) as opened:
        random_log.append(opened, recorded)
    Projector(database_url).catch_up()
    async with AsyncConnectionPool(
        database_url, min_size=1, max_size=2, open=False, kwargs={"autocommit": True}, configure=wall.stand_behind
    ) as pool:
        found = Reads(pool)
        found.url, found.recorded = database_url, recorded
        yield found


async def test_what_is_read_is_what_the_log_says(reads):
    """Every month's movements, and what stood there before, are those of a look at every event; the list agrees."""
    expected, compared = moved_by(reads.recorded), 0
    for (merchant_id, partner_id, currency), moved in expected.items():
        listed = {
            row.month: row
            for row in (await read_statements.months(reads, merchant_id, partner_id, after=None, limit=100)).rows
            if row.currency == currency
        }
        for first in MONTHS:
            asked = {"currency": currency, "from_on": first, "to_on": last_of(first)}
            found = await read_statements.movements(reads, merchant_id, partner_id, **asked)
            assert found.moved == [each for each in moved if first <= each.occurred_on <= last_of(first)]
            told = statement_of(partner_id, currency, first, found.before, found.moved)
            if first not in listed:
                # Nothing moved, or what moved on a day was taken back on it.
                assert (told.earned, told.paid) == (Money.of(0, currency), Money.of(0, currency))
            else:
                compared += 1
                row = listed[first]
                minor = (told.opening, told.earned, told.paid, told.closing)
                assert [each.to_minor(negative=True) for each in minor] == [
                    row.opening_minor, row.earned_minor, row.paid_minor, row.closing_minor,
                ]  # fmt: skip
        end = await read_statements.movements(
            reads, merchant_id, partner_id, currency=currency, from_on=MONTHS[-1], to_on=last_of(MONTHS[-1])
        )
        assert end.before == balances_of(reads.recorded)[merchant_id, partner_id, currency]
    assert compared > 30


async def test_the_last_statement_is_the_balance(reads):
    """Every balance is what the last statement closes with, account by account."""
    rows = execute(
        reads.url,
        "SELECT merchant_id, partner_id, currency, pending_minor, approved_minor, held_minor, in_payout_minor,"
        " clawed_back_minor FROM read.balances",
    )
    assert len(rows) > 20
    for merchant_id, partner_id, currency, *accounts in rows:
        page = await read_statements.months(reads, merchant_id, partner_id, after=None, limit=100)
        newest = next((row for row in page.rows if row.currency == currency), None)
        assert sum(accounts) == (newest.closing_minor if newest else 0)


async def test_the_list_comes_by_the_page(reads):
    """The months of a partner are the same however many come at a time."""
    whole = (await read_statements.months(reads, "shop", "p1", after=None, limit=100)).rows
    assert len(whole) > 6
    rows, after = [], None
    while True:
        page = await read_statements.months(reads, "shop", "p1", after=after, limit=2)
        rows += page.rows
        after = page.next
        if after is None:
            break
    assert rows == whole
    assert [(-row.month.toordinal(), row.currency) for row in rows] == sorted(
        (-row.month.toordinal(), row.currency) for row in rows
    )


async def test_what_waits_is_counted(reads):
    """Per currency and state: how many wait, what they come to, which of the pending ones is due next."""
    rows = execute(
        reads.url,
        "SELECT currency, state, amount_minor, due_at, place FROM read.commissions"
        " WHERE merchant_id = 'shop' AND partner_id = 'p1' AND state IN ('pending', 'held')",
    )
    expected = defaultdict(list)
    for currency, state, *others in rows:
        expected[currency, state].append(others)
    found = (await read_statements.waiting(reads, "shop", "p1")).rows
    assert {(row.currency, row.state) for row in found} == set(expected)
    for row in found:
        mine = expected[row.currency, row.state]
        assert (row.commissions, row.amount_minor) == (len(mine), sum(each[0] for each in mine))
        due = sorted((each[1], each[2], each[0]) for each in mine if each[1] is not None and row.state == "pending")
        assert (row.next_due_at, row.next_due_minor) == ((due[0][0], due[0][2]) if due else (None, None))


# --- as the API, the page and the files tell it -----------------------------------------------------------------------


@pytest.fixture
async def jane(api):
    """Return a partner with two months of history: earned, refunded, paid, entered by hand."""
    partner = await api.partner(name="Żaneta Ökçün")
    await api.post(
        "/orders",
        [
            api.order(order_id="o-oct", occurred_at="2026-10-31T23:30:00Z", total="200.00"),
            api.order(order_id="=cmd()", occurred_at="2026-11-01T00:00:00Z"),
            api.order(order_id="o-yen", currency="JPY", total="1000"),
            api.refund("o-oct", "50.00"),
        ],
    )
    await api.post("/commissions/o-oct/approve", {})
    await api.post("/commissions/o-oct/mark-paid", {"reference": "wire 4711"})
    body = {"partner_id": partner["id"], "amount": "-3.00", "currency": "USD", "reason": "a correction"}
    await api.post("/commissions", body)
    await api.project()
    return partner


async def test_a_statement_tells_opening_movements_and_closing(api, jane):
    """November begins with October's end, lists every movement in order, and ends with the balance."""
    october = await api.get(f"/partners/{jane['id']}/statements/2026-10")
    november = await api.get(f"/partners/{jane['id']}/statements/2026-11")
    assert october.json["closing"] == november.json["opening"] == {"amount": "20.00", "currency": "USD"}
    assert [
        (line["type"], (line["amount"] or {}).get("amount"), line["balance"]["amount"])
        for line in november.json["lines"]
    ] == [
        ("opening", None, "20.00"),
        ("earned", "10.00", "30.00"),
        ("adjusted", "-5.00", "25.00"),
        ("paid", "-15.00", "10.00"),
        ("entered", "-3.00", "7.00"),
        ("closing", None, "7.00"),
    ]
    balance = (await api.get(f"/balances?partner_id={jane['id']}&currency=USD")).json["data"][0]
    standing = {name: money["amount"] for name, money in november.json["standing"].items()}
    assert standing == {name: balance[name]["amount"] for name in ("pending", "held", "payable", "in_payout")}
    listed = (await api.get(f"/partners/{jane['id']}/statements")).json["data"]
    assert [(row["month"], row["currency"], row["closing"]["amount"]) for row in listed] == [
        ("2026-11", "JPY", "100"), ("2026-11", "USD", "7.00"), ("2026-10", "USD", "20.00"),
    ]  # fmt: skip


REFUSED = [
    ("/statements/2026-12", 404, "not_found"),
    ("/statements/2026-13", 404, "not_found"),
    ("/statements/2026-1", 404, "not_found"),
    ("/statements/1969-12", 404, "not_found"),
    ("/statements/2026-11?currency=XXX", 422, "unknown_currency"),
    ("/statements?cursor=WzEsIlVTRCJdeA", 422, "bad_cursor"),
    ("/statements?cursor=WzAsIlVTRCJd", 422, "bad_cursor"),
]


async def test_what_is_no_statement_is_refused(api):
    """A month that is none, or has not begun, is not found; wrong parameters are named."""
    partner = await api.partner()
    await api.project()
    for path, status, code in REFUSED:
        answer = await api.get(f"/partners/{partner['id']}{path}")
        faults = {fault["code"] for fault in answer.json.get("errors") or []}
        assert (answer.status, code in faults | {answer.code}) == (status, True), path


async def test_page_csv_and_pdf_say_the_same(api, jane):
    """The lines of a month are the same in the API, on the page, in the spreadsheet and in the document."""
    browser, home = (
        await visitors.partner(api, jane["id"]),
        jane["dashboard_url"].removeprefix("https://ledger.example"),
    )
    lines = (await api.get(f"/partners/{jane['id']}/statements/2026-11")).json["lines"]
    expected = [(line["on"], (line["amount"] or {"amount": ""})["amount"], line["balance"]["amount"]) for line in lines]

    file = await browser.get(f"{home}/statements/2026-11.csv")
    assert file.headers["Content-Disposition"] == 'attachment; filename="statement-2026-11-USD.csv"'
    rows = list(csv.DictReader(io.StringIO(file.text)))
    assert [(row["on"], row["amount.amount"], row["balance.amount"]) for row in rows] == expected
    assert rows[1]["order_id"] == "'=cmd()"
    merchants = await api.get(f"/partners/{jane['id']}/statements/2026-11.csv")
    assert merchants.text == file.text

    page = await browser.get(f"{home}/statements/2026-11")
    shown = [
        [" ".join(cell.get_text(" ").split()) for cell in row.select("td, th")] for row in page.soup.select("tbody tr")
    ]
    assert [(row[-2], row[-1]) for row in shown] == [(dollars(amount), dollars(left)) for _, amount, left in expected]

    async with api.client.get(f"{home}/statements/2026-11.pdf", headers={"Cookie": cookie(browser)}) as answer:
        assert answer.content_type == "application/pdf"
        pdf = PdfReader(io.BytesIO(await answer.read()))
    text = "\n".join(each.extract_text() for each in pdf.pages)
    assert "Żaneta Ökçün" in text
    assert "=cmd()" in text
    assert "wire 4711" in text
    for _, amount, left in expected:
        assert dollars(amount) in text
        assert dollars(left) in text
    assert pdf.metadata.title == "Statement, November 2026"


def dollars(amount):
    """Return the amount as an American reads it, '' for none."""
    return amount and (f"-${amount[1:]}" if amount.startswith("-") else f"${amount}")


def cookie(browser):
    """Return the header that a browser's cookies are sent in."""
    return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
