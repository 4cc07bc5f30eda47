"""Commissions: what each order earned, its story, and the moves that people make."""

from collections.abc import Callable
from functools import partial
from typing import Any

from ledger import approvals
from ledger.approvals import Moved
from schemas.api import Because, CommissionState, Nothing, Query
from schemas.money import Money
from web.api.calls import Call, Reply
from web.api.routes import RouteTable

commissions = RouteTable("commissions")


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
    return CommissionState(order_id=moved.order_id, status=moved.state, commission=commission)  # type: ignore[arg-type]
