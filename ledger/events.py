"""Every fact that the ledger keeps for ever: frozen structs, in the past tense.

An event's topic is its class name (never its module path); its fields are the JSON that stands in the log. A shape that
was stored once is never edited: `tests/golden/events/` holds an example of each, and a new shape is a new class with
its own topic. Personal data is never in an event (DESIGN section 7).

Events of an order's stream say where money stood before and after (`from_state`, `to_state`) and how much moved
(`amount_minor`), so that `ledger.postings` needs nothing but the event itself, and so does anybody who reads the feed.
"""

from datetime import date, datetime
from typing import Any, NamedTuple

import msgspec

from ledger.terms import Terms


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What every event carries: whose books, when it took effect, when it was recorded, and what caused it.

    `occurred_at` is when it took effect (the storefront's clock for orders), `recorded_at` when we learned of it; both
    UTC. `cause` is the message (`<cluster>/orders/3@1042`), the request, the timer or the person that made it happen.
    """

    merchant_id: str
    occurred_at: datetime
    recorded_at: datetime
    cause: str


class Recorded(NamedTuple):
    """An event and its place: the stream's name and the version that it takes there (from 1)."""

    originator_id: str
    originator_version: int
    event: Event


# --- the merchant and the program's terms -----------------------------------------------------------------------------


class MerchantRegistered(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A merchant opened its program, with its currency, its time zone (IANA name) and its first terms."""

    name: str
    currency: str
    time_zone: str
    terms: Terms


class TermsChanged(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The program has new terms, in force from `occurred_at` on."""

    terms: Terms


# --- partners and their coupon codes ----------------------------------------------------------------------------------


class Rate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a partner earns of an order.

    `percentage` is in basis points, `fixed` in minor units of the program's currency.
    """

    type: str
    bps: int = 0
    amount_minor: int = 0


class PartnerEvent(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An event of one partner."""

    partner_id: str


class PartnerRegistered(PartnerEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A partner joined, applied or was invited; `standing` is `approved`, `applied` or `invited`.

    `email_hash` is keyed: it recognises self-referral, and no person.
    """

    standing: str
    rate: Rate
    email_hash: str


class PartnerApproved(PartnerEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The partner earns from now on."""


class PartnerRejected(PartnerEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The application was turned down."""

    reason: str


class PartnerPaused(PartnerEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """New orders do not earn until the partner is reinstated."""

    reason: str


class PartnerReinstated(PartnerEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A paused or banned partner earns again."""


class PartnerBanned(PartnerEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The partner was shut out."""

    reason: str


class PartnerDetailsChanged(PartnerEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Name or e-mail changed; they are kept apart from the events (schema `people`), the event only says so."""

    email_hash: str
    fields: tuple[str, ...]


class RateChanged(PartnerEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Orders placed from `occurred_at` on earn this rate."""

    rate: Rate


class CouponAssigned(PartnerEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Orders placed with the code from `occurred_at` on are the partner's, at this rate (None: the partner's own).

    The first assignment of a code reaches back for ever, so that imported history earns, unless it is `dated`.
    """

    code: str
    rate: Rate | None = None
    dated: bool = False


class CouponRateChanged(PartnerEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Orders placed with the code from `occurred_at` on earn this rate (None: the partner's own)."""

    code: str
    rate: Rate | None = None


class CouponRevoked(PartnerEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The code is nobody's from `occurred_at` on."""

    code: str


# --- customers --------------------------------------------------------------------------------------------------------


class CustomerReassigned(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Orders of the customer from `occurred_at` on earn for this partner, unless they come with a partner's code."""

    customer_id: str
    partner_id: str
    reason: str


# --- orders and their commissions -------------------------------------------------------------------------------------


class OrderFact(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An event of one order's stream. `occurred_on` is the day of `occurred_at` in the program's time zone."""

    order_id: str
    occurred_on: date


class OrderTaken(OrderFact, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What the storefront told of an order with a partner's code: enough to tell a repetition from a contradiction."""

    partner_id: str
    coupon_code: str
    currency: str
    total_minor: int
    tax_minor: int = 0
    shipping_minor: int = 0
    discount_minor: int = 0
    customer_id: str | None = None
    items_digest: str | None = None
    amount_minor: int = 0
    from_state: str | None = None
    to_state: str
    # No partner's code decided whose the order is: its customer is assigned to the partner. The code is as it was told.
    assigned: bool = False


class CommissionEarned(OrderTaken, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The partner earned `amount_minor`, by this rate, on this base, under this version of the terms."""

    rate: Rate
    base: str
    base_minor: int
    fixed_on_partial_refund: str
    terms_version: int
    due_at: datetime | None = None


class CommissionSkipped(OrderTaken, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A partner's code, but nothing was earned, and why."""

    reason: str


class CommissionEntered(OrderFact, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Somebody entered `amount_minor` (which may be negative) by hand, beside all orders; `order_id` is the entry's id.

    `reference` is the merchant's own (an invoice, a ticket); with a `payout_id` it is what came back of that payout.
    """

    partner_id: str
    currency: str
    amount_minor: int
    from_state: str | None = None
    to_state: str
    reason: str
    reference: str | None = None
    payout_id: str | None = None


class RefundParked(OrderFact, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A refund, cancellation or dispute of an order that is not on the books (yet).

    `kind` is `refund`, `cancellation`, `dispute` or `dispute_won`; refunds have an id, a currency and an amount.
    """

    kind: str
    event_id: str
    refund_id: str | None = None
    currency: str | None = None
    refund_minor: int = 0


class CommissionMoved(OrderFact, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """`amount_minor` of the commission went from one state to another."""

    partner_id: str
    currency: str
    amount_minor: int
    from_state: str
    to_state: str


class CommissionCorrected(CommissionMoved, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A refund, cancellation, dispute or won dispute changed what the order is worth.

    `amount_minor` is the change of what the partner is owed, `revenue_minor` that of the order's remaining total (both
    negative for a refund), `refund_minor` what the storefront said it gave back, `parked` whether it had come before
    its order.
    """

    kind: str
    event_id: str
    refund_id: str | None = None
    refund_minor: int = 0
    revenue_minor: int
    parked: bool = False


class CommissionAdjusted(CommissionCorrected, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The commission itself changed, because it was not on its way out yet."""


class CommissionClawedBack(CommissionCorrected, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The commission is (being) paid, so the change stands beside it as an entry of its own, to be netted off."""


class ParkedRefundRejected(OrderFact, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Its order came, and showed that the parked refund can never be right.

    `parked_cause` is the message it came in.
    """

    kind: str
    event_id: str
    refund_id: str | None = None
    code: str
    parked_cause: str


class CommissionApproved(CommissionMoved, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The commission is payable."""


class CommissionHeld(CommissionMoved, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The commission waits for somebody's decision."""

    reason: str


class CommissionReleased(CommissionMoved, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The commission went back to where it was before it was held."""


class CommissionRejected(CommissionMoved, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The commission will not be paid.

    `ban`: the partner's ban that took it (stream@version), whose end gives it back; None: somebody refused it.
    """

    reason: str
    ban: str | None = None


class CommissionReopened(CommissionMoved, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A rejection was taken back."""

    reason: str


class CommissionReserved(CommissionMoved, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The commission is part of a payout."""

    payout_id: str


class CommissionUnreserved(CommissionMoved, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Its payout failed or was cancelled: the commission is payable again."""

    payout_id: str


class CommissionPaid(CommissionMoved, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The money is out, by a payout or by hand."""

    reference: str
    payout_id: str | None = None
    note: str | None = None


class CommissionMarkedUnpaid(CommissionMoved, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The money came back, or never went: it is owed again. With a `payout_id` it is that payout's that came back."""

    reason: str
    note: str | None = None
    payout_id: str | None = None


# --- notices: what no decision about an order reads, so that the feed tells of it all the same ------------------------


class DeadLetterOpened(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A message was refused for good. What it said is kept with the letter: it may tell of people."""

    dead_letter_id: str
    code: str


class DeadLetterRetried(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The message was taken in after all, with this outcome."""

    dead_letter_id: str
    outcome: str


class DeadLetterDiscarded(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Somebody put the letter away."""

    dead_letter_id: str


class WebhookChanged(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Something was done with a webhook; its address is kept apart, for it may hold a secret.

    `change`: created, changed, rotated, tested, enabled, disabled or deleted.
    """

    webhook_id: str
    change: str
    reason: str | None = None


class AccessChanged(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A user or an API key was changed; `change` as in `access.changes`: `user.created`, `key.revoked`."""

    change: str
    subject_id: str
    role: str | None = None


EVENT_TYPES: dict[str, type[Event]] = {
    cls.__name__: cls
    for cls in (
        MerchantRegistered,
        TermsChanged,
        PartnerRegistered,
        PartnerApproved,
        PartnerRejected,
        PartnerPaused,
        PartnerReinstated,
        PartnerBanned,
        PartnerDetailsChanged,
        RateChanged,
        CouponAssigned,
        CouponRateChanged,
        CouponRevoked,
        CustomerReassigned,
        CommissionEarned,
        CommissionSkipped,
        CommissionEntered,
        RefundParked,
        CommissionAdjusted,
        CommissionClawedBack,
        ParkedRefundRejected,
        CommissionApproved,
        CommissionHeld,
        CommissionReleased,
        CommissionRejected,
        CommissionReopened,
        CommissionReserved,
        CommissionUnreserved,
        CommissionPaid,
        CommissionMarkedUnpaid,
        DeadLetterOpened,
        DeadLetterRetried,
        DeadLetterDiscarded,
        WebhookChanged,
        AccessChanged,
    )
}

_DECODERS: dict[str, Any] = {topic: msgspec.json.Decoder(cls) for topic, cls in EVENT_TYPES.items()}


def register(*kinds: type[Event]) -> None:
    """Let events of these shapes, of another file, be stored and read."""
    EVENT_TYPES.update({kind.__name__: kind for kind in kinds})
    _DECODERS.update({kind.__name__: msgspec.json.Decoder(kind) for kind in kinds})


encode = msgspec.json.Encoder().encode
"""Return the event as the JSON bytes that stand in the log."""


def topic_of(event: Event) -> str:
    """Return the name under which events of this shape are stored."""
    return type(event).__name__


def decode(topic: str, state: bytes | str) -> Event:
    """Return the event that was stored under the topic.

    Raises KeyError and msgspec.ValidationError for what was never written by us.
    """
    return _DECODERS[topic].decode(state)  # type: ignore[no-any-return]


class Stream:
    """The names of streams; a stream's first event decides what its name promises to be unique (DESIGN section 5)."""

    @staticmethod
    def merchant(merchant_id: str) -> str:
        """Return the stream of the merchant and its terms."""
        return f"merchant/{merchant_id}"

    @staticmethod
    def partner(merchant_id: str, partner_id: str) -> str:
        """Return the stream of one partner."""
        return f"partner/{merchant_id}/{partner_id}"

    @staticmethod
    def coupon(merchant_id: str, code: str) -> str:
        """Return the stream of one coupon code, normalised by the caller."""
        return f"coupon/{merchant_id}/{code}"

    @staticmethod
    def customer(merchant_id: str, customer_id: str) -> str:
        """Return the stream of one customer: whose the customer is."""
        return f"customer/{merchant_id}/{customer_id}"

    @staticmethod
    def order(merchant_id: str, order_id: str) -> str:
        """Return the stream of one order; its first event is the idempotency key of the commission."""
        return f"order/{merchant_id}/{order_id}"

    @staticmethod
    def notice(merchant_id: str, kind: str, key: str) -> str:
        """Return the stream of something that no decision about an order reads; the directory leaves it out."""
        return f"notice/{merchant_id}/{kind}/{key}"
