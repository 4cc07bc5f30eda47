"""Exports: every list as a file, with what the list says and nothing else, of one moment, whole or not at all."""

import asyncio
import csv
import io
import json
from collections import defaultdict
from decimal import Decimal

import aiohttp
import psycopg
import pytest

from projections.read import Reads
from tests.support import random_log
from tests.support.api import JOE, running
from tests.support.keys import key_of
from web.api import RESOURCES, exports
from web.api.exports import rows_of
from web.api.openapi import pattern
from web.api.routes import PREFIX
from web.streams import LONG_CALLS


@pytest.fixture
async def books(api):
    """Yield the application with partners, orders in two currencies, refunds and dead letters, and a neighbour."""
    api.jane, api.joe = await api.partner(), await api.partner(**JOE)
    kim = {"id": "c/1", "email": "kim@example.com", "name": "=HYPERLINK(1)"}
    await api.post(
        "/orders",
        [
            *[api.order(customer=kim, total=f"{number}.10") for number in range(1, 30)],
            *[api.order(currency="JPY", total="1000", customer={"id": "c-2"}) for _ in range(3)],
            api.order(coupon_code="joe5", total="20.00"),
            api.refund("o-1", "1.00"),
            api.refund("o-2", "500.00", refund_id="too-much"),
        ],
    )
    await api.partner(of="zenith")
    await api.post("/orders", api.order(customer=kim, order_id="theirs"), of="zenith")
    await api.post("/commissions/o-2/approve")
    await api.project()
    return api


