"""Order events of the merchant acme of the sample program, keyed as the contract asks."""

from __future__ import annotations

import json
from typing import Any

from tests.support.storefront import Outgoing


def told(kind: str, order_id: str, **fields: Any) -> Outgoing:
    """Return one keyed order event of acme."""
    event = {
        "type": f"order.{kind}", "event_id": f"{kind}-{order_id}", "merchant_id": "acme", "order_id": order_id,
        "occurred_at": "2026-11-20T10:00:00Z",
    } | fields  # fmt: skip
    event = {name: value for name, value in event.items() if value is not None}
    return Outgoing(f"acme/{order_id}".encode(), json.dumps(event).encode())


def placed(order_id: str, **fields: Any) -> Outgoing:
    """Return an order of 100.00 USD with the code of the approved partner jane."""
    return told("placed", order_id, **{"currency": "USD", "total": "100.00", "coupon_code": "JANE10"} | fields)


def refunded(order_id: str, amount: str, **fields: Any) -> Outgoing:
    """Return a refund of an order."""
    return told("refunded", order_id, **{"currency": "USD", "refund_id": "r-1", "amount": amount} | fields)
