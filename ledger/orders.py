"""A placed order: whose it is, whether it earns, and how much. Pure decisions over the directory; no I/O, no clock."""

from datetime import date, datetime, timedelta

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
    Terms,
)
from ledger.hashes import email_hash
from schemas.order_events import OrderDisputed, OrderDisputeWon, OrderEvent, OrderPlaced, OrderRefunded

_NOT_EARNING = {
    "applied": "partner_not_approved",
    "rejected": "partner_not_approved",
    "paused": "partner_paused",
    "banned": "partner_banned",
}


def place(program: Program, told: OrderPlaced, recorded_at: datetime, cause: str, hash_key: bytes) -> list[Event]:
    """Decide what a placed order is: earned, skipped with its reason, or nothing.

    Where the terms say `immediate`, it is approved at once. What was in force at the order's own time decides: who held
    the code, the partner's standing and rate, the terms.
    """
    if told.coupon_code is None:
        return []
    partner = program.holder(told.coupon_code, told.occurred_at)
    if partner is None:
        return []
    terms, rate = program.terms.at(told.occurred_at), partner.rates.at(told.occurred_at)
    base = base_minor(terms.base, told.total_minor, told.tax_minor, told.shipping_minor)
    day = program.day_of(told.occurred_at)
    earned = _earned(told, partner, rate, base, terms, day, recorded_at, cause)
    reason = _why_not(program, partner, told, rate, base, terms, hash_key)
    if reason is not None:
        return [_skipped(earned, reason)]
    return [earned, _approved(earned)] if terms.approval == "immediate" else [earned]


def _why_not(
    program: Program, partner: Partner, told: OrderPlaced, rate: Rate, base: int, terms: Terms, hash_key: bytes
) -> str | None:
    standing = partner.standings.at(told.occurred_at)
    if standing != "approved":
        return _NOT_EARNING[standing]
    if terms.self_referral == "skip" and _same_person(partner, told, hash_key):
        return "self_referral"
    if base == 0:
        return "zero_base"
    if rate.type == "fixed" and told.currency != program.currency:
        return "fixed_rate_in_other_currency"
    return None


def _same_person(partner: Partner, told: OrderPlaced, hash_key: bytes) -> bool:
    email = told.customer_email
    return bool(email) and email_hash(hash_key, str(email)) == partner.emails.at(told.occurred_at)


def _earned(
    told: OrderPlaced,
    partner: Partner,
    rate: Rate,
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
        partner_id=partner.partner_id,
        coupon_code=told.coupon_code or "",
        currency=told.currency,
        total_minor=told.total_minor,
        tax_minor=told.tax_minor,
        shipping_minor=told.shipping_minor,
        discount_minor=told.discount_minor,
        customer_id=told.customer_id,
        items_digest=told.items_digest,
        to_state="pending",
        rate=rate,
        base=terms.base,
        base_minor=base,
        fixed_on_partial_refund=terms.fixed_on_partial_refund,
        terms_version=terms.version,
        due_at=told.occurred_at + timedelta(days=terms.hold_days) if terms.approval == "after_days" else None,
        amount_minor=commission_minor(
            rate, base, terms.fixed_on_partial_refund, total=told.total_minor, remaining=told.total_minor
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
