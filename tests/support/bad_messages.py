"""Messages that no storefront should send, by name, with the code and the path of their refusal; and tricky good ones.

Used by the unit tests of `schemas.order_events.parse` and by the integration tests: every bad one must end in the dead
letters with exactly this code and path. They are written as bytes or plain values here, never by the code under test.
"""

import json
from datetime import UTC, datetime
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

_LEFT_OUT = object()


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
    """Return a placed order with other fields; `_LEFT_OUT` takes one away."""
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
    return {name: value for name, value in {**message, **fields}.items() if value is not _LEFT_OUT}


def _raw(old: str, new: str) -> bytes:
    """Return a placed order whose text is changed: for what `json.dumps` would never write."""
    text = json.dumps(placed())
    assert old in text
    return text.replace(old, new).encode()


def _sized(size: int) -> bytes:
    """Return a placed order of exactly `size` bytes."""
    short = encoded(placed(padding=""))
    return encoded(placed(padding="x" * (size - len(short))))


def _bad(name: str, message: Any, code: str, path: str) -> BadMessage:
    return BadMessage(name, encoded(message), code, path)


_BYTES = [
    BadMessage("tombstone", None, "empty", "$"),
    BadMessage("zero bytes", b"", "empty", "$"),
    BadMessage("one byte too large", _sized(65_537), "too_large", "$"),
    BadMessage("10 MB", _sized(10_000_000), "too_large", "$"),
    BadMessage("latin-1", '{"name": "Jos\u00e9"}'.encode("latin-1"), "not_utf8", "$"),
    BadMessage("utf-16", json.dumps(placed()).encode("utf-16"), "not_utf8", "$"),
    BadMessage("utf-16 without a byte order mark", json.dumps(placed()).encode("utf-16-le"), "not_json", "$"),
    BadMessage("utf-8 byte order mark", b"\xef\xbb\xbf" + encoded(placed()), "not_json", "$"),
    BadMessage("overlong utf-8", _raw("JANE10", "X").replace(b'"X"', b'"\xc0\xaf"'), "not_utf8", "$"),
    BadMessage("surrogate in utf-8", _raw("JANE10", "X").replace(b'"X"', b'"\xed\xa0\x80"'), "not_utf8", "$"),
    BadMessage("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00", "not_utf8", "$"),
    BadMessage("random bytes", bytes(range(256)), "not_utf8", "$"),
    BadMessage("only NUL bytes", b"\x00" * 16, "not_json", "$"),
    BadMessage("schema registry prefix", b"\x00\x00\x00\x00\x01" + encoded(placed()), "not_json", "$"),
]

_JSON = [
    BadMessage("white space", b" \n\t ", "not_json", "$"),
    BadMessage("plain text", b"hello", "not_json", "$"),
    BadMessage("xml", b"<order><total>100.00</total></order>", "not_json", "$"),
    BadMessage("cut off", encoded(placed())[:-20], "not_json", "$"),
    BadMessage("two objects", encoded(placed()) * 2, "not_json", "$"),
    BadMessage("trailing comma", encoded(placed())[:-1] + b",}", "not_json", "$"),
    BadMessage("single quotes", b"{'type': 'order.placed'}", "not_json", "$"),
    BadMessage("comment", b"/* order */ " + encoded(placed()), "not_json", "$"),
    BadMessage("raw NUL in a string", _raw("JANE10", "JANE\x0010"), "not_json", "$"),
    BadMessage("raw line feed in a string", _raw("JANE10", "JANE\n10"), "not_json", "$"),
    BadMessage("NaN", _raw('"100.00"', "NaN"), "not_json", "$"),
    BadMessage("Infinity", _raw('"100.00"', "-Infinity"), "not_json", "$"),
    BadMessage("number with a leading zero", _raw('"100.00"', "0100"), "not_json", "$"),
    BadMessage("number with a plus", _raw('"100.00"', "+100"), "not_json", "$"),
    BadMessage("hexadecimal number", _raw('"100.00"', "0x64"), "not_json", "$"),
    BadMessage("unknown escape", _raw("JANE10", r"\x41"), "not_json", "$"),
    BadMessage("half a surrogate pair", _raw("JANE10", r"\ud800"), "lone_surrogate", "$"),
    BadMessage("duplicate key", _raw('"total"', '"total": "1.00", "total"'), "duplicate_key", "$.total"),
    BadMessage("duplicate key, escaped", _raw('"total"', r'"tot\u0061l": "1.00", "total"'), "duplicate_key", "$.total"),
    BadMessage("duplicate key inside", _raw('"id"', '"id": "c-8", "id"'), "duplicate_key", "$.customer.id"),
    BadMessage("duplicate unknown key", _raw('"total"', '"x": 1, "x": 1, "total"'), "duplicate_key", "$.x"),
    BadMessage("deep arrays", b"[" * 10_000 + b"]" * 10_000, "too_deep", "$"),
    BadMessage("deep objects", b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "too_deep", "$"),
    BadMessage("deep in an unknown field", _raw('"USD"', '"USD", "x": ' + "[" * 300 + "]" * 300), "too_deep", "$"),
    BadMessage("integer of 5,000 digits", _raw('"100.00"', "1" * 5_000), "out_of_range", "$.total"),
    BadMessage("null", b"null", "not_an_object", "$"),
    BadMessage("true", b"true", "not_an_object", "$"),
    BadMessage("number", b"42", "not_an_object", "$"),
    BadMessage("string", encoded(json.dumps(placed())), "not_an_object", "$"),
    BadMessage("array of orders", encoded([placed()]), "not_an_object", "$"),
    BadMessage("empty array", b"[]", "not_an_object", "$"),
]

