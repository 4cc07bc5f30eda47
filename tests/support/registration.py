"""Puts a program that the oracle knows onto the service's books, with its dated history, as events."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

import msgspec

from ledger.application import Ledger, following
from ledger.directory import Directory
from ledger.events import (
    CouponAssigned,
    CouponRateChanged,
    CouponRevoked,
    CustomerReassigned,
    Event,
    MerchantRegistered,
    PartnerApproved,
    PartnerBanned,
    PartnerPaused,
    PartnerRegistered,
    PartnerReinstated,
    PartnerRejected,
    Rate,
    RateChanged,
    Recorded,
    Stream,
)
from ledger.hashes import email_hash
from ledger.terms import Terms
from schemas.money import to_minor
from tests.support import oracle_program as told

HASH_KEY = b"a key for tests"
CAUSE = "test"

_STANDINGS = {
    "rejected": lambda common: PartnerRejected(**common, reason="test"),
    "paused": lambda common: PartnerPaused(**common, reason="test"),
    "banned": lambda common: PartnerBanned(**common, reason="test"),
}


def register(ledger: Ledger, merchants: Iterable[told.Merchant]) -> None:
    """Append the programs' events, each in its own transaction."""
    for merchant in merchants:
        ledger.record(program_events(merchant, ledger.hash_key))


def directory_of(merchants: Iterable[told.Merchant], hash_key: bytes = HASH_KEY) -> Directory:
    """Return a directory that knows the programs, without any database."""
    directory = Directory(None)
    for merchant in merchants:
        for recorded in program_events(merchant, hash_key):
            directory.take(recorded.event)
    return directory


def program_events(merchant: told.Merchant, hash_key: bytes = HASH_KEY) -> list[Recorded]:
    """Return the events that make the program, in their places."""
    events = following(Stream.merchant(merchant.merchant_id), 0, [_opened(merchant)])
    for partner in merchant.partners:
        stream = Stream.partner(merchant.merchant_id, partner.partner_id)
        events += following(stream, 0, _partner(merchant, partner, hash_key))
    for code, history in merchant.codes.items():
        events += following(Stream.coupon(merchant.merchant_id, code), 0, _code(merchant, code, history))
    for customer_id, given in merchant.customers.items():
        reassigned = [
            CustomerReassigned(**_common(merchant, at, partner_id=to), customer_id=customer_id, reason="test")
            for at, to in given
        ]
        events += following(Stream.customer(merchant.merchant_id, customer_id), 0, reassigned)
    return events


def rate_of(merchant: told.Merchant, rate: told.Rate) -> Rate:
    """Return the oracle's rate as the ledger's."""
    if rate.kind == "percentage":
        return Rate(type="percentage", bps=int(Decimal(rate.value) * 100))
    return Rate(type="fixed", amount_minor=to_minor(rate.value, merchant.currency, "$"))


def _common(merchant: told.Merchant, at: datetime, **more: str) -> dict:
    return {"merchant_id": merchant.merchant_id, "occurred_at": at, "recorded_at": at, "cause": CAUSE, **more}


def _opened(merchant: told.Merchant) -> Event:
    terms = Terms(
        approval=merchant.approval,
        hold_days=merchant.approve_after_days,
        base=merchant.base,
        fixed_on_partial_refund=merchant.fixed_on_partial_refund,
        max_orders_per_customer=merchant.max_orders_per_customer or msgspec.UNSET,
        max_months_per_customer=merchant.max_months_per_customer or msgspec.UNSET,
    )
    return MerchantRegistered(
        **_common(merchant, told.BEGINNING),
        name=merchant.merchant_id,
        currency=merchant.currency,
        time_zone=merchant.time_zone,
        terms=terms,
    )


def _partner(merchant: told.Merchant, partner: told.Partner, hash_key: bytes) -> list[Event]:
    (first_at, first), *standings = partner.standings
    hashed = email_hash(hash_key, partner.email or f"{partner.partner_id}@partners.example")
    registered = PartnerRegistered(
        **_common(merchant, first_at, partner_id=partner.partner_id),
        standing=first,
        rate=rate_of(merchant, partner.rates[0]),
        email_hash=hashed,
    )
    events: list[Event] = [registered]
    before = first
    for at, standing in standings:
        common = _common(merchant, at, partner_id=partner.partner_id)
        back = PartnerReinstated if before in ("paused", "banned") else PartnerApproved
        events.append(back(**common) if standing == "approved" else _STANDINGS[standing](common))
        before = standing
    for rate in partner.rates[1:]:
        common = _common(merchant, rate.effective_at, partner_id=partner.partner_id)
        events.append(RateChanged(**common, rate=rate_of(merchant, rate)))
    return events


def _code(merchant: told.Merchant, code: str, history: Iterable[tuple[datetime, str | None]]) -> list[Event]:
    first, *rates = merchant.code_rates.get(code, (None,))
    events: list[Event] = []
    holder = ""
    for at, partner_id in history:
        common = _common(merchant, at, partner_id=partner_id or holder) | {"code": code}
        rate = None if first is None else _code_rate(merchant, first)
        events.append(CouponRevoked(**common) if partner_id is None else CouponAssigned(**common, rate=rate))
        holder = partner_id or holder
    for told_rate in rates:
        common = _common(merchant, told_rate.effective_at, partner_id=holder)
        events.append(CouponRateChanged(**common, code=code, rate=_code_rate(merchant, told_rate)))
    return events


def _code_rate(merchant: told.Merchant, rate: told.Rate) -> Rate | None:
    return None if rate.kind == "own" else rate_of(merchant, rate)
