"""Files of rows, as people and other programs write them: CSV with a heading, or a JSON object a line.

Nothing is repaired and nothing is dropped in silence: a row that cannot be read comes out with its fault, and a file of
which nobody can tell where its rows end is refused as a whole.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

import orjson

from schemas.errors import Fault, RejectedError
from schemas.json_text import MESSAGE_BYTES_MAX, decode, step

FORMATS = ("csv", "jsonl")
ROW_MAX = MESSAGE_BYTES_MAX
"""A row has at most so many characters."""

_DELIMITERS = ",;\t|"
_TELL_EVERY = 500
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")

# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

Done = Callable[[int], None]
"""Tells how many bytes of the file were read."""


class FileError(RejectedError):
    """The file cannot be read as rows; nothing of it was taken."""


class Row(NamedTuple):
    """One row: the line on which it begins, its fields by name (None: it has none), and the row as it was written.

    The fields of CSV are text, and bytes that are not UTF-8 are kept in it as lone surrogates. `raw` is only JSON's.
    `fault` says why there are no fields.
    """

    line: int
    fields: dict[str, Any] | None
    raw: bytes
    fault: Fault | None = None


class RowResult(NamedTuple):
    """What became of one row; `id` names what it is about, as far as that can be told. Faults: it was refused."""

    line: int
    outcome: str
    id: str | None = None
    faults: tuple[Fault, ...] = ()


class Table(NamedTuple):
    """A file of rows: the columns that its heading names (none for JSON Lines), and the rows that are not blank."""

    columns: tuple[str, ...]
    rows: Iterator[Row]


def neutral(text: str) -> str:
    """Return the text as a cell that no spreadsheet takes for a formula: with an apostrophe in front where it would."""
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA) else text


def meant(cell: str) -> str:
    """Return the text that `neutral` made the cell of; what it would not have made stays as it is."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA) else cell


def table(
    stream: BinaryIO,
    kind: str,
    required: Sequence[str] = (),
    *,
    aliases: Mapping[str, str] | None = None,
    done: Done | None = None,
) -> Table:
    """Return the rows of an open file, `csv` or `jsonl`; columns under one of the aliases get their own name.

    Raises FileError, at once or while the rows are read: `not_utf8` (another encoding of Unicode), `missing_column`,
    `duplicate_column`, `unclosed_quote`.
    """
    if kind == "jsonl":
        return Table((), _jsonl(stream, done))
    return _csv(stream, required, aliases or {}, done)


def fields_of(row: Row, kind: str) -> dict[str, Any]:
    """Return the row's fields, cells as they were meant. Raises RejectedError for a row that has none, or no UTF-8."""
    if row.fields is None:
        fault = row.fault or Fault("$", "not_an_object", "is not a row of the columns that the file names")
        raise RejectedError(fault.code, fault.message, [fault])
    if kind == "jsonl":
        return row.fields
    faults = [
        Fault(step("$", name), "not_utf8", "has bytes that are not UTF-8; save the file as UTF-8")
        for name, cell in row.fields.items()
        if _has_surrogates(cell)
    ]
    if faults:
        raise RejectedError("not_utf8", "the row is not UTF-8", faults)
    return {name: meant(cell) for name, cell in row.fields.items()}


def encode(value: Any) -> bytes:
    """Return the value as JSON; bytes that were no UTF-8 in the file come out as they were."""
    try:
        return orjson.dumps(value)
    except TypeError:  # lone surrogates
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", errors="surrogateescape")


# --- JSON Lines ------------------------------------------------------------------------------------------------------


def _jsonl(stream: BinaryIO, done: Done | None) -> Iterator[Row]:
    line = 0
    while text := stream.readline(ROW_MAX + 2):
        line += 1
        if line == 1:
            _check_encoding(text)
            text = text.removeprefix(b"\xef\xbb\xbf")
        raw = text.rstrip(b"\r\n")
        if len(raw) > ROW_MAX:
            if not text.endswith(b"\n"):
                _skip_line(stream)
            yield Row(line, None, raw, _too_large())
        elif raw.strip():
            yield _object(line, raw)
        if done is not None and not line % _TELL_EVERY:
            done(stream.tell())


def _object(line: int, raw: bytes) -> Row:
    try:
        value = decode(raw)
    except RejectedError as error:
        return Row(line, None, raw, error.faults[0])
    if isinstance(value, dict):
        return Row(line, value, raw)
    return Row(line, None, raw, Fault("$", "not_an_object", "is not a JSON object"))


def _skip_line(stream: BinaryIO | io.TextIOWrapper) -> None:
    """Read on to the end of the line, a piece at a time."""
    while (piece := stream.readline(ROW_MAX)) and piece[-1:] not in (b"\n", "\n", "\r"):
        continue


# --- CSV -------------------------------------------------------------------------------------------------------------


class _TooLongError(Exception):
    """The row has more characters than a row may have."""


