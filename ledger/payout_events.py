"""The facts of payouts and of payout runs, kept for ever like those of `ledger.events`, and what they do to orders.

Who is paid (account, e-mail address, IBAN) and the body of a request are personal data: they stand in schema `people`,
the events say which payout, how much, under which key, and the hash of the body.
"""

from datetime import datetime

import msgspec

from ledger.events import CommissionMoved, Event, register


def payout_stream(merchant_id: str, payout_id: str) -> str:
    """Return the stream of one payout."""
    return f"payout/{merchant_id}/{payout_id}"


def run_stream(merchant_id: str, run_id: str) -> str:
    """Return the stream of one payout run."""
    return f"payout-run/{merchant_id}/{run_id}"


# --- payout runs ------------------------------------------------------------------------------------------------------


class PayoutRunEvent(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An event of one payout run."""

    run_id: str


class PayoutRunPrepared(PayoutRunEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The list was frozen: who is in, who is out and why (`ledger.payout_lines`).

    `needs_approval`: nothing is submitted before somebody other than `maker` approves. `cut_off_at`: only what was
    payable then. `minimum_minor`: per currency, what a partner must be owed, whatever the terms say later.
    """

    maker: str
    needs_approval: bool
    cut_off_at: datetime
    partners_in: int
    partners_out: int
    minimum_minor: dict[str, int] = msgspec.field(default_factory=dict)


class PayoutRunApproved(PayoutRunEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Somebody other than its maker approved the run."""

    checker: str


class PayoutRunCancelled(PayoutRunEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The run's payouts are cancelled, as far as none of them was submitted."""

    reason: str


# --- payouts ----------------------------------------------------------------------------------------------------------


class PayoutEvent(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An event of one payout: the money of it, and where the payout went from where."""

    payout_id: str
    partner_id: str
    currency: str
    amount_minor: int
    from_state: str | None = None
    to_state: str


class PayoutRequested(PayoutEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The commissions are reserved for a payment on this rail.

    Their events (`CommissionReserved`, `ClawbackNetted`) are the `reservations` events that stand directly before this
    one in the log. `netted_minor` is what was netted off (not positive), contained in the amount.
    """

    run_id: str
    rail: str
    reservations: int
    netted_minor: int = 0
    maker: str
    needs_approval: bool = False


class PayoutApproved(PayoutEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Somebody other than its maker approved the payout."""

    checker: str


class PayoutSubmissionStarted(PayoutEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """From now on money may move: this body goes to the provider under this key, and nothing else does.

    `window_ends_at`: until then the provider takes the key for the same payment.
    """

    attempt: int
    key: str
    body_sha256: str
    window_ends_at: datetime


class PayoutSubmissionRepeated(PayoutEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The outcome is unknown and the provider shows nothing: the same key and body go out once more."""

    attempt: int


class PayoutSubmitted(PayoutEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The provider has it. `adopted`: found there, rather than told in answer to our call."""

    reference: str
    adopted: bool = False


class PayoutHeld(PayoutEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The provider keeps it for now: unclaimed, on hold."""

    reference: str
    code: str


class PayoutProcessed(PayoutEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The money is out. `method`: where a person confirmed it, by which means; `reference` is then its transaction.

    `transaction_id`: the number that the payee sees, where the provider has another one than its reference.
    """

    reference: str
    adopted: bool = False
    method: str | None = None
    paid_at: datetime | None = None
    transaction_id: str | None = None


class PayoutFailed(PayoutEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Definitely not paid: its commissions are payable again.

    `declared`: a person said so, and why.
    """

    code: str
    declared: str | None = None


class PayoutReviewRequired(PayoutEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Nobody knows for sure: nothing is sent any more before a person decides.

    `reason`: window_over, differs, several, our_fault, no_body, failed_after_repeat. `references`: what the provider
    has, where it shows anything.
    """

    reason: str
    references: tuple[str, ...] = ()


class PayoutAttemptAbandoned(PayoutEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A person declared that the attempt will never pay: the next one may begin, under its own key."""

    attempt: int
    declared: str


class PayoutReturned(PayoutEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Money came back and is owed again: `returned_minor` this time, `returned_total_minor` in all."""

    returned_minor: int
    returned_total_minor: int
    code: str | None = None


class PayoutCancelled(PayoutEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """It was called off before anything was submitted: its commissions are payable again."""

    reason: str


class PayoutContradicted(PayoutEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The provider tells what cannot be: the partner's payouts are frozen until a person has looked.

    `contradiction`: processed_after_failed, processed_after_cancelled, failed_after_processed, differs, several.
    """

    contradiction: str
    references: tuple[str, ...] = ()


# --- clawbacks on their way through a payout, in the streams of their orders ------------------------------------------


class ClawbackMoved(CommissionMoved, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """`amount_minor` that was clawed back (negative) moved between accounts; the commission stays in its state."""

    payout_id: str


class ClawbackNetted(ClawbackMoved, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """It is netted off in a payout: clawed_back to in_payout."""


class ClawbackSettled(ClawbackMoved, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """That payout is out: in_payout to paid."""


class ClawbackUnnetted(ClawbackMoved, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """That payout did not happen: in_payout back to clawed_back."""


class ClawbackOwedAgain(ClawbackMoved, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """That payout's money came back: paid back to clawed_back."""


CLAWBACK_ACCOUNTS = {
    "ClawbackNetted": ("clawed_back", "in_payout"),
    "ClawbackSettled": ("in_payout", "paid"),
    "ClawbackUnnetted": ("in_payout", "clawed_back"),
    "ClawbackOwedAgain": ("paid", "clawed_back"),
}
"""Which account a netted clawback leaves, and which it reaches, by topic."""

PAYOUT_EVENTS: tuple[type[Event], ...] = (
    PayoutRunPrepared,
    PayoutRunApproved,
    PayoutRunCancelled,
    PayoutRequested,
    PayoutApproved,
    PayoutSubmissionStarted,
    PayoutSubmissionRepeated,
    PayoutSubmitted,
    PayoutHeld,
    PayoutProcessed,
    PayoutFailed,
    PayoutReviewRequired,
    PayoutAttemptAbandoned,
    PayoutReturned,
    PayoutCancelled,
    PayoutContradicted,
    ClawbackNetted,
    ClawbackSettled,
    ClawbackUnnetted,
    ClawbackOwedAgain,
)
"""Every shape of this file."""

register(*PAYOUT_EVENTS)
