"""A placed order: whose it is, whether it earns, and how much. Pure decisions over the directory; no I/O, no clock."""

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from ledger.commissions import base_minor, commission_minor
from ledger.directory import Partner, Program
from ledger.events import (
    CommissionApproved,
    CommissionEarned,
    CommissionSkipped,
    Event,
    OrderTaken,
    Rate,
    RefundParked,
)
from ledger.hashes import email_hash
from ledger.terms import Terms
from schemas.order_events import OrderDisputed, OrderDisputeWon, OrderEvent, OrderPlaced, OrderRefunded

_NOT_EARNING = {
    "applied": "partner_not_approved",
    "invited": "partner_not_approved",
    "rejected": "partner_not_approved",
    "paused": "partner_paused",
    "banned": "partner_banned",
}


class CustomerOrders(NamedTuple):
    """What a customer's orders come to that earned, as far as they were told: how many, and when the first was placed.

    Whatever became of them later.
    """

    orders: int
    first_occurred_at: datetime

    def and_one(self, occurred_at: datetime) -> "CustomerOrders":
        """Return the same with one order more."""
        return CustomerOrders(self.orders + 1, min(self.first_occurred_at, occurred_at))


class _Attribution(NamedTuple):
    """Whose an order is, and at what rate; `assigned`: because its customer is the partner's."""

    partner: Partner
    rate: Rate
    assigned: bool


def place(
    program: Program,
    told: OrderPlaced,
    recorded_at: datetime,
    cause: str,
    hash_key: bytes,
    before: CustomerOrders | None = None,
) -> list[Event]:
    """Decide what a placed order is: earned, skipped with its reason, or nothing.

    Where the terms say `immediate`, it is approved at once. What was in force at the order's own time decides: who held
    the code (without one: to whom the customer is assigned), the partner's standing and rate, the terms. `before` is
    what the customer bought so far, where the program counts that.
    """
    whose = _attribution(program, told)
    if whose is None:
        return []
    terms = program.terms.at(told.occurred_at)
    base = base_minor(terms.base, told.total_minor, told.tax_minor, told.shipping_minor)
    day = program.day_of(told.occurred_at)
    earned = _earned(told, whose, base, terms, day, recorded_at, cause)
    reason = _why_not(program, whose, told, base, terms, hash_key)
    if reason is None and before is not None:
        reason = _spent(program, before, told.occurred_at, terms)
    if reason is not None:
        return [_skipped(earned, reason)]
    return [earned, _approved(earned)] if terms.approval == "immediate" else [earned]


def _attribution(program: Program, told: OrderPlaced) -> _Attribution | None:
    """Return whose the order is; a partner's code wins over an assignment (docs/decisions/0011)."""
    at = told.occurred_at
    holding = program.holding(told.coupon_code, at) if told.coupon_code is not None else None
    if holding is not None:
        partner = program.partners[holding.partner_id]
        return _Attribution(partner, holding.rates.at(at) or partner.rates.at(at), assigned=False)
    if told.customer_id is None or not program.customers:
        return None
    assigned = program.assigned(told.customer_id, at)
    return None if assigned is None else _Attribution(assigned, assigned.rates.at(at), assigned=True)


def _why_not(
    program: Program, whose: _Attribution, told: OrderPlaced, base: int, terms: Terms, hash_key: bytes
) -> str | None:
    standing = whose.partner.standings.at(told.occurred_at)
    if standing != "approved":
        return _NOT_EARNING[standing]
    if terms.self_referral == "skip" and _same_person(whose.partner, told, hash_key):
        return "self_referral"
    if base == 0:
        return "zero_base"
    if whose.rate.type == "fixed" and told.currency != program.currency:
        return "fixed_rate_in_other_currency"
    return None


def _spent(program: Program, before: CustomerOrders, occurred_at: datetime, terms: Terms) -> str | None:
    """Return why the customer earns nothing any more, None where the customer still does (docs/decisions/0011)."""
    orders, months = terms.max_orders_per_customer, terms.max_months_per_customer
    if isinstance(orders, int) and before.orders >= orders:
        return "customer_order_limit"
    if isinstance(months, int) and occurred_at > months_after(program, before.first_occurred_at, months):
        return "customer_time_limit"
    return None