_FIELDS = [
    BadMessage("empty object", b"{}", "missing", "$.type"),
    _bad("no type", placed(type=_LEFT_OUT), "missing", "$.type"),
    _bad("unknown type", placed(type="order.shipped"), "unknown_type", "$.type"),
    _bad("type in capitals", placed(type="ORDER.PLACED"), "unknown_type", "$.type"),
    _bad("type is null", placed(type=None), "not_a_string", "$.type"),
    _bad("type is an array", placed(type=["order.placed"]), "not_a_string", "$.type"),
    _bad("no event id", placed(event_id=_LEFT_OUT), "missing", "$.event_id"),
    _bad("empty event id", placed(event_id=""), "too_short", "$.event_id"),
    _bad("event id of 129", placed(event_id="e" * 129), "too_long", "$.event_id"),
    _bad("event id is a number", placed(event_id=1), "not_a_string", "$.event_id"),
    _bad("no merchant", placed(merchant_id=_LEFT_OUT), "missing", "$.merchant_id"),
    _bad("merchant in capitals", placed(merchant_id="Acme"), "bad_slug", "$.merchant_id"),
    _bad("merchant with a slash", placed(merchant_id="acme/1"), "bad_slug", "$.merchant_id"),
    _bad("merchant with a line feed", placed(merchant_id="acme\n"), "bad_slug", "$.merchant_id"),
    _bad("merchant in Cyrillic", placed(merchant_id="\u0430cme"), "bad_slug", "$.merchant_id"),
    _bad("empty merchant", placed(merchant_id=""), "bad_slug", "$.merchant_id"),
    _bad("merchant of 65", placed(merchant_id="a" * 65), "bad_slug", "$.merchant_id"),
    _bad("no order id", placed(order_id=_LEFT_OUT), "missing", "$.order_id"),
    _bad("empty order id", placed(order_id=""), "too_short", "$.order_id"),
    _bad("order id of 129", placed(order_id="\u00e9" * 129), "too_long", "$.order_id"),
    _bad("order id is a number", placed(order_id=1001), "not_a_string", "$.order_id"),
    _bad("order id is an object", placed(order_id={"id": "1001"}), "not_a_string", "$.order_id"),
    _bad("NUL in the order id", placed(order_id="10\x0001"), "control_character", "$.order_id"),
    _bad("line feed in the order id", placed(order_id="1001\n"), "control_character", "$.order_id"),
    _bad("DEL in the order id", placed(order_id="1001\x7f"), "control_character", "$.order_id"),
    _bad("C1 control in the order id", placed(order_id="1001\x85"), "control_character", "$.order_id"),
    _bad("no currency", placed(currency=_LEFT_OUT), "missing", "$.currency"),
    _bad("currency in small letters", placed(currency="usd"), "unknown_currency", "$.currency"),
    _bad("currency unknown", placed(currency="ZZZ"), "unknown_currency", "$.currency"),
    _bad("currency without a minor unit", placed(currency="XAU"), "unknown_currency", "$.currency"),
    _bad("currency by its sign", placed(currency="$"), "unknown_currency", "$.currency"),
    _bad("currency with a space", placed(currency="USD "), "unknown_currency", "$.currency"),
    _bad("currency by its number", placed(currency=840), "not_a_string", "$.currency"),
    _bad("empty currency", placed(currency=""), "unknown_currency", "$.currency"),
]

