"""The lists behind the wall at a hundred thousand rows: found by an index, and little more is read than is shown."""

import json
from datetime import UTC, datetime
from itertools import combinations

import psycopg
from psycopg_pool import AsyncConnectionPool

from projections import lists, read, wall
from projections.read import Reads

NOW = datetime(2026, 11, 22, tzinfo=UTC)
# A page, and what telling whether there is another one takes.
ROWS = 51
# Of a list that looks for each of 8 states and 2 currencies in turn.
ROWS_MAX = ROWS * 16 + ROWS
# All that a partner has here.
OF_PARTNER = 2_000
# 60,000 commissions of `shop`, and 1,000 of each of forty others, over 50 partners, 2,000 customers and 2 currencies.
_FILL = """
INSERT INTO read.commissions (
    place, last_position, version, total_minor, remaining_minor, amount_minor, clawed_back_minor, occurred_at,
    occurred_on, merchant_id, order_id, partner_id, customer_id, currency, state, coupon_code, payout_id
)
SELECT
    (20000::bigint + n / 500 << 40) + n, n, 1, 10000, 10000, 1000, 0,
    TIMESTAMPTZ '2024-10-04 12:00Z' + n * interval '1 min', DATE '2024-10-04' + n / 500,
    CASE WHEN n % 10 < 6 THEN 'shop' ELSE 'other-' || n % 40 END,
    'o-' || n, 'p' || n % 50, 'c' || n % 2000,
    CASE WHEN n % 7 = 0 THEN 'EUR' ELSE 'USD' END,
    (
        ARRAY[
            'pending', 'approved', 'approved', 'approved', 'paid', 'paid', 'held', 'rejected', 'reversed', 'skipped'
        ]
    )[1 + n / 3 % 10],
    'CODE', CASE WHEN n % 11 = 0 THEN 'payout-' || n % 300 END
FROM generate_series(1, 100000) AS n;
INSERT INTO read.conversions (
    conversions, skipped, entered, reversed, rejected, day, merchant_id, partner_id, currency
)
SELECT count(*), 0, 0, 0, 0, occurred_on, merchant_id, partner_id, currency
FROM read.commissions GROUP BY occurred_on, merchant_id, partner_id, currency;
INSERT INTO read.balances (
    pending_minor, approved_minor, held_minor, in_payout_minor, paid_minor, clawed_back_minor, expense_minor,
    merchant_id, partner_id, currency
)
SELECT 0, count(*), 0, 0, 0, 0, -count(*), merchant_id, partner_id, currency
FROM read.commissions GROUP BY merchant_id, partner_id, currency;
INSERT INTO read.program_balances (
    pending_minor, approved_minor, held_minor, in_payout_minor, paid_minor, clawed_back_minor, expense_minor,
    merchant_id, currency
)
SELECT 0, sum(approved_minor), 0, 0, 0, 0, sum(expense_minor), merchant_id, currency
FROM read.balances GROUP BY merchant_id, currency;
INSERT INTO read.customers (
    orders, gross_minor, refunded_minor, first_position, first_order_at, last_order_at,
    merchant_id, customer_id, currency, partner_id
)
SELECT
    count(*), sum(total_minor), 0, min(last_position), min(occurred_at), max(occurred_at),
    merchant_id, customer_id, currency, min(partner_id)
FROM read.commissions GROUP BY merchant_id, customer_id, currency;
INSERT INTO people.customers (merchant_id, customer_id, name, email)
SELECT DISTINCT merchant_id, customer_id, 'Anna', customer_id || '@example.com' FROM read.customers;
INSERT INTO read.partners (
    first_position, registered_at, changed_at, standing_at, merchant_id, partner_id, standing
)
SELECT
    n, now(), now(), now(), CASE WHEN n % 10 < 6 THEN 'shop' ELSE 'other-' || n % 40 END, 'p' || n,
    CASE WHEN n % 50 = 0 THEN 'applied' ELSE 'approved' END
FROM generate_series(1, 10000) AS n;
INSERT INTO people.partners (merchant_id, partner_id, name, email)
SELECT merchant_id, partner_id, 'Partner ' || md5(partner_id), partner_id || '@example.com' FROM read.partners;
INSERT INTO read.partner_rates (position, effective_at, bps, amount_minor, merchant_id, partner_id, type)
SELECT first_position, registered_at, 1000, 0, merchant_id, partner_id, 'percentage' FROM read.partners;
"""

