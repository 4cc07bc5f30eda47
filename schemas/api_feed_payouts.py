"""What the feed says of payouts and of their runs."""

from typing import Literal

from schemas.api import Answer
from schemas.money import Money

PayoutType = Literal[
    "payout.requested", "payout.approved", "payout.submitting", "payout.resubmitting", "payout.submitted",
    "payout.held", "payout.processed", "payout.failed", "payout.review_required", "payout.attempt_abandoned",
    "payout.returned", "payout.cancelled", "payout.contradicted",
]  # fmt: skip
"""The types of entries about one payout."""


class RunData(Answer):
    """A payout run; who is in it and who is not is in `GET /payout-runs/{id}`."""

    run_id: str
    partners_in: int | None = None
    partners_out: int | None = None
    reason: str | None = None


class PayoutData(Answer):
    """A payout: `amount` is what it pays, `returned` all that came back so far, `references` are the provider's."""

    payout_id: str
    partner_id: str
    amount: Money
    from_status: str | None
    to_status: str
    run_id: str | None = None
    rail: str | None = None
    reason: str | None = None
    attempt: int | None = None
    references: list[str]
    returned: Money | None = None
