"""One payout: pure decisions. Given what its stream says, decide the new events; no I/O, no clock, no rails.

The rule that prevents double payment (docs/decisions, spec of payouts): every time that something is sent is written
down and committed first, under one key for ever; only a definite rejection or a person's declaration frees the
commissions or permits a new attempt; what is seen of the provider is a state, never a change of it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, NamedTuple

from ledger.events import Event
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
from schemas.errors import ConflictError, ForbiddenError, IllegalMoveError, RejectedError

QUIET = timedelta(minutes=5)
"""How long after something was sent nobody but its sender concludes from the provider that nothing will come of it.

Longer than a request can be under way: what was sent before is then there, or will never be.
"""

SEND_WITHIN = timedelta(seconds=30)
"""What was written down goes out within this time, or not at all: whoever was frozen meanwhile may not send."""

LEGAL_MOVES = {
    "requested": ("approve", "start", "cancel", "confirm"),
    "approved": ("start", "cancel", "confirm"),
    "submitting": ("repeat", "settle", "review"),
    "submitted": ("settle", "review"),
    "held": ("settle", "review"),
    "review": ("settle", "confirm", "declare_dead", "retry"),
    "processed": ("return",),
    "failed": (),
    "returned": ("return",),
    "cancelled": (),
}
"""What may be done with a payout in each state; `settle` is what the provider says (held, processed, failed, ...)."""

BY_HAND = "manual"
"""The rail on which nothing is ever sent: a person pays, and confirms."""

SETTLED_BY_PEOPLE = ("bank",)
"""Rails whose submitted payouts a person may confirm as well."""

AT_REST = ("processed", "failed", "returned", "cancelled")
OPEN = tuple(state for state in LEGAL_MOVES if state not in AT_REST)
"""The states in which a payout still holds its commissions."""

FAILED_AFTER_REPEAT = "failed_after_repeat"
"""Of a review: what was sent more than once failed, or came back, and nobody can tell which sending that was."""

# Reviews that are over as soon as the provider shows the payment: nothing spoke against it, it was only not to be seen.
_ADOPTABLE_REVIEWS = ("window_over",)


class Act(NamedTuple):
    """Who or what acts, and when. `by` is the user or key behind it, for maker and checker."""

    at: datetime
    cause: str
    by: str = ""


class Seen(NamedTuple):
    """What the provider has, in the words of the rails (`consumers.rails.Found`)."""

    state: str
    reference: str
    amount_minor: int
    currency: str
    payee: str | None = None
    returned_minor: int = 0
    code: str | None = None
    transaction_id: str | None = None


@dataclass(slots=True)
class Payout:
    """What the events of one payout's stream add up to. `attempt` is 0 before the first one began.

    `sent_at` is when the last sending was written down, `sends` how many there were, of all attempts; `moved_at` when
    it came into its state, `returned_minor` the running total of what came back. `reference` is the provider's number,
    `method` and `transaction_id` what a person confirmed it with.
    """

    version: int = 0
    requested: PayoutRequested | None = None
    state: str = "unknown"
    approved: bool = False
    attempt: int = 0
    key: str = ""
    body_sha256: str = ""
    window_ends_at: datetime | None = None
    sent_at: datetime | None = None
    sends: int = 0
    moved_at: datetime | None = None
    reference: str | None = None
    method: str | None = None
    transaction_id: str | None = None
    returned_minor: int = 0
    reason: str | None = None
    processed_at: datetime | None = None
    contradictions: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def opened(self) -> PayoutRequested:
        """What it began with."""
        assert self.requested is not None  # noqa: S101 - nothing is asked of a payout that does not exist
        return self.requested

    @property
    def startable(self) -> bool:
        """Whether an attempt may begin."""
        return self.state == "approved" or (self.state == "requested" and not self.opened.needs_approval)

    @property
    def paid_under(self) -> str | None:
        """The number by which the payment is found at the bank or provider; None before it is out."""
        return self.transaction_id or (self.reference if self.processed_at else None)

    def quiet(self, now: datetime) -> bool:
        """Return whether nothing that was sent can still be under way."""
        return self.sent_at is None or now >= self.sent_at + QUIET

    def window_open(self, now: datetime) -> bool:
        """Return whether the provider still takes the key for the same payment."""
        return self.window_ends_at is not None and now < self.window_ends_at


def payout_id(merchant_id: str, run_id: str, partner_id: str, currency: str) -> str:
    """Return the id of a partner's payout in a run: the same for ever, `po_` and 16 hex digits."""
    told = f"{merchant_id}\n{run_id}\n{partner_id}\n{currency}".encode()
    return f"po_{blake2b(told, digest_size=8).hexdigest()}"


