"""Customers: to which partner their orders belong when no partner's code says so."""

from datetime import datetime
from typing import NamedTuple

from ledger import partners
from ledger.application import Ledger, following
from ledger.events import CustomerReassigned, Stream
from ledger.requests import Request
from ledger.store import VersionConflictError
from schemas.errors import ConflictError


class Assignment(NamedTuple):
    """A customer and the partner to whom the customer was assigned.

    `position` is that of the event, None where none was written.
    """

    merchant_id: str
    customer_id: str
    partner_id: str
    assigned_at: datetime
    reason: str
    position: int | None = None


def reassign(
    ledger: Ledger,
    *,
    merchant_id: str,
    customer_id: str,
    partner_id: str,
    reason: str,
    now: datetime,
    cause: str,
    request: Request | None = None,
) -> Assignment:
    """Assign the customer to the partner from `now` on and return the assignment; what was earned before stays.

    Orders that come with a partner's code earn for that partner all the same. A customer who is the partner's already
    changes nothing. Raises NotFoundError (partner), ConflictError `partner_not_approved`, `changed_meanwhile`.
    """
    partner = partners.find(ledger, merchant_id, partner_id)
    if partner.standing != "approved":
        message = f"the partner is {partner.standing}; only an approved one can be given a customer"
        raise ConflictError.at("$.partner_id", "partner_not_approved", message)
    stream = Stream.customer(merchant_id, customer_id)
    recorded = ledger.stream(stream)
    latest = recorded[-1].event if recorded else None
    if isinstance(latest, CustomerReassigned) and latest.partner_id == partner_id:
        assignment = Assignment(merchant_id, customer_id, partner_id, latest.occurred_at, latest.reason)
        ledger.record([], request=request, result=assignment)
        return assignment
    # Never before the assignment that it follows, whose clock may have been ahead of ours.
    at = max(now, latest.occurred_at) if latest else now
    event = CustomerReassigned(
        merchant_id=merchant_id, occurred_at=at, recorded_at=now, cause=cause, customer_id=customer_id,
        partner_id=partner_id, reason=reason,
    )  # fmt: skip
    assignment = Assignment(merchant_id, customer_id, partner_id, at, reason)
    try:
        position = ledger.record(following(stream, len(recorded), [event]), request=request, result=assignment)
    except VersionConflictError as error:
        raise ConflictError("changed_meanwhile", "somebody else assigned the customer at the same time") from error
    return assignment._replace(position=position)
