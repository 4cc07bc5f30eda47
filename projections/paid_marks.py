"""What was marked as paid by hand, and as unpaid again: read off the log, the newest first."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, LiteralString

from psycopg.rows import dict_row

from projections.read import Reads
from projections.rows import Page

# How many marks one page looks at: more than anybody marks in one go. Marks that are told together and are even more
# are told in several rows.
_WINDOW = 5_000
_LAST = 2**62

_OF_PARTNER: LiteralString = """
        AND hashtextextended(split_part(stream, '/', 2) || '/' || (state ->> 'partner_id'), 0)
            = hashtextextended(%(merchant_id)s::text || '/' || %(partner_id)s::text, 0)
        AND CASE WHEN state ->> 'partner_id' = %(partner_id)s THEN true ELSE false END"""
# As far as the read models are, so that the marks add up to the balances that are shown beside them. Marks that follow
# one another and say the same are one run.
_RUNS: LiteralString = """
WITH marks AS MATERIALIZED (
    SELECT
        position, topic, state, jsonb_build_array(
            topic, state -> 'partner_id', state -> 'currency', state -> 'occurred_on', state -> 'reference',
            state -> 'note', state -> 'reason'
        ) AS said
    FROM ledger.events_of_merchant
    WHERE
        topic IN ('CommissionPaid', 'CommissionMarkedUnpaid')
        AND position < %(before)s AND position <= (SELECT position FROM read.tracked)
        AND CASE WHEN state ? 'payout_id' THEN false ELSE true END{partner}
    ORDER BY position DESC
    LIMIT %(window)s
),
told AS (
    SELECT *, count(*) FILTER (WHERE begins) OVER (ORDER BY position DESC) AS run
    FROM (SELECT *, said IS DISTINCT FROM lag(said) OVER (ORDER BY position DESC) AS begins FROM marks) AS each_mark
)
SELECT
    min(position) AS first_position,
    count(*) AS commissions,
    sum((state ->> 'amount_minor')::bigint)::bigint AS amount_minor,
    min(state ->> 'order_id') AS order_id,
    max((state ->> 'recorded_at')::timestamptz) AS recorded_at,
    (array_agg(state ->> 'cause' ORDER BY position DESC))[1] AS cause,
    (SELECT count(*) FROM marks) AS looked_at,
    said
FROM told
GROUP BY run, said
ORDER BY first_position DESC
LIMIT %(rows)s"""


@dataclass(frozen=True, slots=True)
class PaidMark:
    """Marks of one partner that say the same and follow one another; `amount_minor` is negative where it came back.

    `order_id` is that of a mark that stands alone.
    """

    first_position: int
    partner_id: str
    currency: str
    amount_minor: int
    commissions: int
    order_id: str | None
    reference: str | None
    note: str | None
    reason: str | None
    occurred_on: date
    recorded_at: datetime
    cause: str


async def paid_marks(
    reads: Reads, merchant_id: str, *, partner_id: str | None = None, before: int | None = None, limit: int = 50
) -> Page[PaidMark, int]:
    """Return what was marked as paid by hand and as unpaid again, newest first, as of the read models' position.

    The key of the next page is the position of the oldest mark of this one. Raises psycopg.Error.
    """
    query, params = asked(merchant_id, partner_id=partner_id, before=before, limit=limit)
    async with reads.moment(merchant_id) as conn:
        tracked = await (await conn.execute("SELECT position FROM read.tracked")).fetchone()
        rows = await (await conn.cursor(row_factory=dict_row).execute(query, params)).fetchall()
    position = int(tracked[0]) if tracked else 0
    full = bool(rows) and rows[0]["looked_at"] == _WINDOW
    if full and 1 < len(rows) <= limit:
        # The window may have cut the oldest run: it is told on the next page, whole.
        rows.pop()
    found = [_mark(row) for row in rows[:limit]]
    more = len(rows) > limit or full
    return Page(found, position, found[-1].first_position if more else None)


def asked(
    merchant_id: str, *, partner_id: str | None, before: int | None, limit: int
) -> tuple[LiteralString, dict[str, Any]]:
    """Return the query and its parameters."""
    query = _RUNS.replace("{partner}", "" if partner_id is None else _OF_PARTNER)
    return query, {
        "merchant_id": merchant_id, "partner_id": partner_id, "before": _LAST if before is None else before,
        "window": _WINDOW, "rows": limit + 1,
    }  # fmt: skip


def _mark(row: dict[str, Any]) -> PaidMark:
    topic, partner_id, currency, day, reference, note, reason = row["said"]
    return PaidMark(
        first_position=row["first_position"],
        partner_id=partner_id,
        currency=currency,
        amount_minor=row["amount_minor"] if topic == "CommissionPaid" else -row["amount_minor"],
        commissions=row["commissions"],
        order_id=row["order_id"] if row["commissions"] == 1 else None,
        reference=reference,
        note=note,
        reason=reason,
        occurred_on=date.fromisoformat(day),
        recorded_at=row["recorded_at"],
        cause=row["cause"],
    )