_MONEY = [
    _bad("no total", placed(total=_LEFT_OUT), "missing", "$.total"),
    _bad("total is null", placed(total=None), "not_a_decimal", "$.total"),
    _bad("total is a float", placed(total=100.0), "not_a_decimal", "$.total"),
    BadMessage("total is 1e400", _raw('"100.00"', "1e400"), "not_a_decimal", "$.total"),
    BadMessage("total is 1e2", _raw('"100.00"', "1e2"), "not_a_decimal", "$.total"),
    _bad("total is true", placed(total=True), "not_a_decimal", "$.total"),
    _bad("total is an object", placed(total={"amount": "100.00"}), "not_a_decimal", "$.total"),
    _bad("total is an array", placed(total=["100.00"]), "not_a_decimal", "$.total"),
    _bad("total is empty", placed(total=""), "not_a_decimal", "$.total"),
    _bad("total with a comma", placed(total="100,00"), "not_a_decimal", "$.total"),
    _bad("total with separators", placed(total="1,000.00"), "not_a_decimal", "$.total"),
    _bad("total with underscores", placed(total="1_000.00"), "not_a_decimal", "$.total"),
    _bad("total with a space", placed(total=" 100.00"), "not_a_decimal", "$.total"),
    _bad("total with a line feed", placed(total="100.00\n"), "not_a_decimal", "$.total"),
    _bad("total with a plus", placed(total="+100.00"), "not_a_decimal", "$.total"),
    _bad("total with a sign of currency", placed(total="$100.00"), "not_a_decimal", "$.total"),
    _bad("total with an exponent", placed(total="1e2"), "not_a_decimal", "$.total"),
    _bad("total without a whole part", placed(total=".50"), "not_a_decimal", "$.total"),
    _bad("total without a fraction", placed(total="100."), "not_a_decimal", "$.total"),
    _bad("total in Arabic digits", placed(total="\u0661\u0660\u0660"), "not_a_decimal", "$.total"),
    _bad("total with a superscript", placed(total="10\u00b2"), "not_a_decimal", "$.total"),
    _bad("total NaN in a string", placed(total="NaN"), "not_a_decimal", "$.total"),
    _bad("total negative", placed(total="-0.01"), "negative", "$.total"),
    _bad("total a negative integer", placed(total=-1), "negative", "$.total"),
    _bad("total with 3 decimals", placed(total="100.000"), "too_many_decimals", "$.total"),
    _bad("yen with decimals", placed(currency="JPY", total="100.0"), "too_many_decimals", "$.total"),
    _bad("dinar with 4 decimals", placed(currency="KWD", total="1.0000"), "too_many_decimals", "$.total"),
    _bad("total with 30,000 decimals", placed(total="1." + "0" * 30_000), "too_many_decimals", "$.total"),
    _bad("total a cent too much", placed(total="10000000000000.01"), "out_of_range", "$.total"),
    _bad("total beyond bigint", placed(total=2**63), "out_of_range", "$.total"),
    _bad("total of 400 digits", placed(total=10**400), "out_of_range", "$.total"),
    _bad("total of 4,000 digits in a string", placed(total="9" * 4_000), "out_of_range", "$.total"),
    _bad("tax negative", placed(tax="-1.00"), "negative", "$.tax"),
    _bad("tax is false", placed(tax=False), "not_a_decimal", "$.tax"),
    _bad("shipping is a float", placed(shipping=4.99), "not_a_decimal", "$.shipping"),
    _bad("discount negative", placed(discount=-5), "negative", "$.discount"),
    _bad("discount with 3 decimals", placed(discount="0.001"), "too_many_decimals", "$.discount"),
    _bad("refund of nothing", refunded(amount="0.00"), "not_positive", "$.amount"),
    _bad("refund of minus nothing", refunded(amount="-0"), "not_positive", "$.amount"),
    _bad("refund negative", refunded(amount="-40.00"), "negative", "$.amount"),
    _bad("refund is null", refunded(amount=None), "not_a_decimal", "$.amount"),
    _bad("refund without an amount", refunded(amount=_LEFT_OUT), "missing", "$.amount"),
    _bad("refund without its id", refunded(refund_id=_LEFT_OUT), "missing", "$.refund_id"),
    _bad("refund with an empty id", refunded(refund_id=""), "too_short", "$.refund_id"),
    _bad("refund id of 129", refunded(refund_id="r" * 129), "too_long", "$.refund_id"),
    _bad("NUL in the refund id", refunded(refund_id="r\x00"), "control_character", "$.refund_id"),
]

