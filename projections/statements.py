"""Reads the `.sql` files beside the read models: sections, each under a heading such as `-- apply: move --`."""

import re
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ledger import events

_HEADING = re.compile(r"^-- (?P<name>[a-z][a-z: ]*?)(?: \(on (?P<kinds>[A-Za-z ]+)\))? --$", re.MULTILINE)


class Kind(StrEnum):
    """When a rebuild, with its many batches at once, may run a statement. The projector runs all in order."""

    EARLY = "apply early"
    """At any time: it only adds rows that no other statement of its kind touches."""
    IN_ORDER = "apply"
    """When all batches before are committed."""
    SUMS = "apply sums"
    """Once for many batches: it needs nothing but their sums."""


class Statement(NamedTuple):
    """One statement that a batch is applied with. `topics` are the events that it is about; None: any event."""

    name: str
    sql: str
    kind: Kind | None
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
        heading["name"]: _statement(heading, source[heading.end() : end].strip())
        for heading, end in zip(headings, ends, strict=True)
    }


def section(model: str, name: str) -> str:
    """Return the SQL of one section, '' where the file has none of that name."""
    found = sections(model).get(name)
    return found.sql if found else ""


def applying(model: str) -> list[Statement]:
    """Return the statements that apply a batch to the model, in order."""
    return [statement for statement in sections(model).values() if statement.kind is not None]


def indexes(model: str) -> list[str]:
    """Return the statements that create the model's secondary indexes."""
    return re.findall(r"^CREATE INDEX .*?;", section(model, "indexes"), re.MULTILINE | re.DOTALL)


def _statement(heading: re.Match[str], body: str) -> Statement:
    begin, colon, _ = heading["name"].partition(": ")
    return Statement(heading["name"], body, Kind(begin) if colon else None, _topics(heading["kinds"]))


def _topics(kinds: str | None) -> frozenset[str] | None:
    """Return the topics of the kinds that a heading names; a base class means all below it."""
    if kinds is None:
        return None
    bases = tuple(getattr(events, kind) for kind in kinds.split())
    return frozenset(topic for topic, kind in events.EVENT_TYPES.items() if issubclass(kind, bases))
