"""Whether the read models moved for one merchant, or one partner: what pages that are looked at are told of."""

from typing import LiteralString, NamedTuple

from psycopg.rows import tuple_row

from projections.read import Reads

# Whoever was away for longer is told that something happened, without a search.
_EVENTS_SEARCHED_MAX = 20_000


class Moved(NamedTuple):
    """How far the read models are, and the newest position up to there of an event that was asked for (None: none)."""

    tracked: int
    newest: int | None


_UPTO: LiteralString = "SELECT position FROM read.tracked"
# From the newest one back: the first that is found is the answer.
_NEWEST: LiteralString = """
SELECT position FROM ledger.events_of_merchant
WHERE position > %(after)s AND position <= %(upto)s
    AND (%(partner_id)s::text IS NULL OR state ->> 'partner_id' = %(partner_id)s)
ORDER BY position DESC LIMIT 1"""


async def moved(reads: Reads, merchant_id: str, partner_id: str | None, after: int) -> Moved:
    """Return what the read models took in behind the position `after` of the merchant's, or of one partner's, events.

    Raises psycopg.Error.
    """
    async with reads.moment(merchant_id) as conn, conn.cursor(row_factory=tuple_row) as cursor:
        found = await (await cursor.execute(_UPTO)).fetchone()
        upto = int(found[0]) if found else 0
        if upto <= after:
            return Moved(upto, None)
        if upto - after > _EVENTS_SEARCHED_MAX:
            return Moved(upto, upto)
        asked = {"after": after, "upto": upto, "partner_id": partner_id}
        row = await (await cursor.execute(_NEWEST, asked)).fetchone()
        return Moved(upto, int(row[0]) if row else None)
