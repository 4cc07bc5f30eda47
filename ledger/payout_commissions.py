"""What a payout does to commissions: reserves them, nets clawbacks off, pays them, gives them back. Pure.

Nearly every order that a payout touches stands as its read model (or its reservation) says, and the version that is
appended proves it; only those that changed meanwhile are folded.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from ledger.application import following
from ledger.commissions import Act, Order, evolve, fold, move
from ledger.events import (
    CommissionEntered,
    CommissionMoved,
    CommissionPaid,
    CommissionReserved,
    Event,
    Recorded,
    Stream,
)
from ledger.payout_events import (
    ClawbackMoved,
    ClawbackNetted,
    ClawbackOwedAgain,
    ClawbackSettled,
    ClawbackUnnetted,
    PayoutRequested,
)

CAME_BACK = "returned-"
"""How the ids of the entries begin that tell of a part that came back; those of people begin otherwise."""

Ending = Literal["pay", "release", "give_back"]
"""What becomes of what a payout holds: it is paid, it is payable again, or (once paid) owed again."""

# Wherever an order stands, what was clawed back of it can be netted off; but not while another payout has it.
_NOT_NETTED_IN = ("in_payout",)


class Standing(NamedTuple):
    """A commission as a read model shows it: what is payable of it, at which version of its stream.

    `clawed_back_minor` is what waits to be netted off.
    """

    order_id: str
    version: int
    state: str
    amount_minor: int
    clawed_back_minor: int = 0

    @property
    def net_minor(self) -> int:
        """What a payout would take of it, in minor units: less than nothing for a clawback."""
        if self.state in _NOT_NETTED_IN:
            return 0
        return self.clawed_back_minor + (self.amount_minor if self.state == "approved" else 0)

    @property
    def counts(self) -> bool:
        """Whether a payout would take anything of it."""
        approved = self.state == "approved" and self.amount_minor != 0
        return approved or (self.clawed_back_minor != 0 and self.state not in _NOT_NETTED_IN)


class Whose(NamedTuple):
    """Whose commissions, and of which payout."""

    merchant_id: str
    partner_id: str
    currency: str
    payout_id: str


class Held(NamedTuple):
    """A reservation as it stands in the log, and the version at which its order's stream is now."""

    recorded: Recorded
    head: int


def standing_of(order_id: str, order: Order) -> Standing:
    """Return how a commission stands by its stream."""
    return Standing(order_id, order.version, order.state, order.amount_minor, order.clawed_back_minor)


def reserve(whose: Whose, standings: Iterable[Standing], act: Act) -> Iterator[Recorded]:
    """Yield the events that take what is payable, and net off what was clawed back, each in its order's stream."""
    common = _common(whose, act)
    for order_id, version, state, amount_minor, clawed_back_minor in standings:
        stream, at, now_in = Stream.order(whose.merchant_id, order_id), version, state
        if state == "approved" and amount_minor:
            at, now_in = at + 1, "in_payout"
            event: Event = CommissionReserved(
                order_id=order_id, amount_minor=amount_minor, from_state=state, to_state=now_in, **common
            )
            yield Recorded(stream, at, event)
        if clawed_back_minor and state not in _NOT_NETTED_IN:
            event = ClawbackNetted(
                order_id=order_id, amount_minor=clawed_back_minor, from_state=now_in, to_state=now_in, **common
            )
            yield Recorded(stream, at + 1, event)


def total_minor(events: Iterable[Recorded]) -> int:
    """Return what the reservations add up to, in minor units."""
    return sum(recorded.event.amount_minor for recorded in events)  # type: ignore[attr-defined]


def end(
    held: Sequence[Held],
    streams: Mapping[str, Sequence[Recorded]],
    act: Act,
    ending: Ending,
    **details: Any,
) -> list[Recorded]:
    """Decide what becomes of everything that the payout holds.

    `streams` has those orders that `moved_on` names; `details` are the fields of the commission's event (`reference`,
    `reason`).
    """
    events: list[Recorded] = []
    orders: dict[str, Order] = {}
    heads: dict[str, int] = {}
    for each in held:
        (stream, _, reserved), head = each
        version = heads.get(stream, head)
        if stream in streams and stream not in orders:
            orders[stream] = fold(recorded.event for recorded in streams[stream])
        decided = _ending_of(reserved, orders.get(stream), act, ending, details)
        for event in decided:
            if stream in orders:
                evolve(orders[stream], event)
        events += following(stream, version, decided)
        heads[stream] = version + len(decided)
    return events


def moved_on(held: Sequence[Held], ending: Ending) -> list[str]:
    """Return the streams of which more has to be known than their reservation says, to end them this way."""
    if ending == "give_back":
        return list({each.recorded.originator_id for each in held})
    last: dict[str, int] = {}
    for each in held:
        name, version = each.recorded.originator_id, each.recorded.originator_version
        last[name] = max(version, last.get(name, 0))
    return list({each.recorded.originator_id for each in held if each.head != last[each.recorded.originator_id]})


