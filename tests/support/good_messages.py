"""Valid messages that are easy to get wrong, each with what must be read from it."""

import json
from datetime import UTC, datetime
from typing import Any

from tests.support.messages import (
    BINARY_HEADERS,
    CLOUD_EVENT,
    LEFT_OUT,
    STRUCTURED_HEADERS,
    GoodMessage,
    cancelled,
    edited,
    encoded,
    placed,
    refunded,
    sized,
)


def _good(name: str, message: Any, **attributes: Any) -> GoodMessage:
    return GoodMessage(name, encoded(message), attributes)


_GOOD_AMOUNTS = [
    _good("total as an integer", placed(total=100), total_minor=10_000),
    _good("total of nothing", placed(total="0"), total_minor=0),
    _good("total of minus nothing", placed(total="-0.00"), total_minor=0),
    _good("total with one decimal", placed(total="100.5"), total_minor=10_050),
    _good("total with leading zeros", placed(total="007.00"), total_minor=700),
    _good("the largest total", placed(total="10000000000000.00"), total_minor=10**15),
    _good("yen", placed(currency="JPY", total="1500", tax=150), total_minor=1_500, tax_minor=150),
    _good("dinar", placed(currency="KWD", total="1.005"), total_minor=1_005),
    _good("dinar as an integer", placed(currency="KWD", total=3), total_minor=3_000),
    _good("Chilean unidad de fomento", placed(currency="CLF", total="1.0001"), total_minor=10_001),
    _good(
        "all four amounts",
        placed(tax="8.00", shipping=5, discount="0.01"),
        tax_minor=800,
        shipping_minor=500,
        discount_minor=1,
    ),
    _good("discount above the total", placed(total="1.00", discount="9.00"), total_minor=100, discount_minor=900),
    _good("smallest refund", refunded(amount="0.01"), amount_minor=1, refund_id="r-1", currency="USD"),
]

_GOOD_INSTANTS = [
    _good(
        "offset", placed(occurred_at="2026-11-22T11:00:00+01:00"), occurred_at=datetime(2026, 11, 22, 10, tzinfo=UTC)
    ),
    _good(
        "offset across the day",
        placed(occurred_at="2026-11-22T23:30:00-05:45"),
        occurred_at=datetime(2026, 11, 23, 5, 15, tzinfo=UTC),
    ),
    _good(
        "unknown local offset",
        placed(occurred_at="2026-11-22T10:00:00-00:00"),
        occurred_at=datetime(2026, 11, 22, 10, tzinfo=UTC),
    ),
    _good(
        "small letters", placed(occurred_at="2026-11-22t10:00:00z"), occurred_at=datetime(2026, 11, 22, 10, tzinfo=UTC)
    ),
    _good(
        "microseconds",
        placed(occurred_at="2026-11-22T10:00:00.123456Z"),
        occurred_at=datetime(2026, 11, 22, 10, 0, 0, 123_456, UTC),
    ),
    _good(
        "nanoseconds",
        placed(occurred_at="2026-11-22T10:00:00.123456999Z"),
        occurred_at=datetime(2026, 11, 22, 10, 0, 0, 123_456, UTC),
    ),
    _good(
        "a tenth of a second",
        placed(occurred_at="2026-11-22T10:00:00.5+00:00"),
        occurred_at=datetime(2026, 11, 22, 10, 0, 0, 500_000, UTC),
    ),
    _good("leap day", placed(occurred_at="2000-02-29T10:00:00Z"), occurred_at=datetime(2000, 2, 29, 10, tzinfo=UTC)),
    _good("first instant", placed(occurred_at="1970-01-01T00:00:00Z"), occurred_at=datetime(1970, 1, 1, tzinfo=UTC)),
    _good(
        "last instant",
        placed(occurred_at="2199-12-31T23:59:59.999999Z"),
        occurred_at=datetime(2199, 12, 31, 23, 59, 59, 999_999, UTC),
    ),
]

