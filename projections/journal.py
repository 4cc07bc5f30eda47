"""The journal of one merchant: every movement of money in the log, with the account it left and the one it reached."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, LiteralString

from psycopg.rows import dict_row

from ledger.events import OrderFact, decode
from ledger.feed import TYPES_OF_TOPIC, FeedRow, entry_of
from ledger.postings import RULES, postings
from projections.read import Reads
from projections.rows import Page

_TOPICS = sorted({topic for topic, _, _ in RULES})

# As far as the read models are: so that the journal adds up to the balances that are shown beside it. The filters stand
# in a CASE, which the planner takes for none: it would expect few rows, and sort all rather than follow the index.
_WINDOW: LiteralString = """
SELECT position, stream, topic, state::text AS state
FROM ledger.events_of_merchant
WHERE
    position > %(after)s AND position <= %(upto)s
    AND CASE
        WHEN topic = ANY(%(topics)s::text[])
            THEN (state ->> 'occurred_on')::date
                BETWEEN coalesce(%(from_on)s::date, '-infinity') AND coalesce(%(to_on)s::date, 'infinity')
        ELSE false
    END
ORDER BY position
LIMIT %(rows)s"""


@dataclass(frozen=True, slots=True)
class Movement:
    """One event's movement of money: `amount_minor` (positive) left the account `debit` and reached `credit`.

    `type` is the event's, as in the feed.
    """

    position: int
    type: str
    occurred_at: datetime
    occurred_on: date
    recorded_at: datetime
    cause: str
    order_id: str
    partner_id: str
    debit: str
    credit: str
    amount_minor: int
    currency: str


async def journal(
    reads: Reads,
    merchant_id: str,
    *,
    from_on: date | None = None,
    to_on: date | None = None,
    after: int | None = None,
    limit: int = 50,
) -> Page[Movement, int]:
    """Return the movements of events behind the position `after`, in order, up to where the read models are.

    `from_on` and `to_on` are days on which they took effect, both included. An event that moves nothing (a commission
    of 0.00 that is approved) has none, so a page may hold fewer than `limit`. Raises psycopg.Error.
    """
    async with reads.moment(merchant_id) as conn:
        asked: dict[str, Any] = {
            "after": after or 0, "topics": _TOPICS, "from_on": from_on, "to_on": to_on, "rows": limit + 1,
            "upto": await _tracked(conn),
        }  # fmt: skip
        rows = await (await conn.cursor(row_factory=dict_row).execute(_WINDOW, asked)).fetchall()
    found = [FeedRow(**row) for row in rows[:limit]]
    movements = [movement for row in found for movement in _movements(row, merchant_id)]
    return Page(movements, asked["upto"], found[-1].position if len(rows) > limit else None)


async def _tracked(conn: Any) -> int:
    row = await (await conn.execute("SELECT position FROM read.tracked")).fetchone()
    return int(row[0]) if row else 0


def _type(row: FeedRow, merchant_id: str, currency: str) -> str:
    """Return the event's type in the feed; most topics have but one, and need not be told in full for it."""
    first, *others = TYPES_OF_TOPIC[row.topic]
    return str(entry_of(row, merchant_id, currency).type) if others else first  # type: ignore[attr-defined]


def _movements(row: FeedRow, merchant_id: str) -> Iterator[Movement]:
    assert row.state is not None  # noqa: S101 - every state was asked for
    event = decode(row.topic, row.state)
    moved = [posting for posting in postings(event) if posting.amount_minor]
    if not moved or not isinstance(event, OrderFact):
        return
    debit, credit = sorted(moved, key=lambda posting: posting.amount_minor)
    # The two sides sum to zero, so one of them names the amount; the partner is on the side that is the partner's.
    yield Movement(
        position=row.position,
        type=_type(row, merchant_id, credit.currency),
        occurred_at=event.occurred_at,
        occurred_on=event.occurred_on,
        recorded_at=event.recorded_at,
        cause=event.cause,
        order_id=event.order_id,
        partner_id=str(debit.partner_id or credit.partner_id),
        debit=debit.account,
        credit=credit.account,
        amount_minor=credit.amount_minor,
        currency=credit.currency,
    )
