"""Balances: what each partner is owed and was paid."""

from projections import rows
from schemas.api import BalancesQuery, Page
from schemas.api_answers import Balance
from schemas.money import Money
from web.api.bodies import ids_of
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, from_cursor
from web.api.routes import RouteTable

balances = RouteTable("balances")


@balances.get("/balances", query=BalancesQuery, answer=Page[Balance])
async def list_balances(call: Call[None, BalancesQuery]) -> Reply:
    """List balances per partner and currency; currencies are never added together."""
    query = call.query
    place = from_cursor(query.cursor, str, str)
    page = await call.services.reads.balances(
        call.merchant_id, partner_id=query.partner_id, partner_ids=ids_of(query.partner_ids, "query.partner_ids"),
        currency=query.currency, payable=query.payable,
        after=(place[0], place[1]) if place else None, limit=query.limit,
    )  # fmt: skip
    data = [_shown(row) for row in page.rows]
    return Reply(Page[Balance](data=data, next_cursor=cursor_of(page.next)), page.position)


def _shown(row: rows.Balance) -> Balance:
    money, currency = Money.of, row.currency
    return Balance.trusted(
        partner_id=row.partner_id,
        currency=currency,
        pending=money(row.pending_minor, currency),
        approved=money(row.approved_minor, currency),
        held=money(row.held_minor, currency),
        in_payout=money(row.in_payout_minor, currency),
        paid=money(row.paid_minor, currency),
        clawed_back=money(row.clawed_back_minor, currency),
        payable=money(row.payable_minor, currency),
    )
