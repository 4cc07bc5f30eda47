"""The API's layer: bodies, queries, cursors, rates and the OpenAPI document, without a server or a database."""

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from ledger import events
from projections import rows
from schemas.api import Answer, CommissionsQuery, NewPartner, PartnerChange, ProgramChange, Rate
from schemas.api_answers import Commission, Point
from schemas.errors import RejectedError
from schemas.json_text import decode
from schemas.published import stale
from web.api import RESOURCES
from web.api.balances import _shown as balance_shown
from web.api.bodies import validated
from web.api.commissions import shown
from web.api.cursors import from_cursor, to_cursor
from web.api.metrics import _figures
from web.api.openapi import document
from web.api.rates import of_ledger, to_ledger
from web.docs_page import render
from web.published import documents

JANE = {"name": "Jane", "email": "jane@example.com", "rate": {"type": "percentage", "value": "10"}}


def faults(model, value, root="$"):
    """Return path -> code of every field at fault."""
    with pytest.raises(RejectedError) as refused:
        validated(model, value, root=root)
    return {fault.path: fault.code for fault in refused.value.faults}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": ""}, {"$.name": "too_short"}),
        ({"name": "   "}, {"$.name": "malformed"}),
        ({"name": "a\x00b"}, {"$.name": "malformed"}),
        ({"name": 7}, {"$.name": "not_a_string"}),
        ({"name": "x" * 201}, {"$.name": "too_long"}),
        ({"email": "nobody"}, {"$.email": "malformed"}),
        ({"email": "a@b@c"}, {"$.email": "malformed"}),
        ({"rate": None}, {"$.rate": "wrong_type"}),
        ({"rate": {"type": "percentage"}}, {"$.rate.value": "missing"}),
        ({"rate": {"type": "share", "value": "1"}}, {"$.rate.type": "not_one_of"}),
        ({"rate": {"type": "percentage", "value": 10}}, {"$.rate.value": "not_a_string"}),
        ({"rate": {"type": "percentage", "value": "-1"}}, {"$.rate.value": "malformed"}),
        ({"coupon_code": " "}, {"$.coupon_code": "malformed"}),
        ({"status": "banned"}, {"$.status": "not_one_of"}),
        ({"merchant_id": "other"}, {"$.merchant_id": "unknown_field"}),
    ],
)
def test_wrong_fields_are_named(change: Mapping[str, object], expected: Mapping[str, str]):
    """A refused body names each field at fault with a stable code."""
    assert faults(NewPartner, JANE | change) == expected


def test_every_fault_is_named_at_once():
    """A body with several faults is refused with all of them, not one at a time."""
    assert faults(NewPartner, {"name": 1, "rates": 2}) == {
        "$.name": "not_a_string",
        "$.email": "missing",
        "$.rate": "missing",
        "$.rates": "unknown_field",
    }


def test_not_more_is_told_than_can_be_read():
    """A small body can be wrong in thousands of places; a hundred of them are named."""
    assert len(faults(NewPartner, {f"member {number}": 0 for number in range(5_000)})) == 100
    with pytest.raises(RejectedError) as refused:
        decode(b"[" + b",".join([b'{"a": 1, "a": 2}'] * 2_000) + b"]")
    assert len(refused.value.faults) == 100


@pytest.mark.parametrize("body", [b"[]", b"7", b'"x"', b"null", b"true"])
def test_a_body_that_is_no_object_is_refused(body: bytes):
    """JSON that is no object is the wrong type, at the root."""
    assert faults(NewPartner, decode(body)) == {"$": "wrong_type"}


@pytest.mark.parametrize(
    "days", [b"true", b"false", b'"5"', b"5.5", b"[5]", b"{}", b"1e999999", b"-1", b"1000", b"10e5"]
)
def test_only_whole_json_numbers_in_range_are_days(days: bytes):
    """Booleans, strings, fractions and numbers out of range are no number of days."""
    assert faults(ProgramChange, decode(b'{"hold_days": %b}' % days)) == {
        "$.hold_days": "out_of_range" if days in {b"-1", b"1000", b"10e5"} else "not_an_integer"
    }


