"""What a ban does to commissions: it takes what is open, and its end gives back exactly what it took.

The ban itself is one event (`ledger.partners`). From then on intake decides by it; what was on the books before is
swept page by page, each page in one transaction with the place that it reached (`ledger.ban_sweeps`), so that a crash
at any moment is followed by going on (docs/decisions/0012).
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from psycopg import Cursor
from psycopg.rows import DictRow

from ledger import merchants
from ledger.application import ATTEMPTS, Ledger, following
from ledger.commissions import Act, Order, evolve, fold, move, remaining_minor
from ledger.directory import ban_name
from ledger.events import (
    CommissionAdjusted,
    CommissionCorrected,
    CommissionMoved,
    CommissionRejected,
    Event,
    PartnerBanned,
    Recorded,
    Stream,
)
from ledger.store import VersionConflictError
from schemas.errors import LedgerError, RetryableError

BANNED = "partner_banned"
REINSTATED = "partner_reinstated"

OPEN_STATES = ("pending", "approved", "held")
TAKEN_STATES = ("rejected",)


class Sweep(NamedTuple):
    """A sweep that has not ended: after the ban or reinstatement at this version of the partner's stream.

    `position` is that event's in the log: what was on the books before it is in the read models once they are there.
    `place` is how far the sweep has come in the partner's list, None where it has not begun. `states` are those of the
    commissions that it may have to move.
    """

    merchant_id: str
    partner_id: str
    version: int
    position: int
    place: int | None
    banned: bool

    @property
    def states(self) -> tuple[str, ...]:
        """The states from which the sweep moves commissions."""
        return OPEN_STATES if self.banned else TAKEN_STATES


class _OvertakenError(LedgerError):
    """The partner was banned or reinstated again, or somebody else sweeps the same."""


# --- decisions --------------------------------------------------------------------------------------------------------


def take(order: Order, events: Iterable[Event], ban: str, act: Act) -> list[Event]:
    """Decide what the ban does to a commission, whose stream so far is `events`: rejected where it is open.

    Once only: what somebody reopened during the ban stays open. A negative entry (`ledger.entries`) is what the partner
    owes, and a ban forgives nothing.
    """
    if order.opened is None or order.state not in OPEN_STATES or order.amount_minor < 0:
        return []
    if any(isinstance(event, CommissionRejected) and event.ban == ban for event in events):
        return []
    return move(order, "reject", act, reason=BANNED, ban=ban)


def give_back(order: Order, events: Sequence[Event], act: Act) -> list[Event]:
    """Decide what the end of the bans does to a commission: back to where it was, if it was a ban that took it.

    What was refunded meanwhile is reversed, as it would be without the ban. `order` is evolved on the way.
    """
    if order.state != "rejected":
        return []
    number, rejection = [(n, event) for n, event in enumerate(events) if isinstance(event, CommissionRejected)][-1]
    if rejection.ban is None:
        return []
    (reopened,) = move(order, "reopen", act, reason=REINSTATED)
    evolve(order, reopened)
    corrected = any(isinstance(event, CommissionCorrected) for event in events[number:])
    if remaining_minor(order) > 0 or not corrected:
        return [reopened]
    common = {name: getattr(reopened, name) for name in CommissionMoved.__struct_fields__}
    gone = {"from_state": order.state, "to_state": "reversed", "amount_minor": -order.amount_minor}
    reversal = CommissionAdjusted(**common | gone, kind="returned", event_id=act.cause, revenue_minor=0)
    evolve(order, reversal)
    return [reopened, reversal]


# --- sweeps -----------------------------------------------------------------------------------------------------------


def begin_sweep(curs: Cursor[DictRow], merchant_id: str, partner_id: str, version: int) -> None:
    """Note, in the transaction of a ban or its end, that the partner's commissions have to be looked at."""
    curs.execute(
        "INSERT INTO ledger.ban_sweeps (merchant_id, partner_id, version, place) VALUES (%s, %s, %s, NULL)"
        " ON CONFLICT (merchant_id, partner_id) DO UPDATE SET version = excluded.version, place = NULL",
        (merchant_id, partner_id, version),
    )


