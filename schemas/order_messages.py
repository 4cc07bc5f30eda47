"""The shapes that a storefront publishes on topic `orders`: one JSON object per message, as it stands in the message.

These types are what `python -m schemas.published` writes as JSON Schema. What they cannot say (decimals that depend on
the currency, ISO 4217 itself, the range of instants) is checked in `schemas.order_events`, which also turns a message
into what the ledger reads.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import (
    ConfigDict,
    Field,
    JsonValue,
    SkipValidation,
    StringConstraints,
    TypeAdapter,
    WithJsonSchema,
    with_config,
)
from typing_extensions import TypedDict

from schemas.instants import RFC_3339
from schemas.money import MINOR_MAX
from schemas.order_amounts import QUANTITY_MAX

ITEMS_MAX = 500
METADATA_MAX = 50

# Unicode category Cc. PostgreSQL's text and jsonb cannot hold NUL, and none of the others belongs into an id or a name.
_NO_CONTROL = r"^[^\x00-\x1f\x7f-\x9f]*$"
_SLUG = r"^[a-z0-9-]{1,64}$"
_DECIMAL = r"^(-0+(\.0{1,6})?|[0-9]{1,16}(\.[0-9]{1,6})?)$"
_POSITIVE_DECIMAL = r"^(?=.*[1-9])[0-9]{1,16}(\.[0-9]{1,6})?$"
_NUMBER = r"^[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,4})?$"
_SIGNED_DECIMAL = r"^-?[0-9]{1,16}(\.[0-9]{1,6})?$"

_WHOLE_UNITS = (
    "in whole units of the currency with no more decimals than it has; a string or an integer, never a float."
)

# Money and quantities are checked in plain Python: it is as fast, and knows the currency.
Amount = Annotated[
    str | int,
    SkipValidation,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": _DECIMAL},
                {"type": "integer", "minimum": 0, "maximum": MINOR_MAX},
            ],
            "description": f"An amount {_WHOLE_UNITS}",
            "examples": ["100.00", 100],
        }
    ),
]
PositiveAmount = Annotated[
    str | int,
    SkipValidation,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": _POSITIVE_DECIMAL},
                {"type": "integer", "minimum": 1, "maximum": MINOR_MAX},
            ],
            "description": f"More than 0, {_WHOLE_UNITS}",
            "examples": ["40.00", 40],
        }
    ),
]
SignedAmount = Annotated[
    str | int,
    SkipValidation,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": _SIGNED_DECIMAL},
                {"type": "integer", "minimum": -MINOR_MAX, "maximum": MINOR_MAX},
            ],
            "description": f"An amount, negative where the line takes something off, {_WHOLE_UNITS}",
            "examples": ["92.00", "-5.00"],
        }
    ),
]
Quantity = Annotated[
    str | int | float,
    SkipValidation,
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": _NUMBER}, {"type": "number", "minimum": 0, "maximum": QUANTITY_MAX}]}
    ),
]

Id = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=_NO_CONTROL)]
Text = Annotated[str, StringConstraints(pattern=_NO_CONTROL)]
Slug = Annotated[str, StringConstraints(pattern=_SLUG)]
Instant = Annotated[
    str,
    StringConstraints(pattern=RFC_3339),
    Field(
        description="RFC 3339 with an offset, from 1970-01-01 to 2199-12-31.", json_schema_extra={"format": "date-time"}
    ),
]
CurrencyCode = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$"), Field(description="ISO 4217.")]
CouponCode = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64, pattern=_NO_CONTROL),
    Field(description="Compared without case and surrounding white space; not blank."),
]
Email = Annotated[str, StringConstraints(max_length=320, pattern=_NO_CONTROL)]
PersonName = Annotated[str, StringConstraints(max_length=256, pattern=_NO_CONTROL)]
Reason = Annotated[str, StringConstraints(max_length=200, pattern=_NO_CONTROL)]
Metadata = Annotated[
    dict[Text, Text],
    Field(max_length=METADATA_MAX),
    # Written out: pydantic would publish `patternProperties`, by which a key that does not match is allowed.
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": METADATA_MAX,
            "propertyNames": {"pattern": _NO_CONTROL},
            "additionalProperties": {"type": "string", "pattern": _NO_CONTROL},
            "description": "The storefront's own; kept, never interpreted.",
        }
    ),
]

_STRICT = ConfigDict(strict=True)


@with_config(_STRICT)
class Customer(TypedDict):
    """Who bought, as the storefront knows them."""

    id: Id
    email: NotRequired[Email | None]
    name: NotRequired[PersonName | None]


@with_config(_STRICT)
class Item(TypedDict):
    """One line of the order; kept as a digest only, to tell a redelivery from another order under the same id."""

    sku: Id
    name: NotRequired[Text | None]
    quantity: NotRequired[Quantity | None]
    total: NotRequired[SignedAmount | None]


@with_config(_STRICT)
class _Message(TypedDict):
    event_id: Annotated[Id, Field(description="Unique per event and merchant; for tracing.")]
    merchant_id: Slug
    order_id: Annotated[Id, Field(description="The storefront's own.")]
    occurred_at: Instant


_ABOUT_AN_ORDER = {"merchant_id": "acme", "order_id": "1001"}


@with_config(
    ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "type": "order.placed",
                    "event_id": "e-1",
                    **_ABOUT_AN_ORDER,
                    "occurred_at": "2026-11-22T10:00:00Z",
                    "currency": "USD",
                    "total": "100.00",
                    "tax": "8.00",
                    "coupon_code": "JANE10",
                    "customer": {"id": "c-7", "email": "kim@example.com", "name": "Kim"},
                    "items": [{"sku": "mug", "name": "Mug, blue", "quantity": 2, "total": "92.00"}],
                    "metadata": {"channel": "web"},
                }
            ]
        },
    )
)
class PlacedMessage(_Message):
    """An order was placed."""

    type: Literal["order.placed"]
    currency: CurrencyCode
    total: Amount
    tax: NotRequired[Amount | None]
    shipping: NotRequired[Amount | None]
    discount: NotRequired[Amount | None]
    coupon_code: NotRequired[CouponCode | None]
    customer: NotRequired[Customer | None]
    items: NotRequired[Annotated[list[Item], Field(max_length=ITEMS_MAX)] | None]
    metadata: NotRequired[Metadata | None]


@with_config(
    ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "type": "order.refunded",
                    "event_id": "e-2",
                    **_ABOUT_AN_ORDER,
                    "occurred_at": "2026-11-25T09:00:00Z",
                    "currency": "USD",
                    "refund_id": "r-1",
                    "amount": "40.00",
                    "reason": "one mug was broken",
                }
            ]
        },
    )
)
class RefundedMessage(_Message):
    """A part of an order, or all of it, was given back."""

    type: Literal["order.refunded"]
    currency: CurrencyCode
    refund_id: Annotated[Id, Field(description="Unique per order.")]
    amount: PositiveAmount
    reason: NotRequired[Reason | None]
    metadata: NotRequired[Metadata | None]


def _example(kind: str, event_id: str, **more: str) -> ConfigDict:
    example: JsonValue = {
        "type": kind,
        "event_id": event_id,
        **_ABOUT_AN_ORDER,
        "occurred_at": "2026-11-26T09:00:00+01:00",
        **more,
    }
    return ConfigDict(strict=True, json_schema_extra={"examples": [example]})


@with_config(_example("order.cancelled", "e-3", reason="never shipped"))
class CancelledMessage(_Message):
    """The order was cancelled: whatever is left of it counts as refunded."""

    type: Literal["order.cancelled"]
    reason: NotRequired[Reason | None]
    metadata: NotRequired[Metadata | None]


@with_config(_example("order.disputed", "e-4", reason="card holder does not know the shop"))
class DisputedMessage(_Message):
    """The customer disputed the payment: as a refund of what is left, until the dispute is won."""

    type: Literal["order.disputed"]
    reason: NotRequired[Reason | None]
    metadata: NotRequired[Metadata | None]


@with_config(_example("order.dispute_won", "e-5"))
class DisputeWonMessage(_Message):
    """The dispute was won: what it took away is given back."""

    type: Literal["order.dispute_won"]
    metadata: NotRequired[Metadata | None]


VALIDATORS: dict[str, TypeAdapter[Any]] = {
    "order.placed": TypeAdapter(PlacedMessage),
    "order.refunded": TypeAdapter(RefundedMessage),
    "order.cancelled": TypeAdapter(CancelledMessage),
    "order.disputed": TypeAdapter(DisputedMessage),
    "order.dispute_won": TypeAdapter(DisputeWonMessage),
}

# What every message has, whatever its type: enough to name the other faults of a message of an unknown type.
ANY_MESSAGE: TypeAdapter[Any] = TypeAdapter(_Message)
