"""Partners, their standing, their coupon codes and their rates."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Cursor
from psycopg.rows import DictRow

from ledger import bans
from ledger.application import Ledger, following
from ledger.directory import STANDING_AFTER
from ledger.events import (
    CouponAssigned,
    CouponRateChanged,
    CouponRevoked,
    Event,
    PartnerApproved,
    PartnerBanned,
    PartnerDetailsChanged,
    PartnerPaused,
    PartnerRegistered,
    PartnerReinstated,
    PartnerRejected,
    Rate,
    RateChanged,
    Recorded,
    Stream,
)
from ledger.hashes import email_hash, partner_id
from ledger.requests import Request
from ledger.store import Beside, VersionConflictError
from ledger.tags import folded_tags, write_tags
from schemas.coupons import canonical_coupon
from schemas.errors import ConflictError, IllegalMoveError, NotFoundError, RejectedError
from schemas.money import MINOR_MAX

BPS_MAX = 10_000

LEGAL_MOVES = {
    "invited": ("approve", "reject", "ban"),
    "applied": ("approve", "reject", "ban"),
    "approved": ("pause", "ban"),
    "paused": ("reinstate", "ban"),
    "banned": ("reinstate",),
    "rejected": ("approve", "ban"),
}
"""What may be done with a partner in each standing."""

# What each move is in the log, and whether it comes with a reason.
_MOVES: dict[str, tuple[type[Event], bool]] = {
    "approve": (PartnerApproved, False),
    "reject": (PartnerRejected, True),
    "pause": (PartnerPaused, True),
    "reinstate": (PartnerReinstated, False),
    "ban": (PartnerBanned, True),
}


class Partner(NamedTuple):
    """A partner as its stream tells it (no name, no address).

    `position` is that of the last event written, None: none was.
    """

    merchant_id: str
    partner_id: str
    standing: str
    rate: Rate
    email_hash: str
    version: int
    position: int | None = None


class CouponCode(NamedTuple):
    """A coupon code in a partner's hands, as its stream tells it; `rate` None: the partner's own.

    `position` is that of the last event written, None: none was.
    """

    code: str
    partner_id: str
    rate: Rate | None
    assigned_at: datetime
    position: int | None = None


def register(
    ledger: Ledger,
    *,
    merchant_id: str,
    name: str,
    email: str,
    rate: Rate,
    coupon_code: str | None = None,
    standing: str = "approved",
    tags: Sequence[str] = (),
    now: datetime,
    cause: str,
    request: Request | None = None,
) -> Partner:
    """Register a partner (standing `approved`, `applied` or `invited`), with its first coupon code if one is given.

    Returns the partner. Raises NotFoundError (merchant), ConflictError `partner_exists` (same e-mail), `coupon_taken`,
    RejectedError `bad_rate`, `bad_tags`.
    """
    _check_merchant(ledger, merchant_id)
    _check_rate(rate)
    folded = folded_tags(tags)
    hashed, id_ = email_hash(ledger.hash_key, email), partner_id(ledger.hash_key, merchant_id, email)
    stream = Stream.partner(merchant_id, id_)
    first = PartnerRegistered(
        merchant_id=merchant_id,
        partner_id=id_,
        occurred_at=now,
        recorded_at=now,
        cause=cause,
        standing=standing,
        rate=rate,
        email_hash=hashed,
    )
    events = following(stream, 0, [first])
    if coupon_code is not None:
        events += _assignment(ledger, merchant_id, id_, coupon_code, now, cause)[1]
    partner = Partner(merchant_id, id_, standing, rate, hashed, 1)

    def beside(curs: Cursor[DictRow]) -> None:
        # Waits for another registration of the same partner, which wins; a row that it left behind is not overwritten.
        curs.execute(
            "INSERT INTO people.partners (merchant_id, partner_id, name, email) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (merchant_id, partner_id) DO NOTHING",
            (merchant_id, id_, name, email),
        )
        write_tags(curs, merchant_id, id_, folded)

    try:
        position = ledger.record(events, beside=beside, request=request, result=partner)
    except VersionConflictError as error:
        if ledger.stream(stream):
            message = f"partner {id_} has this e-mail address already"
            raise ConflictError.at("$.email", "partner_exists", message) from error
        raise _taken(canonical_coupon(str(coupon_code))) from error
    return partner._replace(position=position)


def find(ledger: Ledger, merchant_id: str, partner_id: str) -> Partner:
    """Return the partner. Raises NotFoundError, also for another merchant's."""
    return _fold(merchant_id, partner_id, ledger.stream(Stream.partner(merchant_id, partner_id)))


