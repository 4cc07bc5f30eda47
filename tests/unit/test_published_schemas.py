"""The published JSON Schema and AsyncAPI documents: current, valid, and of one mind with `parse`."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas import published
from schemas.errors import RejectedError
from schemas.order_events import parse_object
from schemas.order_messages import VALIDATORS
from tests.support.bad_messages import BAD_MESSAGES
from tests.support.good_messages import GOOD_MESSAGES
from tests.support.messages import CLOUD_EVENT, BadMessage, GoodMessage

# What a schema cannot say: bytes and text before they are JSON, ISO 4217 and its exponents, the calendar, white space.
_BEYOND_A_SCHEMA = {
    *("empty", "too_large", "not_utf8", "not_json", "duplicate_key", "too_deep", "lone_surrogate"),
    *("unknown_currency", "too_many_decimals", "blank", "timestamp_out_of_range"),
}

# JSON Schema's integers include 100.0, its patterns are no calendar and know no largest decimal; `$` in Python's `re`,
# unlike in ECMA 262's, also matches before a last line feed.
_GAPS = {
    *("total is a float", "total is 1e2", "total with a line feed", "total a cent too much"),
    *("30 February", "29 February 2025", "year 0", "line feed after it", "merchant with a line feed"),
    *("line feed in the order id",),
}
_SAYABLE = [
    message
    for message in BAD_MESSAGES
    if message.code not in _BEYOND_A_SCHEMA and not message.headers and message.name != "integer of 5,000 digits"
]


def _document(name: str) -> Any:
    return json.loads((published.FOLDER / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def order_event() -> Draft202012Validator:
    """Return the published schema of a message."""
    return Draft202012Validator(_document("json/order_event.json"))


@pytest.fixture(scope="module")
def envelope() -> Draft202012Validator:
    """Return the published schema of a message in a CloudEvents envelope."""
    return Draft202012Validator(_document("json/order_event_envelope.json"))


def test_committed_documents_are_current():
    """What is committed is what the shapes say now; `python -m schemas.published` writes it."""
    assert published.stale(published.documents()) == []
    assert published.main(["--check"], published.documents()) == 0


def test_check_fails_when_a_document_is_stale(tmp_path, monkeypatch, capsys):
    """`--check` names what is missing or stale and fails; writing makes it current."""
    monkeypatch.setattr(published, "FOLDER", tmp_path / "schemas")
    (tmp_path / "schemas").mkdir()
    documents = published.documents()
    assert published.main(["--check"], documents) == 1
    assert "stale: schemas/asyncapi.json" in capsys.readouterr().err
    assert published.main([], documents) == 0
    assert published.main(["--check"], documents) == 0
    (tmp_path / "schemas" / "asyncapi.json").write_text("{}")
    assert published.main(["--check"], documents) == 1


def test_schemas_are_valid_json_schema():
    """Both schemas are valid JSON Schema 2020-12 themselves."""
    for name in ("json/order_event.json", "json/order_event_envelope.json"):
        Draft202012Validator.check_schema(_document(name))


@pytest.mark.parametrize("message", GOOD_MESSAGES, ids=lambda message: message.name)
def test_good_messages_match_the_schema(message: GoodMessage, order_event, envelope):
    """Whatever `parse` reads matches the published schema."""
    value = json.loads(message.raw)
    (envelope if "data" in value else order_event).validate(value)


@pytest.mark.parametrize("message", _SAYABLE, ids=lambda message: message.name)
def test_bad_messages_do_not_match_the_schema(message: BadMessage, order_event, envelope):
    """Whatever `parse` refuses does not match the published schema, but for the gaps that are listed above."""
    value = json.loads(message.raw)
    validator = envelope if isinstance(value, dict) and "specversion" in value else order_event
    assert validator.is_valid(value) == (message.name in _GAPS)


@pytest.mark.parametrize("kind", VALIDATORS)
def test_published_examples_are_order_events(kind: str):
    """Every published example is a valid order event of its type."""
    for example in VALIDATORS[kind].json_schema()["examples"]:
        assert parse_object(example).type == kind


def test_asyncapi_describes_the_topic():
    """The AsyncAPI 3.0 document has the topic, a message per type and the envelope, all references lead somewhere."""
    document = _document("asyncapi.json")
    assert document["asyncapi"] == "3.0.0"
    assert list(document["channels"]["orders"]["messages"]) == [*VALIDATORS, "cloudevent"]
    for reference in _references(document):
        found = document
        for key in reference.removeprefix("#/").split("/"):
            found = found[key]
        assert found


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [reference for inner in value.values() for reference in _references(inner)]
    return [reference for inner in value for reference in _references(inner)] if isinstance(value, list) else []


def test_envelope_schema_refuses_base64(envelope):
    """An envelope whose data is in Base64 does not match, as `parse` refuses it."""
    event = {**CLOUD_EVENT, "data": VALIDATORS["order.cancelled"].json_schema()["examples"][0]}
    assert envelope.is_valid(event)
    assert not envelope.is_valid({**event, "data_base64": "e30="})
    with pytest.raises(RejectedError):
        parse_object({**event, "data_base64": "e30="})
