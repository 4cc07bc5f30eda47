"""Whether a payout and what a provider has for it agree: a pure comparison, that decides nothing.

What the books can still learn (a payment of a payout that is open, money that came back) is no disagreement but a hint
for the saga, which looks and decides by itself.
"""

from collections.abc import Sequence
from typing import NamedTuple

from consumers.rails import Found
from ledger.payout_findings import Finding, Ours
from schemas.api_reconciliation import FindingKind, FindingReason

# States in which the books have been told that the provider has the payment.
TOLD = ("submitted", "held", "processed", "returned")
_OVER = ("failed", "cancelled")


class Verdict(NamedTuple):
    """What came of a comparison: nothing (there was nothing to compare), `matched`, or a finding.

    `hint`: the reference of a payment that the saga should look at, None where there is nothing to learn.
    """

    matched: bool = False
    finding: Finding | None = None
    hint: str | None = None


def compare(rail: str, ours: Ours, payee: str | None, theirs: Sequence[Found]) -> Verdict:
    """Return how the payout agrees with the payments that its provider has for it; none means that it has none."""
    alive = [each for each in theirs if each.is_alive]
    if len(alive) > 1:
        return _finding(rail, ours, "several", "several", alive)
    own = [each for each in theirs if each.reference == ours.reference]
    if not alive and not own:
        # What came back, or never left, of an attempt that was given up stands there for ever.
        told = _is_told(rail, ours)
        return _finding(rail, ours, "ours_only", "not_shown", ()) if told else Verdict(matched=bool(theirs))
    shown = (alive or own)[0]
    if alive and ours.method not in (None, rail):
        # Somebody paid it by hand, and the provider paid it too.
        return _finding(rail, ours, "several", "several", alive)
    reason = _difference(ours, payee, shown)
    if reason is not None:
        return _finding(rail, ours, "differing", reason, [shown])
    return _states(rail, ours, shown)


def _is_told(rail: str, ours: Ours) -> bool:
    return ours.state in TOLD and ours.attempt > 0 and ours.method in (None, rail)


def _difference(ours: Ours, payee: str | None, shown: Found) -> FindingReason | None:
    if shown.currency != ours.currency:
        return "currency"
    if shown.amount_minor != ours.amount_minor:
        return "amount"
    other = shown.payee is not None and payee is not None and shown.payee.casefold() != payee.casefold()
    return "payee" if other else None


def _states(rail: str, ours: Ours, shown: Found) -> Verdict:
    if ours.state in _OVER:
        return _finding(rail, ours, "differing", "paid_after_all", [shown]) if shown.is_alive else Verdict(matched=True)
    if ours.state not in ("processed", "returned"):
        # Open by the books: whatever the provider has, the saga learns it.
        known = ours.state in TOLD and shown.reference == ours.reference and shown.state in ("in_transit", "held")
        return Verdict(matched=True, hint=None if known else shown.reference)
    if shown.is_alive and shown.reference != ours.reference:
        return _finding(rail, ours, "several", "several", [shown])
    if shown.state == "failed":
        return _finding(rail, ours, "differing", "not_paid", [shown])
    back = shown.amount_minor if shown.state == "returned" else shown.returned_minor
    if back < ours.returned_minor:
        return _finding(rail, ours, "differing", "returned", [shown])
    return Verdict(matched=True, hint=shown.reference if back > ours.returned_minor else None)


def _finding(rail: str, ours: Ours, kind: FindingKind, reason: FindingReason, shown: Sequence[Found]) -> Verdict:
    theirs = (shown[0].amount_minor, shown[0].currency) if shown else None
    found = Finding(
        rail, kind, reason, ours.merchant_id, ours.partner_id, ours.payout_id,
        tuple(sorted(each.reference for each in shown)), (ours.amount_minor, ours.currency), theirs,
    )  # fmt: skip
    # The saga freezes the partner where it comes to see the same.
    return Verdict(finding=found, hint=shown[0].reference if shown else None)