def move(
    ledger: Ledger,
    move: str,
    *,
    merchant_id: str,
    partner_id: str,
    reason: str = "",
    now: datetime,
    cause: str,
    request: Request | None = None,
) -> Partner:
    """Approve, reject, pause, reinstate or ban the partner, from `now` on, and return it.

    A ban takes the commissions that are open, its end gives them back: `ledger.bans` does both, in its own time. Raises
    NotFoundError, IllegalMoveError with the standing and what is legal in it, ConflictError `changed_meanwhile`.
    """
    partner = find(ledger, merchant_id, partner_id)
    if move not in LEGAL_MOVES[partner.standing]:
        raise IllegalMoveError(move, partner.standing, LEGAL_MOVES[partner.standing])
    kind, with_reason = _MOVES[move]
    standing = STANDING_AFTER[kind]
    details: dict[str, Any] = {"reason": reason} if with_reason else {}
    event = kind(**_common(partner, now, cause), **details)
    sweeping = "banned" in (partner.standing, standing)

    def beside(curs: Cursor[DictRow]) -> None:
        if sweeping:
            bans.begin_sweep(curs, merchant_id, partner_id, partner.version + 1)

    return _record(ledger, partner._replace(standing=standing), [event], request, beside=beside)


def approve(ledger: Ledger, **details: Any) -> Partner:
    """Let who applied (or was invited, and accepted) earn from now on; arguments and errors of `move`."""
    return move(ledger, "approve", **details)


def reject(ledger: Ledger, **details: Any) -> Partner:
    """Turn the application down; arguments and errors of `move`."""
    return move(ledger, "reject", **details)


def pause(ledger: Ledger, **details: Any) -> Partner:
    """Let new orders not earn; arguments and errors of `move`."""
    return move(ledger, "pause", **details)


def reinstate(ledger: Ledger, **details: Any) -> Partner:
    """Let a paused or banned partner earn again; arguments and errors of `move`."""
    return move(ledger, "reinstate", **details)


def ban(ledger: Ledger, **details: Any) -> Partner:
    """Shut the partner out; arguments and errors of `move`."""
    return move(ledger, "ban", **details)


def change(
    ledger: Ledger,
    *,
    merchant_id: str,
    partner_id: str,
    name: str | None = None,
    email: str | None = None,
    rate: Rate | None = None,
    rate_from: datetime | None = None,
    tags: Sequence[str] | None = None,
    now: datetime,
    cause: str,
    request: Request | None = None,
) -> Partner:
    """Change what is given and return the partner; a new rate is for orders from `rate_from` (default `now`) on.

    `tags` are all tags from now on. Raises NotFoundError, RejectedError `bad_rate`, `bad_tags`, `rate_in_the_past`
    (orders on the books depend on that time), ConflictError `changed_meanwhile`.
    """
    partner = find(ledger, merchant_id, partner_id)
    events: list[Event] = []
    folded = None if tags is None else folded_tags(tags)
    told = (("name", name), ("email", email), ("tags", tags))
    fields = tuple(field for field, value in told if value is not None)
    if fields:
        hashed = email_hash(ledger.hash_key, email) if email is not None else partner.email_hash
        events.append(PartnerDetailsChanged(**_common(partner, now, cause), email_hash=hashed, fields=fields))
        partner = partner._replace(email_hash=hashed)
    if rate is not None:
        _check_rate(rate)
        events.append(RateChanged(**_common(partner, now, cause) | {"occurred_at": rate_from or now}, rate=rate))
        partner = partner._replace(rate=rate)

    def beside(curs: Cursor[DictRow]) -> None:
        curs.execute(
            "UPDATE people.partners SET name = coalesce(%s, name), email = coalesce(%s, email)"
            " WHERE merchant_id = %s AND partner_id = %s",
            (name, email, merchant_id, partner_id),
        )
        if folded is not None:
            write_tags(curs, merchant_id, partner_id, folded)

    def after(curs: Cursor[DictRow], _: int | None) -> None:
        if rate is not None and rate_from is not None and rate_from < now:
            _check_rate_from(curs, partner, rate_from)

    return _record(ledger, partner, events, request, beside=beside, after=after)


