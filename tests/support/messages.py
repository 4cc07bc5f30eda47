"""Order events as bytes, right and wrong: how the messages of `bad_messages` and `good_messages` are made."""

import json
from typing import Any, NamedTuple

Headers = tuple[tuple[str, bytes], ...]

CLOUD_EVENT = {"specversion": "1.0", "id": "ce-1", "source": "https://shop.example.com", "type": "com.example.order"}
BINARY_HEADERS: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"ce-1"),
    ("ce_source", b"https://shop.example.com"),
    ("ce_type", b"com.example.order"),
)
STRUCTURED_HEADERS: Headers = (("content-type", b"application/cloudevents+json; charset=utf-8"),)

LEFT_OUT = object()


class BadMessage(NamedTuple):
    """An invalid message: what it is called, its bytes (None: a tombstone), headers, and why it is refused, where."""

    name: str
    raw: bytes | None
    code: str
    path: str
    headers: Headers = ()


class GoodMessage(NamedTuple):
    """A valid message, and the attributes of its order event that make it worth a test."""

    name: str
    raw: bytes
    attributes: dict[str, Any]
    headers: Headers = ()


def placed(**fields: Any) -> dict[str, Any]:
    """Return a placed order with other fields; `LEFT_OUT` takes one away."""
    return _changed(
        {
            "type": "order.placed",
            "event_id": "e-1",
            "merchant_id": "acme",
            "order_id": "1001",
            "occurred_at": "2026-11-22T10:00:00Z",
            "currency": "USD",
            "total": "100.00",
            "coupon_code": "JANE10",
            "customer": {"id": "c-7", "email": "kim@example.com"},
        },
        fields,
    )


def refunded(**fields: Any) -> dict[str, Any]:
    """Return a refund."""
    return _changed(
        {
            "type": "order.refunded",
            "event_id": "e-2",
            "merchant_id": "acme",
            "order_id": "1001",
            "occurred_at": "2026-11-25T09:00:00Z",
            "currency": "USD",
            "refund_id": "r-1",
            "amount": "40.00",
        },
        fields,
    )


def cancelled(**fields: Any) -> dict[str, Any]:
    """Return a cancellation."""
    return _changed(
        {
            "type": "order.cancelled",
            "event_id": "e-3",
            "merchant_id": "acme",
            "order_id": "1001",
            "occurred_at": "2026-11-26T09:00:00Z",
        },
        fields,
    )


def encoded(message: Any) -> bytes:
    """Return the message as a storefront would send it: UTF-8, not escaped."""
    return json.dumps(message, ensure_ascii=False).encode()


def _changed(message: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**message, **fields}.items() if value is not LEFT_OUT}


def edited(old: str, new: str) -> bytes:
    """Return a placed order whose text is changed: for what `json.dumps` would never write."""
    text = json.dumps(placed())
    assert old in text
    return text.replace(old, new).encode()


def sized(size: int) -> bytes:
    """Return a placed order of exactly `size` bytes."""
    short = encoded(placed(padding=""))
    return encoded(placed(padding="x" * (size - len(short))))