def read_csv(text):
    """Return the rows of a CSV file as its readers see them."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


async def every_row(api, path, *, of="acme", **query):
    """Return all rows of a list, page after page."""
    page = (await api.get(path, of=of, params={"limit": 3, **query})).json
    rows = page["data"]
    while page["next_cursor"]:
        page = (await api.get(path, of=of, params={"limit": 3, "cursor": page["next_cursor"], **query})).json
        rows += page["data"]
    return rows


LISTS = [
    ("/partners", {}),
    ("/partners", {"status": "paused"}),
    ("/commissions", {}),
    ("/commissions", {"currency": "JPY"}),
    ("/commissions", {"status": "approved", "from": "2026-11-22"}),
    ("/balances", {}),
    ("/customers", {}),
    ("/dead-letters", {"status": "open"}),
]


async def test_json_lines_are_the_objects_of_the_list(books):
    """A list as JSON Lines has exactly the objects that its pages have, in their order, as of a position."""
    for path, query in LISTS:
        answer = await books.get(f"{path}.jsonl", params=query)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/jsonl")
        assert int(answer.headers["X-Ledger-Position"]) == await books.project()
        assert [json.loads(line) for line in answer.text.splitlines()] == await every_row(books, path, **query)


async def test_csv_says_the_same_under_the_same_names(books):
    """A list as CSV has a column per member, flat, under its name; amounts are decimals with their currency beside."""
    answer = await books.get("/commissions.csv")
    listed = await every_row(books, "/commissions")
    rows = read_csv(answer.text)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="commissions.csv"'
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert [row["order_id"] for row in rows] == [row["order_id"] for row in listed]
    for row, told in zip(rows, listed, strict=True):
        assert (row["commission.amount"], row["commission.currency"]) == tuple(told["commission"].values())
        assert row["occurred_at"] == told["occurred_at"]
        assert row["payout_id"] == (told["payout_id"] or "")
    assert answer.text.count("\r\n") == answer.text.count("\n") == len(listed) + 1


async def test_a_customer_has_a_row_per_currency(books):
    """What a customer bought makes a row per currency in CSV: a column of amounts is never of two currencies."""
    await books.post("/orders", books.order(currency="JPY", total="700", customer={"id": "c/1"}))
    await books.project()
    rows = read_csv((await books.get("/customers.csv")).text)
    mine = {row["revenue.currency"]: row for row in rows if row["id"] == "c/1"}
    assert set(mine) == {"USD", "JPY"}
    assert (mine["JPY"]["revenue.net.amount"], mine["JPY"]["revenue.orders"]) == ("700", "1")


async def test_no_text_is_a_formula(books):
    """A text that a spreadsheet would run is not one any more; a negative number is still a number."""
    await books.partner(name="@Eve", email="+eve@example.com", coupon_code="-20%")
    await books.project()
    partners = {row["name"]: row for row in read_csv((await books.get("/partners.csv")).text)}
    assert (partners["'@Eve"]["email"], partners["'@Eve"]["coupon_codes"]) == ("'+eve@example.com", "'-20%")
    customers = read_csv((await books.get("/customers.csv")).text)
    assert {row["name"] for row in customers} == {"'=HYPERLINK(1)", ""}


async def test_every_list_has_its_files(books):
    """Whatever the API lists page by page can be had as a file, with the same scope and filters, and says so."""
    paths = (await books.get("/openapi.json")).json["paths"]
    listed = [route for table in RESOURCES for route in table.routes if rows_of(route)]
    assert len(listed) >= 8
    for route in listed:
        path = pattern(PREFIX + route.path)
        told = {each["name"] for each in paths[path]["get"]["parameters"] if "name" in each} - {"limit", "cursor"}
        for kind, media_type in (("csv", "text/csv"), ("jsonl", "application/jsonl")):
            operation = paths[f"{path}.{kind}"]["get"]
            assert {each["name"] for each in operation["parameters"] if "name" in each} == told
            assert list(operation["responses"]["200"]["content"]) == [media_type]
            assert operation["security"] == paths[path]["get"]["security"]


async def test_other_rows_are_files_too(books):
    """The series of metrics, the partitions of the intake and the journal come as files, row by row."""
    for path, member in (("/metrics", "series"), ("/intake", "data"), ("/journal", "data")):
        rows = (await books.get(path)).json[member]
        assert rows
        assert [json.loads(line) for line in (await books.get(f"{path}.jsonl")).text.splitlines()] == rows
        assert len(read_csv((await books.get(f"{path}.csv")).text)) == len(rows)


WRONG = [
    ("/commissions.csv?limit=5", 422, "invalid_query"),
    ("/commissions.csv?cursor=x", 422, "invalid_query"),
    ("/commissions.csv?from=2026-11-22&to=2026-11-21", 422, "bad_range"),
    ("/metrics.jsonl?currency=XXX", 422, "unknown_currency"),
    ("/commissions.csv?min_position=99999999", 422, "unknown_position"),
    ("/commissions.xlsx", 404, "not_found"),
]


async def test_what_is_wrong_is_told_before_the_file_begins(api):
    """A call that cannot be answered is refused with a problem, as it is without the file."""
    for path, status, code in WRONG:
        answer = await api.get(path)
        assert (answer.status, answer.code) == (status, code)


async def test_an_empty_list_is_a_heading(api):
    """A list without rows is a CSV with its heading, and JSON Lines without a line."""
    csv_answer, lines = await api.get("/commissions.csv"), await api.get("/commissions.jsonl")
    assert (csv_answer.status, lines.status, lines.text) == (200, 200, "")
    assert csv_answer.text.startswith("order_id,partner_id,")
    assert csv_answer.text.endswith("\r\n")
    assert csv_answer.text.count("\n") == 1


async def test_head_sends_no_rows(books):
    """HEAD answers with the headers of the file and does not read it."""
    answer = await books.ask("HEAD", "/commissions.csv")
    assert (answer.status, answer.text) == (200, "")
    assert answer.headers["X-Ledger-Position"]


@pytest.fixture
def between_pages(monkeypatch):
    """Return a function that has something done before the second page of two rows of GET /commissions is read."""

    def put(happen):
        read, calls = Reads.commissions, []

        async def commissions(self, *arguments, **options):
            calls.append(options)
            if len(calls) == 2:
                await happen()
            return await read(self, *arguments, **options)

        monkeypatch.setattr(exports, "LIMIT_MAX", 2)
        monkeypatch.setattr(Reads, "commissions", commissions)

    return put


async def test_a_file_is_of_one_moment(books, between_pages):
    """What is booked while a file is being written is not in it, in no page, nor is any figure of it newer."""
    before = await every_row(books, "/commissions")
    position = await books.project()

    async def more():
        await books.post("/orders", [books.order(), books.refund("o-29", "9.00")])
        await books.project()

    between_pages(more)
    answer = await books.get("/commissions.jsonl")
    assert [json.loads(line) for line in answer.text.splitlines()] == before
    assert int(answer.headers["X-Ledger-Position"]) == position < await books.project()


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_a_file_that_fails_is_never_a_short_one(books, between_pages, version):
    """Where reading fails in the middle the connection breaks: no client can take what it has for the whole file."""

    async def fail():
        raise psycopg.OperationalError("the database went away")

    between_pages(fail)
    reader, writer = await asyncio.open_connection(books.client.host, books.client.port)
    writer.write(f"GET /api/v1/commissions.csv HTTP/{version}\r\nHost: x\r\n".encode())
    writer.write(f"Authorization: Bearer {books.keys['acme']}\r\n\r\n".encode())
    received = b""
    try:
        while piece := await reader.read(65536):
            received += piece
        broken = not received.endswith(b"0\r\n\r\n") and version == "1.1"
    except ConnectionResetError:
        broken = True
    writer.close()
    assert broken, received
    assert b"o-" in received or not received
    assert (await books.get("/balances.csv")).status == 200


async def test_a_rebuild_breaks_a_file_off(books, between_pages):
    """Tables that a rebuild puts in the place of those that are being read end the file, and never shorten it."""

    async def swap():
        async with await psycopg.AsyncConnection.connect(books.database_url, autocommit=True) as conn:
            await conn.execute("CREATE SCHEMA other")
            tables = await conn.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = 'read'::regnamespace AND relkind = 'r'"
            )
            for (table,) in await tables.fetchall():
                await conn.execute(f"CREATE TABLE other.{table} AS SELECT * FROM read.{table}")  # noqa: S608 - our own names
            await conn.execute(
                "CREATE VIEW other.tracked AS SELECT coalesce(min(position), 0) AS position FROM other.tracking"
            )
            await conn.execute("GRANT USAGE ON SCHEMA other TO ledger_reader")
            await conn.execute("GRANT SELECT ON ALL TABLES IN SCHEMA other TO ledger_reader")
            await conn.execute("BEGIN; ALTER SCHEMA read RENAME TO read_old; ALTER SCHEMA other RENAME TO read; COMMIT")

    between_pages(swap)
    with pytest.raises(aiohttp.ClientError):
        await books.get("/commissions.jsonl")


async def test_only_a_few_files_at_once(database_url):
    """Long calls leave room for short ones: one too many is told to come back, and the next one is served again."""
    async with running(database_url, long_calls_max=2) as api:
        await api.project()
        turns = api.client.app[LONG_CALLS]
        with turns.turn("acme"):
            refused = await api.get("/balances.csv")
            assert (refused.status, refused.code) == (503, "busy")
            assert "Retry-After" in refused.headers
            assert (await api.get("/balances.csv", of="zenith")).status == 200
        assert (await api.get("/balances.csv")).status == 200


async def test_the_journal_and_every_file_add_up(database_url):
    """Over random histories, the files of two merchants (journal, commissions, ...) add up to the API's totals."""
    async with running(database_url) as api:
        random_log.append(api.ledger, random_log.log(7, 400))
        api.keys |= {merchant_id: key_of(api.ledger, merchant_id, now=api.now) for merchant_id in random_log.MERCHANTS}
        await api.project()
        for merchant_id in random_log.MERCHANTS:
            balances = (await api.get("/balances", of=merchant_id, params={"limit": 200})).json["data"]
            assert balances
            journal = read_csv((await api.get("/journal.csv", of=merchant_id)).text)
            assert sums_of_journal(journal) == sums_of_balances(balances)
            commissions = read_csv((await api.get("/commissions.csv", of=merchant_id)).text)
            assert standing(commissions) == by_currency(sums_of_balances(balances))
            await check_metrics(api, merchant_id)