@pytest.mark.parametrize("days", [b"30", b"30.0", b"3e1"])
def test_a_number_without_a_fraction_is_an_integer(days: bytes):
    """JSON knows one kind of number: 30.0 is the integer 30, as JSON Schema says."""
    assert validated(ProgramChange, decode(b'{"hold_days": %b}' % days), root="$").hold_days == 30


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("2026-11-22", "timestamp_without_offset"),
        ("2026-11-22T10:00:00", "timestamp_without_offset"),
        ("2026-02-30T10:00:00Z", "not_a_timestamp"),
        ("0001-01-01T00:00:00+14:00", "timestamp_out_of_range"),
        (1700000000, "not_a_timestamp"),
        (True, "not_a_timestamp"),
    ],
)
def test_an_instant_needs_an_offset(text: object, code: str):
    """An instant is RFC 3339 with an offset, and nothing else that Python would take for one."""
    assert faults(PartnerChange, {"rate_from": text}) == {"$.rate_from": code}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"limit": "0"}, {"query.limit": "out_of_range"}),
        ({"limit": "201"}, {"query.limit": "out_of_range"}),
        ({"limit": " 5"}, {"query.limit": "not_an_integer"}),
        ({"limit": "1_0"}, {"query.limit": "not_an_integer"}),
        ({"limit": "\u0665"}, {"query.limit": "not_an_integer"}),
        ({"from": "yesterday"}, {"query.from": "not_a_date"}),
        ({"from": "1700000000"}, {"query.from": "not_a_date"}),
        ({"from": "2026-02-30"}, {"query.from": "not_a_date"}),
        ({"from_": "2026-02-28"}, {"query.from_": "unknown_field"}),
        ({"state": "paid"}, {"query.state": "unknown_field"}),
        ({"status": "due"}, {"query.status": "not_one_of"}),
        ({"currency": "usd"}, {"query.currency": "malformed"}),
        ({"customer_id": "a\x00"}, {"query.customer_id": "malformed"}),
        ({"min_position": "-1"}, {"query.min_position": "out_of_range"}),
    ],
)
def test_wrong_parameters_are_named(query: Mapping[str, str], expected: Mapping[str, str]):
    """A misspelt filter is refused: ignored, it would answer another question."""
    assert faults(CommissionsQuery, query, root="query") == expected


@pytest.mark.parametrize(
    ("value", "currency", "expected"),
    [
        (Rate(type="percentage", value="10"), "USD", events.Rate(type="percentage", bps=1000)),
        (Rate(type="percentage", value="12.5"), "USD", events.Rate(type="percentage", bps=1250)),
        (Rate(type="percentage", value="0.01"), "USD", events.Rate(type="percentage", bps=1)),
        (Rate(type="percentage", value="100"), "USD", events.Rate(type="percentage", bps=10_000)),
        (Rate(type="percentage", value="0"), "USD", events.Rate(type="percentage", bps=0)),
        (Rate(type="fixed", value="5.00"), "USD", events.Rate(type="fixed", amount_minor=500)),
        (Rate(type="fixed", value="500"), "JPY", events.Rate(type="fixed", amount_minor=500)),
    ],
)
def test_rates_go_in_and_come_out_again(value: Rate, currency: str, expected: events.Rate):
    """A rate is kept as basis points or minor units and is shown as it was given."""
    assert to_ledger(value, currency) == expected
    assert of_ledger(expected, currency) == value


@pytest.mark.parametrize(
    ("rate", "currency", "code"),
    [
        (Rate(type="percentage", value="100.01"), "USD", "out_of_range"),
        (Rate(type="percentage", value="0.001"), "USD", "too_many_decimals"),
        (Rate(type="fixed", value="5.001"), "USD", "too_many_decimals"),
        (Rate(type="fixed", value="0.5"), "JPY", "too_many_decimals"),
        (Rate(type="fixed", value="9999999999999999"), "USD", "out_of_range"),
    ],
)
def test_rates_that_cannot_be_are_refused(rate: Rate, currency: str, code: str):
    """A rate with more decimals than it can have, or out of range, is refused at its value."""
    with pytest.raises(RejectedError) as refused:
        to_ledger(rate, currency)
    assert (refused.value.path, refused.value.code) == ("$.rate.value", code)


