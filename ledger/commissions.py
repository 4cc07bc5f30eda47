"""One order's commission: pure decisions. Given what the stream says, decide the new events; no I/O, no clock.

What a storefront tells of an order is kept as a set: refunds by their id, whether it was cancelled, disputes by their
event. What the commission should be is a function of that set, and each new fact posts the difference to what stands.
So any order of arrival ends at the same cent (docs/decisions/0002), and refunds that add up to the order end at exactly
zero.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

from ledger.events import (
    CommissionAdjusted,
    CommissionApproved,
    CommissionClawedBack,
    CommissionCorrected,
    CommissionEarned,
    CommissionEntered,
    CommissionHeld,
    CommissionMarkedUnpaid,
    CommissionMoved,
    CommissionPaid,
    CommissionRejected,
    CommissionReleased,
    CommissionReopened,
    CommissionReserved,
    CommissionUnreserved,
    Event,
    OrderTaken,
    ParkedRefundRejected,
    Rate,
    RefundParked,
)
from ledger.payout_events import CLAWBACK_ACCOUNTS, ClawbackMoved
from schemas.errors import ConflictError, Fault, IllegalMoveError, RejectedError
from schemas.money import to_decimal_string
from schemas.order_events import OrderPlaced

Duplicate = Literal["duplicate"]
DUPLICATE: Duplicate = "duplicate"

LEGAL_MOVES = {
    "pending": ("approve", "hold", "reject"),
    "approved": ("hold", "reject", "reserve", "pay"),
    "held": ("release", "reject"),
    "in_payout": ("pay", "unreserve"),
    "paid": ("mark_unpaid",),
    "rejected": ("reopen",),
    "reversed": (),
    "skipped": (),
}
"""What may be done with a commission in each state (DESIGN section 8); refunds are facts, not moves, and always may."""

BY_HAND = {
    "approve": "approve",
    "hold": "hold",
    "release": "release",
    "reject": "reject",
    "reopen": "reopen",
    "mark-paid": "pay",
    "mark-unpaid": "mark_unpaid",
}
"""What people may do with a commission, by the name that they call it, and which of LEGAL_MOVES it is."""

_ON_ITS_WAY_OUT = ("in_payout", "paid")


@dataclass(slots=True)
class Order:
    """What the events of one order's stream add up to.

    `taken` is the storefront's order, `entered` what stands in its place where somebody entered the commission by hand.
    `amount_minor` is the commission itself, clawbacks stand beside it: `clawed_back_minor` is what waits to be netted
    off, `netted_minor` what is netted off in a payout, or was.
    """

    version: int = 0
    taken: OrderTaken | None = None
    entered: CommissionEntered | None = None
    state: str = "unknown"
    resume: dict[str, str] = field(default_factory=dict)
    amount_minor: int = 0
    clawed_back_minor: int = 0
    netted_minor: int = 0
    refunds: dict[str, int] = field(default_factory=dict)
    cancelled: bool = False
    disputes: dict[str, tuple[datetime, str]] = field(default_factory=dict)
    parked: list[RefundParked] = field(default_factory=list)
    payout_id: str | None = None

    @property
    def opened(self) -> OrderTaken | CommissionEntered | None:
        """What the commission began with, None where there is none (yet)."""
        return self.taken or self.entered


# --- the fold ---------------------------------------------------------------------------------------------------------


def fold(events: Iterable[Event]) -> Order:
    """Return what the events of one stream, in order, add up to."""
    order = Order()
    for event in events:
        evolve(order, event)
    return order


def evolve(order: Order, event: Event) -> None:
    """Take one more event of the stream into the order."""
    order.version += 1
    if isinstance(event, OrderTaken):
        order.taken, order.state, order.amount_minor = event, event.to_state, event.amount_minor
    elif isinstance(event, CommissionEntered):
        order.entered, order.state, order.amount_minor = event, event.to_state, event.amount_minor
        order.payout_id = event.payout_id
    elif isinstance(event, RefundParked):
        order.parked.append(event)
    elif isinstance(event, ParkedRefundRejected):
        order.parked = [fact for fact in order.parked if fact.cause != event.parked_cause]
    elif isinstance(event, CommissionCorrected):
        _evolve_correction(order, event)
    elif isinstance(event, ClawbackMoved):
        # Between in_payout and paid nothing changes here: it stays netted off.
        sides = CLAWBACK_ACCOUNTS[type(event).__name__]
        moved = event.amount_minor * ((sides[1] == "clawed_back") - (sides[0] == "clawed_back"))
        order.clawed_back_minor += moved
        order.netted_minor -= moved
    elif isinstance(event, CommissionMoved):
        if isinstance(event, (CommissionHeld, CommissionRejected)):
            order.resume[event.to_state] = event.from_state
        order.state = event.to_state
        order.payout_id = event.payout_id if isinstance(event, (CommissionReserved, CommissionPaid)) else None


def _evolve_correction(order: Order, event: CommissionCorrected) -> None:
    _remember(order, event)
    if isinstance(event, CommissionClawedBack):
        order.clawed_back_minor += event.amount_minor
        return
    order.amount_minor += event.amount_minor
    if event.to_state == "reversed" != order.state:
        order.resume["reversed"] = order.state
    order.state = event.to_state


def _remember(order: Order, fact: CommissionCorrected | RefundParked) -> None:
    if fact.kind == "refund":
        order.refunds[str(fact.refund_id)] = fact.refund_minor
    elif fact.kind == "cancellation":
        order.cancelled = True
    elif fact.kind in _DISPUTES:
        order.disputes[fact.event_id] = (fact.occurred_at, fact.kind)


_DISPUTES = ("dispute", "dispute_won")


# --- what an order is worth -------------------------------------------------------------------------------------------


def remaining_minor(order: Order) -> int:
    """Return what is left of the order's total, in minor units: nothing when cancelled or while a dispute is open."""
    if order.taken is None or order.cancelled:
        return 0
    # "dispute" sorts before "dispute_won": told at the same instant, the win counts.
    if order.disputes and max(order.disputes.values())[1] == "dispute":
        return 0
    return order.taken.total_minor - sum(order.refunds.values())


