"""What a log moves between accounts, told by a look at every event: what statements are compared with."""

from collections import defaultdict
from collections.abc import Iterable

from ledger.events import Recorded, topic_of
from ledger.postings import PARTNER_ACCOUNTS, RULES, postings
from projections.read_statements import Moved

Key = tuple[str, str, str]
"""Merchant, partner, currency."""


def moved_by(recorded: Iterable[Recorded]) -> dict[Key, list[Moved]]:
    """Return each partner's movements per merchant and currency, in the order in which they took effect."""
    found = defaultdict(list)
    for position, each in enumerate(recorded, 1):
        event = each.event
        for posting in postings(event)[:1]:
            if posting.amount_minor:
                rule = RULES[topic_of(event), event.from_state, event.to_state]
                found[event.merchant_id, event.partner_id, event.currency].append(
                    Moved(position, event.occurred_on, event.occurred_at, event.amount_minor, topic_of(event),
                          event.order_id, *rule, getattr(event, "reference", None), _payout_of(event))
                )  # fmt: skip
    for moved in found.values():
        moved.sort(key=lambda each: (each.occurred_on, each.occurred_at, each.position))
    return found


def _payout_of(event):
    """Return the payout that moved it, or that came back."""
    back = topic_of(event) == "CommissionEntered" and event.order_id.startswith("returned-")
    return event.reference if back else getattr(event, "payout_id", None)


def balances_of(recorded: Iterable[Recorded]) -> dict[Key, dict[str, int]]:
    """Return what stands in each partner's accounts: the sum of all postings, and nothing else."""
    found = defaultdict(lambda: dict.fromkeys(PARTNER_ACCOUNTS, 0))
    for each in recorded:
        for posting in postings(each.event):
            if posting.partner_id is not None:
                found[posting.merchant_id, posting.partner_id, posting.currency][posting.account] += (
                    posting.amount_minor
                )
    return found
