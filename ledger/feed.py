"""The feed: each event of the log in the shape in which merchants read it (`schemas.api_feed`).

The one place where an event of ours becomes one of theirs. What is ours alone stays behind: hashes of addresses,
digests of items, versions of streams.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, LiteralString, NamedTuple, TypeAlias

from ledger import events, payout_feed
from ledger.events import Event, decode
from ledger.merchants import shown_terms
from ledger.postings import postings
from ledger.rates import value_of
from schemas import api_feed as feed
from schemas.api import Rate
from schemas.api_feed import FeedEntry
from schemas.errors import CorruptionError
from schemas.feed_types import matches
from schemas.money import Money

Told: TypeAlias = tuple[type[FeedEntry], str, Any]
"""The shape of the entry, its type, its data."""

_Tell: TypeAlias = Callable[[Any, str], Told]
_TellType: TypeAlias = Callable[[str, Any, str], Told]


class FeedRow(NamedTuple):
    """An event as it stands in the log; `state` is None where it is of a topic that nobody asked for."""

    position: int
    stream: str
    topic: str
    state: bytes | str | None


# The events of the merchant that is set, behind a position, in order. It is asked beside others' writes: what it does
# not show yet comes behind all that it shows, for the ids are in the order of the commits.
WINDOW: LiteralString = """
SELECT position, stream, topic, CASE WHEN topic = ANY(%(topics)s::text[]) THEN state::text END AS state
FROM ledger.events_of_merchant
WHERE position > %(after)s
ORDER BY position
LIMIT %(window)s"""
# What version 1 of the merchant's stream tells.
PROGRAM_AND_HEAD: LiteralString = """
SELECT
    coalesce((SELECT max(notification_id) FROM ledger.events), 0) AS head,
    (
        SELECT state ->> 'currency' FROM ledger.events_of_merchant
        WHERE stream = 'merchant/' || current_setting('ledger.merchant_id', true) AND topic = 'MerchantRegistered'
    ) AS currency"""


def entry_of(row: FeedRow, merchant_id: str, currency: str) -> FeedEntry:
    """Return the row as an entry; `currency` is the program's, in which fixed rates are.

    Raises CorruptionError for an event that is not the merchant's: nobody else may ever see it.
    """
    assert row.state is not None  # noqa: S101 - the caller leaves out what nobody asked for
    event = decode(row.topic, row.state)
    if event.merchant_id != merchant_id:
        raise CorruptionError(f"position {row.position} is not an event of {merchant_id!r}")
    tell, _ = _TELL[type(event)]
    shape, type_, data = tell(event, currency)
    return shape(
        position=row.position,
        type=type_,
        occurred_at=event.occurred_at,
        recorded_at=event.recorded_at,
        cause=event.cause,
        subject=subject_of(row.stream),
        data=data,
    )


def subject_of(stream: str) -> str:
    """Return what an event happened to: the stream's name as the merchant knows it (`order/1001`, `program`)."""
    kind, *named = stream.split("/", 2)
    if kind == "merchant":
        return "program"
    return named[1] if kind == "notice" else f"{kind}/{named[1]}"


def topics_of(types: Sequence[str]) -> list[str]:
    """Return the topics of which some events are of these types (or kinds: `partner.*`, `*`)."""
    return [
        topic
        for topic, possible in TYPES_OF_TOPIC.items()
        if any(matches(wanted, type_) for wanted in types for type_ in possible)
    ]


# --- shapes -----------------------------------------------------------------------------------------------------------


def _rate(rate: events.Rate, currency: str) -> Rate:
    return Rate(type=rate.type, value=value_of(rate, currency))


def _opened(event: events.MerchantRegistered, _: str) -> Told:
    data = feed.OpenedData(
        name=event.name, currency=event.currency, time_zone=event.time_zone, terms=shown_terms(event.terms)
    )
    return feed.ProgramOpened, "program.opened", data


def _terms_changed(event: events.TermsChanged, _: str) -> Told:
    return feed.ProgramChanged, "program.terms_changed", feed.TermsData(terms=shown_terms(event.terms))


_JOINED = {"approved": "partner.registered", "applied": "partner.applied", "invited": "partner.invited"}


def _registered(event: events.PartnerRegistered, currency: str) -> Told:
    rate = _rate(event.rate, currency)
    data = feed.RegisteredData(partner_id=event.partner_id, status=event.standing, rate=rate)
    return feed.PartnerAdded, _JOINED[event.standing], data


def _one(kind: type[Event], type_: str, tell: "_TellType") -> dict[type[Event], tuple["_Tell", tuple[str, ...]]]:
    """Return the line of an event that is always of one type."""
    return {kind: (lambda event, currency: tell(type_, event, currency), (type_,))}


def _each(types: Mapping[type[Event], str], tell: "_TellType") -> dict[type[Event], tuple["_Tell", tuple[str, ...]]]:
    """Return the lines of events each of which is always of one type."""
    lines: dict[type[Event], tuple[_Tell, tuple[str, ...]]] = {}
    for kind, type_ in types.items():
        lines |= _one(kind, type_, tell)
    return lines