class _Lines:
    """Hands the lines of a text to the CSV reader, and knows which of them make up the present row."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self.number = 0
        self.row: list[str] = []
        self._size = 0

    def begin(self) -> int:
        """Begin a row, and return the number of its first line."""
        self.row, self._size = [], 0
        return self.number + 1

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._text.readline(ROW_MAX + 3)
        if not line:
            raise StopIteration
        self.number += 1
        self.row.append(line)
        self._size += len(line)
        if self._size > ROW_MAX + 2:
            raise _TooLongError
        return line

    def written(self) -> bytes:
        """Return the present row as it stands in the file, as far as it was read."""
        return "".join(self.row).encode("utf-8", "surrogateescape")

    def skip(self) -> None:
        """Leave out the rest of a line that is too long."""
        if not self.row[-1].endswith(("\n", "\r")):
            _skip_line(self._text)


def _csv(stream: BinaryIO, required: Sequence[str], aliases: Mapping[str, str], done: Done | None) -> Table:
    _check_encoding(stream.read(2))
    stream.seek(0)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    heading = text.readline(ROW_MAX)
    text.seek(0)
    lines = _Lines(text)
    # Strict: a quote in a place where none may stand is told, and not guessed at.
    reader = csv.reader(lines, delimiter=max(_DELIMITERS, key=heading.count), strict=True)
    columns = _heading(reader, aliases)
    _check_heading(columns, required)
    return Table(columns, _cells(stream, text, reader, lines, columns, done))


def _heading(reader: Iterator[list[str]], aliases: Mapping[str, str]) -> tuple[str, ...]:
    try:
        names = [name.strip() for name in next(reader, [])]
    except (_TooLongError, csv.Error):
        raise _file_error("missing_column", "the first line must name the columns; it cannot be read") from None
    return tuple(aliases.get(name, name) for name in names)


def _check_heading(columns: Sequence[str], required: Sequence[str]) -> None:
    missing = [name for name in required if name not in columns]
    if missing:
        raise _file_error(
            "missing_column", f"the first line must name the columns; it has no {', '.join(missing)}", missing
        )
    doubled = sorted({name for name in columns if name and columns.count(name) > 1})
    if doubled:
        raise _file_error("duplicate_column", f"the first line names {', '.join(doubled)} more than once", doubled)


def _cells(
    stream: BinaryIO,
    text: io.TextIOWrapper,
    reader: Iterator[list[str]],
    lines: _Lines,
    columns: Sequence[str],
    done: Done | None,
) -> Iterator[Row]:
    try:
        while True:
            line = lines.begin()
            row = _row(reader, lines, line, columns)
            if row is not None:
                yield row
            if done is not None and not line % _TELL_EVERY:
                done(stream.tell())
    except EOFError:
        return
    finally:
        if not text.closed:
            # The file is the caller's, who may want to read it again.
            text.detach()


def _row(reader: Iterator[list[str]], lines: _Lines, line: int, columns: Sequence[str]) -> Row | None:
    """Return the next row, None for a blank one. Raises EOFError behind the last."""
    try:
        cells = next(reader, None)
    except _TooLongError:
        if len(lines.row) > 1:
            raise _unclosed(line) from None
        lines.skip()
        return Row(line, None, lines.written(), _too_large())
    except csv.Error as error:
        if "end of data" in str(error):
            raise _unclosed(line) from None
        fault = Fault("$", "bad_quotes", "has a quote where none may stand; a quote inside a quoted cell is doubled")
        return Row(line, None, encode([lines.written().decode("utf-8", "surrogateescape")]), fault)
    if cells is None:
        raise EOFError
    if not any(cell.strip() for cell in cells):
        return None
    fields = _fields(columns, cells)
    if fields is None:
        fault = Fault("$", "not_an_object", "has more cells than the first line names columns")
        return Row(line, None, encode(cells), fault)
    return Row(line, fields, encode(cells))


def _fields(columns: Sequence[str], cells: list[str]) -> dict[str, Any] | None:
    """Return the cells by column. An empty one is left out; None: there are more than columns, nobody knows which."""
    if len(cells) > len(columns) and any(cells[len(columns) :]):
        return None
    return {name: cell for name, cell in zip(columns, cells, strict=False) if name and cell != ""}


# --- what is wrong ---------------------------------------------------------------------------------------------------


def _check_encoding(start: bytes) -> None:
    if start.startswith(_WIDE_MARKS):
        raise _file_error("not_utf8", "the file is UTF-16; save it as UTF-8")


def _too_large() -> Fault:
    return Fault("$", "too_large", f"has more than {ROW_MAX} characters")


def _unclosed(line: int) -> FileError:
    message = f"a quote that is opened in the row of line {line} is never closed, or only after {ROW_MAX} characters"
    return FileError("unclosed_quote", message, [Fault(f"line {line}", "unclosed_quote", message)])


def _file_error(code: str, message: str, columns: Sequence[str] = ()) -> FileError:
    faults = [Fault(step("$", name), code, message) for name in columns] or [Fault("$", code, message)]
    return FileError(code, message, faults)


def _has_surrogates(cell: str) -> bool:
    return any("\ud800" <= each <= "\udfff" for each in cell)