_DATES = [
    _bad("no instant", placed(occurred_at=_LEFT_OUT), "missing", "$.occurred_at"),
    _bad("instant is null", placed(occurred_at=None), "not_a_string", "$.occurred_at"),
    _bad("Unix time", placed(occurred_at=1_795_341_600), "not_a_string", "$.occurred_at"),
    _bad("Unix time in a string", placed(occurred_at="1795341600"), "not_a_timestamp", "$.occurred_at"),
    _bad("without an offset", placed(occurred_at="2026-11-22T10:00:00"), "timestamp_without_offset", "$.occurred_at"),
    _bad("a day", placed(occurred_at="2026-11-22"), "timestamp_without_offset", "$.occurred_at"),
    _bad("SQL's way", placed(occurred_at="2026-11-22 10:00:00"), "timestamp_without_offset", "$.occurred_at"),
    _bad("space for the T", placed(occurred_at="2026-11-22 10:00:00Z"), "not_a_timestamp", "$.occurred_at"),
    _bad("without seconds", placed(occurred_at="2026-11-22T10:00Z"), "not_a_timestamp", "$.occurred_at"),
    _bad("basic format", placed(occurred_at="20261122T100000Z"), "not_a_timestamp", "$.occurred_at"),
    _bad("week date", placed(occurred_at="2026-W47-7T10:00:00Z"), "not_a_timestamp", "$.occurred_at"),
    _bad("offset without a colon", placed(occurred_at="2026-11-22T10:00:00+0100"), "not_a_timestamp", "$.occurred_at"),
    _bad("offset of 24 hours", placed(occurred_at="2026-11-22T10:00:00+24:00"), "not_a_timestamp", "$.occurred_at"),
    _bad("zone by name", placed(occurred_at="2026-11-22T10:00:00 UTC"), "not_a_timestamp", "$.occurred_at"),
    _bad("30 February", placed(occurred_at="2026-02-30T10:00:00Z"), "not_a_timestamp", "$.occurred_at"),
    _bad("29 February 2025", placed(occurred_at="2025-02-29T10:00:00Z"), "not_a_timestamp", "$.occurred_at"),
    _bad("month 13", placed(occurred_at="2026-13-01T10:00:00Z"), "not_a_timestamp", "$.occurred_at"),
    _bad("hour 24", placed(occurred_at="2026-11-22T24:00:00Z"), "not_a_timestamp", "$.occurred_at"),
    _bad("leap second", placed(occurred_at="2016-12-31T23:59:60Z"), "not_a_timestamp", "$.occurred_at"),
    _bad("year 0", placed(occurred_at="0000-01-01T00:00:00Z"), "not_a_timestamp", "$.occurred_at"),
    _bad(
        "first instant of all",
        placed(occurred_at="0001-01-01T00:00:00+23:59"),
        "timestamp_out_of_range",
        "$.occurred_at",
    ),
    _bad(
        "last instant of all",
        placed(occurred_at="9999-12-31T23:59:59-23:59"),
        "timestamp_out_of_range",
        "$.occurred_at",
    ),
    _bad("before 1970", placed(occurred_at="1969-12-31T23:59:59.999999Z"), "timestamp_out_of_range", "$.occurred_at"),
    _bad(
        "before 1970 in UTC", placed(occurred_at="1970-01-01T00:00:00+00:01"), "timestamp_out_of_range", "$.occurred_at"
    ),
    _bad("2200", placed(occurred_at="2200-01-01T00:00:00Z"), "timestamp_out_of_range", "$.occurred_at"),
    _bad("2200 in UTC", placed(occurred_at="2199-12-31T23:59:59-00:01"), "timestamp_out_of_range", "$.occurred_at"),
    _bad("Arabic digits", placed(occurred_at="\u0662026-11-22T10:00:00Z"), "not_a_timestamp", "$.occurred_at"),
    _bad("line feed after it", placed(occurred_at="2026-11-22T10:00:00Z\n"), "not_a_timestamp", "$.occurred_at"),
]