def _standing(status: str) -> "_TellType":
    def tell(type_: str, event: Any, _: str) -> Told:
        reason = getattr(event, "reason", None) or None
        data = feed.PartnerData(partner_id=event.partner_id, status=status, reason=reason)
        return feed.PartnerMoved, type_, data

    return tell


def _details(event: events.PartnerDetailsChanged, _: str) -> Told:
    data = feed.DetailsData(partner_id=event.partner_id, fields=list(event.fields))
    return feed.PartnerDetails, "partner.details_changed", data


def _rate_changed(event: events.RateChanged, currency: str) -> Told:
    data = feed.RateData(partner_id=event.partner_id, rate=_rate(event.rate, currency))
    return feed.PartnerRate, "partner.rate_changed", data


def _coupon(type_: str, event: Any, currency: str) -> Told:
    rate = getattr(event, "rate", None)
    data = feed.CouponData(
        partner_id=event.partner_id, code=event.code, rate=None if rate is None else _rate(rate, currency)
    )
    return feed.CouponChanged, type_, data


def _reassigned(event: events.CustomerReassigned, _: str) -> Told:
    data = feed.CustomerData(customer_id=event.customer_id, partner_id=event.partner_id, reason=event.reason)
    return feed.CustomerChanged, "customer.reassigned", data


def _moved(event: Any) -> dict[str, Any]:
    """Return the members that everything has that is said of a commission."""
    posted = [
        feed.FeedPosting(account=posting.account, amount=Money.of(posting.amount_minor, posting.currency))
        for posting in postings(event)
    ]
    return {
        "order_id": event.order_id,
        "occurred_on": event.occurred_on,
        "partner_id": event.partner_id,
        "amount": Money.of(event.amount_minor, event.currency),
        "from_status": event.from_state,
        "to_status": event.to_state,
        "postings": posted,
    }


def _taken(event: events.OrderTaken) -> dict[str, Any]:
    amounts = {
        name: Money.of(getattr(event, f"{name}_minor"), event.currency)
        for name in ("total", "tax", "shipping", "discount")
    }
    told = {"coupon_code": event.coupon_code or None, "customer_id": event.customer_id, "assigned": event.assigned}
    return _moved(event) | amounts | told


def _earned(event: events.CommissionEarned, _: str) -> Told:
    data = feed.EarnedData(
        **_taken(event),
        # Fixed rates are booked in the currency of the order.
        rate=_rate(event.rate, event.currency),
        base=event.base,
        base_amount=Money.of(event.base_minor, event.currency),
        terms_version=event.terms_version,
        due_at=event.due_at,
    )
    return feed.CommissionEarned, "commission.earned", data


def _skipped(event: events.CommissionSkipped, _: str) -> Told:
    return feed.CommissionSkipped, "commission.skipped", feed.SkippedData(**_taken(event), reason=event.reason)


def _entered(event: events.CommissionEntered, _: str) -> Told:
    data = feed.EnteredData(**_moved(event), reason=event.reason, reference=event.reference)
    return feed.CommissionEntered, "commission.entered", data


def _corrected(event: events.CommissionCorrected, _: str) -> Told:
    data = feed.CorrectedData(
        **_moved(event),
        kind=event.kind,
        event_id=event.event_id,
        refund_id=event.refund_id,
        refund=Money.of(event.refund_minor, event.currency),
        revenue=Money.of(event.revenue_minor, event.currency),
        parked=event.parked,
    )
    return feed.CommissionCorrected, _type_of_correction(event), data


def _type_of_correction(event: events.CommissionCorrected) -> str:
    if isinstance(event, events.CommissionClawedBack):
        return "commission.clawback_returned" if event.amount_minor > 0 else "commission.clawed_back"
    if event.from_state != event.to_state:
        if event.to_state == "reversed":
            return "commission.reversed"
        if event.from_state == "reversed":
            return "commission.restored"
    return "commission.adjusted"


def _state(type_: str, event: Any, _: str) -> Told:
    data = feed.StateData(
        **_moved(event),
        reason=getattr(event, "reason", None) or None,
        reference=getattr(event, "reference", None),
        note=getattr(event, "note", None),
        payout_id=getattr(event, "payout_id", None),
        by_ban=getattr(event, "ban", None) is not None,
    )
    return feed.CommissionMoved, type_, data


def _clawback(type_: str, event: Any, currency: str) -> Told:
    _, _, data = _state(type_, event, currency)
    return feed.ClawbackMoved, type_, data


def _parked(event: events.RefundParked, _: str) -> Told:
    data = feed.ParkedData(
        order_id=event.order_id,
        occurred_on=event.occurred_on,
        kind=event.kind,
        event_id=event.event_id,
        refund_id=event.refund_id,
        refund=Money.of(event.refund_minor, event.currency) if event.currency else None,
    )
    return feed.OrderParked, f"order.{event.kind}_parked", data


