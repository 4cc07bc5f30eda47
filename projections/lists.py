"""The queries of GET /commissions: for every filter one that finds its rows in the order of the list, at any size."""

from collections.abc import Collection
from dataclasses import fields
from typing import LiteralString

from projections.rows import Commission

STATES = ("pending", "approved", "held", "in_payout", "paid", "rejected", "reversed", "skipped")

FILTERS = ("customer_id", "payout_id", "partner_id", "state", "currency")

# The columns that a row is made of; the table has more, for its indexes.
COLUMNS: LiteralString = ", ".join(field.name for field in fields(Commission))

# What finds a list in its index (`commissions.sql`). Other texts may have the same hash, so the texts are asked for as
# well, in a way that the planner does not take for one more filter: it would expect far fewer rows than there are, and
# rather sort them all than take the first of them in order.
_NARROW: dict[str, LiteralString] = {
    "customer_id": """by_customer = hashtextextended(%(merchant_id)s::text || '/' || %(customer_id)s::text, 0)
    AND CASE WHEN merchant_id = %(merchant_id)s AND customer_id = %(customer_id)s THEN true ELSE false END""",
    "payout_id": """by_payout = hashtextextended(%(merchant_id)s::text || '/' || %(payout_id)s::text, 0)
    AND CASE WHEN merchant_id = %(merchant_id)s AND payout_id = %(payout_id)s THEN true ELSE false END""",
    "partner_id": """by_partner = hashtextextended(%(merchant_id)s::text || '/' || %(partner_id)s::text, 0)
    AND CASE WHEN merchant_id = %(merchant_id)s AND partner_id = %(partner_id)s THEN true ELSE false END""",
}
_IN_STATE: LiteralString = """by_state = wanted.hash AND CASE
        WHEN merchant_id = %(merchant_id)s AND state = wanted.state AND currency = wanted.currency THEN true ELSE false
    END"""
_BESIDE: dict[str, LiteralString] = {
    "customer_id": " AND customer_id = %(customer_id)s",
    "payout_id": " AND payout_id = %(payout_id)s",
    "partner_id": " AND partner_id = %(partner_id)s",
    "state": " AND state = %(state)s",
    "currency": " AND currency = %(currency)s",
}
_BETWEEN: LiteralString = " AND place >= %(first)s AND place < %(last)s"
_NEWEST: LiteralString = " ORDER BY place DESC LIMIT %(rows)s"

_ONE_STATE: LiteralString = "states (one) AS (SELECT %(state)s::text)"
_EACH_STATE: LiteralString = "states (one) AS (SELECT unnest(%(states)s::text[]))"
_ONE_CURRENCY: LiteralString = "currencies (one) AS (SELECT %(currency)s::text)"
# The few currencies of a merchant, found by skipping from one to the next in an index that begins with them.
_EACH_CURRENCY: LiteralString = """currencies (one) AS (
    SELECT (SELECT min(currency) FROM read.conversions WHERE merchant_id = %(merchant_id)s)
    UNION ALL
    SELECT (
        SELECT min(currency) FROM read.conversions WHERE merchant_id = %(merchant_id)s AND currency > currencies.one
    )
    FROM currencies WHERE currencies.one IS NOT NULL
)"""
# Kept apart: the rows of a table under row-level security may only be compared with what is known already, not with
# what has yet to be computed of another row.
_WANTED: LiteralString = """wanted (state, currency, hash) AS MATERIALIZED (
    SELECT
        states.one,
        currencies.one,
        hashtextextended(%(merchant_id)s::text || '/' || states.one || '/' || currencies.one, 0)
    FROM states, currencies
)"""


# Of balances, a filter of each row: they are as many as partners, and change too often for an index.
PAYABLE: dict[str, LiteralString] = {
    "positive": " AND approved_minor + clawed_back_minor > 0",
    "negative": " AND approved_minor + clawed_back_minor < 0",
}


def commissions(given: Collection[str]) -> LiteralString:
    """Return the query for those of FILTERS that are given.

    Its parameters are theirs and `merchant_id`, `first` and `last` (places), `rows`, `states` (all of them).
    """
    rows: LiteralString = f"SELECT {COLUMNS} FROM read.commissions WHERE "  # noqa: S608 - parts of our own
    narrow = next((name for name in _NARROW if name in given), None)
    if narrow is None:
        # A state has its rows in order per currency, a currency per state: the newest of each, then of these.
        states = _ONE_STATE if "state" in given else _EACH_STATE
        currencies = _ONE_CURRENCY if "currency" in given else _EACH_CURRENCY
        each = rows + _IN_STATE + _BETWEEN + _NEWEST
        found = f"SELECT found.* FROM wanted, LATERAL ({each}) AS found"  # noqa: S608 - parts of our own
        return f"WITH RECURSIVE {states}, {currencies}, {_WANTED} {found}{_NEWEST}"
    query = rows + _NARROW[narrow] + _BETWEEN
    for name in FILTERS:
        if name in given and name != narrow:
            query += _BESIDE[name]
    return query + _NEWEST
