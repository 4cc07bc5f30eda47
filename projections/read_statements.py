"""Statements of one partner, asked of the log itself: what moved in a range of days, and what was there before.

The log is read by the partner's orders (`read.commissions`), stream by stream, as far as the read models are: so that a
statement adds up to the balances that are shown beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, LiteralString, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from ledger.postings import PARTNER_ACCOUNTS, RULES
from projections.read import Reads
from projections.rows import Page

_TOPICS = sorted({topic for topic, _, _ in RULES})

Accounts = dict[str, int]
"""What stands in each account of the partner, in minor units."""

# The texts are asked for beside their hash as in `projections.lists`.
_OWN: LiteralString = """
by_partner = hashtextextended(%(merchant_id)s::text || '/' || %(partner_id)s::text, 0)
AND CASE WHEN merchant_id = %(merchant_id)s AND partner_id = %(partner_id)s THEN true ELSE false END"""

_MOVED: LiteralString = f"""
WITH moved AS MATERIALIZED (
    SELECT
        event.position,
        (event.state ->> 'occurred_on')::date AS occurred_on,
        (event.state ->> 'occurred_at')::timestamptz AS occurred_at,
        (event.state ->> 'amount_minor')::bigint AS amount_minor,
        event.topic, commission.order_id, rule.debit, rule.credit,
        event.state ->> 'reference' AS reference,
        coalesce(
            event.state ->> 'payout_id',
            -- The other half of what came back of a payout in part: only `came_back` names an entry so.
            CASE
                WHEN event.topic = 'CommissionEntered' AND starts_with(commission.order_id, 'returned-')
                    THEN event.state ->> 'reference'
            END
        ) AS payout_id
    FROM (SELECT order_id FROM read.commissions WHERE {_OWN} AND currency = %(currency)s) AS commission
    CROSS JOIN LATERAL (
        SELECT position, topic, state FROM ledger.events_of_merchant
        WHERE
            stream = 'order/' || %(merchant_id)s::text || '/' || commission.order_id
            AND topic = ANY(%(topics)s::text[])
    ) AS event
    JOIN read.posting_rules AS rule
        ON rule.topic = event.topic
        AND rule.from_state = coalesce(event.state ->> 'from_state', '')
        AND rule.to_state = coalesce(event.state ->> 'to_state', '')
    WHERE
        event.position <= %(upto)s
        AND (event.state ->> 'occurred_on')::date <= %(to_on)s
        AND coalesce((event.state ->> 'amount_minor')::bigint, 0) <> 0
)
SELECT
    NULL::bigint AS position, NULL::date AS occurred_on, NULL::timestamptz AS occurred_at,
    sum(amount_minor)::bigint AS amount_minor, NULL AS topic, NULL AS order_id, debit, credit, NULL AS reference,
    NULL AS payout_id
FROM moved WHERE occurred_on < %(from_on)s
GROUP BY debit, credit
UNION ALL
SELECT position, occurred_on, occurred_at, amount_minor, topic, order_id, debit, credit, reference, payout_id
FROM moved WHERE occurred_on >= %(from_on)s
ORDER BY occurred_on NULLS FIRST, occurred_at, position"""  # noqa: S608 - parts of our own

_MONTHS: LiteralString = """
SELECT month, currency, closing_minor - earned_minor + paid_minor AS opening_minor, earned_minor, paid_minor,
    closing_minor
FROM (
    SELECT
        month, currency, earned_minor, paid_minor,
        sum(earned_minor - paid_minor) OVER (PARTITION BY currency ORDER BY month)::bigint AS closing_minor
    FROM (
        SELECT
            date_trunc('month', day::timestamp)::date AS month, currency,
            sum(earned_minor + adjusted_minor + clawed_back_minor - rejected_minor)::bigint AS earned_minor,
            sum(paid_minor)::bigint AS paid_minor
        FROM read.revenue
        WHERE merchant_id = %(merchant_id)s AND partner_id = %(partner_id)s
        GROUP BY 1, 2
        HAVING bool_or(
            earned_minor <> 0 OR adjusted_minor <> 0 OR clawed_back_minor <> 0 OR rejected_minor <> 0 OR paid_minor <> 0
        )
    ) AS months
) AS told
WHERE %(month)s::date IS NULL OR month < %(month)s OR (month = %(month)s AND currency > %(after_currency)s)
ORDER BY month DESC, currency
LIMIT %(rows)s"""

_WAITING: LiteralString = f"""
SELECT
    currency, state, count(*) AS commissions, sum(amount_minor)::bigint AS amount_minor,
    min(due_at) FILTER (WHERE state = 'pending') AS next_due_at,
    (array_agg(amount_minor ORDER BY due_at, place) FILTER (WHERE state = 'pending' AND due_at IS NOT NULL))[1]
        AS next_due_minor