def unfinished(ledger: Ledger, limit: int) -> list[tuple[str, str]]:
    """Return the partners (merchant id, partner id) whose sweeps have not ended, at most so many.

    Raises RetryableError.
    """
    with ledger.connection() as conn:
        rows = conn.execute(
            "SELECT merchant_id, partner_id FROM ledger.ban_sweeps ORDER BY merchant_id, partner_id LIMIT %s",
            (limit,),
        ).fetchall()
    return [(row["merchant_id"], row["partner_id"]) for row in rows]


def find_sweep(ledger: Ledger, merchant_id: str, partner_id: str) -> Sweep | None:
    """Return the partner's sweep, None where there is none (any more). Raises RetryableError."""
    with ledger.connection() as conn:
        row = conn.execute(
            "SELECT sweep.merchant_id, sweep.partner_id, sweep.version, event.notification_id AS position, sweep.place,"
            " event.topic = %s AS banned"
            " FROM ledger.ban_sweeps AS sweep JOIN ledger.events AS event"
            " ON event.originator_id = %s AND event.originator_version = sweep.version"
            " WHERE sweep.merchant_id = %s AND sweep.partner_id = %s",
            (PartnerBanned.__name__, Stream.partner(merchant_id, partner_id), merchant_id, partner_id),
        ).fetchone()
    return Sweep(**row) if row else None


def sweep_page(
    ledger: Ledger, sweep: Sweep, orders: Sequence[str], place: int | None, now: datetime, cause: str
) -> Sweep | None:
    """Sweep one page of the partner's commissions, and return the sweep as it stands then: None, it has ended.

    `orders` are ids, `place` is that of the last in the partner's list, None where the list ends with them. An order
    that needs nothing is left alone, so the same page twice does no harm. Raises RetryableError.
    """
    act = Act(now, now, merchants.day_of(ledger, sweep.merchant_id, now), cause)
    names = [Stream.order(sweep.merchant_id, order_id) for order_id in orders]
    for _ in range(ATTEMPTS):
        streams = ledger.streams(names) if names else {}
        events = [recorded for name, stream in streams.items() for recorded in _decide(sweep, name, stream, act)]
        try:
            ledger.record(events, beside=lambda curs: _advance(curs, sweep, place))
        except VersionConflictError:
            continue
        except _OvertakenError:
            return None
        return None if place is None else sweep._replace(place=place)
    raise RetryableError("the partner's commissions are being written by somebody else")


def _decide(sweep: Sweep, name: str, stream: Sequence[Recorded], act: Act) -> list[Recorded]:
    events = [recorded.event for recorded in stream]
    order = fold(events)
    if order.opened is None or order.opened.partner_id != sweep.partner_id:
        return []
    ban = ban_name(sweep.merchant_id, sweep.partner_id, sweep.version)
    decided = take(order, events, ban, act) if sweep.banned else give_back(order, events, act)
    return following(name, len(stream), decided)


def _advance(curs: Cursor[DictRow], sweep: Sweep, place: int | None) -> None:
    # The row is the fence, and it is locked until the page is committed: whoever bans or reinstates waits for it, and
    # begins the sweep anew.
    whose = (sweep.merchant_id, sweep.partner_id, sweep.version, sweep.place)
    which = "merchant_id = %s AND partner_id = %s AND version = %s AND place IS NOT DISTINCT FROM %s"
    if place is None:
        curs.execute(f"DELETE FROM ledger.ban_sweeps WHERE {which}", whose)  # noqa: S608 - our own words
    else:
        curs.execute(f"UPDATE ledger.ban_sweeps SET place = %s WHERE {which}", (place, *whose))  # noqa: S608
    if curs.rowcount != 1:
        raise _OvertakenError(f"the sweep of {sweep.partner_id} is somebody else's now")