_DETAILS = [
    _bad("empty coupon", placed(coupon_code=""), "too_short", "$.coupon_code"),
    _bad("blank coupon", placed(coupon_code="   "), "blank", "$.coupon_code"),
    _bad("coupon of no-break spaces", placed(coupon_code="\u00a0\u3000"), "blank", "$.coupon_code"),
    _bad("coupon of 65", placed(coupon_code="J" * 65), "too_long", "$.coupon_code"),
    _bad("coupon is a number", placed(coupon_code=10), "not_a_string", "$.coupon_code"),
    _bad("NUL in the coupon", placed(coupon_code="JANE\x00"), "control_character", "$.coupon_code"),
    _bad("customer is a string", placed(customer="c-7"), "not_an_object", "$.customer"),
    _bad("customer without an id", placed(customer={"email": "kim@example.com"}), "missing", "$.customer.id"),
    _bad("customer with an empty id", placed(customer={"id": ""}), "too_short", "$.customer.id"),
    _bad("customer id is a number", placed(customer={"id": 7}), "not_a_string", "$.customer.id"),
    _bad("customer id of 129", placed(customer={"id": "c" * 129}), "too_long", "$.customer.id"),
    _bad(
        "NUL in the e-mail", placed(customer={"id": "c", "email": "a\x00@b"}), "control_character", "$.customer.email"
    ),
    _bad("e-mail of 321", placed(customer={"id": "c", "email": "a" * 321}), "too_long", "$.customer.email"),
    _bad("name is an array", placed(customer={"id": "c", "name": ["Kim"]}), "not_a_string", "$.customer.name"),
    _bad("name of 257", placed(customer={"id": "c", "name": "k" * 257}), "too_long", "$.customer.name"),
    _bad("items is an object", placed(items={"sku": "a"}), "not_an_array", "$.items"),
    _bad("501 items", placed(items=[{"sku": "a"}] * 501), "too_many_items", "$.items"),
    _bad("item is a string", placed(items=[{"sku": "a"}, "b"]), "not_an_object", "$.items[1]"),
    _bad("item without a sku", placed(items=[{"name": "Mug"}]), "missing", "$.items[0].sku"),
    _bad("NUL in an item's name", placed(items=[{"sku": "a", "name": "\x00"}]), "control_character", "$.items[0].name"),
    _bad("item's total is a float", placed(items=[{"sku": "a", "total": 1.5}]), "not_a_decimal", "$.items[0].total"),
    _bad(
        "item's total with 3 decimals",
        placed(items=[{"sku": "a", "total": "1.001"}]),
        "too_many_decimals",
        "$.items[0].total",
    ),
    _bad(
        "item's quantity is true", placed(items=[{"sku": "a", "quantity": True}]), "not_a_number", "$.items[0].quantity"
    ),
    _bad(
        "item's quantity in words",
        placed(items=[{"sku": "a", "quantity": "two"}]),
        "not_a_number",
        "$.items[0].quantity",
    ),
    _bad(
        "item's quantity negative", placed(items=[{"sku": "a", "quantity": -1}]), "out_of_range", "$.items[0].quantity"
    ),
    BadMessage(
        "item's quantity is 1e400",
        _raw('"USD"', '"USD", "items": [{"sku": "a", "quantity": 1e400}]'),
        "out_of_range",
        "$.items[0].quantity",
    ),
    _bad("metadata is an array", placed(metadata=["a"]), "not_an_object", "$.metadata"),
    _bad("51 metadata", placed(metadata={f"k{n}": "v" for n in range(51)}), "too_many_metadata", "$.metadata"),
    _bad("metadata with a number", placed(metadata={"a": 1}), "not_a_string", "$.metadata.a"),
    _bad("metadata with null", placed(metadata={"a key": None}), "not_a_string", '$.metadata["a key"]'),
    _bad("metadata with an object", placed(metadata={"a": {"b": "c"}}), "not_a_string", "$.metadata.a"),
    _bad("NUL in metadata", placed(metadata={"a": "\x00"}), "control_character", "$.metadata.a"),
    _bad("NUL in a key of metadata", placed(metadata={"\x00": "a"}), "control_character", '$.metadata["\\u0000"]'),
    _bad("metadata of a cancellation", cancelled(metadata="none"), "not_an_object", "$.metadata"),
    _bad("reason is a number", cancelled(reason=3), "not_a_string", "$.reason"),
    _bad("reason of 201", refunded(reason="r" * 201), "too_long", "$.reason"),
    _bad("NUL in the reason", cancelled(reason="a\x00b"), "control_character", "$.reason"),
    _bad("cancellation without an order", cancelled(order_id=_LEFT_OUT), "missing", "$.order_id"),
    _bad(
        "dispute without an instant",
        cancelled(type="order.disputed", occurred_at=_LEFT_OUT),
        "missing",
        "$.occurred_at",
    ),
    _bad(
        "dispute won by nobody", cancelled(type="order.dispute_won", merchant_id=_LEFT_OUT), "missing", "$.merchant_id"
    ),
]

