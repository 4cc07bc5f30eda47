"""The partner directory: who holds which code, at what rate and in what standing, at any instant.

Folded in memory from the merchant, partner and coupon streams and brought up to the head of the log before each batch,
so that the hot path asks no database. What is in force at the order's own time decides; the first of each reaches back
for ever, so that imported history earns (DESIGN section 6).
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import date, datetime
from threading import Lock
from typing import Generic, TypeVar
from zoneinfo import ZoneInfo

from ledger.application import Ledger
from ledger.events import (
    CouponAssigned,
    CouponRevoked,
    Event,
    MerchantRegistered,
    PartnerApproved,
    PartnerBanned,
    PartnerDetailsChanged,
    PartnerPaused,
    PartnerRegistered,
    PartnerReinstated,
    PartnerRejected,
    Rate,
    RateChanged,
    Terms,
    TermsChanged,
    decode,
)
from ledger.store import DIRECTORY_HEAD

T = TypeVar("T")

_UTC = "UTC"
_PAGE = 5_000


class Timeline(Generic[T]):
    """Values with the instant from which each is in force; the first reaches back for ever."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: tuple[tuple[datetime, T], ...] = ()

    def put(self, at: datetime, value: T) -> None:
        """Put the value in force from `at` on; at the same instant the one put last counts."""
        place = bisect_right(self._entries, at, key=_instant)
        # Replaced whole: a batch that is being decided in another thread sees the old one or the new one.
        self._entries = (*self._entries[:place], (at, value), *self._entries[place:])

    def at(self, instant: datetime) -> T:
        """Return the value in force at the instant. Raises IndexError for an empty timeline."""
        entries = self._entries
        if len(entries) == 1:
            return entries[0][1]
        return entries[max(bisect_right(entries, instant, key=_instant) - 1, 0)][1]


def _instant(entry: tuple[datetime, object]) -> datetime:
    return entry[0]


@dataclass(slots=True)
class Partner:
    """One partner as the ledger sees it: no name, no address."""

    partner_id: str
    emails: Timeline[str] = field(default_factory=Timeline)
    standings: Timeline[str] = field(default_factory=Timeline)
    rates: Timeline[Rate] = field(default_factory=Timeline)


@dataclass(slots=True)
class Program:
    """One merchant's program: its currency, time zone, terms, partners, and the holder of each code (None: nobody)."""

    merchant_id: str
    name: str
    currency: str
    zone: ZoneInfo | None
    terms: Timeline[Terms] = field(default_factory=Timeline)
    partners: dict[str, Partner] = field(default_factory=dict)
    codes: dict[str, Timeline[str | None]] = field(default_factory=dict)

    def day_of(self, instant: datetime) -> date:
        """Return the day of the instant in the program's time zone."""
        return instant.date() if self.zone is None else instant.astimezone(self.zone).date()

    def holder(self, code: str, instant: datetime) -> Partner | None:
        """Return the partner whose code it was at the instant, None where it was nobody's."""
        timeline = self.codes.get(code)
        partner_id = timeline.at(instant) if timeline else None
        return self.partners[partner_id] if partner_id else None


_STANDING_AFTER: dict[type[Event], str] = {
    PartnerApproved: "approved",
    PartnerRejected: "rejected",
    PartnerPaused: "paused",
    PartnerReinstated: "approved",
    PartnerBanned: "banned",
}


class Directory:
    """All programs, as of a position in the log. Thread-safe: `refresh` is serial, readers see whole events only."""

    def __init__(self, ledger: Ledger) -> None:
        self.programs: dict[str, Program] = {}
        self.position = 0
        self._ledger = ledger
        self._lock = Lock()

    def refresh(self) -> None:
        """Take in what was recorded since the last time. Raises RetryableError while the database is away."""
        with self._lock:
            while self._read_page() == _PAGE:
                pass

    def _read_page(self) -> int:
        with self._ledger.connection() as conn:
            head = conn.execute(DIRECTORY_HEAD, prepare=True).fetchone()
            if head is None or head["head"] <= self.position:
                return 0
            rows = conn.execute(
                "SELECT topic, state, notification_id FROM ledger.events"
                " WHERE notification_id + 0 > %s AND NOT starts_with(originator_id, 'order/')"
                " ORDER BY notification_id + 0 LIMIT %s",
                (self.position, _PAGE),
                prepare=True,
            ).fetchall()
        for row in rows:
            self.take(decode(row["topic"], row["state"]))
        if rows:
            # Last: a batch that begins meanwhile believes itself older than it is, and at worst decides twice.
            self.position = rows[-1]["notification_id"]
        return len(rows)

    def take(self, event: Event) -> None:
        """Take one event of a merchant, partner or coupon stream into the directory."""
        if isinstance(event, MerchantRegistered):
            self._open(event)
            return
        program = self.programs[event.merchant_id]
        if isinstance(event, TermsChanged):
            program.terms.put(event.occurred_at, event.terms)
        elif isinstance(event, CouponAssigned):
            program.codes.setdefault(event.code, Timeline()).put(event.occurred_at, event.partner_id)
        elif isinstance(event, CouponRevoked):
            program.codes[event.code].put(event.occurred_at, None)
        else:
            _take_partner(program, event)

    def _open(self, event: MerchantRegistered) -> None:
        zone = None if event.time_zone == _UTC else ZoneInfo(event.time_zone)
        program = Program(event.merchant_id, event.name, event.currency, zone)
        program.terms.put(event.occurred_at, event.terms)
        self.programs[event.merchant_id] = program


def _take_partner(program: Program, event: Event) -> None:
    if isinstance(event, PartnerRegistered):
        partner = Partner(event.partner_id)
        partner.emails.put(event.occurred_at, event.email_hash)
        partner.standings.put(event.occurred_at, event.standing)
        partner.rates.put(event.occurred_at, event.rate)
        program.partners[event.partner_id] = partner
        return
    partner = program.partners[event.partner_id]  # type: ignore[attr-defined]
    if isinstance(event, RateChanged):
        partner.rates.put(event.occurred_at, event.rate)
    elif isinstance(event, PartnerDetailsChanged):
        partner.emails.put(event.occurred_at, event.email_hash)
    else:
        partner.standings.put(event.occurred_at, _STANDING_AFTER[type(event)])
