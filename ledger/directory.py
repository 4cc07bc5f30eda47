"""The partner directory: who holds which code, at what rate and in what standing, at any instant; whose a customer is.

Folded in memory from the merchant, partner, coupon and customer streams and brought up to the head of the log before
each batch, so that the hot path asks no database. What is in force at the order's own time decides; the first of each
reaches back for ever, so that imported history earns (DESIGN section 6).
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from threading import Lock
from typing import Any, Generic, TypeVar
from zoneinfo import ZoneInfo

from ledger.application import Ledger
from ledger.events import (
    CouponAssigned,
    CouponRateChanged,
    CouponRevoked,
    CustomerReassigned,
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
    Stream,
    TermsChanged,
    decode,
)
from ledger.store import DIRECTORY_HEAD, IN_DIRECTORY
from ledger.terms import Terms

T = TypeVar("T")

_UTC = "UTC"
# Before this nobody held what is dated: a timeline's first value reaches back for ever.
_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)
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
    # The events of its stream so far, and the name of the ban (stream@version) while it is banned: of now, not of the
    # time that an order tells, for what a ban cancels is what is open.
    version: int = 0
    ban: str | None = None


@dataclass(slots=True)
class Holding:
    """A code in a partner's hands, with the code's rates (None: the partner's own)."""

    partner_id: str
    rates: Timeline[Rate | None] = field(default_factory=Timeline)


@dataclass(slots=True)
class Program:
    """One merchant's program: its currency, time zone, terms, partners, and the holder of each code (None: nobody).

    `customers` has those who were assigned to a partner (None: not yet), `counts_customers` whether any terms ever
    limited what a customer earns: then the orders of each customer are counted.
    """

    merchant_id: str
    name: str
    currency: str
    zone: ZoneInfo | None
    terms: Timeline[Terms] = field(default_factory=Timeline)
    partners: dict[str, Partner] = field(default_factory=dict)
    codes: dict[str, Timeline[Holding | None]] = field(default_factory=dict)
    # Of each code the holding that was given last: the one whose rate can change.
    held: dict[str, Holding] = field(default_factory=dict)
    customers: dict[str, Timeline[str | None]] = field(default_factory=dict)
    counts_customers: bool = False

    def day_of(self, instant: datetime) -> date:
        """Return the day of the instant in the program's time zone."""
        return instant.date() if self.zone is None else instant.astimezone(self.zone).date()

    def holding(self, code: str, instant: datetime) -> Holding | None:
        """Return in whose hands the code was at the instant, None where it was nobody's."""
        timeline = self.codes.get(code)
        return timeline.at(instant) if timeline else None

    def assigned(self, customer_id: str, instant: datetime) -> Partner | None:
        """Return the partner to whom the customer was assigned at the instant, None where to nobody."""
        timeline = self.customers.get(customer_id)
        partner_id = timeline.at(instant) if timeline else None
        return self.partners[partner_id] if partner_id else None


STANDING_AFTER: dict[type[Event], str] = {
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
        # Whether any program does: nobody else pays for it.
        self.counts_customers = False
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
                "SELECT topic, state, notification_id FROM ledger.events"  # noqa: S608 - parts of our own
                f" WHERE notification_id + 0 > %s AND {IN_DIRECTORY}"
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
        """Take one event of a merchant, partner, coupon or customer stream into the directory."""
        if isinstance(event, MerchantRegistered):
            self._open(event)
            return
        program = self.programs[event.merchant_id]
        if isinstance(event, TermsChanged):
            self._take_terms(program, event.occurred_at, event.terms)
        elif isinstance(event, CustomerReassigned):
            timeline = program.customers.get(event.customer_id) or _dated()
            timeline.put(event.occurred_at, event.partner_id)
            program.customers[event.customer_id] = timeline
        elif isinstance(event, (CouponAssigned, CouponRateChanged, CouponRevoked)):
            _take_coupon(program, event)
        else:
            _take_partner(program, event)

    def _open(self, event: MerchantRegistered) -> None:
        zone = None if event.time_zone == _UTC else ZoneInfo(event.time_zone)
        program = Program(event.merchant_id, event.name, event.currency, zone)
        self._take_terms(program, event.occurred_at, event.terms)
        self.programs[event.merchant_id] = program

    def _take_terms(self, program: Program, at: datetime, terms: Terms) -> None:
        program.terms.put(at, terms)
        if limits_customers(terms):
            program.counts_customers = self.counts_customers = True


def limits_customers(terms: Terms) -> bool:
    """Return whether the terms limit how long, or for how many orders, a customer earns."""
    return isinstance(terms.max_orders_per_customer, int) or isinstance(terms.max_months_per_customer, int)


def _dated() -> Timeline[Any]:
    """Return a timeline of which the first value that is put does not reach back."""
    timeline: Timeline[Any] = Timeline()
    timeline.put(_BEFORE_ALL, None)
    return timeline


def _take_coupon(program: Program, event: CouponAssigned | CouponRateChanged | CouponRevoked) -> None:
    if isinstance(event, CouponAssigned):
        holding = Holding(event.partner_id)
        holding.rates.put(event.occurred_at, event.rate)
        timeline = program.codes.get(event.code) or (_dated() if event.dated else Timeline())
        timeline.put(event.occurred_at, holding)
        # Last: another thread never sees a code with an empty timeline.
        program.codes[event.code], program.held[event.code] = timeline, holding
    elif isinstance(event, CouponRevoked):
        program.codes[event.code].put(event.occurred_at, None)
    else:
        program.held[event.code].rates.put(event.occurred_at, event.rate)


def _take_partner(program: Program, event: Event) -> None:
    if isinstance(event, PartnerRegistered):
        partner = Partner(event.partner_id, version=1)
        partner.emails.put(event.occurred_at, event.email_hash)
        partner.standings.put(event.occurred_at, event.standing)
        partner.rates.put(event.occurred_at, event.rate)
        program.partners[event.partner_id] = partner
        return
    partner = program.partners[event.partner_id]  # type: ignore[attr-defined]
    partner.version += 1
    if isinstance(event, RateChanged):
        partner.rates.put(event.occurred_at, event.rate)
    elif isinstance(event, PartnerDetailsChanged):
        partner.emails.put(event.occurred_at, event.email_hash)
    else:
        partner.standings.put(event.occurred_at, STANDING_AFTER[type(event)])
        banned = isinstance(event, PartnerBanned)
        partner.ban = ban_name(event.merchant_id, event.partner_id, partner.version) if banned else None  # type: ignore[attr-defined]


def ban_name(merchant_id: str, partner_id: str, version: int) -> str:
    """Return the name of a ban, as it stands in the rejections that it makes: its place in the partner's stream."""
    return f"{Stream.partner(merchant_id, partner_id)}@{version}"
