"""What the oracle is told about a program: its terms, its partners, and since when what is in force.

Part of the oracle: it shares no code with the service.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

from tests.support.oracle_reading import UntaughtError

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class Rate(NamedTuple):
    """What a partner earns from `effective_at` on: a `percentage` ("12.5"), or a `fixed` amount in program currency."""

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


@dataclass(frozen=True)
class Merchant:
    """A program. `codes` says who holds a code (upper case) from when on; None is nobody."""

    merchant_id: str
    currency: str
    partners: tuple[Partner, ...]
    codes: Mapping[str, tuple[tuple[datetime, str | None], ...]]
    base: str = "total"
    approval: str = "manual"
    approve_after_days: int = 0
    fixed_on_partial_refund: str = "keep"
    time_zone: str = "UTC"


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
    return replace(merchant, partners=partners, codes=codes)


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
