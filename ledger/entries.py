"""Commissions that somebody enters by hand: a bonus, a correction, an opening balance. They may be negative.

An entry is a commission like any other from then on (held, rejected, reopened, paid), in the stream that an order with
its id would have; storefronts have no say in it. It is money owed, never revenue, a conversion or a customer.
"""

from datetime import date, datetime
from typing import NamedTuple

from psycopg import Cursor
from psycopg.rows import DictRow

from ledger import merchants, partners
from ledger.application import ATTEMPTS, Ledger, following
from ledger.approvals import Moved
from ledger.events import CommissionEntered, Recorded, Stream
from ledger.partners import Partner
from ledger.requests import Request
from ledger.store import VersionConflictError
from schemas.errors import ConflictError, NotFoundError, RejectedError, RetryableError
from schemas.money import exponent


class Entry(NamedTuple):
    """What is to be entered. `amount_minor` may be negative, `reference` is the merchant's own (an invoice, a ticket).

    `entry_id` comes from what makes the entry happen once (`ledger.hashes.entry_id`).
    """

    merchant_id: str
    entry_id: str
    partner_id: str
    amount_minor: int
    currency: str
    reason: str
    reference: str | None = None


def decide(
    entry: Entry, standing: str, *, occurred_at: datetime, occurred_on: date, now: datetime, cause: str
) -> CommissionEntered:
    """Decide an entry for a partner in this standing; pure.

    It is payable at once: whoever enters it has decided. Raises RejectedError `zero_amount`, `in_the_future`,
    `partner_not_approved`, `partner_banned` (from whom money may only be taken back).
    """
    if entry.amount_minor == 0:
        raise RejectedError.at("$.amount", "zero_amount", "must not be zero")
    if occurred_at > now:
        raise RejectedError.at("$.occurred_at", "in_the_future", "must not be later than now: it is payable at once")
    if standing not in ("approved", "paused", "banned"):
        message = f"the partner is {standing}; only who was approved once can be owed anything"
        raise RejectedError.at("$.partner_id", "partner_not_approved", message)
    if standing == "banned" and entry.amount_minor > 0:
        message = "the partner is banned; only a negative amount can be entered"
        raise RejectedError.at("$.partner_id", "partner_banned", message)
    return CommissionEntered(
        merchant_id=entry.merchant_id,
        order_id=entry.entry_id,
        occurred_at=occurred_at,
        occurred_on=occurred_on,
        recorded_at=now,
        cause=cause,
        partner_id=entry.partner_id,
        currency=entry.currency,
        amount_minor=entry.amount_minor,
        to_state="approved",
        reason=entry.reason,
        reference=entry.reference,
    )


def enter(
    ledger: Ledger,
    entry: Entry,
    *,
    occurred_at: datetime | None = None,
    now: datetime,
    cause: str,
    request: Request | None = None,
) -> Moved:
    """Enter a commission by hand, as of `occurred_at` (default `now`), and return it.

    Raises RejectedError as `decide`, `unknown_partner`, `unknown_currency`; ConflictError `entry_exists` (the same
    again), `conflicting_duplicate` (something else has this id).
    """
    exponent(entry.currency)
    at = occurred_at or now
    day = merchants.day_of(ledger, entry.merchant_id, at)
    stream = Stream.order(entry.merchant_id, entry.entry_id)
    entered = Moved(entry.merchant_id, entry.entry_id, "approved", entry.amount_minor, entry.currency)
    for _ in range(ATTEMPTS):
        partner = _partner(ledger, entry)
        _check_new(entry, ledger.stream(stream))
        event = decide(entry, partner.standing, occurred_at=at, occurred_on=day, now=now, cause=cause)

        def after(curs: Cursor[DictRow], _: int | None, partner: Partner = partner) -> None:
            _check_partner(curs, partner)

        try:
            position = ledger.record(following(stream, 0, [event]), after=after, request=request, result=entered)
        except VersionConflictError:
            continue
        return entered._replace(position=position)
    raise RetryableError(f"partner {entry.partner_id} is being changed by somebody else")


def _partner(ledger: Ledger, entry: Entry) -> Partner:
    try:
        return partners.find(ledger, entry.merchant_id, entry.partner_id)
    except NotFoundError:
        message = f"there is no partner {entry.partner_id!r}"
        raise RejectedError.at("$.partner_id", "unknown_partner", message) from None


def _check_partner(curs: Cursor[DictRow], partner: Partner) -> None:
    # Under the lock of the log: nobody is banned between the decision and its commit.
    curs.execute(
        "SELECT max(originator_version) AS version FROM ledger.events WHERE originator_id = %s",
        (Stream.partner(partner.merchant_id, partner.partner_id),),
    )
    row = curs.fetchone()
    if row is None or row["version"] != partner.version:
        raise VersionConflictError("the partner changed while the entry was decided")


def _check_new(entry: Entry, recorded: list[Recorded]) -> None:
    if not recorded:
        return
    first = recorded[0].event
    known = first if isinstance(first, CommissionEntered) else None
    if known and all(getattr(known, name) == getattr(entry, name) for name in Entry._fields if name != "entry_id"):
        raise ConflictError("entry_exists", f"this was entered before, as {entry.entry_id}")
    raise ConflictError("conflicting_duplicate", f"{entry.entry_id} is on the books with other content")
