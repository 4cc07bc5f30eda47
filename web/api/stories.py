"""An order's events as a story: what happened, when, why, and how much money it moved."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, TypeAlias, TypeGuard

from ledger.arithmetic import shown_exact, steps
from ledger.events import (
    CommissionAdjusted,
    CommissionApproved,
    CommissionClawedBack,
    CommissionCorrected,
    CommissionEarned,
    CommissionEntered,
    CommissionHeld,
    CommissionMarkedUnpaid,
    CommissionPaid,
    CommissionRejected,
    CommissionReleased,
    CommissionReopened,
    CommissionReserved,
    CommissionSkipped,
    CommissionUnreserved,
    Event,
    OrderTaken,
    ParkedRefundRejected,
    Rate,
    RefundParked,
    topic_of,
)
from ledger.payout_commissions import CAME_BACK
from ledger.payout_events import ClawbackNetted, ClawbackOwedAgain, ClawbackSettled, ClawbackUnnetted
from schemas.api_answers import HistoryEntry
from schemas.api_arithmetic import Arithmetic
from schemas.api_stories import ActedBy, CommissionStep
from schemas.money import Money, exponent, to_decimal_string
from web.api.rates import of_ledger, value_of

_KINDS = {
    "refund": "A refund",
    "cancellation": "A cancellation",
    "dispute": "A dispute",
    "dispute_won": "A dispute that was won",
}


def entry_of(version: int, event: Event, by: ActedBy) -> HistoryEntry:
    """Return one event, explained; `by` is whoever its cause names."""
    currency = getattr(event, "currency", None)
    amount = getattr(event, "amount_minor", None)
    return HistoryEntry(
        version=version,
        type=topic_of(event),
        summary=summary_of(event),
        occurred_at=event.occurred_at,
        recorded_at=event.recorded_at,
        cause=event.cause,
        by=by,
        amount=None if currency is None or amount is None else Money.of(amount, currency),
        from_status=getattr(event, "from_state", None),
        to_status=getattr(event, "to_state", None),
        reason=getattr(event, "reason", None) or None,
        reference=getattr(event, "reference", None) or None,
        note=getattr(event, "note", None),
        payout_id=_payout_of(event),
        refund_id=getattr(event, "refund_id", None),
        kind=getattr(event, "kind", None),
        refund=_refund(event),
    )


def arithmetic_of(events: Iterable[Event]) -> Arithmetic | None:
    """Return how the commission was computed of which these are the events, None where nothing was earned."""
    earned = next((event for event in events if isinstance(event, CommissionEarned)), None)
    if earned is None:
        return None
    currency, rate = earned.currency, earned.rate
    exact = Decimal(earned.base_minor * rate.bps) / 10_000 if rate.type == "percentage" else Decimal(rate.amount_minor)
    amounts = {
        name: Money.of(getattr(earned, f"{name}_minor"), currency) for name in ("total", "tax", "shipping", "discount")
    }
    return Arithmetic(
        **amounts,
        base=earned.base,
        base_amount=Money.of(earned.base_minor, currency),
        rate=of_ledger(rate, currency),
        exact=f"{exact.scaleb(-exponent(currency)):f}",
        earned=Money.of(earned.amount_minor, currency),
        fixed_on_partial_refund=earned.fixed_on_partial_refund,
        terms_version=earned.terms_version,
    )


def steps_of(events: Iterable[Event], currency: str) -> list[CommissionStep]:
    """Return the arithmetic of the order, in its currency, and of each refund of it."""
    return [
        CommissionStep(
            version=step.version,
            kind=step.kind,
            remaining=Money.of(step.remaining_minor, currency),
            unrounded=shown_exact(step.exact_minor, currency),
            owed=Money.of(step.owed_minor, currency),
            change=Money.of(step.change_minor, currency),
        )
        for step in steps(events)
    ]


def summary_of(event: Event) -> str:
    """Return what happened, in a sentence."""
    tell = _SENTENCES.get(type(event))
    return tell(event) if tell else topic_of(event)


def _payout_of(event: Event) -> str | None:
    return event.reference if _came_back(event) else getattr(event, "payout_id", None)


def _came_back(event: Event) -> TypeGuard[CommissionEntered]:
    """Return whether it is a half of what came back of a payout in part: nobody else names an entry so."""
    return isinstance(event, CommissionEntered) and event.order_id.startswith(CAME_BACK)


def _refund(event: Event) -> Money | None:
    refunded = isinstance(event, RefundParked | CommissionCorrected) and event.kind == "refund"
    currency = getattr(event, "currency", None)
    return Money.of(event.refund_minor, currency) if refunded and currency else None  # type: ignore[attr-defined]


def _money(minor: int, currency: str | None) -> str:
    return f"{to_decimal_string(minor, currency)} {currency}" if currency else str(minor)


def _amount(event: Any) -> str:
    return _money(event.amount_minor, event.currency)


def _rate(rate: Rate, currency: str) -> str:
    return f"a fixed {value_of(rate, currency)} {currency}" if rate.type == "fixed" else f"{value_of(rate, currency)} %"


def _why(event: CommissionRejected) -> str:
    return "the partner was banned" if event.ban else event.reason


def _order(event: OrderTaken) -> str:
    order = f"An order of {_money(event.total_minor, event.currency)}"
    if event.assigned:
        return f"{order} came from a customer who was given to the partner"
    return f"{order} came with code {event.coupon_code}"


def _earned(event: CommissionEarned) -> str:
    order = _order(event)
    rate = _rate(event.rate, event.currency)
    if event.rate.type == "percentage":
        rate += f" of {_money(event.base_minor, event.currency)} ({event.base.replace('_', ' ')})"
    return f"{order}: {rate} is {_amount(event)}, under version {event.terms_version} of the terms."


def _skipped(event: CommissionSkipped) -> str:
    return f"{_order(event)} and earned nothing: {event.reason.replace('_', ' ')}."


def _entered(event: CommissionEntered) -> str:
    if _came_back(event):
        part = "less was paid" if event.to_state == "paid" else "is owed again"
        return f"A part of payout {event.reference} came back: {_amount(event)} {part}."
    reference = f" ({event.reference})" if event.reference else ""
    return f"{_amount(event)} was entered by hand{reference}: {event.reason}"


def _fact(event: RefundParked | CommissionCorrected) -> str:
    told = _KINDS.get(event.kind, event.kind)
    return f"{told} of {_money(event.refund_minor, event.currency)}" if event.kind == "refund" else told


def _corrected(event: CommissionCorrected) -> str:
    late = ", which had come before its order," if event.parked else ""
    return f"{_fact(event)}{late} changed what the partner is owed by {_amount(event)}."


def _by_payout(event: CommissionPaid) -> str:
    return f" by payout {event.payout_id}" if event.payout_id else ""


def _clawed_back(event: CommissionClawedBack) -> str:
    late = f"{_fact(event)} came when the commission was already on its way out"
    return f"{late}: an entry of {_amount(event)} stands beside it."


_Tell: TypeAlias = Callable[[Any], str]
_SENTENCES: dict[type[Event], _Tell] = {
    CommissionEarned: _earned,
    CommissionSkipped: _skipped,
    CommissionEntered: _entered,
    RefundParked: lambda event: f"{_fact(event)} came before its order and waits for it.",
    CommissionAdjusted: _corrected,
    CommissionClawedBack: _clawed_back,
    ParkedRefundRejected: lambda event: f"The order came and its early {event.kind} proved wrong: {event.code}.",
    CommissionApproved: lambda event: f"{_amount(event)} became payable.",
    CommissionHeld: lambda event: f"{_amount(event)} was put on hold: {event.reason}",
    CommissionReleased: lambda event: f"{_amount(event)} was released and is {event.to_state} again.",
    CommissionRejected: lambda event: f"{_amount(event)} was rejected: {_why(event)}",
    CommissionReopened: lambda event: f"The rejection was taken back; {_amount(event)} is {event.to_state} again.",
    CommissionReserved: lambda event: f"{_amount(event)} went into payout {event.payout_id}.",
    CommissionUnreserved: lambda event: f"Payout {event.payout_id} did not happen; {_amount(event)} is payable again.",
    CommissionPaid: lambda event: f"{_amount(event)} was paid{_by_payout(event)}: {event.reference}",
    CommissionMarkedUnpaid: lambda event: (
        f"Payout {event.payout_id} came back; {_amount(event)} is owed again."
        if event.payout_id
        else f"{_amount(event)} is owed again: {event.reason}"
    ),
    ClawbackNetted: lambda event: f"{_amount(event)} that was clawed back is netted off in payout {event.payout_id}.",
    ClawbackSettled: lambda event: f"Payout {event.payout_id} is out; {_amount(event)} is settled with it.",
    ClawbackUnnetted: lambda event: (
        f"Payout {event.payout_id} did not happen; {_amount(event)} waits to be netted off again."
    ),
    ClawbackOwedAgain: lambda event: (
        f"Payout {event.payout_id} came back; {_amount(event)} waits to be netted off again."
    ),
}
