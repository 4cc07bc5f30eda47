"""Events of payouts and of their runs, as the feed tells them (`ledger.feed`)."""

from typing import Any

from ledger import payout_events
from ledger.events import Event
from schemas import api_feed as feed
from schemas.api_feed_payouts import PayoutData, RunData
from schemas.money import Money

RUN_TYPES: dict[type[Event], str] = {
    payout_events.PayoutRunPrepared: "payout_run.prepared",
    payout_events.PayoutRunApproved: "payout_run.approved",
    payout_events.PayoutRunCancelled: "payout_run.cancelled",
}
PAYOUT_TYPES: dict[type[Event], str] = {
    payout_events.PayoutRequested: "payout.requested",
    payout_events.PayoutApproved: "payout.approved",
    payout_events.PayoutSubmissionStarted: "payout.submitting",
    payout_events.PayoutSubmissionRepeated: "payout.resubmitting",
    payout_events.PayoutSubmitted: "payout.submitted",
    payout_events.PayoutHeld: "payout.held",
    payout_events.PayoutProcessed: "payout.processed",
    payout_events.PayoutFailed: "payout.failed",
    payout_events.PayoutReviewRequired: "payout.review_required",
    payout_events.PayoutAttemptAbandoned: "payout.attempt_abandoned",
    payout_events.PayoutReturned: "payout.returned",
    payout_events.PayoutCancelled: "payout.cancelled",
    payout_events.PayoutContradicted: "payout.contradicted",
}
CLAWBACK_TYPES: dict[type[Event], str] = {
    payout_events.ClawbackNetted: "commission.clawback_netted",
    payout_events.ClawbackSettled: "commission.clawback_settled",
    payout_events.ClawbackUnnetted: "commission.clawback_unnetted",
    payout_events.ClawbackOwedAgain: "commission.clawback_owed_again",
}


def tell_run(type_: str, event: Any, _: str) -> tuple[type[feed.FeedEntry], str, Any]:
    """Return an event of a payout run: the shape of the entry, its type, its data."""
    data = RunData(
        run_id=event.run_id,
        partners_in=getattr(event, "partners_in", None),
        partners_out=getattr(event, "partners_out", None),
        reason=getattr(event, "reason", None),
    )
    return feed.PayoutRunTold, type_, data


def tell_payout(type_: str, event: Any, _: str) -> tuple[type[feed.FeedEntry], str, Any]:
    """Return an event of a payout: the shape of the entry, its type, its data."""
    total = getattr(event, "returned_total_minor", None)
    references = [getattr(event, name, None) for name in ("reference", "transaction_id")]
    reasons = (getattr(event, name, None) for name in ("reason", "code", "contradiction", "declared"))
    data = PayoutData(
        payout_id=event.payout_id,
        partner_id=event.partner_id,
        amount=Money.of(event.amount_minor, event.currency),
        from_status=event.from_state,
        to_status=event.to_state,
        run_id=getattr(event, "run_id", None),
        rail=getattr(event, "rail", None),
        reason=next((reason for reason in reasons if reason), None),
        attempt=getattr(event, "attempt", None),
        references=[each for each in references if each] or list(getattr(event, "references", ())),
        returned=None if total is None else Money.of(total, event.currency),
    )
    return feed.PayoutTold, type_, data