def months_after(program: Program, instant: datetime, months: int) -> datetime:
    """Return the same day and time of day so many months later in the program's time zone, in UTC.

    A month that has no such day ends on its last: a month after 31 January is 28 (or 29) February.
    """
    local = instant if program.zone is None else instant.astimezone(program.zone)
    years, month = divmod(local.month - 1 + months, 12)
    year = local.year + years
    day = min(local.day, monthrange(year, month + 1)[1])
    return local.replace(year=year, month=month + 1, day=day).astimezone(UTC)


def _same_person(partner: Partner, told: OrderPlaced, hash_key: bytes) -> bool:
    email = told.customer_email
    return bool(email) and email_hash(hash_key, str(email)) == partner.emails.at(told.occurred_at)


def _earned(
    told: OrderPlaced,
    whose: _Attribution,
    base: int,
    terms: Terms,
    day: date,
    recorded_at: datetime,
    cause: str,
) -> CommissionEarned:
    return CommissionEarned(
        merchant_id=told.merchant_id,
        order_id=told.order_id,
        occurred_at=told.occurred_at,
        occurred_on=day,
        recorded_at=recorded_at,
        cause=cause,
        partner_id=whose.partner.partner_id,
        coupon_code=told.coupon_code or "",
        assigned=whose.assigned,
        currency=told.currency,
        total_minor=told.total_minor,
        tax_minor=told.tax_minor,
        shipping_minor=told.shipping_minor,
        discount_minor=told.discount_minor,
        customer_id=told.customer_id,
        items_digest=told.items_digest,
        to_state="pending",
        rate=whose.rate,
        base=terms.base,
        base_minor=base,
        fixed_on_partial_refund=terms.fixed_on_partial_refund,
        terms_version=terms.version,
        due_at=told.occurred_at + timedelta(days=terms.hold_days) if terms.approval == "after_days" else None,
        amount_minor=commission_minor(
            whose.rate, base, terms.fixed_on_partial_refund, total=told.total_minor, remaining=told.total_minor
        ),
    )


def _skipped(earned: CommissionEarned, reason: str) -> CommissionSkipped:
    taken = {name: getattr(earned, name) for name in OrderTaken.__struct_fields__}
    return CommissionSkipped(**taken | {"amount_minor": 0, "to_state": "skipped", "reason": reason})


def _approved(earned: CommissionEarned) -> CommissionApproved:
    return CommissionApproved(
        merchant_id=earned.merchant_id,
        order_id=earned.order_id,
        occurred_at=earned.occurred_at,
        occurred_on=earned.occurred_on,
        recorded_at=earned.recorded_at,
        cause=earned.cause,
        partner_id=earned.partner_id,
        currency=earned.currency,
        amount_minor=earned.amount_minor,
        from_state="pending",
        to_state="approved",
    )


def fact_of(program: Program, told: OrderEvent, recorded_at: datetime, cause: str) -> RefundParked:
    """Return a refund, cancellation or dispute in the shape in which it is parked until its order is known."""
    refund = told if isinstance(told, OrderRefunded) else None
    return RefundParked(
        merchant_id=told.merchant_id,
        order_id=told.order_id,
        occurred_at=told.occurred_at,
        occurred_on=program.day_of(told.occurred_at),
        recorded_at=recorded_at,
        cause=cause,
        kind=_kind(told),
        event_id=told.event_id,
        refund_id=refund.refund_id if refund else None,
        currency=refund.currency if refund else None,
        refund_minor=refund.amount_minor if refund else 0,
    )


def _kind(told: OrderEvent) -> str:
    if isinstance(told, OrderRefunded):
        return "refund"
    if isinstance(told, OrderDisputed):
        return "dispute"
    return "dispute_won" if isinstance(told, OrderDisputeWon) else "cancellation"
