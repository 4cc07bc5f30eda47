"""Payments by hand: which commissions were marked as paid together, when, and by whom."""

from projections import paid_marks as marks
from schemas.api import Page
from schemas.api_commissions import PaidMark, PaidMarksQuery
from schemas.money import Money
from web.api.actors import actors_of
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, from_cursor
from web.api.routes import RouteTable

paid_marks = RouteTable("commissions")


@paid_marks.get("/paid-marks", query=PaidMarksQuery, answer=Page[PaidMark])
async def list_paid_marks(call: Call[None, PaidMarksQuery]) -> Reply:
    """List what was marked as paid outside of payouts, and as unpaid again, newest first.

    Commissions that were marked one after the other with the same reference on the same day are one row.
    """
    query = call.query
    place = from_cursor(query.cursor, int)
    page = await marks.paid_marks(
        call.services.reads, call.merchant_id, partner_id=query.partner_id, before=place[0] if place else None,
        limit=query.limit,
    )  # fmt: skip
    by = await actors_of(call, [row.cause for row in page.rows])
    data = [
        PaidMark(
            kind="paid" if row.reason is None else "unpaid", partner_id=row.partner_id,
            amount=Money.of(row.amount_minor, row.currency), commissions=row.commissions, order_id=row.order_id,
            reference=row.reference, note=row.note, reason=row.reason, occurred_on=row.occurred_on,
            recorded_at=row.recorded_at, by=by[row.cause],
        )
        for row in page.rows
    ]  # fmt: skip
    return Reply(Page[PaidMark](data=data, next_cursor=cursor_of(page.next)), page.position)