FROM read.commissions
WHERE {_OWN} AND state IN ('pending', 'held')
GROUP BY currency, state
ORDER BY currency, state DESC"""  # noqa: S608 - parts of our own


@dataclass(frozen=True, slots=True)
class Moved:
    """One event's movement: `amount_minor` left the account `debit` and reached `credit` (less than zero: back).

    `payout_id` is the payout that moved it, or that came back.
    """

    position: int
    occurred_on: date
    occurred_at: datetime
    amount_minor: int
    topic: str
    order_id: str
    debit: str
    credit: str
    reference: str | None
    payout_id: str | None = None


class Movements(NamedTuple):
    """What stood in the accounts before, and what moved since, in the order in which it took effect."""

    before: Accounts
    moved: list[Moved]
    position: int


class Month(NamedTuple):
    """A month, by its first day, in which something was earned or paid in a currency."""

    month: date
    currency: str
    opening_minor: int
    earned_minor: int
    paid_minor: int
    closing_minor: int


class Waiting(NamedTuple):
    """How many commissions of a currency are pending or held, what they come to, and which is due next, and when."""

    currency: str
    state: str
    commissions: int
    amount_minor: int
    next_due_at: datetime | None
    next_due_minor: int | None


async def movements(
    reads: Reads, merchant_id: str, partner_id: str, *, currency: str, from_on: date, to_on: date
) -> Movements:
    """Return what moved in the partner's accounts from `from_on` to `to_on`, both included. Raises psycopg.Error."""
    async with reads.moment(merchant_id) as conn:
        asked: dict[str, Any] = {
            "merchant_id": merchant_id, "partner_id": partner_id, "currency": currency, "from_on": from_on,
            "to_on": to_on, "topics": _TOPICS, "upto": await _tracked(conn),
        }  # fmt: skip
        rows = await _rows(conn, _MOVED, asked)
    before: Accounts = dict.fromkeys(PARTNER_ACCOUNTS, 0)
    moved = []
    for row in rows:
        if row["position"] is None:
            post(before, row["debit"], row["credit"], row["amount_minor"])
        else:
            moved.append(Moved(**row))
    return Movements(before, moved, asked["upto"])


def post(accounts: Accounts, debit: str, credit: str, amount_minor: int) -> None:
    """Take a movement into the partner's accounts; what the merchant's expense is stands in none of them."""
    for account, signed in ((debit, -amount_minor), (credit, amount_minor)):
        if account in accounts:
            accounts[account] += signed


async def months(
    reads: Reads, merchant_id: str, partner_id: str, *, after: tuple[date, str] | None, limit: int
) -> Page[Month, tuple[date, str]]:
    """Return the months in which something was earned or paid, the newest first, then by currency.

    A month in which everything was taken back on its own day is none of them.
    """
    month, currency = after or (None, None)
    asked = {
        "merchant_id": merchant_id, "partner_id": partner_id, "month": month, "after_currency": currency,
        "rows": limit + 1,
    }  # fmt: skip
    async with reads.moment(merchant_id) as conn:
        rows = await _rows(conn, _MONTHS, asked)
        position = await _tracked(conn)
    found = [Month(**row) for row in rows[:limit]]
    return Page(found, position, (found[-1].month, found[-1].currency) if len(rows) > limit else None)


async def waiting(reads: Reads, merchant_id: str, partner_id: str) -> Page[Waiting, None]:
    """Return what waits, per currency: what is pending, then what is held."""
    async with reads.moment(merchant_id) as conn:
        rows = await _rows(conn, _WAITING, {"merchant_id": merchant_id, "partner_id": partner_id})
        return Page([Waiting(**row) for row in rows], await _tracked(conn), None)


async def _rows(conn: AsyncConnection[Any], query: LiteralString, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, asked)
        return await cursor.fetchall()


async def _tracked(conn: AsyncConnection[Any]) -> int:
    row = await (await conn.execute("SELECT position FROM read.tracked")).fetchone()
    return int(row[0]) if row else 0
