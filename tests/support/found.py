"""What the service has on its books, read from its events alone, in the shape of the oracle's `Books`."""

from collections import defaultdict
from collections.abc import Iterable

from ledger.commissions import fold, remaining_minor
from ledger.events import CommissionCorrected, CommissionEarned, CommissionRejected, Event, OrderTaken
from ledger.postings import PARTNER_ACCOUNTS, postings

BALANCES = ("pending", "approved", "held", "in_payout", "paid", "clawed_back")


def tables(streams: Iterable[list[Event]]) -> dict[str, dict]:
    """Return the commissions, balances, revenue and customers that the streams of orders add up to."""
    commissions, balances = {}, defaultdict(lambda: dict.fromkeys((*BALANCES, "payable"), 0))
    revenue = defaultdict(lambda: {"gross": 0, "refunded": 0, "conversions": 0})
    customers = defaultdict(lambda: {"orders": 0, "gross": 0, "refunded": 0, "net": 0})
    for events in streams:
        order = fold(events)
        if order.taken is None:
            continue
        commissions[order.taken.merchant_id, order.taken.order_id] = _commission(order, events)
        for event in events:
            _balance(balances, event)
            _revenue(revenue, customers, order.taken, event)
    for row in balances.values():
        row["payable"] = row["approved"] + row["clawed_back"]
    return {
        "commissions": commissions, "balances": dict(balances), "revenue": dict(revenue), "customers": dict(customers)
    }  # fmt: skip


def _commission(order, events: list[Event]) -> dict:
    taken = order.taken
    rejections = [event.reason for event in events if isinstance(event, CommissionRejected)]
    return {
        "state": order.state,
        "reason": rejections[-1] if order.state == "rejected" else getattr(taken, "reason", None),
        "partner_id": taken.partner_id,
        "currency": taken.currency,
        "total_minor": taken.total_minor,
        "refunded_minor": taken.total_minor - remaining_minor(order),
        "commission_minor": order.amount_minor,
        "clawed_back_minor": order.clawed_back_minor,
    }


def _balance(balances: dict, event: Event) -> None:
    posted = postings(event)
    if sum(posting.amount_minor for posting in posted):
        raise AssertionError(f"the postings of {event} do not sum to zero")
    for posting in posted:
        if posting.account in PARTNER_ACCOUNTS:
            row = balances[posting.merchant_id, posting.partner_id, posting.currency]
            row[posting.account] += posting.amount_minor


def _revenue(revenue: dict, customers: dict, taken: OrderTaken, event: Event) -> None:
    if not isinstance(taken, CommissionEarned) or not isinstance(event, (CommissionEarned, CommissionCorrected)):
        return
    row = revenue[event.merchant_id, event.partner_id, event.currency, event.occurred_on.isoformat()]
    customer = customers[event.merchant_id, taken.customer_id, event.currency] if taken.customer_id else {}
    if isinstance(event, CommissionEarned):
        row["gross"] += event.total_minor
        row["conversions"] += 1
        if customer:
            customer["orders"] += 1
            customer["gross"] += event.total_minor
            customer["net"] += event.total_minor
    else:
        row["refunded"] -= event.revenue_minor
        if customer:
            customer["refunded"] -= event.revenue_minor
            customer["net"] += event.revenue_minor
