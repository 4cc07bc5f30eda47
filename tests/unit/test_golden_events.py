"""Events are for ever: each shape that was ever stored can be read, and says what it said."""

from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
import pytest

from ledger.events import EVENT_TYPES, Rate, decode, encode, topic_of
from ledger.terms import Terms

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
    "dict": {"USD": 5000},
}


# A shape that got an optional field later has one more file, named after it: `CommissionPaid+note.json`.
FILES = sorted(path.stem for path in GOLDEN.glob("*.json"))


def example(kind, left_out=()):
    """Return an event of the shape with every field filled, but for those that it did not have yet."""
    types = {field.name: field.type for field in msgspec.inspect.type_info(kind).fields if field.name not in left_out}
    return kind(**{_python_name(kind, name): VALUES[_type_name(told)] for name, told in types.items()})


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


@pytest.mark.parametrize("name", FILES)
def test_a_stored_shape_is_read_for_ever(name):
    """The golden file of a shape, written once and never edited, reads as the event that it was."""
    topic, *fields = name.split("+")
    later = {field for file in FILES if file.startswith(f"{topic}+") for field in file.split("+")[1:]}
    stored = (GOLDEN / f"{name}.json").read_bytes().strip()
    event = decode(topic, stored)
    assert event == example(EVENT_TYPES[topic], later - set(fields))
    assert encode(event) == stored
    assert topic_of(event) == topic


def test_every_shape_has_its_golden_file_and_no_golden_file_is_without_a_shape():
    """A shape or a field that is added brings its file; a file whose shape was taken away is caught."""
    assert {name for name in FILES if "+" not in name} == set(EVENT_TYPES)
    assert {name.split("+")[0] for name in FILES} == set(EVENT_TYPES)