_CLOUD_EVENTS = [
    _bad("envelope without an id", {**CLOUD_EVENT, "id": "", "data": placed()}, "too_short", "$.id"),
    _bad(
        "envelope of CloudEvents 0.3",
        {**CLOUD_EVENT, "specversion": "0.3", "data": placed()},
        "unsupported_version",
        "$.specversion",
    ),
    _bad(
        "envelope with a number as its version",
        {**CLOUD_EVENT, "specversion": 1.0, "data": placed()},
        "unsupported_version",
        "$.specversion",
    ),
    _bad(
        "envelope without a source",
        {"specversion": "1.0", "id": "1", "type": "t", "data": placed()},
        "missing",
        "$.source",
    ),
    _bad(
        "envelope without a type",
        {"specversion": "1.0", "id": "1", "source": "s", "data": placed()},
        "missing",
        "$.type",
    ),
    _bad(
        "envelope with a number as its source",
        {**CLOUD_EVENT, "source": 1, "data": placed()},
        "not_a_string",
        "$.source",
    ),
    _bad("envelope without data", CLOUD_EVENT, "missing", "$.data"),
    _bad("envelope with data in Base64", {**CLOUD_EVENT, "data_base64": "e30="}, "binary_data", "$.data_base64"),
    _bad("envelope with data as a string", {**CLOUD_EVENT, "data": json.dumps(placed())}, "not_an_object", "$.data"),
    _bad("envelope with null as data", {**CLOUD_EVENT, "data": None}, "not_an_object", "$.data"),
    _bad("envelope around a bad total", {**CLOUD_EVENT, "data": placed(total=1.5)}, "not_a_decimal", "$.data.total"),
    _bad("envelope around an empty object", {**CLOUD_EVENT, "data": {}}, "missing", "$.data.type"),
    _bad(
        "envelope in an envelope",
        {**CLOUD_EVENT, "data": {**CLOUD_EVENT, "data": placed()}},
        "unknown_type",
        "$.data.type",
    ),
    BadMessage("announced envelope is none", encoded(placed()), "missing", "$.specversion", STRUCTURED_HEADERS),
    BadMessage("announced envelope is an array", b"[]", "not_an_object", "$", STRUCTURED_HEADERS),
    BadMessage(
        "binary mode without an id",
        encoded(placed()),
        "missing",
        "headers.ce_id",
        (*BINARY_HEADERS[:1], *BINARY_HEADERS[2:]),
    ),
    BadMessage(
        "binary mode without a version", encoded(placed()), "missing", "headers.ce_specversion", BINARY_HEADERS[1:]
    ),
    BadMessage(
        "binary mode of CloudEvents 2.0",
        encoded(placed()),
        "unsupported_version",
        "headers.ce_specversion",
        (("ce_specversion", b"2.0"), *BINARY_HEADERS[1:]),
    ),
    BadMessage("binary mode with a bad total", encoded(placed(total="x")), "not_a_decimal", "$.total", BINARY_HEADERS),
]

BAD_MESSAGES: list[BadMessage] = [*_BYTES, *_JSON, *_FIELDS, *_MONEY, *_DATES, *_DETAILS, *_CLOUD_EVENTS]


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
    _good("no coupon", placed(coupon_code=_LEFT_OUT), coupon_code=None),
    _good("coupon null", placed(coupon_code=None), coupon_code=None),
    _good("guest", placed(customer=_LEFT_OUT), customer_id=None, customer_email=None, customer_name=None),
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
    GoodMessage("escaped surrogate pair", _raw('"1001"', r'"\ud83d\ude80"'), {"order_id": "\U0001f680"}),
    GoodMessage("everything escaped", _raw("USD", r"\u0055\u0053\u0044"), {"currency": "USD"}),
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
    GoodMessage("unknown field with 1e400", _raw('"USD"', '"USD", "x": 1e400'), {"currency": "USD"}),
    GoodMessage("unknown field 150 deep", _raw('"USD"', '"USD", "x": ' + "[" * 150 + "]" * 150), {"currency": "USD"}),
    GoodMessage("64 KiB exactly", _sized(65_536), {"order_id": "1001"}),
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
