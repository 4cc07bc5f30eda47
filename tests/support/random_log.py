"""Legal histories by the thousand: a seed decides, and the ledger's own decisions make programs, partners, orders."""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from ledger import bans
from ledger.application import Ledger, following
from ledger.commissions import DUPLICATE, LEGAL_MOVES, Act, Order, evolve, fold, move, take_fact, take_parked
from ledger.events import (
    CommissionEarned,
    CommissionEntered,
    CommissionSkipped,
    CouponAssigned,
    CouponRateChanged,
    CouponRevoked,
    CustomerReassigned,
    Event,
    MerchantRegistered,
    PartnerBanned,
    PartnerDetailsChanged,
    PartnerPaused,
    PartnerRegistered,
    PartnerReinstated,
    Rate,
    RateChanged,
    Recorded,
    RefundParked,
    Stream,
    TermsChanged,
)
from ledger.terms import Terms
from schemas.errors import RejectedError

START = datetime(2026, 1, 1, tzinfo=UTC)
# One name is the beginning of the other, and "-" sorts before "/": what lies together by bytes is put to the test.
MERCHANTS = ("shop", "shop-b")
CURRENCIES = ("USD", "JPY", "KWD")
_DETAILS: dict[str, dict[str, str]] = {
    "hold": {"reason": "looks odd"},
    "reject": {"reason": "fraud"},
    "reopen": {"reason": "a mistake"},
    "reserve": {"payout_id": "payout-1"},
    "unreserve": {"payout_id": "payout-1"},
    "pay": {"reference": "bank"},
    "mark_unpaid": {"reason": "came back"},
}


