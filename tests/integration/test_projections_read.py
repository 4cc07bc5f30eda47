"""The reads of the web: each filter finds what a look at every row finds, in pages that stay where they are."""

from datetime import UTC, date, datetime, timedelta
from itertools import combinations

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from projections import lists, wall
from projections.read import Reads
from projections.runner import Projector
from tests.support import random_log
from tests.support.random_log import START
from tests.support.read_models import execute, fill, ledger, renamed

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
async def reads(database_url):
    """Yield the reads of a random log."""
    fill(database_url, seed=9, orders=400)
    Projector(database_url).catch_up()
    async with pool(database_url, configure=wall.stand_behind) as readers:
        found = Reads(readers)
        found.url = database_url
        yield found


def pool(url, **options):
    """Return connections, to be opened."""
    return AsyncConnectionPool(url, min_size=1, max_size=2, open=False, kwargs={"autocommit": True}, **options)


async def every(page, **filters):
    """Return the rows of all pages of a list, asked for page by page, and how many pages there were."""
    rows, after, pages = [], None, 0
    while True:
        answer = await page("shop", after=after, **filters)
        rows += answer.rows
        pages += 1
        if answer.next is None:
            return rows, pages
        after = answer.next


FILTERS = {
    "partner_id": "p1", "state": "rejected", "customer_id": "bob/1", "currency": "JPY", "payout_id": "payout-1",
    "from_on": (START + timedelta(days=5)).date(), "to_on": (START + timedelta(days=30)).date(),
}  # fmt: skip
MATCHES = {
    "from_on": lambda row, day: row.occurred_on >= day,
    "to_on": lambda row, day: row.occurred_on <= day,
}


@pytest.mark.parametrize(
    "names",
    [names for size in (0, 1, 2, 3) for names in combinations(FILTERS, size)],
    ids=lambda names: "+".join(names) or "all",
)
async def test_each_filter_finds_what_a_look_at_every_row_finds(reads, names):
    """Filters, alone and together, give the rows that match, newest first, whatever index they are found by."""
    filters = {name: FILTERS[name] for name in names}
    found, _ = await every(reads.commissions, limit=7, **filters)
    whole, _ = await every(reads.commissions, limit=200)
    expected = [
        row
        for row in sorted(whole, key=lambda row: row.place, reverse=True)
        if all(
            MATCHES.get(name, lambda row, v, name=name: getattr(row, name) == v)(row, v) for name, v in filters.items()
        )
    ]
    assert found == expected
    assert len(whole) == execute(reads.url, "SELECT count(*) FROM read.commissions WHERE merchant_id = 'shop'")[0][0]
    assert found or len(names) > 1


async def test_newest_orders_come_first(reads):
    """The list is in order of the order's day, and within it in the order in which they became known."""
    rows, _ = await every(reads.commissions, limit=50)
    days = [row.occurred_on for row in rows]
    assert days == sorted(days, reverse=True)


async def test_pages_stay_where_they_are_while_rows_are_added(reads):
    """Whoever turns pages while orders come in sees each of the rows that were there exactly once."""
    before, _ = await every(reads.commissions, limit=200)
    first = await reads.commissions("shop", limit=20)
    late = [e for e in random_log.log(10, 100) if e.originator_id.startswith("order/shop/")]
    with ledger(reads.url) as opened:
        for name in dict.fromkeys(e.originator_id for e in late):
            events = [e for e in late if e.originator_id == name]
            opened.record([e._replace(originator_id=f"{name}-late", event=renamed(e.event, "late")) for e in events])
    Projector(reads.url).catch_up()
    rest, after = [], first.next
    while after is not None:
        page = await reads.commissions("shop", limit=20, after=after)
        rest, after = rest + page.rows, page.next
    seen = [row.order_id for row in first.rows + rest if not row.order_id.endswith("-late")]
    assert seen == [row.order_id for row in before]


@pytest.mark.parametrize(
    "given",
    [names for size in (0, 1, 2, 3) for names in combinations(lists.FILTERS, size)],
    ids=lambda n: "+".join(n) or "all",
)
async def test_no_list_reads_the_whole_table(reads, given):
    """Each query of a list is answered from an index that has its rows in order: nothing is scanned or sorted whole."""
    execute(reads.url, "ANALYZE read.commissions")
    params = {name: FILTERS[name] for name in given}
    params |= {"merchant_id": "shop", "states": list(lists.STATES), "first": 0, "last": 2**62, "rows": 51}
    async with reads._pool.connection() as conn:
        # On a table this small anything goes; what must be possible is shown by forbidding the rest.
        for forbidden in ("seqscan", "bitmapscan", "sort"):
            await conn.execute(f"SET enable_{forbidden} TO off")
        rows = await (await conn.execute(f"EXPLAIN {lists.commissions(given)}", params)).fetchall()
        await conn.execute("RESET ALL")
    plan = "\n".join(line for (line,) in rows)
    assert "Scan on commissions" not in plan
    assert "Index Scan Backward using commissions_by_" in plan
    assert plan.count("Sort") <= 2 * ("Nested Loop" in plan)