FILTERS = {"partner_id": "p2", "state": "held", "customer_id": "c7", "currency": "EUR", "payout_id": "payout-11"}
NAMES = [names for size in range(6) for names in combinations(lists.FILTERS, size)]


class Explained(Reads):
    """Reads that ask PostgreSQL how it answers, and keep what it says."""

    async def explain(self, query, params):
        """Keep the plan of a query, as it is asked."""
        explain = f"EXPLAIN (ANALYZE, VERBOSE, FORMAT JSON) {read._AS_OF}{query}) AS found ON true"
        async with self._pool.connection() as conn:
            ((plans,),) = await (await conn.execute(explain, params)).fetchall()
        self.plan = plans[0]["Plan"]

    async def _ask(self, query, params):
        await self.explain(query, params)
        return await super()._ask(query, params)

    async def _rows(self, query, params, *args):
        await self.explain(query, params)
        return await super()._rows(query, params, *args)


def nodes(plan):
    """Yield every node of a plan."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def rows_read(node):
    """Return how many rows a node looked at."""
    return (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]


async def test_every_list_is_read_off_an_index(database_url):
    """Whatever is filtered by, the list's rows come out of an index, and hardly more are read or sorted than shown."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(_FILL)
        conn.execute("ANALYZE")
    async with AsyncConnectionPool(
        database_url, min_size=1, max_size=1, open=False, kwargs={"autocommit": True}, configure=wall.stand_behind
    ) as pool:
        reads = Explained(pool)
        for merchant_id in ("shop", "other-9"):
            for names in NAMES:
                await reads.commissions(merchant_id, limit=ROWS - 1, **{name: FILTERS[name] for name in names})
                # Beside a partner, customer or payout, all else is looked for among its rows.
                narrow = {"customer_id", "payout_id", "partner_id"} & set(names)
                check(
                    reads.plan, "commissions", f"{merchant_id} {'+'.join(names)}", among=narrow and set(names) - narrow
                )
            await reads.commission(merchant_id, "o-9")
            check(reads.plan, "commissions", f"{merchant_id} one")
            for after in (None, ("p1", "USD")):
                await reads.balances(merchant_id, after=after, limit=ROWS - 1)
                check(reads.plan, "balances", f"{merchant_id} balances {after}")
            for partner_id in (None, "p2"):
                await reads.customers(merchant_id, partner_id=partner_id, after="c5", limit=ROWS - 1)
                check(reads.plan, "customers", f"{merchant_id} customers {partner_id}")
            await reads.waiting(merchant_id)
            held = [node for node in nodes(reads.plan) if node.get("Relation Name") == "commissions"]
            assert "Seq Scan" not in {node["Node Type"] for node in held}, f"{merchant_id} waiting"
            # What is held here; what is held of many more would be counted in its order, up to the number that is told.
            assert sum(map(rows_read, held)) <= OF_PARTNER * 5


def check(plan, table, what, *, among=(), schema="read"):
    """Assert that the table's rows come by an index, that few are read, and that few are sorted."""
    found = [node for node in nodes(plan) if (node.get("Schema"), node.get("Relation Name")) == (schema, table)]
    assert found, what
    for node in found:
        assert node["Node Type"] != "Seq Scan", what
    assert sum(map(rows_read, found)) <= (OF_PARTNER if among else ROWS_MAX), (what, json.dumps(plan, indent=1))
    for node in nodes(plan):
        if node["Node Type"] == "Sort":
            assert node["Plans"][0]["Actual Rows"] * node["Actual Loops"] <= (OF_PARTNER if among else ROWS_MAX), (
                what,
                node,
            )