def key_of(payout_id: str, attempt: int) -> str:
    """Return the idempotency key of an attempt: from our own ids alone, never from time, chance or amounts."""
    return f"payout-{payout_id}-{attempt}"


# --- the fold ---------------------------------------------------------------------------------------------------------


def fold(events: Iterable[Event]) -> Payout:
    """Return what the events of one payout's stream, in order, add up to."""
    payout = Payout()
    for event in events:
        evolve(payout, event)
    return payout


def evolve(payout: Payout, event: Event) -> None:
    """Take one more event of the stream into the payout."""
    payout.version += 1
    assert isinstance(event, PayoutEvent)  # noqa: S101 - nothing else is in this stream
    if not isinstance(event, PayoutContradicted):
        payout.state, payout.moved_at = event.to_state, event.recorded_at
        payout.reason = getattr(event, "reason", None) or getattr(event, "code", None)
    if isinstance(event, PayoutRequested):
        payout.requested = event
    elif isinstance(event, PayoutApproved):
        payout.approved = True
    elif isinstance(event, PayoutSubmissionStarted):
        payout.attempt, payout.key, payout.body_sha256 = event.attempt, event.key, event.body_sha256
        payout.window_ends_at, payout.sent_at, payout.sends = event.window_ends_at, event.recorded_at, payout.sends + 1
        # What the attempt before may have left at the provider says nothing about this one.
        payout.reference = None
    elif isinstance(event, PayoutSubmissionRepeated):
        payout.sent_at, payout.sends = event.recorded_at, payout.sends + 1
    elif isinstance(event, (PayoutSubmitted, PayoutHeld, PayoutProcessed)):
        _evolve_reference(payout, event)
    elif isinstance(event, PayoutReturned):
        payout.returned_minor = event.returned_total_minor
    elif isinstance(event, PayoutContradicted):
        payout.contradictions += ((event.contradiction, event.references),)


def _evolve_reference(payout: Payout, event: PayoutSubmitted | PayoutHeld | PayoutProcessed) -> None:
    if isinstance(event, PayoutProcessed):
        payout.processed_at = event.recorded_at
    method = getattr(event, "method", None)
    if method is None:
        payout.reference = event.reference
        payout.transaction_id = getattr(event, "transaction_id", None)
        return
    payout.method, payout.transaction_id = method, event.reference
    if method == payout.opened.rail and method not in SETTLED_BY_PEOPLE:
        # A person looked it up at the provider: it is the provider's own number. A bank has another than the one under
        # which its files name the payment.
        payout.reference = event.reference


# --- by people --------------------------------------------------------------------------------------------------------


def approve(payout: Payout, act: Act) -> list[Event]:
    """Let the payout be submitted. Raises ForbiddenError `maker_is_checker`, IllegalMoveError."""
    _check(payout, "approve")
    if not act.by or act.by == payout.opened.maker:
        raise ForbiddenError("maker_is_checker", "whoever made the run cannot approve it; somebody else has to")
    return [_event(payout, PayoutApproved, "approved", act, checker=act.by)]


def cancel(payout: Payout, act: Act, reason: str) -> list[Event]:
    """Call the payout off, which is possible only before anything was submitted. Raises IllegalMoveError."""
    _check(payout, "cancel")
    if payout.attempt:
        # Money may have gone out under an abandoned attempt: only a declaration can end this one.
        raise IllegalMoveError("cancel", payout.state, ("start", "confirm"))
    return [_event(payout, PayoutCancelled, "cancelled", act, reason=reason)]