async def test_another_merchant_s_rows_do_not_exist(reads):
    """Every read is of one merchant; what is another's is not found."""
    (order_id,) = execute(reads.url, "SELECT order_id FROM read.commissions WHERE merchant_id = 'shop-b' LIMIT 1")[0]
    assert (await reads.commission("shop", order_id)).row is None
    assert (await reads.commission("shop-b", order_id)).row.order_id == order_id
    assert (await reads.commission("nobody", order_id)).row is None
    assert (await reads.commissions("nobody")).rows == []
    assert (await reads.balances("nobody")).rows == []
    assert (await reads.partners("nobody", now=NOW)).rows == []
    assert (await reads.partner("nobody", "p1", now=NOW)).row is None
    assert (await reads.customers("nobody")).rows == []
    assert (await reads.customer("nobody", "anna")).row is None
    assert (await reads.program("nobody")).row is None


async def test_an_answer_tells_the_position_even_when_it_is_empty(reads):
    """A client that wants to read its own writes is told how far the answer has come."""
    position = await reads.position()
    assert position == execute(reads.url, "SELECT max(notification_id) FROM ledger.events")[0][0]
    assert (await reads.commissions("nobody")).position == position
    assert (await reads.balances("shop", limit=1)).position == position
    assert await reads.lag() == (position, position)


async def test_balances_are_listed_per_partner_and_currency(reads):
    """Balances come in order of partner and currency, page by page, and can be asked for one of either."""
    rows, pages = await every(reads.balances, limit=2)
    keys = [(row.partner_id, row.currency) for row in rows]
    assert keys == sorted(set(keys))
    assert pages == (len(rows) + 1) // 2
    assert [row for row in rows if row.partner_id == "p2"] == (await reads.balances("shop", partner_id="p2")).rows
    assert [row for row in rows if row.currency == "KWD"] == (await reads.balances("shop", currency="KWD")).rows
    assert all(row.payable_minor == row.approved_minor + row.clawed_back_minor for row in rows)


async def test_a_partner_has_the_rate_that_is_in_force_at_the_time_asked_for(reads):
    """The last rate that has begun counts; before the first, the first reaches back."""
    execute(reads.url, "DELETE FROM read.partner_rates WHERE merchant_id = 'shop' AND partner_id = 'p0'")
    for position, (day, bps) in enumerate([(10, 100), (20, 200), (20, 250), (30, 300)]):
        execute(
            reads.url,
            "INSERT INTO read.partner_rates VALUES (%s, %s, %s, 0, 'shop', 'p0', 'percentage')",
            position, START + timedelta(days=day), bps,
        )  # fmt: skip
    for day, bps in ((0, 100), (10, 100), (19, 100), (20, 250), (29, 250), (30, 300), (99, 300)):
        found = await reads.partner("shop", "p0", now=START + timedelta(days=day))
        assert found.row.rate_bps == bps


async def test_partners_are_listed_in_the_order_in_which_they_registered(reads):
    """Partners come with their standing, their codes and, until it is erased, their name."""
    execute(reads.url, "INSERT INTO people.partners VALUES ('shop', 'p1', 'Jane', 'jane@example.com')")
    rows, _ = await every(reads.partners, now=NOW, limit=2)
    assert [row.partner_id for row in rows] == ["p0", "p1", "p2", "p3", "p4"]
    assert (rows[1].name, rows[1].email, rows[2].name) == ("Jane", "jane@example.com", None)
    held = execute(
        reads.url, "SELECT partner_id, code FROM read.coupons WHERE merchant_id = 'shop' AND revoked_at IS NULL"
    )
    assert sorted((row.partner_id, code) for row in rows for code in row.coupon_codes) == sorted(held)
    approved = [row for row in rows if row.standing == "approved"]
    assert (await reads.partners("shop", now=NOW, standing="approved")).rows == approved


async def test_the_terms_that_are_newest_in_time_are_the_program_s(reads):
    """Terms told later for an earlier time do not take the place of newer ones."""
    program = (await reads.program("shop")).row
    assert (program.currency, program.time_zone, program.terms["version"]) == ("USD", "UTC", 2)


