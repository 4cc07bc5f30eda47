"""An independent model of the whole pipeline: what the books must say after a list of messages and moves.

It shares no code with the service (a test reads its imports), keeps everything in dicts, ints and Fractions, reads the
JSON by itself (`oracle_reading.py`) and raises UntaughtError on whatever nobody taught it, because an oracle that
guesses agrees with every bug. Times are arguments; nothing here reads a clock.

Two figures depend on the order of arrival, and only these: which of two contradicting messages was first, and on which
**day** a correction counts when facts of one order overlap (a cancellation and a refund). Totals never do.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import NamedTuple
from zoneinfo import ZoneInfo

from tests.support.oracle_program import BEGINNING, Merchant, Partner, Rate, in_force, spent, whose
from tests.support.oracle_reading import EXPONENTS, Fact, Placed, Refusal, UntaughtError, read

OUTCOMES = ("earned", "adjusted", "skipped", "ignored", "duplicate", "dead_lettered")
OPEN_STATES = frozenset({"pending", "approved", "held"})
PAYOUT_STATES = frozenset({"in_payout", "paid"})
BALANCES = ("pending", "approved", "held", "in_payout", "paid")

# Which states a move starts from, and the state it ends in (`hold` and `release` keep where they came from).
MOVES: Mapping[str, tuple[frozenset[str], str]] = {
    "approve": (frozenset({"pending"}), "approved"),
    "hold": (frozenset({"pending", "approved"}), "held"),
    "release": (frozenset({"held"}), ""),
    "reserve": (frozenset({"approved"}), "in_payout"),
    "unreserve": (frozenset({"in_payout"}), "approved"),
    "pay": (frozenset({"approved", "in_payout"}), "paid"),
    "mark_unpaid": (frozenset({"paid"}), "approved"),
}


class Message(NamedTuple):
    """One message as it lies in a topic: where it is, and its bytes (None is a tombstone)."""

    topic: str
    partition: int
    offset: int
    value: bytes | None
    source: str = "cluster"


# --- arithmetic -------------------------------------------------------------------------------------------------------


def half_up(value: Fraction) -> int:
    """Return the nearest integer, halves upwards; amounts here are never negative."""
    if value < 0:
        raise UntaughtError(f"rounding {value}, which is negative")
    return math.floor(value + Fraction(1, 2))


def base_minor(placed: Placed, terms: str) -> int:
    """Return what the commission is taken of, in minor units, before any refund; never below zero."""
    if terms == "total":
        return placed.total
    if terms == "net_of_tax":
        return max(0, placed.total - placed.tax)
    if terms == "net_of_tax_and_shipping":
        return max(0, placed.total - placed.tax - placed.shipping)
    raise UntaughtError(f"the base {terms!r}")


def commission_minor(merchant: Merchant, rate: Rate, placed: Placed, remaining: int) -> int:
    """Return the commission on what remains of the order's total, in minor units, rounded once."""
    if remaining == 0:
        return 0
    left = Fraction(remaining, placed.total)
    if rate.kind == "percentage":
        bps = Fraction(rate.value) * 100
        if bps.denominator != 1:
            raise UntaughtError(f"a rate of {rate.value} per cent, finer than a basis point")
        return half_up(base_minor(placed, merchant.base) * left * bps / 10_000)
    if rate.kind != "fixed":
        raise UntaughtError(f"a rate of the kind {rate.kind!r}")
    amount = Fraction(rate.value) * 10 ** EXPONENTS[merchant.currency]
    if amount.denominator != 1:
        raise UntaughtError(f"a fixed rate of {rate.value} {merchant.currency}")
    if merchant.fixed_on_partial_refund == "keep":
        return int(amount)
    if merchant.fixed_on_partial_refund == "pro_rata":
        return half_up(amount * left)
    raise UntaughtError(f"fixed_on_partial_refund {merchant.fixed_on_partial_refund!r}")


# --- one order --------------------------------------------------------------------------------------------------------