_GOOD_TEXTS = [
    _good("coupon in small letters", placed(coupon_code=" jane10 "), coupon_code="JANE10"),
    _good("coupon of 64 with spaces", placed(coupon_code=" " * 63 + "j"), coupon_code="J"),
    _good("coupon that grows in capitals", placed(coupon_code="stra\u00dfe"), coupon_code="STRASSE"),
    _good("coupon in two code points", placed(coupon_code="cafe\u0301"), coupon_code="CAF\u00c9"),
    _good("no coupon", placed(coupon_code=LEFT_OUT), coupon_code=None),
    _good("coupon null", placed(coupon_code=None), coupon_code=None),
    _good("guest", placed(customer=LEFT_OUT), customer_id=None, customer_email=None, customer_name=None),
    _good("customer null", placed(customer=None), customer_id=None),
    _good(
        "empty e-mail", placed(customer={"id": "c", "email": "", "name": None}), customer_id="c", customer_email=None
    ),
    _good(
        "name in Japanese",
        placed(customer={"id": "\u9867\u5ba2", "name": "\u5c71\u7530\u592a\u90ce"}),
        customer_id="\u9867\u5ba2",
        customer_name="\u5c71\u7530\u592a\u90ce",
    ),
    _good(
        "emoji of several code points",
        placed(customer={"id": "c", "name": "\U0001f469\u200d\U0001f680"}),
        customer_name="\U0001f469\u200d\U0001f680",
    ),
    GoodMessage("escaped surrogate pair", edited('"1001"', r'"\ud83d\ude80"'), {"order_id": "\U0001f680"}),
    GoodMessage("everything escaped", edited("USD", r"\u0055\u0053\u0044"), {"currency": "USD"}),
    _good("order id of 128 emoji", placed(order_id="\U0001f680" * 128), order_id="\U0001f680" * 128),
    _good("order id with a slash", placed(order_id="2026/1001"), order_id="2026/1001"),
    _good("order id of one space", placed(order_id=" "), order_id=" "),
    _good("merchant of 64", placed(merchant_id="a" * 64), merchant_id="a" * 64),
    _good("merchant of hyphens", placed(merchant_id="--"), merchant_id="--"),
]

_GOOD_SHAPES = [
    _good("unknown fields", placed(gift=True, weight=1.5, tags=[None, {"a": {}}]), order_id="1001"),
    _good("unknown field with a control character", placed(note="a\x00b"), order_id="1001"),
    _good("unknown field named specversion", placed(specversion="7"), order_id="1001"),
    _good("a field of another type", placed(refund_id=7, amount="x"), type="order.placed"),
    GoodMessage("unknown field with 1e400", edited('"USD"', '"USD", "x": 1e400'), {"currency": "USD"}),
    GoodMessage("unknown field 150 deep", edited('"USD"', '"USD", "x": ' + "[" * 150 + "]" * 150), {"currency": "USD"}),
    GoodMessage("64 KiB exactly", sized(65_536), {"order_id": "1001"}),
    GoodMessage("pretty-printed", json.dumps(placed(), indent=4).replace("\n", "\r\n").encode(), {"order_id": "1001"}),
    GoodMessage("space around it", b" \n" + encoded(placed()) + b"\r\n", {"order_id": "1001"}),
    _good("500 items", placed(items=[{"sku": "a"}] * 500), order_id="1001"),
    _good("no items", placed(items=[]), items_digest=None),
    _good(
        "items of all kinds",
        placed(items=[{"sku": "a", "quantity": 0.5, "total": "-1.00"}, {"sku": "b", "quantity": "2"}]),
        order_id="1001",
    ),
    _good("50 metadata", placed(metadata={f"k{n}": "" for n in range(50)}), metadata={f"k{n}": "" for n in range(50)}),
    _good("empty metadata", placed(metadata={}), metadata=None),
    _good("reason of 200", refunded(reason="\u00e9" * 200), reason="\u00e9" * 200),
    _good("empty reason", refunded(reason=""), reason=None),
    _good("cancellation", cancelled(), type="order.cancelled", reason=None, metadata=None),
    _good("dispute", cancelled(type="order.disputed", reason="fraud"), type="order.disputed", reason="fraud"),
    _good(
        "dispute won",
        cancelled(type="order.dispute_won", metadata={"a": "b"}),
        type="order.dispute_won",
        metadata={"a": "b"},
    ),
]

_GOOD_CLOUD_EVENTS = [
    _good("envelope", {**CLOUD_EVENT, "data": placed()}, order_id="1001", total_minor=10_000),
    _good(
        "envelope with extensions",
        {**CLOUD_EVENT, "partitionkey": "x", "time": "now", "data": refunded()},
        refund_id="r-1",
    ),
    GoodMessage(
        "envelope that is announced",
        encoded({**CLOUD_EVENT, "data": placed()}),
        {"order_id": "1001"},
        STRUCTURED_HEADERS,
    ),
    GoodMessage("binary mode", encoded(placed()), {"order_id": "1001"}, BINARY_HEADERS),
    GoodMessage(
        "binary mode with a media type",
        encoded(placed()),
        {"order_id": "1001"},
        (*BINARY_HEADERS, ("content-type", b"application/json")),
    ),
    GoodMessage(
        "headers of others", encoded(placed()), {"order_id": "1001"}, (("traceparent", b"00-1"), ("x", b"\xff"))
    ),
]

GOOD_MESSAGES: list[GoodMessage] = [*_GOOD_AMOUNTS, *_GOOD_INSTANTS, *_GOOD_TEXTS, *_GOOD_SHAPES, *_GOOD_CLOUD_EVENTS]
