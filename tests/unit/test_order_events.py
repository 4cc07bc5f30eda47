"""The topic contract: what `schemas.order_events.parse` accepts, what it refuses, and in which words."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from schemas.coupons import canonical_coupon
from schemas.errors import RejectedError
from schemas.json_text import decode, step
from schemas.money import exponent, to_decimal_string
from schemas.order_events import OrderPlaced, OrderRefunded, parse, parse_object
from tests.support.bad_messages import BAD_MESSAGES
from tests.support.good_messages import GOOD_MESSAGES
from tests.support.messages import CLOUD_EVENT, BadMessage, GoodMessage, cancelled, encoded, placed, refunded

_BY_NAME = pytest.mark.parametrize("message", BAD_MESSAGES, ids=lambda message: message.name)


def _faults(message: Any) -> list[tuple[str, str]]:
    with pytest.raises(RejectedError) as caught:
        parse(encoded(message))
    return [(fault.path, fault.code) for fault in caught.value.faults]


@_BY_NAME
def test_bad_message_is_refused_with_its_code_and_path(message: BadMessage):
    """An invalid message is refused with a stable code, the path of the field, and a sentence."""
    with pytest.raises(RejectedError) as caught:
        parse(message.raw, message.headers)
    assert (caught.value.code, caught.value.path) == (message.code, message.path)
    assert caught.value.message
    assert caught.value.faults[0].code == message.code


@_BY_NAME
def test_what_a_refusal_says_can_be_stored(message: BadMessage):
    """Codes, paths and sentences hold no NUL and no lone surrogate, and stay short: PostgreSQL keeps them as text."""
    with pytest.raises(RejectedError) as caught:
        parse(message.raw, message.headers)
    for text in (text for fault in caught.value.faults for text in fault):
        assert "\x00" not in text
        assert len(text.encode()) < 400


def test_names_of_messages_are_unique():
    """Every bad and every good message has a name of its own, and there are at least 60 bad ones."""
    names = [message.name for message in [*BAD_MESSAGES, *GOOD_MESSAGES]]
    assert len(names) == len(set(names))
    assert len(BAD_MESSAGES) >= 60


@pytest.mark.parametrize("message", GOOD_MESSAGES, ids=lambda message: message.name)
def test_good_message_is_read(message: GoodMessage):
    """A tricky but valid message is read, with exactly these values."""
    event = parse(message.raw, message.headers)
    assert {name: getattr(event, name) for name in message.attributes} == message.attributes


def test_placed_order_in_full():
    """A placed order carries minor units, UTC, the canonical coupon code and the customer, and nothing else."""
    message = placed(
        tax="8.00",
        shipping="5.00",
        discount="1.50",
        coupon_code=" jane10",
        customer={"id": "c-7", "email": "kim@example.com", "name": "Kim"},
        metadata={"channel": "web"},
    )
    assert parse(encoded(message)) == OrderPlaced(
        event_id="e-1",
        merchant_id="acme",
        order_id="1001",
        occurred_at=datetime(2026, 11, 22, 10, tzinfo=UTC),
        metadata={"channel": "web"},
        currency="USD",
        total_minor=10_000,
        tax_minor=800,
        shipping_minor=500,
        discount_minor=150,
        coupon_code="JANE10",
        customer_id="c-7",
        customer_email="kim@example.com",
        customer_name="Kim",
        items_digest=None,
    )


def test_events_are_frozen():
    """Nobody changes an order event after it was read."""
    event = parse(encoded(placed()))
    with pytest.raises(AttributeError):
        event.order_id = "1002"


def test_every_field_at_fault_is_named_in_the_order_of_the_contract():
    """One refusal names all fields at fault, each once, the first in the contract's order first."""
    message = placed(
        event_id="",
        merchant_id="Acme",
        occurred_at="yesterday",
        total=1.5,
        tax=True,
        coupon_code=" ",
        customer={"email": "\x00"},
        items=[{"sku": 1, "total": "x", "quantity": "many"}],
        metadata={"a b": 1},
    )
    assert _faults(message) == [
        ("$.event_id", "too_short"),
        ("$.merchant_id", "bad_slug"),
        ("$.occurred_at", "not_a_timestamp"),
        ("$.total", "not_a_decimal"),
        ("$.tax", "not_a_decimal"),
        ("$.coupon_code", "blank"),
        ("$.customer.id", "missing"),
        ("$.customer.email", "control_character"),
        ("$.items[0].sku", "not_a_string"),
        ("$.items[0].quantity", "not_a_number"),
        ("$.items[0].total", "not_a_decimal"),
        ('$.metadata["a b"]', "not_a_string"),
    ]


def test_amounts_are_checked_without_a_currency():
    """Of a message with an unknown currency, what is wrong with its amounts in any currency is still named."""
    faults = _faults(placed(currency="ZZZ", total="-1", tax="1.005", shipping="x"))
    assert faults == [("$.currency", "unknown_currency"), ("$.total", "negative"), ("$.shipping", "not_a_decimal")]


