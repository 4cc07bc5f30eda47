"""Order events: what a storefront said, as the ledger reads it.

`parse` is the hottest function of the product (every Kafka message goes through it once), so it does things in this
order: a strict JSON parser, one pydantic pass over the shape, then money and time in plain Python into a slim frozen
struct. Only when one of them refuses is the message looked at again, slowly, to name every field at fault.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, ClassVar

import msgspec
from pydantic import ValidationError

from schemas.cloud_events import is_envelope, is_structured, unwrap
from schemas.coupons import canonical_coupon
from schemas.errors import RejectedError
from schemas.instants import instant_of
from schemas.json_text import decode
from schemas.order_amounts import minor_of, quantity_of
from schemas.order_faults import refusal
from schemas.order_messages import VALIDATORS

_NAME_MAX = 128


class _OrderEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    event_id: str
    merchant_id: str
    order_id: str
    occurred_at: datetime
    metadata: Mapping[str, str] | None


class OrderPlaced(_OrderEvent, frozen=True, kw_only=True, gc=False):
    """An order was placed; amounts in minor units of `currency`, `occurred_at` in UTC.

    `coupon_code` is in its canonical form (`canonical_coupon`), `items_digest` is equal for equal items in any order.
    """

    type: ClassVar[str] = "order.placed"
    currency: str
    total_minor: int
    tax_minor: int
    shipping_minor: int
    discount_minor: int
    coupon_code: str | None
    customer_id: str | None
    customer_email: str | None
    customer_name: str | None
    items_digest: str | None


class OrderRefunded(_OrderEvent, frozen=True, kw_only=True, gc=False):
    """`amount_minor` (> 0, minor units of `currency`) of an order was given back."""

    type: ClassVar[str] = "order.refunded"
    currency: str
    refund_id: str
    amount_minor: int
    reason: str | None


class OrderCancelled(_OrderEvent, frozen=True, kw_only=True, gc=False):
    """The order was cancelled."""

    type: ClassVar[str] = "order.cancelled"
    reason: str | None


class OrderDisputed(_OrderEvent, frozen=True, kw_only=True, gc=False):
    """The customer disputed the payment."""

    type: ClassVar[str] = "order.disputed"
    reason: str | None


class OrderDisputeWon(_OrderEvent, frozen=True, kw_only=True, gc=False):
    """The dispute was won by the merchant."""

    type: ClassVar[str] = "order.dispute_won"
    reason: ClassVar[str | None] = None  # the contract has none: a won dispute explains itself


OrderEvent = OrderPlaced | OrderRefunded | OrderCancelled | OrderDisputed | OrderDisputeWon


def parse(raw: bytes | None, headers: Sequence[tuple[str, bytes | None]] = ()) -> OrderEvent:
    """Return the order event in the bytes of a Kafka message, with or without a CloudEvents 1.0 envelope.

    Raises RejectedError with a stable code and one fault per field that is wrong, never anything else.
    """
    value = decode(raw)
    structured = is_structured(headers) if headers else False
    if type(value) is not dict:
        raise RejectedError.at("$", "not_an_object", "must be a JSON object")
    if structured or ("specversion" in value and is_envelope(value)):
        return parse_object(unwrap(value), at="$.data")
    return parse_object(value)


def names_of(raw: bytes | None) -> tuple[str | None, str | None]:
    """Return the merchant_id and order_id that a refused message gives, as far as it can be read: for finding it again.

    Nothing of them was checked, except that they are printable text of a bearable length.
    """
    try:
        value = decode(raw)
    except RejectedError:
        return None, None
    data = value.get("data") if isinstance(value, dict) else None
    told = data if isinstance(data, dict) else value if isinstance(value, dict) else {}
    return _name(told.get("merchant_id")), _name(told.get("order_id"))


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _NAME_MAX and value.isprintable() else None


def parse_object(obj: object, merchant_id: str | None = None, *, at: str = "$") -> OrderEvent:
    """Return the order event in an already decoded JSON value; paths start with `at`.

    With a `merchant_id` (the API key's), the object may leave its own out, and may not name another merchant
    (`merchant_mismatch`). Raises RejectedError as `parse` does.
    """
    if type(obj) is not dict:
        raise RejectedError.at(at, "not_an_object", "must be a JSON object")
    if merchant_id is not None:
        obj = _with_merchant(obj, merchant_id, at)
    kind = obj.get("type")
    build = _BUILDERS.get(kind) if type(kind) is str else None
    if build is None:
        raise refusal(obj, at)
    try:
        return build(obj)
    except (ValidationError, RejectedError):
        raise refusal(obj, at) from None


def _with_merchant(obj: dict[str, Any], merchant_id: str, at: str) -> dict[str, Any]:
    named = obj.get("merchant_id")
    if named is None:
        return {**obj, "merchant_id": merchant_id}
    if named != merchant_id:
        raise RejectedError.at(f"{at}.merchant_id", "merchant_mismatch", "is not the merchant of this API key")
    return obj


def _placed(obj: dict[str, Any]) -> OrderPlaced:
    message: Any = _VALIDATE_PLACED(obj)
    get = message.get
    currency = message["currency"]
    tax, shipping, discount, code = get("tax"), get("shipping"), get("discount"), get("coupon_code")
    customer, items = get("customer") or _NO_CUSTOMER, get("items")
    return OrderPlaced(
        event_id=message["event_id"],
        merchant_id=message["merchant_id"],
        order_id=message["order_id"],
        occurred_at=instant_of(message["occurred_at"]),
        metadata=get("metadata") or None,
        currency=currency,
        total_minor=minor_of(message["total"], currency),
        tax_minor=0 if tax is None else minor_of(tax, currency),
        shipping_minor=0 if shipping is None else minor_of(shipping, currency),
        discount_minor=0 if discount is None else minor_of(discount, currency),
        coupon_code=None if code is None else _coupon(code),
        customer_id=customer["id"],
        customer_email=customer.get("email") or None,
        customer_name=customer.get("name") or None,
        items_digest=_items_digest(items, currency) if items else None,
    )


def _coupon(code: str) -> str:
    canonical = canonical_coupon(code)
    if not canonical:
        raise RejectedError.at("$.coupon_code", "blank", "must not be blank")
    return canonical


def _refunded(obj: dict[str, Any]) -> OrderRefunded:
    message: Any = VALIDATORS["order.refunded"].validator.validate_python(obj)
    currency = message["currency"]
    amount = minor_of(message["amount"], currency)
    if amount == 0:
        raise RejectedError.at("$.amount", "not_positive", "a refund gives back more than nothing")
    return OrderRefunded(
        **_common(message),
        currency=currency,
        refund_id=message["refund_id"],
        amount_minor=amount,
        reason=message.get("reason") or None,
    )


def _cancelled(obj: dict[str, Any]) -> OrderCancelled:
    message: Any = VALIDATORS["order.cancelled"].validator.validate_python(obj)
    return OrderCancelled(**_common(message), reason=message.get("reason") or None)


def _disputed(obj: dict[str, Any]) -> OrderDisputed:
    message: Any = VALIDATORS["order.disputed"].validator.validate_python(obj)
    return OrderDisputed(**_common(message), reason=message.get("reason") or None)


def _dispute_won(obj: dict[str, Any]) -> OrderDisputeWon:
    message: Any = VALIDATORS["order.dispute_won"].validator.validate_python(obj)
    return OrderDisputeWon(**_common(message))


def _common(message: Any) -> dict[str, Any]:
    return {
        "event_id": message["event_id"],
        "merchant_id": message["merchant_id"],
        "order_id": message["order_id"],
        "occurred_at": instant_of(message["occurred_at"]),
        "metadata": message.get("metadata") or None,
    }


def _items_digest(items: list[dict[str, Any]], currency: str) -> str:
    """Return 32 hex digits that are equal for equal items: sorted, because a storefront may list them in any order."""
    lines = []
    for item in items:
        total = item.get("total")
        minor = None if total is None else minor_of(total, currency, negative=True)
        line = (item["sku"], item.get("name"), quantity_of(item.get("quantity"), "$"), minor)
        lines.append(msgspec.json.encode(line))
    return blake2b(b"\n".join(sorted(lines)), digest_size=16).hexdigest()


_NO_CUSTOMER: Mapping[str, None] = {"id": None}

_VALIDATE_PLACED = VALIDATORS["order.placed"].validator.validate_python

_BUILDERS: dict[str, Callable[[dict[str, Any]], OrderEvent]] = {
    "order.placed": _placed,
    "order.refunded": _refunded,
    "order.cancelled": _cancelled,
    "order.disputed": _disputed,
    "order.dispute_won": _dispute_won,
}