def sums_of_journal(rows):
    """Return what each account was credited less what it was debited, per partner, currency and account."""
    found = defaultdict(Decimal)
    for row in rows:
        amount = Decimal(row["amount.amount"])
        assert amount > 0
        found[row["partner_id"], row["amount.currency"], row["credit"]] += amount
        found[row["partner_id"], row["amount.currency"], row["debit"]] -= amount
    return {key: amount for key, amount in found.items() if amount and key[2] != "expense"}


def sums_of_balances(rows):
    """Return the balance of each account that has one, per partner, currency and account."""
    accounts = ("pending", "approved", "held", "in_payout", "paid", "clawed_back")
    found = {
        (row["partner_id"], row["currency"], account): Decimal(row[account]["amount"])
        for row in rows
        for account in accounts
    }
    return {key: amount for key, amount in found.items() if amount}


def by_currency(sums):
    """Return the sums over all partners, per currency and account."""
    found = defaultdict(Decimal)
    for (_, currency, account), amount in sums.items():
        found[currency, account] += amount
    return {key: amount for key, amount in found.items() if amount}


def standing(rows):
    """Return what all commissions stand at, per currency and the account of their state."""
    found = defaultdict(Decimal)
    for row in rows:
        if row["status"] not in ("rejected", "skipped"):
            found[row["commission.currency"], row["status"]] += Decimal(row["commission.amount"])
            found[row["clawed_back.currency"], "clawed_back"] += Decimal(row["clawed_back.amount"])
    return {key: amount for key, amount in found.items() if amount}


async def check_metrics(api, merchant_id):
    """Compare the sums of the files of metrics and customers with the API's own totals."""
    query = {"from": "2025-12-01", "to": "2026-12-31", "currency": "USD", "interval": "week"}
    totals = (await api.get("/metrics", of=merchant_id, params=query)).json["totals"]
    series = read_csv((await api.get("/metrics.csv", of=merchant_id, params=query)).text)
    for column, told in (
        ("commissions.earned.amount", totals["commissions"]["earned"]["amount"]),
        ("revenue.net.amount", totals["revenue"]["net"]["amount"]),
        ("conversions", totals["conversions"]),
    ):
        assert sum(Decimal(row[column]) for row in series) == Decimal(told)
    customers = read_csv((await api.get("/customers.csv", of=merchant_id)).text)
    listed = await every_row(api, "/customers", of=merchant_id)
    told = sum(Decimal(each["net"]["amount"]) for row in listed for each in row["revenue"] if each["currency"] == "USD")
    assert told == sum(Decimal(row["revenue.net.amount"]) for row in customers if row["revenue.currency"] == "USD")