def test_unknown_type_does_not_hide_the_fields_of_every_message():
    """Of a message of an unknown type, the fields that all messages have are still checked."""
    faults = _faults(placed(type="order.lost", order_id="", occurred_at="2026-02-30T10:00:00Z", total="x"))
    assert faults == [("$.type", "unknown_type"), ("$.order_id", "too_short"), ("$.occurred_at", "not_a_timestamp")]


def test_personal_data_is_not_quoted():
    """No sentence quotes customers, metadata or reasons: a dead letter's reason outlives the person's erasure."""
    email = "kim@example.com"
    message = placed(
        customer={"id": email * 20, "email": email + "\x00", "name": email * 30}, metadata={"a": email + "\x00"}
    )
    with pytest.raises(RejectedError) as caught:
        parse(encoded(message))
    assert len(caught.value.faults) == 4
    assert not [fault for fault in caught.value.faults if email in fault.message + fault.path]


def test_items_digest_does_not_depend_on_order_or_spelling():
    """Equal items have one digest, whatever their order, key order, unknown fields and the spelling of numbers."""
    mug, pen = {"sku": "mug", "quantity": 2, "total": "92.00"}, {"sku": "pen", "name": None, "total": 8}
    spelled = {"total": 92, "quantity": "2.0", "sku": "mug", "colour": "blue"}
    first, second = parse(encoded(placed(items=[mug, pen]))), parse(encoded(placed(items=[pen, spelled])))
    assert first.items_digest == second.items_digest
    assert len(first.items_digest) == 32


@pytest.mark.parametrize(
    "other",
    [
        {"sku": "mug", "quantity": 1, "total": "92.00"},
        {"sku": "mug", "quantity": 2, "total": "92.01"},
        {"sku": "mug", "quantity": 2},
        {"sku": "mug2", "quantity": 2, "total": "92.00"},
        {"sku": "mug", "quantity": 2, "total": "92.00", "name": "Mug"},
    ],
    ids=str,
)
def test_items_digest_tells_items_apart(other: dict[str, Any]):
    """Items that differ in sku, name, quantity or total have different digests."""
    mug = {"sku": "mug", "quantity": 2, "total": "92.00"}
    digests = {parse(encoded(placed(items=items))).items_digest for items in ([mug], [other], [mug, mug], [mug, other])}
    assert len(digests) == 4


def test_duplicate_keys_are_all_named():
    """Every key that is there twice is named with its path, also inside of arrays."""
    with pytest.raises(RejectedError) as caught:
        decode(b'{"a": 1, "b": [{"c": 1, "c": 2}], "a": 2}')
    assert [fault.path for fault in caught.value.faults] == ["$.b[0].c", "$.a"]


def test_duplicate_key_in_text_that_is_broken_later():
    """A key that is there twice is found although the text breaks off later: then line and column must do."""
    with pytest.raises(RejectedError) as caught:
        decode(b'{"a": 1, "a": 2, "b"')
    assert (caught.value.code, caught.value.path) == ("duplicate_key", "$")
    assert "line 1 column" in caught.value.message


def test_paths_of_strange_keys():
    """A path stays short and printable whatever the key is."""
    assert step("$", "total") == "$.total"
    assert step("$", 3) == "$[3]"
    assert step("$", 'a"b') == '$["a\\"b"]'
    assert step("$", "\ud800") == '$["\\ud800"]'
    assert len(step("$", "k" * 1_000)) < 80


def test_decode_takes_another_limit():
    """The API reads larger bodies with the same strict parser."""
    raw = json.dumps(["x" * 70_000]).encode()
    assert decode(raw, bytes_max=100_000) == ["x" * 70_000]
    with pytest.raises(RejectedError, match="70004 bytes"):
        decode(raw)


def test_object_of_the_api_takes_the_merchant_of_its_key():
    """An object without a merchant gets the key's, the object itself is left as it was."""
    message = placed()
    del message["merchant_id"]
    assert parse_object(message, "acme").merchant_id == "acme"
    assert parse_object({**message, "merchant_id": None}, "acme").merchant_id == "acme"
    assert "merchant_id" not in message


def test_object_of_the_api_cannot_name_another_merchant():
    """An object that names another merchant than the key's is refused."""
    with pytest.raises(RejectedError) as caught:
        parse_object(placed(merchant_id="other"), "acme")
    assert (caught.value.code, caught.value.path) == ("merchant_mismatch", "$.merchant_id")
    assert parse_object(placed(), "acme").merchant_id == "acme"


@pytest.mark.parametrize("value", [None, 1, "x", [], 1.5, True])
def test_value_that_is_no_object(value: Any):
    """An element of the API's array that is no object is refused, at the place where it stood."""
    with pytest.raises(RejectedError) as caught:
        parse_object(value, "acme", at="$[3]")
    assert (caught.value.code, caught.value.path) == ("not_an_object", "$[3]")