def confirm(
    payout: Payout, act: Act, *, method: str, transaction_id: str, amount_minor: int, currency: str, paid_at: datetime
) -> list[Event]:
    """Note that a person paid it, by this means and under this number; [] where exactly that is on the books.

    Raises RejectedError `amount_differs`, ConflictError `confirmed_otherwise`, IllegalMoveError (while submitting,
    above all).
    """
    processed = payout.state in ("processed", "returned") and payout.method is not None
    if processed and (payout.method, payout.transaction_id) == (method, transaction_id):
        return []
    if processed:
        raise ConflictError("confirmed_otherwise", f"it was confirmed as {payout.method} {payout.transaction_id}")
    # What a bank has been given, somebody may find on a paper before any file tells of it.
    if payout.state != "submitted" or payout.opened.rail not in SETTLED_BY_PEOPLE:
        _check(payout, "confirm")
    if payout.state == "requested" and payout.opened.needs_approval:
        raise IllegalMoveError("confirm", payout.state, ("approve", "cancel"))
    if (amount_minor, currency) != (payout.opened.amount_minor, payout.opened.currency):
        raise RejectedError.at("$.amount", "amount_differs", "must be exactly the amount of the payout")
    return [_event(payout, PayoutProcessed, "processed", act, reference=transaction_id, method=method, paid_at=paid_at)]


def declare_dead(payout: Payout, act: Act, declared: str, *, retry: bool = False) -> list[Event]:
    """Declare that nothing was paid and nothing will be: it failed, or (`retry`) a new attempt may begin.

    Raises IllegalMoveError, ConflictError `too_early` where what was sent may still be under way.
    """
    _check(payout, "retry" if retry else "declare_dead")
    if not payout.quiet(act.at):
        raise ConflictError("too_early", "what was sent may still be under way; look again in a few minutes")
    if retry:
        return [
            _event(payout, PayoutAttemptAbandoned, "approved", act, attempt=payout.attempt, declared=declared),
        ]
    return [_event(payout, PayoutFailed, "failed", act, code="declared_dead", declared=declared)]


# --- sending ----------------------------------------------------------------------------------------------------------


def start(payout: Payout, act: Act, body_sha256: str, window: timedelta) -> list[Event]:
    """Begin the next attempt; nothing is sent before this is committed. Raises IllegalMoveError."""
    if not payout.startable:
        raise IllegalMoveError("start", payout.state, _legal(payout))
    number = payout.attempt + 1
    return [
        _event(
            payout, PayoutSubmissionStarted, "submitting", act, attempt=number,
            key=key_of(payout.opened.payout_id, number), body_sha256=body_sha256, window_ends_at=act.at + window,
        )
    ]  # fmt: skip


def recover(
    payout: Payout, act: Act, body_sha256: str, window: timedelta, then: Callable[[Payout], list[Event]]
) -> list[Event]:
    """Write down the attempt that the provider shows and the books do not remember, with what `then` decides of it.

    These books were restored from a backup. Nothing is sent, and nobody is asked for an approval any more.
    """
    if payout.attempt or payout.state not in ("requested", "approved"):
        return then(payout)
    began = _event(
        payout, PayoutSubmissionStarted, "submitting", act, attempt=1, key=key_of(payout.opened.payout_id, 1),
        body_sha256=body_sha256, window_ends_at=act.at + window,
    )  # fmt: skip
    return [began, *_after(payout, began, then)]


def repeat(payout: Payout, act: Act) -> list[Event]:
    """Send the same again, because the provider shows nothing: only while the window is open, and all is quiet.

    After the window: PayoutReviewRequired instead. [] where the last sending may still be under way. Raises
    IllegalMoveError.
    """
    _check(payout, "repeat")
    if not payout.quiet(act.at):
        return []
    if not payout.window_open(act.at):
        return review(payout, act, "window_over")
    return [_event(payout, PayoutSubmissionRepeated, "submitting", act, attempt=payout.attempt)]