def test_a_cursor_comes_back_as_it_was_given():
    """What a cursor holds survives the way to the client and back, and is opaque on the way."""
    cursor = to_cursor(7, "ünïcode/ü")
    assert from_cursor(cursor, int, str) == (7, "ünïcode/ü")
    assert "nicode" not in cursor
    assert from_cursor(None, int) is None


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "!!!!", "ü", to_cursor("7"), to_cursor(7, 7), to_cursor(2**63), "bnVsbA", "e30", "WyJcdTAwMDAiXQ"],
)
def test_a_cursor_that_we_never_gave_is_refused(cursor: str):
    """A made-up cursor is a fault of the caller, not of the database."""
    with pytest.raises(RejectedError, match="not a cursor") as refused:
        from_cursor(cursor, int)
    assert refused.value.code == "bad_cursor"


NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
COMMISSION = {field.name: 7 for field in fields(rows.Commission)} | {
    "occurred_at": NOW, "due_at": None, "approved_at": NOW, "paid_at": None, "occurred_on": NOW.date(), "reason": None,
    "merchant_id": "acme", "order_id": "1", "partner_id": "p", "customer_id": None, "currency": "USD",
    "state": "pending", "coupon_code": "JANE10", "payout_id": None,
}  # fmt: skip
BALANCE = {field.name: 7 for field in fields(rows.Balance)} | {"partner_id": "p", "currency": "USD"}
FIGURES = {field.name: 7 for field in fields(rows.Figures)} | {"first_on": NOW.date(), "last_on": NOW.date()}


@pytest.mark.parametrize(
    "answer",
    [
        Commission.trusted(**shown(rows.Commission(**COMMISSION))),
        balance_shown(rows.Balance(**BALANCE)),
        Point.trusted(from_=NOW.date(), to=NOW.date(), **_figures(rows.Figures(**FIGURES), "USD")),
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_what_is_trusted_would_have_passed(answer: Answer):
    """An answer that is made without checking has all members that checking asks for, each of its type."""
    checked = type(answer).model_validate_json(answer.model_dump_json(by_alias=True))
    assert answer.model_dump() == checked.model_dump()
    assert answer == checked


def openapi():
    """Return the document as it is published."""
    return document([route for table in RESOURCES for route in table.routes], "0")


def test_the_openapi_document_is_valid():
    """The published document is OpenAPI 3.1 by the specification's own schema."""
    OpenAPIV31SpecValidator(openapi()).validate()


def test_the_committed_document_is_current():
    """What is committed is what the calls say now; `make schemas` writes it."""
    assert stale(documents()) == []


def test_every_post_takes_an_idempotency_key():
    """No command can be sent that cannot be repeated safely."""
    for path, item in openapi()["paths"].items():
        if "post" in item:
            assert {"$ref": "#/components/parameters/idempotency_key"} in item["post"]["parameters"], path


def test_every_call_has_a_summary_and_its_problems():
    """Every operation says what it does and which problems it answers with, at least that nobody is known."""
    for path, item in openapi()["paths"].items():
        for method, operation in item.items():
            assert operation["summary"], (method, path)
            assert "401" in operation["responses"], (method, path)


def test_every_example_is_a_body_that_is_taken():
    """The example beside each body is one that the call's own shape accepts."""
    operations = {each["operationId"]: each for item in openapi()["paths"].values() for each in item.values()}
    for route in (route for table in RESOURCES for route in table.routes if route.body):
        for content in operations[route.name]["requestBody"]["content"].values():
            if not isinstance(content["example"], str):
                validated(route.body, decode(json.dumps(content["example"]).encode()), root="$")


def test_every_problem_of_every_call_is_explained():
    """Each status that a call can answer with leads to a description and a shape, also those before any of our code."""
    document = openapi()
    for item in document["paths"].values():
        for operation in item.values():
            problems = {status: each for status, each in operation["responses"].items() if "$ref" in each}
            assert {"400", "401", "403", "414", "422", "429", "431", "500", "503"} <= set(problems)
            for each in problems.values():
                response = document["components"]["responses"][each["$ref"].rpartition("/")[2]]
                assert response["description"]
                assert set(response["content"]) == {"application/problem+json"}


def test_the_page_shows_every_call_without_foreign_addresses():
    """The readable page lists each operation, and loads nothing from anywhere else."""
    page = render(openapi())
    for item in openapi()["paths"].values():
        for operation in item.values():
            assert f'id="{operation["operationId"]}"' in page
    # In examples an address is text.
    assert not re.search(r"""(?:src|href|action|url\()\W{0,3}(?:https?:)?//""", page)
    assert "<script" not in page
