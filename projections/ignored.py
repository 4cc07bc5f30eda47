"""Orders that were nobody's: counted in the transaction of their messages, per day and currency, behind the wall."""

from datetime import date
from typing import Any, LiteralString, NamedTuple

from psycopg.rows import dict_row

from projections.read import Reads
from projections.rows import Page

_DAYS: LiteralString = (
    "SELECT day, currency, orders, total_minor FROM ledger.ignored_totals WHERE merchant_id = %(merchant_id)s"
)
_BEHIND: LiteralString = " AND (day < %(day)s OR (day = %(day)s AND currency > %(currency)s))"
_NEWEST: LiteralString = " ORDER BY day DESC, currency LIMIT %(rows)s"


class Ignored(NamedTuple):
    """How many orders of one day (in the program's time zone) and currency were nobody's, and what they come to."""

    day: date
    currency: str
    orders: int
    total_minor: int


async def ignored(
    reads: Reads, merchant_id: str, *, after: tuple[str, str] | None, limit: int
) -> Page[Ignored, tuple[str, str]]:
    """Return the newest days first, each with its currencies; the key of the next page is (day, currency)."""
    day, currency = after or (None, None)
    params: dict[str, Any] = {"merchant_id": merchant_id, "day": day, "currency": currency, "rows": limit + 1}
    async with reads.moment(merchant_id) as conn, conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_DAYS + (_BEHIND if after else "") + _NEWEST, params)
        rows = await cursor.fetchall()
    found = [Ignored(row["day"], row["currency"], row["orders"], int(row["total_minor"])) for row in rows[:limit]]
    last = (found[-1].day.isoformat(), found[-1].currency) if len(rows) > limit else None
    # Of the log itself, not of a read model.
    return Page(found, 0, last)
