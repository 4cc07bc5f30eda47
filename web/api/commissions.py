"""Commissions: what each order earned, its story, the moves that people make, and entries made by hand."""

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

from ledger import approvals, entries, history
from ledger.approvals import ManyMoved, Moved
from ledger.commissions import fold, legal_by_hand
from ledger.entries import Entry
from ledger.hashes import entry_id
from projections import rows
from schemas.api import Because, CommissionsQuery, Nothing, Page, Query, Read
from schemas.api_answers import Commission, CommissionState, CommissionStory
from schemas.api_commissions import BulkMove, BulkResult, BulkResults, MoveError, NewEntry, Payment, PaymentBack
from schemas.api_feed import OrderEvents
from schemas.errors import Fault, IllegalMoveError, NotFoundError, RejectedError
from schemas.money import Money, to_minor
from web.api.actors import actors_of
from web.api.bodies import check_days
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, from_cursor
from web.api.routes import RouteTable
from web.api.stories import arithmetic_of, entry_of, steps_of

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
    data = [Commission.trusted(**shown(row)) for row in page.rows]
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
    seen = [entry for entry in told if entry.position <= found.position]
    events = [entry.event for entry in seen]
    by = await actors_of(call, [event.cause for event in events])
    story = CommissionStory(
        **shown(found.row), legal=list(legal_by_hand(fold(events))), arithmetic=arithmetic_of(events),
        steps=steps_of(events, found.row.currency),
        history=[entry_of(entry.version, entry.event, by[entry.event.cause]) for entry in seen],
    )  # fmt: skip
    return Reply(story, found.position)


@commissions.get("/commissions/{order_id:[^/]+}/events", query=Read, answer=OrderEvents)
async def list_order_events(call: Call[None, Read]) -> Reply:
    """List the events of one order, as the feed tells them: with all that they say, and the postings of each.

    The sum of the postings is what the commission stands at, account by account.
    """
    order_id = call.path["order_id"]
    found = await call.services.reads.commission(call.merchant_id, order_id)
    if found.row is None:
        raise NotFoundError("commission", order_id)
    told = await call.run(lambda: history.told_of_order(call.services.ledger, call.merchant_id, order_id))
    data = [entry for entry in told if entry.position <= found.position]
    return Reply(OrderEvents(data=data), found.position)


@commissions.post("/commissions", body=NewEntry, answer=CommissionState, status=HTTPStatus.CREATED, scope="partners")
async def enter_commission(call: Call[NewEntry, Query]) -> Reply:
    """Enter a commission by hand: a bonus, a correction, an opening balance; it may be negative.

    It is payable at once and can be held, rejected and paid like any other; it is no revenue and no conversion. Send an
    `Idempotency-Key`: the entry's id comes from it. Without one, a repetition has to carry the same `X-Request-Id`.
    """
    body, services = call.body, call.services
    once = ("key", call.idempotency_key) if call.idempotency_key else (
        "request", call.request_id, call.fingerprint.hex()
    )  # fmt: skip
    entry = Entry(
        merchant_id=call.merchant_id,
        entry_id=entry_id(services.ledger.hash_key, call.merchant_id, *once),
        partner_id=body.partner_id,
        amount_minor=to_minor(body.amount, body.currency, "$.amount", negative=True),
        currency=body.currency,
        reason=body.reason,
        reference=body.reference,
    )
    run = partial(
        entries.enter, services.ledger, entry, occurred_at=body.occurred_at, now=call.now, cause=call.cause
    )  # fmt: skip
    return await call.write(lambda request: run(request=request), _state)


@commissions.post("/commissions/bulk", body=BulkMove, answer=BulkResults, scope=None)
async def move_commissions(call: Call[BulkMove, Query]) -> Reply:
    """Move up to 100 commissions at once.

    One transaction: those that can make the move make it, each of the others says why not. An id may stand there once.
    Scope: that of the single call: `payouts` for mark-paid and mark-unpaid, `partners` for all others.
    """
    body = call.body
    call.key.check("payouts" if body.action in ("mark-paid", "mark-unpaid") else "partners")
    _check_unique(body.order_ids)
    details = _details(body)
    run = partial(
        approvals.move_commissions, call.services.ledger, body.action, merchant_id=call.merchant_id,
        order_ids=body.order_ids, now=call.now, cause=call.cause, **details,
    )  # fmt: skip

    def answer(many: ManyMoved) -> BulkResults:
        return BulkResults(
            results=[_result(each, found) for each, found in zip(body.order_ids, many.results, strict=True)]
        )

    return await call.write(lambda request: run(request=request), answer)


@commissions.post("/commissions/{order_id:[^/]+}/approve", body=Nothing, answer=CommissionState, scope="partners")
async def approve_commission(call: Call[Nothing, Query]) -> Reply:
    """Make a pending commission payable."""
    return await _move(call, approvals.approve)