def _parked_rejected(event: events.ParkedRefundRejected, _: str) -> Told:
    data = feed.ParkedRejectedData(
        order_id=event.order_id,
        occurred_on=event.occurred_on,
        kind=event.kind,
        event_id=event.event_id,
        refund_id=event.refund_id,
        code=event.code,
    )
    return feed.OrderParkedRejected, "order.parked_refund_rejected", data


def _dead_letter(type_: str, event: Any, _: str) -> Told:
    data = feed.DeadLetterData(
        dead_letter_id=event.dead_letter_id,
        code=getattr(event, "code", None),
        outcome=getattr(event, "outcome", None),
    )
    return feed.DeadLetterChanged, type_, data


def _webhook(event: events.WebhookChanged, _: str) -> Told:
    data = feed.WebhookData(webhook_id=event.webhook_id, reason=event.reason)
    return feed.WebhookTold, f"webhook.{event.change}", data


def _access(event: events.AccessChanged, _: str) -> Told:
    data = feed.AccessData(id=event.subject_id, role=event.role)
    return feed.AccessTold, event.change, data


# --- every event of ours ----------------------------------------------------------------------------------------------

_CORRECTIONS = ("commission.adjusted", "commission.reversed", "commission.restored")
_CLAWBACKS = ("commission.clawed_back", "commission.clawback_returned")
_PARKED = tuple(f"order.{kind}_parked" for kind in ("refund", "cancellation", "dispute", "dispute_won"))
_WEBHOOK = tuple(
    f"webhook.{change}" for change in ("created", "changed", "rotated", "tested", "enabled", "disabled", "deleted")
)
_ACCESS = tuple(
    f"{whose}.{change}"
    for whose, changes in (
        ("user", ("created", "invited", "password_set", "renamed", "role_changed", "disabled", "enabled")),
        ("partner", ("access_renewed", "password_set", "payout_details_changed", "payout_details_removed")),
        ("key", ("created", "rotated", "revoked")),
    )
    for change in changes
)

_TELL: Mapping[type[Event], tuple[_Tell, tuple[str, ...]]] = {
    events.MerchantRegistered: (_opened, ("program.opened",)),
    events.TermsChanged: (_terms_changed, ("program.terms_changed",)),
    events.PartnerRegistered: (_registered, tuple(_JOINED.values())),
    **_one(events.PartnerApproved, "partner.approved", _standing("approved")),
    **_one(events.PartnerRejected, "partner.rejected", _standing("rejected")),
    **_one(events.PartnerPaused, "partner.paused", _standing("paused")),
    **_one(events.PartnerReinstated, "partner.reinstated", _standing("approved")),
    **_one(events.PartnerBanned, "partner.banned", _standing("banned")),
    events.PartnerDetailsChanged: (_details, ("partner.details_changed",)),
    events.RateChanged: (_rate_changed, ("partner.rate_changed",)),
    **_one(events.CouponAssigned, "coupon.assigned", _coupon),
    **_one(events.CouponRateChanged, "coupon.rate_changed", _coupon),
    **_one(events.CouponRevoked, "coupon.revoked", _coupon),
    events.CustomerReassigned: (_reassigned, ("customer.reassigned",)),
    events.CommissionEarned: (_earned, ("commission.earned",)),
    events.CommissionSkipped: (_skipped, ("commission.skipped",)),
    events.CommissionEntered: (_entered, ("commission.entered",)),
    events.RefundParked: (_parked, _PARKED),
    events.CommissionAdjusted: (_corrected, _CORRECTIONS),
    events.CommissionClawedBack: (_corrected, _CLAWBACKS),
    events.ParkedRefundRejected: (_parked_rejected, ("order.parked_refund_rejected",)),
    **_one(events.CommissionApproved, "commission.approved", _state),
    **_one(events.CommissionHeld, "commission.held", _state),
    **_one(events.CommissionReleased, "commission.released", _state),
    **_one(events.CommissionRejected, "commission.rejected", _state),
    **_one(events.CommissionReopened, "commission.reopened", _state),
    **_one(events.CommissionReserved, "commission.reserved", _state),
    **_one(events.CommissionUnreserved, "commission.unreserved", _state),
    **_one(events.CommissionPaid, "commission.paid", _state),
    **_one(events.CommissionMarkedUnpaid, "commission.marked_unpaid", _state),
    **_each(payout_feed.CLAWBACK_TYPES, _clawback),
    **_each(payout_feed.RUN_TYPES, payout_feed.tell_run),
    **_each(payout_feed.PAYOUT_TYPES, payout_feed.tell_payout),
    **_one(events.DeadLetterOpened, "dead_letter.opened", _dead_letter),
    **_one(events.DeadLetterRetried, "dead_letter.retried", _dead_letter),
    **_one(events.DeadLetterDiscarded, "dead_letter.discarded", _dead_letter),
    events.WebhookChanged: (_webhook, _WEBHOOK),
    events.AccessChanged: (_access, _ACCESS),
}

TYPES_OF_TOPIC: Mapping[str, tuple[str, ...]] = {kind.__name__: types for kind, (_, types) in _TELL.items()}
"""The types that the events of each topic may have."""