def assign_coupon(
    ledger: Ledger,
    *,
    merchant_id: str,
    partner_id: str,
    code: str,
    rate: Rate | None = None,
    from_: datetime | None = None,
    now: datetime,
    cause: str,
    request: Request | None = None,
) -> CouponCode:
    """Give the partner one more coupon code, with a rate of its own if one is given, and return the code.

    It is the partner's from `from_` on; left out: from `now` on, or for ever back where nobody had it before. A code
    that is the partner's already changes nothing. Raises NotFoundError, RejectedError `bad_rate`, ConflictError
    `coupon_taken`, `coupon_held_then` (by somebody, at that time).
    """
    find(ledger, merchant_id, partner_id)
    if rate is not None:
        _check_rate(rate)
    recorded = ledger.stream(Stream.coupon(merchant_id, canonical_coupon(code)))
    held = _code_of(recorded)
    if held is not None and held.partner_id == partner_id:
        ledger.record([], request=request, result=held)
        return held
    if held is not None:
        raise _taken(code, "$.code")
    assigned, events = _assignment(ledger, merchant_id, partner_id, code, now, cause, rate=rate, from_=from_)
    try:
        position = ledger.record(events, request=request, result=assigned)
    except VersionConflictError as error:
        raise _taken(code, "$.code") from error
    return assigned._replace(position=position)


def change_coupon(
    ledger: Ledger,
    *,
    merchant_id: str,
    partner_id: str,
    code: str,
    rate: Rate | None,
    rate_from: datetime | None = None,
    now: datetime,
    cause: str,
    request: Request | None = None,
) -> CouponCode:
    """Give orders with the code a rate of their own from `rate_from` (default `now`) on; None: the partner's again.

    Returns the code. Raises NotFoundError where the partner does not have it, RejectedError `bad_rate`,
    `rate_in_the_past` (orders of the partner on the books depend on that time), ConflictError `changed_meanwhile`.
    """
    partner, held, stream, version = _held(ledger, merchant_id, partner_id, code)
    if rate is not None:
        _check_rate(rate)
    common = _common(partner, now, cause) | {"occurred_at": rate_from or now}
    event = CouponRateChanged(**common, code=held.code, rate=rate)
    held = held._replace(rate=rate)

    def after(curs: Cursor[DictRow], _: int | None) -> None:
        if rate_from is not None and rate_from < now:
            _check_rate_from(curs, partner, rate_from)

    try:
        position = ledger.record(following(stream, version, [event]), after=after, request=request, result=held)
    except VersionConflictError as error:
        raise _changed("coupon code") from error
    return held._replace(position=position)


def revoke_coupon(
    ledger: Ledger,
    *,
    merchant_id: str,
    partner_id: str,
    code: str,
    now: datetime,
    cause: str,
    request: Request | None = None,
) -> Partner:
    """Take the code from the partner from `now` on, and return the partner; orders placed before stay the partner's.

    Raises NotFoundError where the partner does not have the code, ConflictError `changed_meanwhile`.
    """
    partner, held, stream, version = _held(ledger, merchant_id, partner_id, code)
    # Never before it was given: a code that is to be the partner's from a later day on never will be.
    at = max(now, held.assigned_at)
    event = CouponRevoked(**_common(partner, now, cause) | {"occurred_at": at}, code=held.code)
    try:
        position = ledger.record(following(stream, version, [event]), request=request, result=partner)
    except VersionConflictError as error:
        raise _changed("coupon code") from error
    return partner._replace(position=position)


def _held(ledger: Ledger, merchant_id: str, partner_id: str, code: str) -> tuple[Partner, CouponCode, str, int]:
    """Return the partner, its code, and the code's stream with its version."""
    partner = find(ledger, merchant_id, partner_id)
    stream = Stream.coupon(merchant_id, canonical_coupon(code))
    recorded = ledger.stream(stream)
    held = _code_of(recorded)
    if held is None or held.partner_id != partner_id:
        raise NotFoundError("coupon code", canonical_coupon(code))
    return partner, held, stream, len(recorded)


def _record(
    ledger: Ledger,
    partner: Partner,
    events: Sequence[Event],
    request: Request | None,
    *,
    beside: Beside | None = None,
    after: Any = None,
) -> Partner:
    stream = Stream.partner(partner.merchant_id, partner.partner_id)
    placed = following(stream, partner.version, events)
    partner = partner._replace(version=partner.version + len(events))
    try:
        position = ledger.record(placed, beside=beside, after=after, request=request, result=partner)
    except VersionConflictError as error:
        raise _changed("partner") from error
    return partner._replace(position=position)


