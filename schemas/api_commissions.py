"""What is sent and answered where commissions are entered, marked and moved by hand."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.api import Answer, Body, CommissionStatus, CurrencyCode, Id, Instant, Listing, Reason
from schemas.api_stories import ActedBy
from schemas.money import Money

BULK_MAX = 100

Reference = Annotated[Reason, Field(examples=["bank transfer 4711"], description="Your own, to find it again.")]
SignedAmount = Annotated[
    str,
    StringConstraints(max_length=24, pattern=r"^-?[0-9]{1,16}(\.[0-9]{1,6})?$"),
    Field(examples=["12.50", "-3.00"], description="A decimal string; negative takes away, zero is refused."),
]
Action = Literal["approve", "reject", "reopen", "hold", "release", "mark-paid", "mark-unpaid"]


class NewEntry(Body):
    """A commission to be entered by hand: a bonus, a correction, an opening balance. It is payable at once."""

    partner_id: Id = Field(description="A partner that is approved or paused; a banned one for negative amounts only.")
    amount: SignedAmount
    currency: CurrencyCode
    reason: Reason
    reference: Reference | None = None
    occurred_at: Instant | None = Field(default=None, description="As of when; not in the future. Left out: now.")


class Payment(Body):
    """How a commission was paid outside of payouts."""

    reference: Reference
    note: Reason | None = None


class PaymentBack(Body):
    """Why a commission is owed again."""

    reason: Reason
    note: Reason | None = None


class BulkMove(Body):
    """One move for many commissions. `reason`, `reference` and `note` are those of the single call."""

    action: Action
    order_ids: Annotated[list[Id], Field(min_length=1, max_length=BULK_MAX)] = Field(description="No id twice.")
    reason: Reason | None = Field(
        default=None, description="With reject, reopen, hold and mark-unpaid, and only there."
    )
    reference: Reference | None = Field(default=None, description="With mark-paid, and only there.")
    note: Reason | None = Field(default=None, description="With mark-paid and mark-unpaid only.")


class MoveError(Answer):
    """Why a commission was not moved."""

    code: str
    message: str
    state: str | None = Field(default=None, description="With `illegal_move`: the state that it is in.")
    legal: list[str] | None = Field(default=None, description="With `illegal_move`: the moves that it can make.")


class BulkResult(Answer):
    """What became of one commission: how it stands after the move, or why it was not moved."""

    order_id: str
    ok: bool
    status: CommissionStatus | None = None
    commission: Money | None = None
    error: MoveError | None = None


class BulkResults(Answer):
    """One result per order id, in order."""

    results: list[BulkResult]


class PaidMarksQuery(Listing):
    """Whose payments."""

    partner_id: Id | None = None


class PaidMark(Answer):
    """Commissions of one partner that were marked as paid together, outside of payouts; or marked as unpaid again.

    Marks that follow one another with the same day, reference and reason are one. Negative amounts came back, or never
    went: the sum of all marks is what the partner was paid by hand.
    """

    kind: Literal["paid", "unpaid"]
    partner_id: str
    amount: Money
    commissions: int = Field(description="How many were marked.")
    order_id: str | None = Field(description="Where it is only one: which.")
    reference: str | None = Field(description="Of a payment.")
    note: str | None
    reason: str | None = Field(description="Why they were marked as unpaid.")
    occurred_on: date
    recorded_at: datetime = Field(description="When the last of them was marked.")
    by: ActedBy = Field(description="Who marked the last of them.")