@dataclass
class Facts:
    """What happened to an order after it was placed: a set, so that the order of arrival does not matter."""

    refunds: dict[str, tuple[int, str]] = field(default_factory=dict)
    cancelled: bool = False
    disputes: dict[str, tuple[datetime, str]] = field(default_factory=dict)

    def knows(self, fact: Fact) -> bool:
        """Return whether the fact is here already; refuse one whose id stands for something else."""
        if fact.kind == "refunded":
            known, told = self.refunds.get(fact.refund_id), (fact.amount, fact.currency)
        elif fact.kind == "cancelled":
            return self.cancelled
        else:
            known, told = self.disputes.get(fact.event_id), (fact.occurred_at, fact.kind)
        if known is not None and known != told:
            raise Refusal("conflicting_duplicate")
        return known is not None

    def add(self, fact: Fact) -> None:
        """Add a fact that is not here yet."""
        if fact.kind == "refunded":
            self.refunds[fact.refund_id] = (fact.amount, fact.currency)
        elif fact.kind == "cancelled":
            self.cancelled = True
        else:
            self.disputes[fact.event_id] = (fact.occurred_at, fact.kind)

    def refunded(self) -> int:
        """Return the sum of the refunds in minor units."""
        return sum(amount for amount, _ in self.refunds.values())

    def remaining(self, total: int) -> int:
        """Return what is left of the order's total."""
        latest = max(((at, kind == "dispute_won") for at, kind in self.disputes.values()), default=(BEGINNING, True))
        disputed = not latest[1]
        return 0 if self.cancelled or disputed else total - self.refunded()


@dataclass
class Order:
    """One booked order; `commission` and `clawed_back` together are always what the facts say is owed."""

    merchant: Merchant
    placed: Placed
    partner_id: str
    rate: Rate
    reason: str | None
    facts: Facts = field(default_factory=Facts)
    states: list[str] = field(default_factory=list)  # the last one counts; it goes back to the one before
    commission: int = 0
    clawed_back: int = 0
    remaining: int = 0
    refunded_on: Counter[str] = field(default_factory=Counter)
    banned: bool = False  # the partner is, now: what is open does not stay so

    @property
    def state(self) -> str:
        """Return the state that the commission is in."""
        return self.states[-1]

    def take(self, fact: Fact) -> int:
        """Apply a fact that is new; return by how much what is owed changed, in minor units. Refuses what cannot be."""
        if fact.kind == "refunded":
            if fact.currency != self.placed.currency:
                raise Refusal("currency_mismatch")
            if self.facts.refunded() + fact.amount > self.placed.total:
                raise Refusal("refund_exceeds_total")
        self.facts.add(fact)
        change = self.settle(day(self.merchant, fact.occurred_at))
        self.shut_out()
        return change

    def shut_out(self) -> None:
        """Let the partner's ban take the commission, where it is open."""
        if self.banned and self.state in OPEN_STATES:
            self.states.append("rejected")
            self.reason = "partner_banned"

    def settle(self, on: str) -> int:
        """Bring the commission to what the facts say; return the change in minor units."""
        before, self.remaining = self.remaining, self.facts.remaining(self.placed.total)
        self.refunded_on[on] += before - self.remaining
        if self.state == "skipped":
            return 0
        target = commission_minor(self.merchant, self.rate, self.placed, self.remaining)
        change = target - self.commission - self.clawed_back
        if self.state in PAYOUT_STATES:
            self.clawed_back += change
        else:
            self._adjust(change)
        return change

    def _adjust(self, change: int) -> None:
        if self.clawed_back:
            raise UntaughtError("a fact about a commission that has a clawback and is no longer paid")
        self.commission += change
        if self.remaining == 0 and self.state in OPEN_STATES:
            self.states.append("reversed")
        elif self.remaining > 0 and self.state == "reversed":
            self.states.pop()

    def move(self, name: str) -> None:
        """Make one of the MOVES."""
        starts, end = MOVES[name]
        if self.state not in starts:
            raise UntaughtError(f"{name} while {self.state}")
        if name == "hold":
            self.states.append(end)
        elif name == "release":
            self.states.pop()
        else:
            self.states[-1] = end