def may_send(payout: Payout, now: datetime) -> bool:
    """Return whether what was written down last may go out now; asked once more, directly before it does."""
    return (
        payout.state == "submitting"
        and payout.sent_at is not None
        and payout.sent_at <= now < payout.sent_at + SEND_WITHIN
        and payout.window_open(now)
    )


def rejected(payout: Payout, act: Act, code: str) -> list[Event]:
    """Take the provider's definite rejection of what was just sent.

    It has to be appended at the version that the sending was decided with: where somebody sent the same again since,
    the rejection proves nothing. Raises IllegalMoveError.
    """
    _check(payout, "settle")
    return [_event(payout, PayoutFailed, "failed", act, code=code)]


def review(payout: Payout, act: Act, reason: str, references: Sequence[str] = ()) -> list[Event]:
    """Leave it to a person; [] where it is left to one already. Raises IllegalMoveError."""
    if payout.state == "review":
        return []
    _check(payout, "review")
    return [_event(payout, PayoutReviewRequired, "review", act, reason=reason, references=tuple(references))]


# --- what the provider shows ------------------------------------------------------------------------------------------


def several(payout: Payout, act: Act, references: Sequence[str]) -> list[Event]:
    """Take that the provider has more than one payment for this payout: a person decides, the partner is frozen."""
    if ("several", tuple(references)) in payout.contradictions:
        return []
    alarm = _event(payout, PayoutContradicted, payout.state, act, contradiction="several", references=tuple(references))
    return [alarm, *_after(payout, alarm, lambda seen: _review_if_open(seen, act, "several", references))]


def observe(payout: Payout, act: Act, seen: Seen, payee: str | None, *, answer: bool = False) -> list[Event]:
    """Apply the state that the provider shows, however late, doubled or out of order it was told.

    `payee` is the address that the attempt was for. `answer`: it was told in answer to what we just sent. [] where
    nothing is new, or where it is too early to conclude that it failed. A terminal state only ever moves to returned;
    what cannot be is a PayoutContradicted.
    """
    if payout.state in ("unknown", "requested", "approved") and not payout.attempt:
        return []
    if _differs(payout, seen, payee):
        return _contradict(payout, act, "differs", seen) if payout.state != "review" else []
    if seen.state == "failed" or (seen.state == "returned" and payout.state not in ("processed", "returned")):
        return _not_paid(payout, act, seen, answer=answer)
    if payout.state in ("failed", "cancelled"):
        # Sent and all of it taken back again comes to the same as not sent.
        back = seen.returned_minor >= seen.amount_minor
        return [] if back else _contradict(payout, act, f"processed_after_{payout.state}", seen)
    if payout.state in ("processed", "returned"):
        return _paid_before(payout, act, seen)
    return _in_hand(payout, act, seen, adopted=not answer)


def _differs(payout: Payout, seen: Seen, payee: str | None) -> bool:
    opened = payout.opened
    other_payee = seen.payee is not None and payee is not None and seen.payee.casefold() != payee.casefold()
    return (seen.amount_minor, seen.currency) != (opened.amount_minor, opened.currency) or other_payee


def _not_paid(payout: Payout, act: Act, seen: Seen, *, answer: bool) -> list[Event]:
    if payout.state in ("failed", "cancelled", "approved"):
        # Approved again: a person declared that attempt dead already.
        return []
    if payout.state in ("processed", "returned"):
        return _contradict(payout, act, "failed_after_processed", seen)
    # Where the provider frees the key of what it denied, the same sent again would be paid after all: one that is still
    # under way, or was sent since. Which of them this is, nobody can tell.
    if not _adoptable(payout):
        return []
    if not payout.quiet(act.at):
        # Told in answer to a repeat: from now on it is asked for, or it would be sent again for as long as its window.
        told = answer and payout.state == "submitting"
        return [_event(payout, PayoutSubmitted, "submitted", act, reference=seen.reference)] if told else []
    if payout.sends > 1:
        told = payout.state in ("submitted", "held")
        return review(payout, act, FAILED_AFTER_REPEAT, [seen.reference]) if told else []
    return [_event(payout, PayoutFailed, "failed", act, code=seen.code or seen.state)]