@commissions.post("/commissions/{order_id:[^/]+}/reject", body=Because, answer=CommissionState, scope="partners")
async def reject_commission(call: Call[Because, Query]) -> Reply:
    """Refuse a commission."""
    return await _move(call, approvals.reject, reason=call.body.reason)


@commissions.post("/commissions/{order_id:[^/]+}/reopen", body=Because, answer=CommissionState, scope="partners")
async def reopen_commission(call: Call[Because, Query]) -> Reply:
    """Take a rejection back."""
    return await _move(call, approvals.reopen, reason=call.body.reason)


@commissions.post("/commissions/{order_id:[^/]+}/hold", body=Because, answer=CommissionState, scope="partners")
async def hold_commission(call: Call[Because, Query]) -> Reply:
    """Stop a commission until somebody decides."""
    return await _move(call, approvals.hold, reason=call.body.reason)


@commissions.post("/commissions/{order_id:[^/]+}/release", body=Nothing, answer=CommissionState, scope="partners")
async def release_commission(call: Call[Nothing, Query]) -> Reply:
    """Put a held commission back to where it was."""
    return await _move(call, approvals.release)


@commissions.post("/commissions/{order_id:[^/]+}/mark-paid", body=Payment, answer=CommissionState, scope="payouts")
async def mark_paid(call: Call[Payment, Query]) -> Reply:
    """Note that an approved commission was paid outside of payouts."""
    return await _move(call, approvals.mark_paid, reference=call.body.reference, note=call.body.note)


@commissions.post(
    "/commissions/{order_id:[^/]+}/mark-unpaid", body=PaymentBack, answer=CommissionState, scope="payouts"
)
async def mark_unpaid(call: Call[PaymentBack, Query]) -> Reply:
    """Take a payment by hand back: the commission is owed again, less what was clawed back since.

    What a payout paid is left to that payout.
    """
    return await _move(call, approvals.mark_unpaid, reason=call.body.reason, note=call.body.note)


async def _move(call: Call[Any, Any], move: Callable[..., Moved], **details: Any) -> Reply:
    run = partial(
        move, call.services.ledger, merchant_id=call.merchant_id, order_id=call.path["order_id"],
        now=call.now, cause=call.cause, **details,
    )  # fmt: skip
    return await call.write(lambda request: run(request=request), _state)


def _state(moved: Moved) -> CommissionState:
    commission = Money.of(moved.amount_minor, moved.currency)
    return CommissionState(order_id=moved.order_id, status=moved.state, commission=commission)


# What the single calls take, by the name of the move: what must be there, and what may be.
TAKES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "reject": (("reason",), ()),
    "reopen": (("reason",), ()),
    "hold": (("reason",), ()),
    "mark-paid": (("reference",), ("note",)),
    "mark-unpaid": (("reason",), ("note",)),
}


def _details(body: BulkMove) -> dict[str, Any]:
    """Return what the move takes. Raises RejectedError for what is missing, and for what it does not take."""
    required, optional = TAKES.get(body.action, ((), ()))
    given = {name: getattr(body, name) for name in ("reason", "reference", "note") if getattr(body, name) is not None}
    faults = [
        *(Fault(f"$.{name}", "missing", f"{body.action} needs it") for name in required if name not in given),
        *(
            Fault(f"$.{name}", "not_taken", f"{body.action} takes none")
            for name in given
            if name not in (*required, *optional)
        ),
    ]
    if faults:
        fields = ", ".join(fault.path for fault in faults)
        raise RejectedError("invalid_body", f"cannot be accepted because of {fields}", faults)
    return given


def _check_unique(order_ids: list[str]) -> None:
    seen: set[str] = set()
    faults = []
    for number, order_id in enumerate(order_ids):
        if order_id in seen:
            faults.append(Fault(f"$.order_ids[{number}]", "repeated", "may be there only once"))
        seen.add(order_id)
    if faults:
        raise RejectedError("invalid_body", "an order id is there more than once", faults)


def _result(order_id: str, found: Moved | RejectedError) -> BulkResult:
    if isinstance(found, RejectedError):
        state, legal = (found.state, list(found.legal)) if isinstance(found, IllegalMoveError) else (None, None)
        error = MoveError(code=found.code, message=found.message, state=state, legal=legal)
        return BulkResult(order_id=order_id, ok=False, error=error)
    commission = Money.of(found.amount_minor, found.currency)
    return BulkResult(order_id=order_id, ok=True, status=found.state, commission=commission)


def shown(row: rows.Commission) -> dict[str, Any]:
    """Return a commission's members as the API shows them."""
    return {
        "order_id": row.order_id,
        "partner_id": row.partner_id,
        "customer_id": row.customer_id,
        "coupon_code": row.coupon_code or None,
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