def day(merchant: Merchant, at: datetime) -> str:
    """Return the day (`YYYY-MM-DD`) of the instant in the program's time zone."""
    return at.astimezone(ZoneInfo(merchant.time_zone)).date().isoformat()


@dataclass
class Dossier:
    """What is known under one order id: the order once it is booked, until then the facts that wait for it."""

    order: Order | None = None
    waiting: list[tuple[Message, Fact]] = field(default_factory=list)
    facts: Facts = field(default_factory=Facts)


# --- the books --------------------------------------------------------------------------------------------------------


class Taken(NamedTuple):
    """What became of one message: its outcome, the change of what is owed (minor units), and a dead letter's code."""

    outcome: str
    change: int = 0
    code: str | None = None


@dataclass(frozen=True)
class Books:
    """What the service must say. Amounts are minor units; see each builder in `Oracle.books` for its key."""

    orders: dict[tuple[str, str], dict[str, object]]
    balances: dict[tuple[str, str, str], dict[str, int]]
    revenue: dict[tuple[str, str, str, str], dict[str, int]]
    customers: dict[tuple[str, str, str], dict[str, int]]
    ignored: dict[tuple[str, str, str], dict[str, int]]
    intake: dict[tuple[str, str, int], dict[str, int]]
    dead_letters: set[tuple[str, str, int, int, str]]
    parked: dict[tuple[str, str], int]