def _paid_before(payout: Payout, act: Act, seen: Seen) -> list[Event]:
    if payout.reference != seen.reference:
        return _contradict(payout, act, "several", seen)
    total = payout.opened.amount_minor if seen.state == "returned" else seen.returned_minor
    return returned(payout, act, total, seen.code)


def _in_hand(payout: Payout, act: Act, seen: Seen, *, adopted: bool) -> list[Event]:
    if not _adoptable(payout):
        return []
    adopted = adopted and payout.reference is None
    if seen.state == "processed":
        done = _event(
            payout, PayoutProcessed, "processed", act, reference=seen.reference, adopted=adopted,
            transaction_id=seen.transaction_id,
        )  # fmt: skip
        return [done, *_after(payout, done, lambda after: returned(after, act, seen.returned_minor, seen.code))]
    if seen.state == "held":
        if payout.state == "held" and payout.reason == (seen.code or "held"):
            return []
        return [_event(payout, PayoutHeld, "held", act, reference=seen.reference, code=seen.code or "held")]
    if payout.state == "submitted":
        return []
    return [_event(payout, PayoutSubmitted, "submitted", act, reference=seen.reference, adopted=adopted)]


def _adoptable(payout: Payout) -> bool:
    if payout.state == "review":
        return payout.reason in _ADOPTABLE_REVIEWS
    # Approved again after an abandoned attempt that is there after all counts too: the next one must not begin.
    return payout.state in ("submitting", "submitted", "held", "approved", "requested")


def returned(payout: Payout, act: Act, total_minor: int, code: str | None = None) -> list[Event]:
    """Take the running total of what came back; [] where it is no more than was known.

    Raises IllegalMoveError, RejectedError `more_than_paid`.
    """
    if total_minor <= payout.returned_minor:
        return []
    _check(payout, "return")
    if total_minor > payout.opened.amount_minor:
        raise RejectedError.at("$.amount", "more_than_paid", "more came back than was paid")
    return [
        _event(
            payout, PayoutReturned, "returned", act, returned_minor=total_minor - payout.returned_minor,
            returned_total_minor=total_minor, code=code,
        )
    ]  # fmt: skip


def _contradict(payout: Payout, act: Act, what: str, seen: Seen) -> list[Event]:
    references = (seen.reference,)
    if (what, references) in payout.contradictions:
        return []
    alarm = _event(payout, PayoutContradicted, payout.state, act, contradiction=what, references=references)
    return [alarm, *_after(payout, alarm, lambda after: _review_if_open(after, act, what, references))]


def _review_if_open(payout: Payout, act: Act, reason: str, references: Sequence[str]) -> list[Event]:
    return review(payout, act, reason, references) if "review" in LEGAL_MOVES[payout.state] else []


# --- parts ------------------------------------------------------------------------------------------------------------


def _after(payout: Payout, event: Event, decide: Any) -> list[Event]:
    """Return what is decided of the payout with the event; the payout itself stays as it is."""
    copy = Payout(**{name: getattr(payout, name) for name in Payout.__slots__})
    evolve(copy, event)
    found: list[Event] = decide(copy)
    return found


def _legal(payout: Payout) -> tuple[str, ...]:
    return LEGAL_MOVES.get(payout.state, ())


def _check(payout: Payout, move: str) -> None:
    if payout.requested is None or move not in _legal(payout):
        raise IllegalMoveError(move, payout.state, _legal(payout))


def _event(payout: Payout, kind: type[PayoutEvent], to_state: str, act: Act, **details: Any) -> PayoutEvent:
    opened = payout.opened
    return kind(
        merchant_id=opened.merchant_id,
        payout_id=opened.payout_id,
        partner_id=opened.partner_id,
        currency=opened.currency,
        amount_minor=opened.amount_minor,
        from_state=payout.state,
        to_state=to_state,
        occurred_at=act.at,
        recorded_at=act.at,
        cause=act.cause,
        **details,
    )
