"""The story of a payout: every event of its stream in a sentence and in facts, and what people may do now."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

from ledger import payouts
from ledger.events import Recorded, topic_of
from ledger.payout_events import (
    PayoutApproved,
    PayoutAttemptAbandoned,
    PayoutCancelled,
    PayoutContradicted,
    PayoutEvent,
    PayoutFailed,
    PayoutHeld,
    PayoutProcessed,
    PayoutRequested,
    PayoutReturned,
    PayoutReviewRequired,
    PayoutSubmissionRepeated,
    PayoutSubmissionStarted,
    PayoutSubmitted,
)
from ledger.payouts import Act, Payout
from schemas.api_payouts import PayoutAction, PayoutStep
from schemas.api_stories import ActedBy
from schemas.errors import RejectedError
from schemas.money import Money, to_decimal_string

_REVIEWS = {
    "window_over": "nobody knows whether it was paid, and it may not be sent again under the same key",
    "differs": "what the provider shows is not what was sent",
    "several": "the provider shows more than one payment for it",
    "our_fault": "the provider says that another request went out under the same key",
    "no_body": "what was sent is no longer kept",
    "failed_after_repeat": "it was sent more than once, and nobody can tell which of them failed",
}
_CONTRADICTIONS = {
    "processed_after_failed": "it was paid after all, although it had failed",
    "processed_after_cancelled": "it was paid although it had been called off",
    "failed_after_processed": "it failed, although it had been paid",
    "differs": "the amount, the currency or who was paid is another",
    "several": "there is more than one payment for it",
}
# By which means somebody is paid; people confirm with words of their own as well.
_MEANS = {
    "stripe": "Stripe", "paypal": "PayPal", "bank": "bank transfer", "manual": "hand", "wise": "Wise", "check": "check",
    "cash": "cash", "wire": "wire",
}  # fmt: skip


def step_of(recorded: Recorded, by: ActedBy) -> PayoutStep:
    """Return one event of the payout, explained; `by` is whoever its cause names."""
    event = recorded.event
    assert isinstance(event, PayoutEvent)  # noqa: S101 - nothing else is in this stream
    back = (event.returned_minor, event.returned_total_minor) if isinstance(event, PayoutReturned) else None
    return PayoutStep(
        version=recorded.originator_version, type=topic_of(event), summary=_SENTENCES[type(event)](event),
        at=event.recorded_at, cause=event.cause, by=by, from_status=event.from_state, to_status=event.to_state,
        references=list(getattr(event, "references", ())), adopted=getattr(event, "adopted", False),
        reason=getattr(event, "reason", None) or getattr(event, "contradiction", None),
        returned=None if back is None else Money.of(back[0], event.currency),
        returned_in_all=None if back is None else Money.of(back[1], event.currency),
        **{name: getattr(event, name, None) for name in _FACTS},
    )  # fmt: skip


def actions_of(payout: Payout, act: Act) -> list[PayoutAction]:
    """Return what whoever acts may do with the payout now; the rules themselves are asked, and nothing is written."""
    found: list[PayoutAction] = [name for name, decide in _DECISIONS.items() if _may(decide, payout, act)]
    return [*found, "check"] if checkable(payout) else found


def checkable(payout: Payout) -> bool:
    """Return whether there is anything for the worker to look at, or to send."""
    return payout.attempt > 0 or (payout.startable and payout.opened.rail != payouts.BY_HAND)


def _may(decide: Callable[[Payout, Act], Iterable[Any]], payout: Payout, act: Act) -> bool:
    try:
        return bool(list(decide(payout, act)))
    except RejectedError:
        return False


def _approve(payout: Payout, act: Act) -> Iterable[Any]:
    return payouts.approve(payout, act) if payout.opened.needs_approval else ()


def _confirm(payout: Payout, act: Act) -> Iterable[Any]:
    opened = payout.opened
    return payouts.confirm(
        payout, act, method=payouts.BY_HAND, transaction_id="?", amount_minor=opened.amount_minor,
        currency=opened.currency, paid_at=act.at,
    )  # fmt: skip


_DECISIONS: Mapping[PayoutAction, Callable[[Payout, Act], Iterable[Any]]] = {
    "approve": _approve,
    "cancel": lambda payout, act: payouts.cancel(payout, act, "?"),
    "confirm": _confirm,
    "declare-dead": lambda payout, act: payouts.declare_dead(payout, act, "?"),
    "retry": lambda payout, act: payouts.declare_dead(payout, act, "?", retry=True),
}


# --- sentences --------------------------------------------------------------------------------------------------------

_FACTS = (
    "attempt", "key", "body_sha256", "window_ends_at", "reference", "transaction_id", "method", "paid_at", "code",
    "declared",
)  # fmt: skip


def _money(minor: int, currency: str) -> str:
    return f"{to_decimal_string(minor, currency)} {currency}"


def _amount(event: PayoutEvent) -> str:
    return _money(event.amount_minor, event.currency)


def _instant(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _requested(event: PayoutRequested) -> str:
    netted = f", {_money(event.netted_minor, event.currency)} of it netted off" if event.netted_minor else ""
    waits = "; somebody else has to approve it" if event.needs_approval else ""
    return f"{_amount(event)} were reserved for a payment by {_MEANS.get(event.rail, event.rail)}{netted}{waits}."


def _started(event: PayoutSubmissionStarted) -> str:
    until = _instant(event.window_ends_at)
    return f"Attempt {event.attempt} began: what is sent was written down; its key is good until {until}."


def _repeated(event: PayoutSubmissionRepeated) -> str:
    return f"The outcome of attempt {event.attempt} was not known, so the same went out once more under the same key."


def _found(event: PayoutSubmitted | PayoutProcessed) -> str:
    return " It was found there: the answer to our call never came." if event.adopted else ""


def _processed(event: PayoutProcessed) -> str:
    if event.method is not None:
        on = f", on {_instant(event.paid_at)}" if event.paid_at else ""
        by = "" if event.method == "other" else f" by {_MEANS.get(event.method, event.method.replace('_', ' '))}"
        return f"Somebody confirmed that {_amount(event)} were paid{by}: {event.reference}{on}."
    return f"{_amount(event)} were paid: {getattr(event, 'transaction_id', None) or event.reference}.{_found(event)}"


def _failed(event: PayoutFailed) -> str:
    if event.declared is not None:
        return f"Somebody declared that nothing was paid: {event.declared}. The money is payable again."
    return f"It was definitely not paid ({event.code}): the money is payable again."


def _review(event: PayoutReviewRequired) -> str:
    return f"Nothing is sent any more before a person decides: {_REVIEWS.get(event.reason, event.reason)}."


def _abandoned(event: PayoutAttemptAbandoned) -> str:
    return f"Somebody declared that attempt {event.attempt} pays nothing: {event.declared}. The next one may begin."


def _returned(event: PayoutReturned) -> str:
    came = _money(event.returned_minor, event.currency)
    whole = event.returned_total_minor == event.amount_minor
    in_all = "all of it" if whole else f"{_money(event.returned_total_minor, event.currency)} in all"
    return f"{came} came back ({in_all}) and are owed again."


def _contradicted(event: PayoutContradicted) -> str:
    told = _CONTRADICTIONS.get(event.contradiction, event.contradiction)
    return f"The provider tells what cannot be: {told}. The partner's payouts are frozen until somebody has looked."


_Tell: TypeAlias = Callable[[Any], str]
_SENTENCES: dict[type[PayoutEvent], _Tell] = {
    PayoutRequested: _requested,
    PayoutApproved: lambda _: "Somebody other than its maker approved it.",
    PayoutSubmissionStarted: _started,
    PayoutSubmissionRepeated: _repeated,
    PayoutSubmitted: lambda event: f"The provider has it: {event.reference}.{_found(event)}",
    PayoutHeld: lambda event: f"The provider keeps it for now: {event.code.lower().replace('_', ' ')}.",
    PayoutProcessed: _processed,
    PayoutFailed: _failed,
    PayoutReviewRequired: _review,
    PayoutAttemptAbandoned: _abandoned,
    PayoutReturned: _returned,
    PayoutCancelled: lambda event: f"It was called off before anything was sent: {event.reason.replace('_', ' ')}.",
    PayoutContradicted: _contradicted,
}
