"""The journal: every movement of money, as double entry, for whoever keeps the merchant's books."""

from projections.journal import Movement, journal
from schemas.api import Page
from schemas.api_journal import JournalEntry, JournalQuery
from schemas.money import Money
from web.api.bodies import check_days
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, from_cursor
from web.api.routes import RouteTable

journal_calls = RouteTable("journal")


@journal_calls.get("/journal", query=JournalQuery, answer=Page[JournalEntry])
async def list_journal(call: Call[None, JournalQuery]) -> Reply:
    """List every movement of money, in the order in which it was recorded.

    What an account was credited less what it was debited is its balance in `GET /balances`, per partner and currency.
    Nothing in it ever changes: what is recorded later stands further down, also where it took effect earlier.
    """
    query = call.query
    check_days(query.from_, query.to)
    place = from_cursor(query.cursor, int)
    page = await journal(
        call.services.reads, call.merchant_id, from_on=query.from_, to_on=query.to,
        after=place[0] if place else None, limit=query.limit,
    )  # fmt: skip
    data = [_shown(row) for row in page.rows]
    return Reply(Page[JournalEntry](data=data, next_cursor=cursor_of(page.next)), page.position)


def _shown(row: Movement) -> JournalEntry:
    return JournalEntry(
        position=row.position,
        type=row.type,
        occurred_at=row.occurred_at,
        occurred_on=row.occurred_on,
        recorded_at=row.recorded_at,
        order_id=row.order_id,
        partner_id=row.partner_id,
        debit=row.debit,
        credit=row.credit,
        amount=Money.of(row.amount_minor, row.currency),
        cause=row.cause,
    )
