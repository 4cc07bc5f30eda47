"""The queries of GET /commissions: for every filter one that finds its rows in the order of the list, at any size."""

from collections.abc import Collection
from typing import LiteralString

STATES = ("pending", "approved", "held", "in_payout", "paid", "rejected", "reversed", "skipped")

FILTERS = ("customer_id", "payout_id", "partner_id", "state", "currency")

# What finds a list in its index: the same expressions as there (`commissions.sql`).
_WHOLE: LiteralString = "hashtextextended(merchant_id, 0) = hashtextextended(%(merchant_id)s::text, 0)"
_NARROW: dict[str, LiteralString] = {
    "customer_id": (
        "hashtextextended(merchant_id || '/' || customer_id, 0)"
        " = hashtextextended(%(merchant_id)s::text || '/' || %(customer_id)s::text, 0)"
    ),
    "payout_id": (
        "hashtextextended(merchant_id || '/' || payout_id, 0)"
        " = hashtextextended(%(merchant_id)s::text || '/' || %(payout_id)s::text, 0)"
    ),
    "partner_id": (
        "hashtextextended(merchant_id || '/' || partner_id, 0)"
        " = hashtextextended(%(merchant_id)s::text || '/' || %(partner_id)s::text, 0)"
    ),
}
_CONDITIONS: dict[str, LiteralString] = {
    "customer_id": " AND customer_id = %(customer_id)s",
    "payout_id": " AND payout_id = %(payout_id)s",
    "partner_id": " AND partner_id = %(partner_id)s",
    "state": " AND state = %(state)s",
    "currency": " AND currency = %(currency)s",
}
_MINE: LiteralString = " AND merchant_id = %(merchant_id)s AND place >= %(first)s AND place < %(last)s"
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
_IN_STATE: LiteralString = (
    " SELECT found.* FROM states, currencies, LATERAL (SELECT * FROM read.commissions WHERE"
    " hashtextextended(merchant_id || '/' || state || '/' || currency, 0)"
    " = hashtextextended(%(merchant_id)s::text || '/' || states.one || '/' || currencies.one, 0)"
    " AND state = states.one AND currency = currencies.one"
)


def commissions(given: Collection[str]) -> LiteralString:
    """Return the query for those of FILTERS that are given.

    Its parameters are theirs and `merchant_id`, `first` and `last` (places), `rows`, `states` (all of them).
    """
    narrow = next((name for name in _NARROW if name in given), None)
    if narrow is None and ("state" in given or "currency" in given):
        # A state has its rows in order per currency, a currency per state: the newest of each, then the newest of these.
        states = _ONE_STATE if "state" in given else _EACH_STATE
        currencies = _ONE_CURRENCY if "currency" in given else _EACH_CURRENCY
        return "WITH RECURSIVE " + states + ", " + currencies + _IN_STATE + _MINE + _NEWEST + ") AS found" + _NEWEST
    query = "SELECT * FROM read.commissions WHERE " + (_NARROW[narrow] if narrow else _WHOLE) + _MINE
    for name in FILTERS:
        if name in given:
            query += _CONDITIONS[name]
    return query + _NEWEST