class Oracle:
    """The model: feed it messages in the order of arrival (`take`) and moves (`move`, `approve_due`); ask for `books`.

    `refusals` teaches codes of messages that it cannot read by itself: `{raw bytes: code}`.
    """

    def __init__(self, program: Iterable[Merchant], refusals: Mapping[bytes, str] | None = None) -> None:
        self.merchants = {merchant.merchant_id: merchant for merchant in program}
        self.refusals = refusals or {}
        self.dossiers: defaultdict[tuple[str, str], Dossier] = defaultdict(Dossier)
        self.intake: dict[tuple[str, str, int], dict[str, int]] = {}
        self.ignored: defaultdict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
        self.dead_letters: set[tuple[str, str, int, int, str]] = set()
        # When each customer placed the orders that earned, in order of arrival.
        self.bought: defaultdict[tuple[str, str], list[datetime]] = defaultdict(list)

    def take(self, message: Message) -> Taken:
        """Book one message and return what became of it. Raises UntaughtError on anything it was not taught."""
        counts = self._advance(message)
        try:
            taken = self._book(message, self._read(message.value))
        except Refusal as refusal:
            taken = Taken("dead_lettered", code=refusal.code)
            self._bury(message, refusal)
        counts["consumed"] += 1
        counts[taken.outcome] += 1
        return taken

    def take_all(self, messages: Iterable[Message], until: Mapping[tuple[str, str, int], int] | None = None) -> Oracle:
        """Book the messages, those up to the given positions (last offsets) where some are given; return itself."""
        for message in messages:
            if until is None or message.offset <= until.get((message.source, message.topic, message.partition), -1):
                self.take(message)
        return self

    def move(self, merchant_id: str, order_id: str, name: str) -> None:
        """Make a move (MOVES) with the commission of a booked order."""
        order = self.dossiers[merchant_id, order_id].order
        if order is None:
            raise UntaughtError(f"{name} of an order that is not on the books: {order_id}")
        order.move(name)

    def approve_due(self, now: datetime) -> int:
        """Approve what the timer approves at `now`; return how many commissions that were."""
        due = [order for order in self._orders() if order.state == "pending" and _due_at(order) <= now]
        for order in due:
            order.move("approve")
        return len(due)

    def books(self) -> Books:
        """Return what the service must say now."""
        orders = {key: dossier.order for key, dossier in self.dossiers.items() if dossier.order is not None}
        earned = [order for order in orders.values() if order.state != "skipped"]
        return Books(
            orders={key: _order_row(order) for key, order in orders.items()},
            balances=_balances(earned),
            revenue=_revenue(earned),
            customers=_customers(earned),
            ignored={key: dict(counter) for key, counter in self.ignored.items()},
            intake={key: dict(counts) for key, counts in self.intake.items()},
            dead_letters=set(self.dead_letters),
            parked={key: len(dossier.waiting) for key, dossier in self.dossiers.items() if dossier.waiting},
        )

    def _orders(self) -> Iterable[Order]:
        return (dossier.order for dossier in self.dossiers.values() if dossier.order is not None)

    def _read(self, value: bytes | None) -> Placed | Fact:
        if value is not None and value in self.refusals:
            raise Refusal(self.refusals[value])
        return read(value)

    def _advance(self, message: Message) -> dict[str, int]:
        place = (message.source, message.topic, message.partition)
        counts = self.intake.setdefault(place, {"position": -1, "consumed": 0, **dict.fromkeys(OUTCOMES, 0)})
        if message.offset <= counts["position"]:
            raise UntaughtError(f"offset {message.offset} after {counts['position']} in {place}")
        counts["position"] = message.offset
        return counts

    def _bury(self, message: Message, refusal: Refusal) -> None:
        self.dead_letters.add((message.source, message.topic, message.partition, message.offset, refusal.code))

    def _book(self, message: Message, event: Placed | Fact) -> Taken:
        merchant = self.merchants.get(event.merchant_id)
        if merchant is None:
            raise Refusal("unknown_merchant")
        if isinstance(event, Placed):
            return self._place(merchant, event)
        # A plain look-up would do, but a fact about an order nobody heard of is what opens its dossier.
        dossier = self.dossiers[event.merchant_id, event.order_id]
        if dossier.order is not None:
            known = dossier.order.facts.knows(event)
            return Taken("duplicate") if known else Taken("adjusted", dossier.order.take(event))
        if dossier.facts.knows(event):
            return Taken("duplicate")
        dossier.facts.add(event)
        dossier.waiting.append((message, event))
        return Taken("adjusted")

    def _place(self, merchant: Merchant, placed: Placed) -> Taken:
        known = self.dossiers.get((placed.merchant_id, placed.order_id))
        if known is not None and known.order is not None:
            if known.order.placed.content() != placed.content():
                raise Refusal("conflicting_duplicate")
            return Taken("duplicate")
        found = whose(merchant, placed.coupon_code, placed.customer_id, placed.occurred_at)
        if found is None:
            ignored = self.ignored[merchant.merchant_id, day(merchant, placed.occurred_at), placed.currency]
            ignored.update(orders=1, total_minor=placed.total)
            return Taken("ignored")
        bought = self.bought[placed.merchant_id, placed.customer_id] if placed.customer_id else []
        order = _open(merchant, placed, *found, bought)
        outcome = "skipped" if order.reason else "earned"
        dossier = self.dossiers[placed.merchant_id, placed.order_id]
        dossier.order = order
        self._apply_waiting(dossier, order)
        order.banned = found[0].banned
        order.shut_out()
        return Taken(outcome, order.commission)

    def _apply_waiting(self, dossier: Dossier, order: Order) -> None:
        waiting, dossier.waiting = dossier.waiting, []
        for message, fact in waiting:
            try:
                order.take(fact)
            except Refusal as refusal:
                self._bury(message, refusal)
                counts = self.intake[message.source, message.topic, message.partition]
                counts["adjusted"] -= 1
                counts["dead_lettered"] += 1


def _open(merchant: Merchant, placed: Placed, partner: Partner, rate: Rate, bought: list[datetime]) -> Order:
    reason = _reason_to_skip(merchant, partner, rate, placed) or spent(merchant, bought, placed.occurred_at)
    order = Order(merchant, placed, partner.partner_id, rate, reason)
    order.remaining = placed.total
    if order.reason:
        order.states = ["skipped"]
        return order
    bought.append(placed.occurred_at)
    if merchant.approval not in {"manual", "immediate", "after_days"}:
        raise UntaughtError(f"the approval mode {merchant.approval!r}")
    order.states = ["approved" if merchant.approval == "immediate" else "pending"]
    order.commission = commission_minor(merchant, rate, placed, placed.total)
    return order