def base_minor(base: str, total: int, tax: int, shipping: int) -> int:
    """Return what a percentage is taken of, under the terms' `base`, in minor units, never below zero."""
    if base == "total":
        return total
    net_of = {"net_of_tax": tax, "net_of_tax_and_shipping": tax + shipping}
    return max(total - net_of[base], 0)


def half_up(numerator: int, denominator: int) -> int:
    """Return numerator / denominator rounded half up; exact, for amounts that are not negative (DESIGN section 7)."""
    return (2 * numerator + denominator) // (2 * denominator)


def commission_minor(rate: Rate, base: int, fixed_on_partial_refund: str, *, total: int, remaining: int) -> int:
    """Return what the partner is owed, in minor units, when `remaining` is left of the order's `total`.

    A percentage is taken of the base, which shrinks with the order, and rounded once. A fixed amount stands while
    anything remains, unless the terms say pro rata.
    """
    if remaining <= 0 or total <= 0:
        return 0
    if rate.type == "percentage":
        return half_up(base * remaining * rate.bps, total * 10_000)
    if fixed_on_partial_refund == "keep":
        return rate.amount_minor
    return half_up(rate.amount_minor * remaining, total)


def owed_minor(taken: OrderTaken, remaining: int) -> int:
    """Return what is owed of an order on the books, by its original rule: nothing where it was skipped."""
    if not isinstance(taken, CommissionEarned):
        return 0
    policy = taken.fixed_on_partial_refund
    return commission_minor(taken.rate, taken.base_minor, policy, total=taken.total_minor, remaining=remaining)


# --- facts: refunds, cancellations, disputes --------------------------------------------------------------------------


def take_fact(order: Order, fact: RefundParked) -> list[Event] | Duplicate:
    """Decide what a refund, cancellation, dispute or won dispute does: new events, or DUPLICATE.

    `fact` is the message in the shape in which it would be parked, and is parked where the order is not known. Raises
    ConflictError `conflicting_duplicate`, RejectedError `currency_mismatch`, `refund_exceeds_total`, `not_an_order`
    (an entry made by hand has nothing that a storefront could give back).
    """
    if order.entered is not None:
        message = "this is a commission that was entered by hand, not an order"
        raise RejectedError.at("$.order_id", "not_an_order", message)
    if _seen(order, fact):
        return DUPLICATE
    if order.taken is None:
        return [fact]
    return [_correction(order, order.taken, fact, parked=False)]


def take_parked(order: Order) -> list[Event]:
    """Decide what the parked facts of an order that has just come do, in the order in which they came.

    One that proves wrong is rejected here, by an event that names the message it came in. `order` is evolved on the
    way.
    """
    events: list[Event] = []
    assert order.taken is not None  # noqa: S101 - parked facts wait for exactly this
    for fact in tuple(order.parked):
        try:
            event: Event = _correction(order, order.taken, fact, parked=True)
        except RejectedError as error:
            event = _rejected(fact, error, order.taken)
        events.append(event)
        evolve(order, event)
    return events


