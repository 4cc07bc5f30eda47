"""The shapes of PayPal's Payouts API, as JSON Schema in our own words, for the parts that are used.

PayPal publishes them as OpenAPI (`payments_payouts_batch_v1`, 1.9), but in no package that could be installed; names,
required fields, lengths and enumerations were compared with it by hand. Stricter than it in one thing: what we send
may have no field that we do not know.
"""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator


def _text(longest: int, shortest: int = 0) -> dict[str, Any]:
    return {"type": "string", "minLength": shortest, "maxLength": longest}


def _object(required: list[str], *, closed: bool = False, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required} | (
        {"additionalProperties": False} if closed else {}
    )


_AMOUNT = _object(
    ["currency", "value"], closed=True,
    currency={"type": "string", "pattern": "^[A-Z]{3}$"}, value={"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"},
)  # fmt: skip
_RECIPIENT = {"enum": ["EMAIL", "PHONE", "PAYPAL_ID"]}
_LINKS = {"type": "array", "items": _object(["href", "rel"], href={"type": "string"}, rel={"type": "string"})}
_DETAIL = _object(["issue"], issue={"type": "string"}, field={"type": "string"}, link=_LINKS)
_ERROR = _object(
    ["name", "message", "debug_id"],
    name={"type": "string"}, message={"type": "string"}, debug_id={"type": "string"},
    details={"type": "array", "items": _DETAIL}, links=_LINKS,
)  # fmt: skip
_HEADER = _object(
    ["payout_batch_id", "batch_status", "sender_batch_header"],
    payout_batch_id=_text(30), batch_status={"enum": ["DENIED", "PENDING", "PROCESSING", "SUCCESS", "CANCELED"]},
    sender_batch_header=_object([], sender_batch_id=_text(256)), amount=_AMOUNT, fees=_AMOUNT,
)  # fmt: skip
_ITEM = _object(
    ["payout_item_id", "payout_batch_id", "payout_item"],
    payout_item_id=_text(30), payout_batch_id=_text(30), transaction_id=_text(30), sender_batch_id=_text(256),
    transaction_status={
        "enum": [
            "SUCCESS", "FAILED", "PENDING", "UNCLAIMED", "RETURNED", "ONHOLD", "BLOCKED", "REFUNDED", "REVERSED",
        ]
    },
    payout_item=_object(
        ["amount", "receiver"],
        recipient_type=_RECIPIENT, amount=_AMOUNT, receiver=_text(127), sender_item_id=_text(63),
    ),
    errors=_ERROR, links=_LINKS,
)  # fmt: skip

REQUEST = Draft202012Validator(
    _object(
        ["sender_batch_header", "items"], closed=True,
        sender_batch_header=_object(["sender_batch_id"], closed=True, sender_batch_id=_text(256, 1)),
        items={
            "type": "array", "minItems": 1, "maxItems": 15_000,
            "items": _object(
                ["recipient_type", "amount", "receiver", "sender_item_id"], closed=True,
                recipient_type=_RECIPIENT, amount=_AMOUNT, receiver=_text(127, 1), sender_item_id=_text(63, 1),
            ),
        },
    )
)  # fmt: skip
CREATED = Draft202012Validator(_object(["batch_header"], batch_header=_HEADER, links=_LINKS))
BATCH = Draft202012Validator(
    _object(["batch_header"], batch_header=_HEADER, items={"type": "array", "items": _ITEM}, links=_LINKS)
)
ITEM = Draft202012Validator(_ITEM)
ERROR = Draft202012Validator(_ERROR)