def _reason_to_skip(merchant: Merchant, partner: Partner, rate: Rate, placed: Placed) -> str | None:
    standing = in_force(partner.standings, placed.occurred_at)[1]
    refused = {
        "applied": "partner_not_approved",
        "rejected": "partner_not_approved",
        "paused": "partner_paused",
        "banned": "partner_banned",
    }
    if standing != "approved":
        if standing not in refused:
            raise UntaughtError(f"the standing {standing!r}")
        return refused[standing]
    if partner.email and placed.customer_email and _same_address(partner.email, placed.customer_email):
        return "self_referral"
    if base_minor(placed, merchant.base) == 0:
        return "zero_base"
    if rate.kind == "fixed" and placed.currency != merchant.currency:
        return "fixed_rate_in_other_currency"
    return None


def _same_address(one: str, other: str) -> bool:
    return one.strip().casefold() == other.strip().casefold()


def _due_at(order: Order) -> datetime:
    if order.merchant.approval != "after_days":
        return datetime.max.replace(tzinfo=UTC)
    return order.placed.occurred_at + timedelta(days=order.merchant.approve_after_days)


# --- the tables -------------------------------------------------------------------------------------------------------


def _order_row(order: Order) -> dict[str, object]:
    return {
        "state": order.state,
        "reason": order.reason,
        "partner_id": order.partner_id,
        "currency": order.placed.currency,
        "total_minor": order.placed.total,
        "refunded_minor": order.placed.total - order.remaining,
        "commission_minor": order.commission,
        "clawed_back_minor": order.clawed_back,
    }


def _balances(earned: Iterable[Order]) -> dict[tuple[str, str, str], dict[str, int]]:
    """Per merchant, partner and currency; `payable` is what is approved less what was clawed back."""
    rows: dict[tuple[str, str, str], dict[str, int]] = {}
    for order in earned:
        key = (order.merchant.merchant_id, order.partner_id, order.placed.currency)
        row = rows.setdefault(key, dict.fromkeys((*BALANCES, "clawed_back", "payable"), 0))
        if order.state in BALANCES:
            row[order.state] += order.commission
        elif order.commission and order.state != "rejected":
            raise UntaughtError(f"{order.commission} minor units in the state {order.state!r}")
        row["clawed_back"] += order.clawed_back
        row["payable"] = row["approved"] + row["clawed_back"]
    return rows


def _revenue(earned: Iterable[Order]) -> dict[tuple[str, str, str, str], dict[str, int]]:
    """Per merchant, partner, currency and day; a skipped order is no revenue, a reversed one was a conversion."""
    rows: defaultdict[tuple[str, str, str, str], dict[str, int]]
    rows = defaultdict(lambda: {"gross": 0, "refunded": 0, "conversions": 0})
    for order in earned:
        key = (order.merchant.merchant_id, order.partner_id, order.placed.currency)
        row = rows[*key, day(order.merchant, order.placed.occurred_at)]
        row["gross"] += order.placed.total
        row["conversions"] += 1
        for on, amount in order.refunded_on.items():
            if amount:
                rows[*key, on]["refunded"] += amount
    return dict(rows)


def _customers(earned: Iterable[Order]) -> dict[tuple[str, str, str], dict[str, int]]:
    """Per merchant, customer and currency."""
    rows: defaultdict[tuple[str, str, str], dict[str, int]]
    rows = defaultdict(lambda: {"orders": 0, "gross": 0, "refunded": 0, "net": 0})
    for order in earned:
        if order.placed.customer_id is None:
            continue
        row = rows[order.merchant.merchant_id, order.placed.customer_id, order.placed.currency]
        row["orders"] += 1
        row["gross"] += order.placed.total
        row["refunded"] += order.placed.total - order.remaining
        row["net"] += order.remaining
    return dict(rows)