_MOVES: dict[Ending, str] = {"pay": "pay", "release": "unreserve", "give_back": "mark_unpaid"}
_CLAWBACKS: dict[Ending, type[ClawbackMoved]] = {
    "pay": ClawbackSettled,
    "release": ClawbackUnnetted,
    "give_back": ClawbackOwedAgain,
}


def _ending_of(
    reserved: Event, order: Order | None, act: Act, ending: Ending, details: dict[str, Any]
) -> Sequence[Event]:
    assert isinstance(reserved, CommissionMoved)  # noqa: S101 - nothing else is a reservation
    if isinstance(reserved, ClawbackMoved):
        state = order.state if order else _settled_state(reserved, ending)
        return [_moved(_CLAWBACKS[ending], reserved, act, state, state, payout_id=reserved.payout_id)]
    assert isinstance(reserved, CommissionReserved)  # noqa: S101 - as above
    named = {"payout_id": reserved.payout_id}
    if order is None:
        if ending == "pay":
            return [_moved(CommissionPaid, reserved, act, "in_payout", "paid", **named, **details)]
        order = Order(
            state="in_payout", amount_minor=reserved.amount_minor, entered=_stand_in(reserved),
        )  # fmt: skip
    return move(order, _MOVES[ending], act, **named, **details)


def _settled_state(netted: ClawbackMoved, ending: Ending) -> str:
    """Return where the order of a netted clawback stands, which nobody touched since: it may be in this very payout."""
    if netted.to_state != "in_payout":
        return netted.to_state
    return "paid" if ending == "pay" else "approved"


def _stand_in(reserved: CommissionReserved) -> CommissionEntered:
    """Return an opening for an order of which nothing but its reservation has to be known."""
    return CommissionEntered(
        merchant_id=reserved.merchant_id, order_id=reserved.order_id, occurred_at=reserved.occurred_at,
        occurred_on=reserved.occurred_on, recorded_at=reserved.recorded_at, cause=reserved.cause,
        partner_id=reserved.partner_id, currency=reserved.currency, amount_minor=reserved.amount_minor,
        to_state="approved", reason="",
    )  # fmt: skip


def _moved(
    kind: type[CommissionMoved], reserved: CommissionMoved, act: Act, from_state: str, to_state: str, **details: Any
) -> CommissionMoved:
    return kind(
        merchant_id=reserved.merchant_id,
        order_id=reserved.order_id,
        partner_id=reserved.partner_id,
        currency=reserved.currency,
        amount_minor=reserved.amount_minor,
        from_state=from_state,
        to_state=to_state,
        occurred_at=act.occurred_at,
        occurred_on=act.occurred_on,
        recorded_at=act.recorded_at,
        cause=act.cause,
        **details,
    )


def _common(whose: Whose, act: Act) -> dict[str, Any]:
    return {
        "merchant_id": whose.merchant_id,
        "partner_id": whose.partner_id,
        "currency": whose.currency,
        "payout_id": whose.payout_id,
        "occurred_at": act.occurred_at,
        "occurred_on": act.occurred_on,
        "recorded_at": act.recorded_at,
        "cause": act.cause,
    }


# --- what came back in part -------------------------------------------------------------------------------------------


def came_back(requested: PayoutRequested, amount_minor: int, total_minor: int, act: Act) -> list[Recorded]:
    """Return two entries for a part that came back: as much less was paid, and is owed again.

    No commission can be told to be the one that came back, so none of them moves. Named after the running total, so
    that the same part is entered once.
    """
    entries: list[Recorded] = []
    for state, signed in (("paid", -amount_minor), ("approved", amount_minor)):
        order_id = _entry_id(requested, total_minor, state)
        event = _entry(requested, signed, state, act, order_id)
        entries += following(Stream.order(requested.merchant_id, order_id), 0, [event])
    return entries


def _entry_id(requested: PayoutRequested, total_minor: int, state: str) -> str:
    told = f"{requested.merchant_id}\n{requested.payout_id}\n{total_minor}\n{state}".encode()
    return f"{CAME_BACK}{blake2b(told, digest_size=8).hexdigest()}"


def _entry(requested: PayoutRequested, amount_minor: int, state: str, act: Act, order_id: str) -> CommissionEntered:
    return CommissionEntered(
        merchant_id=requested.merchant_id, order_id=order_id, occurred_at=act.occurred_at, occurred_on=act.occurred_on,
        recorded_at=act.recorded_at, cause=act.cause, partner_id=requested.partner_id, currency=requested.currency,
        amount_minor=amount_minor, to_state=state, reason="returned", reference=requested.payout_id,
        payout_id=requested.payout_id if state == "paid" else None,
    )  # fmt: skip


def act_of(at: datetime, day: date, cause: str) -> Act:
    """Return who moves commissions: the same instant, on that day of the program."""
    return Act(at, at, day, cause)
