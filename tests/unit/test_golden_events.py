"""Events are for ever: each shape that was ever stored can be read, and says what it said."""

from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
import pytest

from ledger.events import EVENT_TYPES, Rate, Terms, decode, encode, topic_of

GOLDEN = Path(__file__).parent.parent / "golden" / "events"

# One value for each type of field: an example of a shape needs nothing else.
VALUES = {
    "str": "text",
    "int": 1234,
    "bool": True,
    "datetime": datetime(2026, 11, 22, 10, 30, 0, 123456, tzinfo=UTC),
    "date": date(2026, 11, 22),
    "Rate": Rate(type="percentage", bps=1250),
    "Terms": Terms(version=2, approval="after_days", hold_days=14),
    "tuple": ("name", "email"),
}


def example(kind):
    """Return an event of the shape with every field filled."""
    fields = {field.name: VALUES[_type_name(field.type)] for field in msgspec.inspect.type_info(kind).fields}
    return kind(**{_python_name(kind, name): value for name, value in fields.items()})


def _type_name(kind):
    info = type(kind).__name__.removesuffix("Type").lower()
    if info == "union":
        return _type_name(next(one for one in kind.types if type(one).__name__ != "NoneType"))
    if info == "struct":
        return kind.cls.__name__
    return "tuple" if info == "vartuple" else info


def _python_name(kind, name):
    assert name in kind.__struct_fields__
    return name


@pytest.mark.parametrize("topic", sorted(EVENT_TYPES))
def test_a_stored_shape_is_read_for_ever(topic):
    """The golden file of a shape, written once and never edited, reads as the event that it was."""
    stored = (GOLDEN / f"{topic}.json").read_bytes().strip()
    event = decode(topic, stored)
    assert event == example(EVENT_TYPES[topic])
    assert encode(event) == stored
    assert topic_of(event) == topic


def test_every_shape_has_its_golden_file_and_no_golden_file_is_without_a_shape():
    """A shape that is added brings its file; a file whose shape was taken away is caught."""
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(EVENT_TYPES)