def _rejected(fact: RefundParked, error: RejectedError, taken: OrderTaken) -> ParkedRefundRejected:
    return ParkedRefundRejected(
        merchant_id=fact.merchant_id,
        order_id=fact.order_id,
        occurred_at=fact.occurred_at,
        occurred_on=fact.occurred_on,
        recorded_at=taken.recorded_at,
        cause=taken.cause,
        kind=fact.kind,
        event_id=fact.event_id,
        refund_id=fact.refund_id,
        code=error.code,
        parked_cause=fact.cause,
    )


def _seen(order: Order, fact: RefundParked) -> bool:
    """Return whether the fact is on the books already; raise where it is there with other content."""
    if fact.kind == "refund":
        known = order.refunds.get(str(fact.refund_id))
        currency = order.taken.currency if order.taken else None
        for parked in order.parked if order.taken is None else ():
            if parked.kind == "refund" and parked.refund_id == fact.refund_id:
                known, currency = parked.refund_minor, parked.currency
        if known is None:
            return False
        return _same({"amount": (known, fact.refund_minor), "currency": (currency, fact.currency)}, "refund")
    facts = list(order.parked) if order.taken is None else []
    if fact.kind == "cancellation":
        return order.cancelled or any(parked.kind == "cancellation" for parked in facts)
    disputes = {**order.disputes, **{p.event_id: (p.occurred_at, p.kind) for p in facts if p.kind in _DISPUTES}}
    if fact.event_id not in disputes:
        return False
    occurred_at, kind = disputes[fact.event_id]
    return _same({"type": (kind, fact.kind), "occurred_at": (occurred_at, fact.occurred_at)}, "event")


def _same(fields: dict[str, tuple[Any, Any]], what: str) -> bool:
    differing = [name for name, (known, told) in fields.items() if known != told]
    if not differing:
        return True
    faults = [Fault(f"$.{name}", "conflicting_duplicate", "differs from what was told before") for name in differing]
    message = f"this {what} was told before with other content: {', '.join(differing)}"
    raise ConflictError("conflicting_duplicate", message, faults)


def _correction(order: Order, taken: OrderTaken, fact: RefundParked, *, parked: bool) -> CommissionCorrected:
    if fact.kind == "refund":
        _check_refund(order, taken, fact)
    before = remaining_minor(order)
    after = remaining_minor(_with(order, fact))
    delta = owed_minor(taken, after) - order.amount_minor - order.clawed_back_minor - order.netted_minor
    out = order.state in _ON_ITS_WAY_OUT
    return (CommissionClawedBack if out else CommissionAdjusted)(
        merchant_id=fact.merchant_id,
        order_id=fact.order_id,
        occurred_at=fact.occurred_at,
        occurred_on=fact.occurred_on,
        recorded_at=taken.recorded_at if parked else fact.recorded_at,
        cause=taken.cause if parked else fact.cause,
        partner_id=taken.partner_id,
        currency=taken.currency,
        amount_minor=delta,
        from_state=order.state,
        to_state=order.state if out else _state_after(order, after),
        kind=fact.kind,
        event_id=fact.event_id,
        refund_id=fact.refund_id,
        refund_minor=fact.refund_minor,
        revenue_minor=after - before,
        parked=parked,
    )


def _with(order: Order, fact: RefundParked) -> Order:
    told = Order(
        taken=order.taken, cancelled=order.cancelled, refunds=dict(order.refunds), disputes=dict(order.disputes)
    )
    _remember(told, fact)
    return told


def _state_after(order: Order, remaining: int) -> str:
    if order.state not in ("pending", "approved", "held", "reversed"):
        return order.state
    if remaining == 0:
        # Another payout took it off, and then the commission's own money came back: owed, although nothing remains.
        return order.state if order.netted_minor else "reversed"
    return order.resume["reversed"] if order.state == "reversed" else order.state


def _check_refund(order: Order, taken: OrderTaken, fact: RefundParked) -> None:
    if fact.currency != taken.currency:
        message = f"the order is in {taken.currency}, the refund in {fact.currency}"
        raise RejectedError.at("$.currency", "currency_mismatch", message)
    refunded = sum(order.refunds.values())
    if refunded + fact.refund_minor > taken.total_minor:
        left = to_decimal_string(taken.total_minor - refunded, taken.currency)
        message = f"only {left} {taken.currency} of the order can still be refunded"
        raise RejectedError.at("$.amount", "refund_exceeds_total", message)