def log(seed: int, orders: int, partners: int = 5) -> list[Recorded]:
    """Return the events of two programs with so many orders in all, in the order in which they are recorded.

    Beside every tenth order somebody enters a commission by hand. The events of one order are in order; those of
    different orders are mixed, and so are the times that they tell.
    """
    rng = random.Random(seed)
    streams = [list(_order(rng, MERCHANTS[n % 2], f"order-{n:05d}", partners)) for n in range(orders)]
    # Of a chance of their own, so that a seed makes the same orders with them and without.
    by_hand = random.Random(f"{seed} by hand")
    streams += [list(_entry(by_hand, MERCHANTS[n % 2], f"manual-{n:016x}", partners)) for n in range(orders // 10)]
    recorded = [event for merchant_id in MERCHANTS for event in _program(rng, merchant_id, partners)]
    while streams:
        number = rng.randrange(len(streams))
        several = rng.randrange(1, 4)
        recorded += streams[number][:several]
        del streams[number][:several]
        if not streams[number]:
            streams[number] = streams[-1]
            streams.pop()
    return recorded


def append(ledger: Ledger, recorded: Sequence[Recorded], every: int = 500) -> int:
    """Write the events to the log, so many a transaction; returns the position of the last."""
    position = 0
    for start in range(0, len(recorded), every):
        position = ledger.record(recorded[start : start + every]) or 0
    return position


def _common(merchant_id: str, at: datetime) -> dict[str, Any]:
    return {"merchant_id": merchant_id, "occurred_at": at, "recorded_at": START + timedelta(days=90), "cause": "test"}


def _program(rng: random.Random, merchant_id: str, partners: int) -> Iterator[Recorded]:
    common = _common(merchant_id, START)
    yield from following(
        Stream.merchant(merchant_id),
        0,
        [
            MerchantRegistered(**common, name="Shop", currency="USD", time_zone="UTC", terms=Terms()),
            TermsChanged(**_common(merchant_id, START + timedelta(days=3)), terms=Terms(version=2, approval="manual")),
            # Told later, for an earlier time: the newest terms stay in force.
            TermsChanged(**_common(merchant_id, START + timedelta(days=1)), terms=Terms(version=3, hold_days=7)),
        ],
    )
    for number in range(partners):
        yield from _partner(rng, merchant_id, f"p{number}")
    limits = Terms(version=4, minimum_payout_minor={"USD": 5_000, "JPY": 1}, max_months_per_customer=12)
    limited = TermsChanged(**_common(merchant_id, START + timedelta(days=2)), terms=limits)
    yield from following(Stream.merchant(merchant_id), 3, [limited])
    for customer_id, days in (("anna", (5, 9)), ("bob/1", (7,))):
        given = [
            CustomerReassigned(
                **_common(merchant_id, START + timedelta(days=day)), customer_id=customer_id,
                partner_id=f"p{day % partners}", reason="moved",
            )
            for day in days
        ]  # fmt: skip
        yield from following(Stream.customer(merchant_id, customer_id), 0, given)


def _partner(rng: random.Random, merchant_id: str, partner_id: str) -> Iterator[Recorded]:
    events: list[Event] = [
        PartnerRegistered(
            **_common(merchant_id, START), partner_id=partner_id, standing="approved", email_hash="-",
            rate=Rate(type="percentage", bps=1000),
        )
    ]  # fmt: skip
    for day in range(rng.randrange(4)):
        common = _common(merchant_id, START + timedelta(days=rng.randrange(10))) | {"partner_id": partner_id}
        events += [
            [RateChanged(**common, rate=Rate(type="fixed", amount_minor=day))],
            [PartnerPaused(**common, reason="test"), PartnerReinstated(**common)],
            [PartnerBanned(**common, reason="test")],
            [PartnerDetailsChanged(**common, email_hash="-", fields=("name",))],
        ][rng.randrange(4)]
    yield from following(Stream.partner(merchant_id, partner_id), 0, events)
    common = _common(merchant_id, START) | {"partner_id": partner_id, "code": f"CODE-{partner_id.upper()}"}
    revoked = [CouponRevoked(**common), CouponAssigned(**common)]
    codes = [CouponAssigned(**common), *revoked[: rng.randrange(3)]]
    if isinstance(codes[-1], CouponAssigned):
        codes += [CouponRateChanged(**common, rate=Rate(type="fixed", amount_minor=7)), CouponRateChanged(**common)]
    yield from following(Stream.coupon(merchant_id, f"CODE-{partner_id.upper()}"), 0, codes)


def _order(rng: random.Random, merchant_id: str, order_id: str, partners: int) -> Iterator[Recorded]:
    """Yield one order: refunds before it and after it, disputes, and moves wherever they are legal."""
    order, taken = Order(), _taken(rng, merchant_id, order_id, partners)
    events: list[Event] = []

    def add(decided: Sequence[Event]) -> None:
        for event in decided:
            evolve(order, event)
            events.append(event)

    facts = [_fact(rng, taken, number) for number in range(rng.choice((0, 0, 0, 1, 2, 4)))]
    while facts and rng.random() < 0.3:
        _take(order, facts.pop(), add)
    if rng.random() < 0.95 or not events:
        add([taken])
        unparked = take_parked(fold(events))
        add(unparked)
        for _ in range(rng.choice((0, 0, 1, 2, 3, 6))):
            if facts and rng.random() < 0.4:
                _take(order, facts.pop(), add)
            else:
                add(_move(rng, order))
        # Of its own, so that all else is as it was before bans did anything to commissions.
        add(_banned(random.Random(order_id), events))
    yield from following(Stream.order(merchant_id, order_id), 0, events)


def _banned(rng: random.Random, events: Sequence[Event]) -> Sequence[Event]:
    """Return what a ban takes, and perhaps what its end gives back; nothing for most orders."""
    at = START + timedelta(days=70)
    act = Act(occurred_at=at, recorded_at=at, occurred_on=at.date(), cause="test")
    order = fold(events)
    taken = bans.take(order, events, "partner/shop/p1@9", act) if rng.random() < 0.2 else []
    after = [*events, *taken]
    back = bans.give_back(fold(after), after, act) if taken and rng.random() < 0.5 else []
    return [*taken, *back]


def _move(rng: random.Random, order: Order) -> Sequence[Event]:
    """Return a move that is legal now, nothing where none is."""
    if not LEGAL_MOVES[order.state]:
        return []
    name = rng.choice(LEGAL_MOVES[order.state])
    at = START + timedelta(days=rng.randrange(60), seconds=rng.randrange(9))
    act = Act(occurred_at=at, recorded_at=at, occurred_on=at.date(), cause="test")
    return move(order, name, act, **_DETAILS.get(name, {}))


def _entry(rng: random.Random, merchant_id: str, entry_id: str, partners: int) -> Iterator[Recorded]:
    """Yield one commission that was entered by hand, and moves; one currency is of entries only."""
    at = START + timedelta(days=rng.randrange(40), hours=rng.randrange(24))
    events: list[Event] = [
        CommissionEntered(
            **_common(merchant_id, at), order_id=entry_id, occurred_on=at.date(),
            partner_id=f"p{rng.randrange(partners)}", currency=rng.choice((*CURRENCIES, "CHF")),
            amount_minor=rng.choice((-(10**6), -1, 1, 999)), to_state="approved", reason="a bonus",
        )
    ]  # fmt: skip
    order = fold(events)
    for _ in range(rng.choice((0, 1, 2, 6))):
        for event in _move(rng, order):
            evolve(order, event)
            events.append(event)
    yield from following(Stream.order(merchant_id, entry_id), 0, events)


def _take(order: Order, fact: RefundParked, add: Any) -> None:
    try:
        decided = take_fact(order, fact)
    except RejectedError:
        return
    if decided != DUPLICATE:
        add(decided)


def _taken(rng: random.Random, merchant_id: str, order_id: str, partners: int) -> CommissionEarned | CommissionSkipped:
    at = START + timedelta(days=rng.randrange(40), hours=rng.randrange(24), seconds=rng.randrange(3))
    total, partner_id = rng.choice((0, 1, 999, 10_000, 10**15)), f"p{rng.randrange(partners)}"
    common = _common(merchant_id, at) | {
        "order_id": order_id, "occurred_on": at.date(), "partner_id": partner_id,
        "coupon_code": f"CODE-{partner_id.upper()}",
        "currency": rng.choice(CURRENCIES), "total_minor": total,
        "customer_id": rng.choice((None, "anna", "bob/1", 'çelik "x" \\', "7")),
    }  # fmt: skip
    if total == 0:
        return CommissionSkipped(**common, to_state="skipped", reason="zero_base")
    rate = rng.choice((Rate(type="percentage", bps=1000), Rate(type="fixed", amount_minor=5)))
    amount = 5 if rate.type == "fixed" else (2 * total * rate.bps + 10_000) // 20_000
    return CommissionEarned(
        **common, amount_minor=amount, to_state="pending", rate=rate, base="total", base_minor=total,
        fixed_on_partial_refund="keep", terms_version=1, due_at=rng.choice((None, at + timedelta(days=30))),
    )  # fmt: skip


def _fact(rng: random.Random, taken: CommissionEarned | CommissionSkipped, number: int) -> RefundParked:
    kind = rng.choice(("refund", "refund", "cancellation", "dispute", "dispute_won"))
    at = taken.occurred_at + timedelta(days=rng.randrange(5))
    refund = {"refund_id": f"r{number}", "currency": taken.currency, "refund_minor": rng.randrange(1, 2_000)}
    return RefundParked(
        **_common(taken.merchant_id, at) | {"cause": f"test {number}"}, order_id=taken.order_id,
        occurred_on=date(at.year, at.month, at.day), kind=kind, event_id=f"e{number}",
        **(refund if kind == "refund" else {}),
    )  # fmt: skip
