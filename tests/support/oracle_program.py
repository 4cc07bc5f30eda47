"""What the oracle is told about a program: its terms, its partners, and since when what is in force.

Part of the oracle: it shares no code with the service.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from tests.support.oracle_reading import UntaughtError

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class Rate(NamedTuple):
    """What a partner earns from `effective_at` on: a `percentage` ("12.5"), or a `fixed` amount in program currency.

    Of a code's rates `own` is none of the code's: the partner's rate.
    """

    effective_at: datetime
    kind: str
    value: str


@dataclass(frozen=True)
class Partner:
    """A partner with its rates and standings, each dated, oldest first."""

    partner_id: str
    rates: tuple[Rate, ...]
    standings: tuple[tuple[datetime, str], ...] = ((BEGINNING, "approved"),)
    email: str | None = None

    @property
    def banned(self) -> bool:
        """Return whether the partner is banned now, whatever it was when an order was placed."""
        return self.standings[-1][1] == "banned"


@dataclass(frozen=True)
class Merchant:
    """A program. `codes` says who holds a code (upper case) from when on; None is nobody.

    `code_rates` has the codes with rates of their own, `customers` to whom a customer was given, and when.
    """

    merchant_id: str
    currency: str
    partners: tuple[Partner, ...]
    codes: Mapping[str, tuple[tuple[datetime, str | None], ...]]
    base: str = "total"
    approval: str = "manual"
    approve_after_days: int = 0
    fixed_on_partial_refund: str = "keep"
    time_zone: str = "UTC"
    code_rates: Mapping[str, tuple[Rate, ...]] = field(default_factory=dict)
    customers: Mapping[str, tuple[tuple[datetime, str], ...]] = field(default_factory=dict)
    max_orders_per_customer: int | None = None
    max_months_per_customer: int | None = None


def held_by(partner_id: str) -> tuple[tuple[datetime, str | None], ...]:
    """Return the history of a code that one partner has always held."""
    return ((BEGINNING, partner_id),)


def with_partner_ids(merchant: Merchant, ids: Mapping[str, str]) -> Merchant:
    """Return the same program with its partners under other ids (those that the service gave them)."""
    partners = tuple(replace(partner, partner_id=ids[partner.partner_id]) for partner in merchant.partners)
    codes = {
        code: tuple((at, None if holder is None else ids[holder]) for at, holder in history)
        for code, history in merchant.codes.items()
    }
    customers = {one: tuple((at, ids[given]) for at, given in history) for one, history in merchant.customers.items()}
    return replace(merchant, partners=partners, codes=codes, customers=customers)


def whose(merchant: Merchant, code: str | None, customer_id: str | None, at: datetime) -> tuple[Partner, Rate] | None:
    """Return whose an order is, and at what rate; None: nobody's. A partner's code comes first, then the customer."""
    history = merchant.codes.get(code or "")
    holder = in_force(history, at)[1] if history else None
    if holder is not None:
        own = in_force(merchant.code_rates.get(str(code), (Rate(BEGINNING, "own", ""),)), at)
        partner = _partner(merchant, holder)
        return partner, in_force(partner.rates, at) if own.kind == "own" else own
    given = [entry for entry in merchant.customers.get(customer_id or "", ()) if entry[0] <= at]
    if not given:
        return None
    partner = _partner(merchant, in_force(given, at)[1])
    return partner, in_force(partner.rates, at)


def _partner(merchant: Merchant, partner_id: str) -> Partner:
    return next(partner for partner in merchant.partners if partner.partner_id == partner_id)


def spent(merchant: Merchant, before: list[datetime], at: datetime) -> str | None:
    """Return why a customer with such orders earns nothing any more, None where the customer still does."""
    if merchant.max_orders_per_customer is not None and len(before) >= merchant.max_orders_per_customer:
        return "customer_order_limit"
    months = merchant.max_months_per_customer
    if months is not None and before and at > _later(merchant, min(before), months):
        return "customer_time_limit"
    return None


def _later(merchant: Merchant, at: datetime, months: int) -> datetime:
    """Return the instant so many months later by the calendar and clock of the program's time zone."""
    local = at.astimezone(ZoneInfo(merchant.time_zone))
    number = local.year * 12 + local.month - 1 + months
    for day in (local.day, 30, 29, 28):
        try:
            return local.replace(year=number // 12, month=number % 12 + 1, day=min(day, local.day)).astimezone(UTC)
        except ValueError:
            continue
    raise UntaughtError(f"{months} months after {at}")


def in_force(history: Iterable[tuple], at: datetime) -> tuple:
    """Return the last entry that began at or before `at`; the first entry reaches back for ever."""
    entries = list(history)
    if sorted(entry[0] for entry in entries) != [entry[0] for entry in entries]:
        raise UntaughtError(f"a history that is not in order: {entries}")
    found = entries[0]
    for entry in entries[1:]:
        if entry[0] <= at:
            found = entry
    return found