# --- moves ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Act:
    """Who or what moves a commission, and when.

    `occurred_on` is the day of `occurred_at` in the program's time zone.
    """

    occurred_at: datetime
    recorded_at: datetime
    occurred_on: date
    cause: str


_MOVES: dict[str, tuple[type[CommissionMoved], str | None]] = {
    "approve": (CommissionApproved, "approved"),
    "hold": (CommissionHeld, "held"),
    "release": (CommissionReleased, None),
    "reject": (CommissionRejected, "rejected"),
    "reopen": (CommissionReopened, None),
    "reserve": (CommissionReserved, "in_payout"),
    "unreserve": (CommissionUnreserved, "approved"),
    "pay": (CommissionPaid, "paid"),
    "mark_unpaid": (CommissionMarkedUnpaid, "approved"),
}


def move(order: Order, name: str, act: Act, **details: Any) -> list[Event]:
    """Decide one of the moves of LEGAL_MOVES; `details` are the event's own fields (reason, payout_id, reference).

    Raises IllegalMoveError with the state and what is legal there. `release` and `reopen` go back to where it was.
    When money comes back (unreserve, mark_unpaid), what was clawed back meanwhile is taken off the commission itself.
    """
    opened = order.opened
    if opened is None or name not in LEGAL_MOVES[order.state]:
        raise IllegalMoveError(name, order.state, LEGAL_MOVES.get(order.state, ()))
    kind, target = _MOVES[name]
    event = kind(
        merchant_id=opened.merchant_id,
        order_id=opened.order_id,
        partner_id=opened.partner_id,
        currency=opened.currency,
        amount_minor=order.amount_minor,
        from_state=order.state,
        to_state=target or order.resume[order.state],
        occurred_at=act.occurred_at,
        occurred_on=act.occurred_on,
        recorded_at=act.recorded_at,
        cause=act.cause,
        **details,
    )
    if name in ("unreserve", "mark_unpaid") and order.clawed_back_minor:
        return [event, *_taken_off(order, event)]
    return [event]


def move_by_hand(order: Order, name: str, act: Act, **details: Any) -> list[Event]:
    """Decide one of the moves of BY_HAND, as `move` does; raises IllegalMoveError with what is legal by hand."""
    legal = legal_by_hand(order)
    if name not in legal:
        raise IllegalMoveError(name, order.state, legal)
    return move(order, BY_HAND[name], act, **details)


def legal_by_hand(order: Order) -> tuple[str, ...]:
    """Return the names of BY_HAND that are legal now: none while a payout has the commission, or where it paid it."""
    if order.payout_id is not None:
        return ()
    legal = LEGAL_MOVES.get(order.state, ())
    return tuple(name for name, meant in BY_HAND.items() if meant in legal)


def _taken_off(order: Order, event: CommissionMoved) -> Sequence[Event]:
    common = {name: getattr(event, name) for name in CommissionMoved.__struct_fields__} | {
        "from_state": "approved",
        "to_state": "approved",
        "kind": "returned",
        "event_id": event.cause,
        "revenue_minor": 0,
    }
    gone = remaining_minor(order) == 0 and not order.netted_minor
    return (
        CommissionClawedBack(**common | {"amount_minor": -order.clawed_back_minor}),
        CommissionAdjusted(
            **common | {"amount_minor": order.clawed_back_minor, "to_state": "reversed" if gone else "approved"}
        ),
    )


# --- what was told before ---------------------------------------------------------------------------------------------


def told_before(order: Order, told: OrderPlaced) -> bool:
    """Return whether the order is on the books already; raise ConflictError naming the fields that differ there.

    What is compared is what money depends on (docs/decisions/0006); what was decided from it is not.
    """
    if order.entered is not None:
        message = "a commission that was entered by hand has this id"
        raise ConflictError.at("$.order_id", "conflicting_duplicate", message)
    if order.taken is None:
        return False
    taken = order.taken
    # Without a code an order is on the books for its customer's sake (`OrderTaken.assigned`), with an empty one.
    said = {name: getattr(told, name) for name in _CONTENT} | {"coupon_code": told.coupon_code or ""}
    return _same({label: (getattr(taken, name), said[name]) for name, label in _CONTENT.items()}, "order")


_CONTENT = {
    "occurred_at": "occurred_at",
    "currency": "currency",
    "total_minor": "total",
    "tax_minor": "tax",
    "shipping_minor": "shipping",
    "discount_minor": "discount",
    "coupon_code": "coupon_code",
    "customer_id": "customer.id",
    "items_digest": "items",
}