def _common(partner: Partner, now: datetime, cause: str) -> dict[str, Any]:
    return {
        "merchant_id": partner.merchant_id,
        "partner_id": partner.partner_id,
        "occurred_at": now,
        "recorded_at": now,
        "cause": cause,
    }


def _assignment(
    ledger: Ledger,
    merchant_id: str,
    partner_id: str,
    code: str,
    now: datetime,
    cause: str,
    *,
    rate: Rate | None = None,
    from_: datetime | None = None,
) -> tuple[CouponCode, list[Recorded]]:
    code = canonical_coupon(code)
    stream = Stream.coupon(merchant_id, code)
    recorded = ledger.stream(stream)
    if _code_of(recorded) is not None:
        raise _taken(code)
    last = recorded[-1].event.occurred_at if recorded else None
    at = from_ or (max(now, last) if last else now)
    if last is not None and at < last:
        message = f"the code was somebody's until {last.isoformat()}; it can be given from then on"
        raise ConflictError.at("$.from", "coupon_held_then", message)
    event = CouponAssigned(
        merchant_id=merchant_id, partner_id=partner_id, occurred_at=at, recorded_at=now, cause=cause, code=code,
        rate=rate, dated=from_ is not None,
    )  # fmt: skip
    return CouponCode(code, partner_id, rate, at), following(stream, len(recorded), [event])


def holder(ledger: Ledger, merchant_id: str, code: str) -> str | None:
    """Return the id of the partner whose coupon code it is now, None where it is nobody's."""
    held = _code_of(ledger.stream(Stream.coupon(merchant_id, canonical_coupon(code))))
    return held.partner_id if held else None


def _code_of(recorded: Sequence[Recorded]) -> CouponCode | None:
    held: CouponCode | None = None
    for _, _, event in recorded:
        if isinstance(event, CouponAssigned):
            held = CouponCode(event.code, event.partner_id, event.rate, event.occurred_at)
        elif isinstance(event, CouponRateChanged) and held is not None:
            held = held._replace(rate=event.rate)
        elif isinstance(event, CouponRevoked):
            held = None
    return held


def _changed(what: str) -> ConflictError:
    return ConflictError("changed_meanwhile", f"somebody else changed the {what} at the same time")


def _taken(code: str, path: str = "$.coupon_code") -> RejectedError:
    return ConflictError.at(path, "coupon_taken", f"the coupon code {code!r} is taken")


def _check_merchant(ledger: Ledger, merchant_id: str) -> None:
    if not ledger.stream(Stream.merchant(merchant_id)):
        raise NotFoundError("merchant", merchant_id)


def _check_rate(rate: Rate) -> None:
    in_range = 0 <= rate.bps <= BPS_MAX if rate.type == "percentage" else 0 <= rate.amount_minor <= MINOR_MAX
    if rate.type not in ("percentage", "fixed") or not in_range:
        message = "a percentage is from 0 to 100, a fixed amount is not negative"
        raise RejectedError.at("$.rate.value", "bad_rate", message)


def _check_rate_from(curs: Cursor[DictRow], partner: Partner, rate_from: datetime) -> None:
    # Under the lock of the log: an order that is being booked now is either seen here or decides again with the new
    # rate.
    curs.execute(
        "SELECT latest_occurred_at FROM ledger.partner_orders WHERE merchant_id = %s AND partner_id = %s",
        (partner.merchant_id, partner.partner_id),
    )
    row = curs.fetchone()
    if row and row["latest_occurred_at"] >= rate_from:
        latest = row["latest_occurred_at"].isoformat()
        message = f"orders up to {latest} are on the books at the rate that was in force; a rate can change after that"
        raise RejectedError.at("$.rate_from", "rate_in_the_past", message)


def _fold(merchant_id: str, partner_id: str, recorded: Sequence[Recorded]) -> Partner:
    if not recorded:
        raise NotFoundError("partner", partner_id)
    first = recorded[0].event
    assert isinstance(first, PartnerRegistered)  # noqa: S101 - what version 1 of this stream is
    partner = Partner(merchant_id, partner_id, first.standing, first.rate, first.email_hash, len(recorded))
    for _, _, event in recorded:
        if isinstance(event, RateChanged):
            partner = partner._replace(rate=event.rate)
        elif isinstance(event, PartnerDetailsChanged):
            partner = partner._replace(email_hash=event.email_hash)
        elif type(event) in STANDING_AFTER:
            partner = partner._replace(standing=STANDING_AFTER[type(event)])
    return partner
