"""Reads the `.sql` file that stands beside each read model: named sections, each under a heading like `-- apply: open --`."""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ledger import events

_HEADING = re.compile(r"^-- (?P<name>[a-z][a-z: ]*?)(?: \(on (?P<kinds>[A-Za-z ]+)\))? --$", re.MULTILINE)


class Statement(NamedTuple):
    """One statement that a batch is applied with. `topics` are the events that it is about; None: any event."""

    name: str
    sql: str
    topics: frozenset[str] | None


@cache
def text(model: str) -> str:
    """Return the whole SQL file of a read model (or `facts`)."""
    return (Path(__file__).parent / f"{model}.sql").read_text(encoding="utf-8")


@cache
def sections(model: str) -> dict[str, Statement]:
    """Return the sections of the model's SQL file by name, in the order of the file."""
    source = text(model)
    headings = list(_HEADING.finditer(source))
    ends = [heading.start() for heading in headings[1:]] + [len(source)]
    return {
        heading["name"]: Statement(heading["name"], source[heading.end() : end].strip(), _topics(heading["kinds"]))
        for heading, end in zip(headings, ends, strict=True)
    }


def section(model: str, name: str) -> str:
    """Return the SQL of one section, '' where the file has none of that name."""
    found = sections(model).get(name)
    return found.sql if found else ""


def applying(model: str) -> list[Statement]:
    """Return the statements that apply a batch to the model, in order."""
    return [statement for name, statement in sections(model).items() if name.startswith("apply: ")]


def _topics(kinds: str | None) -> frozenset[str] | None:
    """A heading names kinds of events, which may be a base class: all the topics below it are meant."""
    if kinds is None:
        return None
    bases = tuple(getattr(events, kind) for kind in kinds.split())
    return frozenset(topic for topic, kind in events.EVENT_TYPES.items() if issubclass(kind, bases))
