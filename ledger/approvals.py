"""Moving commissions: approved by the timer when they are due; approved, held, rejected and paid by somebody's hand."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from ledger import merchants
from ledger.application import ATTEMPTS, Ledger, following
from ledger.commissions import Act, evolve, fold, move, move_by_hand
from ledger.events import CommissionEarned, Recorded, Stream
from ledger.requests import Request
from ledger.store import VersionConflictError
from schemas.errors import ConflictError, NotFoundError, RejectedError, RetryableError


class Moved(NamedTuple):
    """A commission after a move. `position` is that of the event."""

    merchant_id: str
    order_id: str
    state: str
    amount_minor: int
    currency: str
    position: int | None = None


class ManyMoved(NamedTuple):
    """What became of each commission, in order: itself after the move, or why it could not be made.

    `position` is that of the last event, None where none was written.
    """

    results: tuple["Moved | RejectedError", ...]
    position: int | None = None


def approve_due(ledger: Ledger, orders: Sequence[tuple[str, str]], now: datetime, cause: str) -> int:
    """Approve those of the orders (merchant id, order id) that are pending and due at `now`; return how many.

    Takes effect at the instant it was due, however late the timer ran. Orders that are not due, or no longer pending,
    are left alone, so the same list twice does no harm. Raises RetryableError.
    """
    names = [Stream.order(merchant_id, order_id) for merchant_id, order_id in orders]
    for _ in range(ATTEMPTS):
        events = [
            recorded
            for name, stream in ledger.streams(names).items()
            for recorded in _approval(name, stream, now, cause)
        ]
        try:
            ledger.record(events)
        except VersionConflictError:
            continue
        return len(events)
    raise RetryableError("the orders that are due are being written by somebody else")


def _approval(name: str, stream: Sequence[Recorded], now: datetime, cause: str) -> list[Recorded]:
    order = fold(recorded.event for recorded in stream)
    taken = order.taken
    if (
        order.state != "pending"
        or not isinstance(taken, CommissionEarned)
        or taken.due_at is None
        or taken.due_at > now
    ):
        return []
    # The day that it was due: as many days after the order's own day as the instant is after the order.
    day = taken.occurred_on + (taken.due_at.date() - taken.occurred_at.date())
    events = move(order, "approve", Act(taken.due_at, now, day, cause))
    return following(name, order.version, events)


def approve(ledger: Ledger, **details: Any) -> Moved:
    """Make a pending commission payable; arguments and errors of `move_commission`."""
    return move_commission(ledger, "approve", **details)


def hold(ledger: Ledger, **details: Any) -> Moved:
    """Stop a commission until somebody decides (`reason`); arguments and errors of `move_commission`."""
    return move_commission(ledger, "hold", **details)


def release(ledger: Ledger, **details: Any) -> Moved:
    """Put a held commission back to where it was; arguments and errors of `move_commission`."""
    return move_commission(ledger, "release", **details)


def reject(ledger: Ledger, **details: Any) -> Moved:
    """Refuse a commission (`reason`); arguments and errors of `move_commission`."""
    return move_commission(ledger, "reject", **details)


def reopen(ledger: Ledger, **details: Any) -> Moved:
    """Take a rejection back (`reason`); arguments and errors of `move_commission`."""
    return move_commission(ledger, "reopen", **details)


def mark_paid(ledger: Ledger, **details: Any) -> Moved:
    """Note that a commission was paid outside of payouts (`reference`, `note`); otherwise as `move_commission`."""
    return move_commission(ledger, "mark-paid", **details)


def mark_unpaid(ledger: Ledger, **details: Any) -> Moved:
    """Take that back (`reason`, `note`): it is owed again, less what was clawed back since; as `move_commission`."""
    return move_commission(ledger, "mark-unpaid", **details)


def move_commission(
    ledger: Ledger,
    name: str,
    *,
    merchant_id: str,
    order_id: str,
    now: datetime,
    cause: str,
    request: Request | None = None,
    **details: Any,
) -> Moved:
    """Make one of the moves of `ledger.commissions.BY_HAND` and return the commission after it.

    `details` are the event's own fields (`reason`, `reference`, `note`). Raises NotFoundError, IllegalMoveError,
    ConflictError `changed_meanwhile`.
    """
    stream = Stream.order(merchant_id, order_id)
    act = Act(now, now, merchants.day_of(ledger, merchant_id, now), cause)
    moved, events = _decide(order_id, stream, ledger.stream(stream), name, act, details)
    try:
        position = ledger.record(events, request=request, result=moved)
    except VersionConflictError as error:
        raise ConflictError("changed_meanwhile", "the commission changed at the same time; look again") from error
    return moved._replace(position=position)


def move_commissions(
    ledger: Ledger,
    name: str,
    *,
    merchant_id: str,
    order_ids: Sequence[str],
    now: datetime,
    cause: str,
    request: Request | None = None,
    **details: Any,
) -> ManyMoved:
    """Make the move with each of the commissions (no id twice) in one transaction, and return a result for each.

    Where it is not legal, or where there is no such commission, the result says so and the others are moved. Raises
    RetryableError.
    """
    act = Act(now, now, merchants.day_of(ledger, merchant_id, now), cause)
    names = {order_id: Stream.order(merchant_id, order_id) for order_id in order_ids}
    for _ in range(ATTEMPTS):
        streams = ledger.streams(list(names.values()))
        results: list[Moved | RejectedError] = []
        events: list[Recorded] = []
        for order_id, stream in names.items():
            try:
                moved, decided = _decide(order_id, stream, streams.get(stream, []), name, act, details)
            except RejectedError as error:
                results.append(error)
                continue
            results.append(moved)
            events += decided
        many = ManyMoved(tuple(results))
        try:
            position = ledger.record(events, request=request, result=many)
        except VersionConflictError:
            continue
        return many._replace(position=position)
    raise RetryableError("the commissions are being written by somebody else")


def _decide(
    order_id: str, stream: str, recorded: Sequence[Recorded], name: str, act: Act, details: dict[str, Any]
) -> tuple[Moved, list[Recorded]]:
    order = fold(each.event for each in recorded)
    opened = order.opened
    if opened is None:
        raise NotFoundError("commission", order_id)
    version = order.version
    events = move_by_hand(order, name, act, **details)
    for event in events:
        evolve(order, event)
    moved = Moved(opened.merchant_id, order_id, order.state, order.amount_minor, opened.currency)
    return moved, following(stream, version, events)
