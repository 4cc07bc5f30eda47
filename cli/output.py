"""What a person or a program sees: results on stdout, all else on stderr."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

# Not a terminal: a program or a file reads it, and nothing is to be cut off at a margin that nobody has.
_WIDE = 10_000

Advance = Callable[[int, int], None]
"""Tells how much is done, of how much."""


def print_json(document: Any) -> None:
    """Write one JSON document as one line to stdout, at once."""
    sys.stdout.write(orjson.dumps(document, default=_plain).decode() + "\n")
    sys.stdout.flush()


def say(line: str) -> None:
    """Write a line for people to stdout."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def complain(line: str) -> None:
    """Write a line for people to stderr."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def print_table(
    headings: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = (), whole: Sequence[int] = ()
) -> None:
    """Write a table to stdout; the columns whose numbers are in `right` hold numbers.

    Those in `whole` are never cut: ids that somebody copies into the next command.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, heading in enumerate(headings):
        widest = max((len(_shown(row[number])) for row in rows if row[number] is not None), default=0)
        table.add_column(
            heading, justify="right" if number in right else "left", no_wrap=number in right or number in whole,
            min_width=widest if number in whole else None,
        )  # fmt: skip
    for row in rows:
        table.add_row(*(Text("" if cell is None else _shown(cell)) for cell in row))
    console = Console(highlight=False)
    console.print(table) if console.is_terminal else Console(width=_WIDE, highlight=False).print(table)


@contextmanager
def progress(what: str, *, unit: str = "") -> Iterator[Advance]:
    """Show a progress bar on stderr while inside; nothing where stderr is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None  # noqa: ARG005 - nobody looks
        return
    columns = (
        TextColumn(what), BarColumn(), TaskProgressColumn(), TextColumn("{task.completed:,.0f} " + unit),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def spinner(what: str) -> Iterator[Callable[[str], None]]:
    """Show on stderr that something is going on; yields a function that changes the words."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda words: None  # noqa: ARG005 - nobody looks
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda words: bar.update(task, description=words)


def _shown(cell: object) -> str:
    if isinstance(cell, datetime):
        return f"{cell:%Y-%m-%d %H:%M:%S}Z"
    return str(cell)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return bytes(value).decode("utf-8", errors="backslashreplace")
    if hasattr(value, "_asdict"):
        return value._asdict()
    return str(value)
