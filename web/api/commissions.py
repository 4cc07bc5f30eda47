"""Commissions: what each order earned, its story, and the moves that people make."""

from collections.abc import Callable
from functools import partial
from typing import Any

from ledger import approvals, history
from ledger.approvals import Moved
from projections import rows
from schemas.api import Because, CommissionsQuery, Nothing, Page, Query, Read
from schemas.api_answers import Commission, CommissionState, CommissionStory
from schemas.errors import NotFoundError
from schemas.money import Money
from web.api.bodies import check_days
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, from_cursor
from web.api.routes import RouteTable
from web.api.stories import entry_of

commissions = RouteTable("commissions")


@commissions.get("/commissions", query=CommissionsQuery, answer=Page[Commission])
async def list_commissions(call: Call[None, CommissionsQuery]) -> Reply:
    """List commissions, those of the newest orders first."""
    query = call.query
    check_days(query.from_, query.to)
    place = from_cursor(query.cursor, int)
    page = await call.services.reads.commissions(
        call.merchant_id, partner_id=query.partner_id, state=query.status, customer_id=query.customer_id,
        from_on=query.from_, to_on=query.to, currency=query.currency, payout_id=query.payout_id,
        after=place[0] if place else None, limit=query.limit,
    )  # fmt: skip
    data = [Commission(**shown(row)) for row in page.rows]
    return Reply(Page[Commission](data=data, next_cursor=cursor_of(page.next)), page.position)


@commissions.get("/commissions/{order_id:[^/]+}", query=Read, answer=CommissionStory)
async def show_commission(call: Call[None, Read]) -> Reply:
    """Show a commission with its history: every event, explained."""
    order_id = call.path["order_id"]
    found = await call.services.reads.commission(call.merchant_id, order_id)
    if found.row is None:
        raise NotFoundError("commission", order_id)
    told = await call.run(lambda: history.of_order(call.services.ledger, call.merchant_id, order_id))
    # The log may be ahead of the read models: the story ends where the figures beside it do.
    entries = [entry_of(entry.version, entry.event) for entry in told if entry.position <= found.position]
    return Reply(CommissionStory(**shown(found.row), history=entries), found.position)


@commissions.post("/commissions/{order_id:[^/]+}/approve", body=Nothing, answer=CommissionState)
async def approve_commission(call: Call[Nothing, Query]) -> Reply:
    """Make a pending commission payable."""
    return await _move(call, approvals.approve)


@commissions.post("/commissions/{order_id:[^/]+}/reject", body=Because, answer=CommissionState)
async def reject_commission(call: Call[Because, Query]) -> Reply:
    """Refuse a commission."""
    return await _move(call, approvals.reject, reason=call.body.reason)


@commissions.post("/commissions/{order_id:[^/]+}/reopen", body=Because, answer=CommissionState)
async def reopen_commission(call: Call[Because, Query]) -> Reply:
    """Take a rejection back."""
    return await _move(call, approvals.reopen, reason=call.body.reason)


@commissions.post("/commissions/{order_id:[^/]+}/hold", body=Because, answer=CommissionState)
async def hold_commission(call: Call[Because, Query]) -> Reply:
    """Stop a commission until somebody decides."""
    return await _move(call, approvals.hold, reason=call.body.reason)


@commissions.post("/commissions/{order_id:[^/]+}/release", body=Nothing, answer=CommissionState)
async def release_commission(call: Call[Nothing, Query]) -> Reply:
    """Put a held commission back to where it was."""
    return await _move(call, approvals.release)


async def _move(call: Call[Any, Any], move: Callable[..., Moved], **details: Any) -> Reply:
    run = partial(
        move, call.services.ledger, merchant_id=call.merchant_id, order_id=call.path["order_id"],
        now=call.now, cause=call.cause, **details,
    )  # fmt: skip
    return await call.write(lambda request: run(request=request), _state)


def _state(moved: Moved) -> CommissionState:
    commission = Money.of(moved.amount_minor, moved.currency)
    return CommissionState(order_id=moved.order_id, status=moved.state, commission=commission)


def shown(row: rows.Commission) -> dict[str, Any]:
    """Return a commission's members as the API shows them."""
    return {
        "order_id": row.order_id,
        "partner_id": row.partner_id,
        "customer_id": row.customer_id,
        "coupon_code": row.coupon_code,
        "status": row.state,
        "reason": row.reason,
        "commission": Money.of(row.amount_minor, row.currency),
        "clawed_back": Money.of(row.clawed_back_minor, row.currency),
        "total": Money.of(row.total_minor, row.currency),
        "refunded": Money.of(row.total_minor - row.remaining_minor, row.currency),
        "occurred_at": row.occurred_at,
        "due_at": row.due_at,
        "approved_at": row.approved_at,
        "paid_at": row.paid_at,
        "payout_id": row.payout_id,
    }