async def test_customers_are_one_each_with_a_sum_per_currency(reads):
    """A customer of several currencies is one row; the partner is that of the first order of all."""
    execute(reads.url, "INSERT INTO people.customers VALUES ('shop', 'anna', 'Anna', 'anna@example.com')")
    rows, _ = await every(reads.customers, limit=1)
    assert [row.customer_id for row in rows] == sorted(["anna", "bob/1", 'çelik "x" \\', "7"])
    anna = next(row for row in rows if row.customer_id == "anna")
    orders, _ = await every(reads.commissions, customer_id="anna", limit=200)
    earned = [row for row in orders if row.state != "skipped"]
    first = min(earned, key=lambda row: (row.occurred_at, row.place))
    assert (anna.partner_id, anna.first_order_at, anna.name) == (first.partner_id, first.occurred_at, "Anna")
    assert anna.last_order_at == max(row.occurred_at for row in earned)
    for revenue in anna.revenue:
        mine = [row for row in earned if row.currency == revenue.currency]
        assert revenue.orders == len(mine)
        assert revenue.gross_minor == sum(row.total_minor for row in mine)
        assert revenue.refunded_minor == sum(row.total_minor - row.remaining_minor for row in mine)
    assert (await reads.customer("shop", "anna")).row == anna
    # Who brought a customer stays; whose list it is in may have been decided since.
    for partner in (
        {row.partner_id for row in rows} | {row.assigned_partner_id for row in rows if row.assigned_at} | {"p0"}
    ):
        theirs, _ = await every(reads.customers, partner_id=partner, limit=1)
        assert theirs == [row for row in rows if (row.assigned_partner_id or row.partner_id) == partner]


@pytest.mark.parametrize("interval", ["day", "week", "month"])
@pytest.mark.parametrize("partner_id", [None, "p1"])
async def test_metrics_add_up(reads, interval, partner_id):
    """The stretches of any width add up to the totals, and what is owed at the end of each is all before it, unpaid."""
    first, last = date(2026, 1, 7), date(2026, 2, 20)
    mine = {"currency": "USD", "partner_id": partner_id}
    found = await reads.metrics("shop", from_on=first, to_on=last, interval=interval, **mine)
    whole = await reads.metrics("shop", from_on=date(2020, 1, 1), to_on=last, interval="day", **mine)
    days = {figures.first_on: figures for figures in whole.series}
    assert (found.series[0].first_on, found.series[-1].last_on) == (first, last)
    for stretch in found.series:
        inside = [days[stretch.first_on + timedelta(n)] for n in range((stretch.last_on - stretch.first_on).days + 1)]
        for name in (
            "gross_minor",
            "refunded_minor",
            "earned_minor",
            "paid_minor",
            "conversions",
            "skipped",
            "rejected",
        ):
            assert getattr(stretch, name) == sum(getattr(day, name) for day in inside)
        before = [day for day in whole.series if day.first_on <= stretch.last_on]
        assert stretch.outstanding_minor == sum(day.earned_minor - day.paid_minor for day in before)
    for name in ("gross_minor", "earned_minor", "conversions", "reversed"):
        assert getattr(found.totals, name) == sum(getattr(stretch, name) for stretch in found.series)


async def test_what_is_owed_now_is_what_the_balances_say(reads):
    """At the end of all days, outstanding is the balances' sum without what is paid."""
    found = await reads.metrics(
        "shop", currency="USD", from_on=date(2026, 5, 1), to_on=date(2030, 1, 1), interval="month"
    )
    rows, _ = await every(reads.balances, currency="USD", limit=200)
    owed = sum(
        row.pending_minor + row.approved_minor + row.held_minor + row.in_payout_minor + row.clawed_back_minor
        for row in rows
    )
    assert found.totals.outstanding_minor == owed
    with psycopg.connect(reads.url) as conn:
        expense = conn.execute(
            "SELECT -sum(expense_minor) FROM read.balances WHERE merchant_id = 'shop' AND currency = 'USD'"
        ).fetchone()[0]
    assert expense == owed + sum(row.paid_minor for row in rows)


async def test_due_commissions_are_those_that_are_due(reads):
    """The timer gets pending commissions whose time has come, of all merchants, those due longest first."""
    rows = execute(
        reads.url,
        "SELECT due_at, merchant_id, order_id FROM read.commissions"
        " WHERE state = 'pending' AND due_at IS NOT NULL ORDER BY 1",
    )
    assert len(rows) > 20
    now = rows[len(rows) // 2][0]
    async with pool(reads.url) as connections:
        worker = Reads(connections)
        due = await worker.due_commissions(now, 1_000)
        few, none = await worker.due_commissions(now, 3), await worker.due_commissions(START, 10)
    assert sorted(due) == sorted((merchant_id, order_id) for at, merchant_id, order_id in rows if at <= now)
    assert (len(few), none) == (3, [])
    assert await reads.due_commissions(now, 3) == [], "the wall is for the web; the worker stands on the other side"