def test_object_with_values_that_only_python_has():
    """An object decoded by a lenient parser (NaN, lone surrogates) is refused with codes as well."""
    message = placed(order_id="\ud800", total=float("nan"), items=[{"sku": "a", "quantity": float("inf")}])
    with pytest.raises(RejectedError) as caught:
        parse_object(message, at="$[0]")
    assert [(fault.path, fault.code) for fault in caught.value.faults] == [
        ("$[0].order_id", "lone_surrogate"),
        ("$[0].total", "not_a_decimal"),
        ("$[0].items[0].quantity", "not_a_number"),
    ]


def test_envelope_is_only_looked_for_where_one_is():
    """A plain message with an unknown field `specversion` stays a plain message; with `data` it is an envelope."""
    assert parse(encoded(placed(specversion="x"))).order_id == "1001"
    with pytest.raises(RejectedError, match=r"CloudEvents"):
        parse(encoded({**CLOUD_EVENT, "specversion": "x", "data": placed()}))


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_ANY_JSON = (
    _SCALARS
    | st.lists(_SCALARS, max_size=3)
    | st.dictionaries(st.text(max_size=5), _SCALARS | st.lists(_SCALARS), max_size=3)
)
_NAMES = [*placed(), *refunded(), "tax", "shipping", "discount", "items", "reason", "metadata", "specversion", "data"]

# The first text that hypothesis draws builds its table of all characters: seconds on a busy machine.
_unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@_unhurried
@given(st.binary(max_size=400))
@example(b"")
@example(b'{"a":' * 300)
def test_arbitrary_bytes_are_refused(raw: bytes):
    """No bytes make `parse` raise anything but RejectedError."""
    with pytest.raises(RejectedError):
        parse(raw)


@_unhurried
@given(st.sampled_from([placed, refunded, cancelled]), st.dictionaries(st.sampled_from(_NAMES), _ANY_JSON, max_size=4))
def test_mutated_messages_are_read_or_refused(message: Any, fields: dict[str, Any]):
    """A good message with anything in any of its fields is read or refused, and a refusal names a field."""
    try:
        parse(json.dumps(message(**fields)).encode())
    except RejectedError as error:
        assert error.faults[0].code != "invalid"  # noqa: PT017 - either outcome is right, only another exception is not


@_unhurried
@given(_ANY_JSON)
def test_any_decoded_value_is_read_or_refused(value: Any):
    """No decoded JSON value makes `parse_object` raise anything but RejectedError."""
    with pytest.raises(RejectedError):
        parse_object(value, "acme")


@_unhurried
@given(st.data())
def test_flipped_bytes_are_read_or_refused(data: st.DataObject):
    """A good message with some bytes changed is read or refused, never an error of ours."""
    raw = bytearray(data.draw(st.sampled_from(GOOD_MESSAGES)).raw[:2_000])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse(bytes(raw))
    except RejectedError as error:
        assert error.code  # noqa: PT017 - as above


@_unhurried
@given(st.integers(0, 10**15), st.sampled_from(["USD", "JPY", "KWD", "CLF", "EUR", "HUF"]))
def test_amounts_round_trip(minor: int, currency: str):
    """An amount written as a decimal string is read as the same minor units, for every exponent."""
    text = to_decimal_string(minor, currency)
    assert parse(encoded(placed(currency=currency, total=text))).total_minor == minor
    if minor:
        event = parse(encoded(refunded(currency=currency, amount=text)))
        assert isinstance(event, OrderRefunded)
        assert event.amount_minor == minor


@_unhurried
@given(st.integers(0, 10**11), st.sampled_from(["USD", "JPY", "KWD"]))
def test_integers_are_whole_units(units: int, currency: str):
    """An integer is whole units of the currency, the same as its decimal string."""
    event = parse(encoded(placed(currency=currency, total=units)))
    assert event.total_minor == units * 10 ** exponent(currency)


@_unhurried
@given(st.datetimes(datetime(1970, 1, 2), datetime(2199, 12, 30)), st.integers(-1_439, 1_439))  # noqa: DTZ001 - drawn naive
def test_instants_round_trip(local: datetime, offset_minutes: int):
    """An instant with any offset is read as that instant in UTC, to the microsecond."""
    sign, (hours, minutes) = "-" if offset_minutes < 0 else "+", divmod(abs(offset_minutes), 60)
    text = f"{local.isoformat()}{sign}{hours:02}:{minutes:02}"
    event = parse(encoded(placed(occurred_at=text)))
    assert event.occurred_at == datetime.fromisoformat(text)
    assert event.occurred_at.tzinfo is UTC


@_unhurried
@given(st.text(max_size=64))
def test_canonical_coupon_is_a_fixed_point(code: str):
    """The canonical form of a canonical form is itself, and white space around a code does not matter."""
    canonical = canonical_coupon(code)
    assert canonical_coupon(canonical) == canonical
    assert canonical_coupon(f" {code}\u00a0") == canonical


@_unhurried
@given(st.text(max_size=64))
@example("stra\u1e9ee")
@example("\u039f\u03a3")
def test_canonical_coupon_knows_no_case(code: str):
    """A code in small letters and the same in capitals are one code, in every script."""
    assert canonical_coupon(code.lower()) == canonical_coupon(code.upper())
