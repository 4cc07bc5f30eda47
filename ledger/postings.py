"""Double entry: what each event moves, from which account to which. The balances are the sum of these and nothing else.

A partner has, per currency, the accounts pending, approved, held, in_payout, paid and clawed_back; the merchant has
expense (what commissions cost). A posting credits one account and debits the other by the same amount, so the postings
of an event sum to zero by construction. `RULES` is the whole rule; the read models get it as a table.
"""

from typing import NamedTuple

from ledger.events import Event, topic_of
from ledger.payout_events import CLAWBACK_ACCOUNTS

PARTNER_ACCOUNTS = ("pending", "approved", "held", "in_payout", "paid", "clawed_back")
MERCHANT_ACCOUNTS = ("expense",)

Move = tuple[str, str | None, str | None]
"""The topic of an event with its from_state and its to_state."""

# In which account the money of a commission stands: what will not be paid is no longer owed, so it costs nothing.
_ACCOUNT = {
    "pending": "pending",
    "approved": "approved",
    "held": "held",
    "in_payout": "in_payout",
    "paid": "paid",
    "rejected": "expense",
}

_MOVES = {
    "CommissionApproved": [("pending", "approved")],
    "CommissionHeld": [("pending", "held"), ("approved", "held")],
    "CommissionReleased": [("held", "pending"), ("held", "approved")],
    "CommissionRejected": [("pending", "rejected"), ("approved", "rejected"), ("held", "rejected")],
    "CommissionReopened": [("rejected", "pending"), ("rejected", "approved"), ("rejected", "held")],
    "CommissionReserved": [("approved", "in_payout")],
    "CommissionUnreserved": [("in_payout", "approved")],
    "CommissionPaid": [("in_payout", "paid"), ("approved", "paid")],
    "CommissionMarkedUnpaid": [("paid", "approved")],
}


def _rules() -> dict[Move, tuple[str, str]]:
    rules: dict[Move, tuple[str, str]] = {
        ("CommissionEarned", None, "pending"): ("expense", "pending"),
        ("CommissionEntered", None, "approved"): ("expense", "approved"),
        # What came back of a payment, in part: less was paid, and as much is owed again.
        ("CommissionEntered", None, "paid"): ("expense", "paid"),
    }
    for topic, moves in _MOVES.items():
        for from_state, to_state in moves:
            rules[topic, from_state, to_state] = (_ACCOUNT[from_state], _ACCOUNT[to_state])
    for state in ("pending", "approved", "held"):
        # What changes stands in the commission's own account; a reversed commission has none until it is won back.
        for move in ((state, state), (state, "reversed"), ("reversed", state)):
            rules["CommissionAdjusted", *move] = ("expense", state)
    for state in ("in_payout", "paid", "approved"):
        # `approved`: the money came back, so what was clawed back is taken off the commission itself again.
        rules["CommissionClawedBack", state, state] = ("expense", "clawed_back")
    for topic, accounts in CLAWBACK_ACCOUNTS.items():
        for state in ("pending", "approved", "held", "rejected", "reversed", "in_payout", "paid"):
            rules[topic, state, state] = accounts
    return rules


RULES = _rules()
"""(topic, from_state, to_state) -> (account debited, account credited). An event without a rule moves no money."""


class Posting(NamedTuple):
    """One side of a movement; `amount_minor` is positive where the account grows.

    `partner_id` is None for the merchant's accounts.
    """

    merchant_id: str
    partner_id: str | None
    account: str
    currency: str
    amount_minor: int


def postings(event: Event) -> tuple[Posting, ...]:
    """Return the event's two postings, or none where it moves no money; they always sum to zero."""
    topic, from_state, to_state = topic_of(event), getattr(event, "from_state", None), getattr(event, "to_state", None)
    rule = RULES.get((topic, from_state, to_state))
    if rule is None:
        return ()
    merchant_id, partner_id = event.merchant_id, event.partner_id  # type: ignore[attr-defined]
    currency, amount = event.currency, event.amount_minor  # type: ignore[attr-defined]
    return tuple(
        Posting(merchant_id, partner_id if account in PARTNER_ACCOUNTS else None, account, currency, signed)
        for account, signed in ((rule[0], -amount), (rule[1], amount))
    )
