"""Files of rows, as people and other programs write them: CSV with a heading, or a JSON object a line."""

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from cli.failures import CannotError, UsageError

FORMATS = ("csv", "jsonl")
_BY_EXTENSION = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
}  # fmt: skip
_DELIMITERS = ",;\t|"
_CELL_MAX = 2**31 - 1
_CHUNK = 1 << 20
_TELL_EVERY = 500

Done = Callable[[int], None]
"""Tells how many bytes of the file were read."""


class Row(NamedTuple):
    """One row: the line on which it begins, its fields by name (None: it has none), and the row as it was written.

    The fields of CSV are text, and bytes that are not UTF-8 are kept in it as lone surrogates. `raw` is only JSON's.
    """

    line: int
    fields: dict[str, Any] | None
    raw: bytes


class Fault(NamedTuple):
    """A row that was refused, and why; `path` names the field as in `$.total`."""

    line: int
    code: str
    path: str
    reason: str
    dead_letter_id: str | None = None


def format_of(path: Path, named: str | None) -> str:
    """Return `csv` or `jsonl`: what is named, else by the file's extension. Raises UsageError where neither tells."""
    found = named or _BY_EXTENSION.get(path.suffix.lower())
    if found not in FORMATS:
        raise UsageError(f"{path.name}: which format? --format csv or --format jsonl")
    return found


def digest(path: Path, done: Done) -> str:
    """Return the SHA-256 of the file, in hexadecimal: the same content is the same file, whatever its name."""
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hashed.update(chunk)
            done(file.tell())
    return hashed.hexdigest()


def rows(path: Path, kind: str, required: Sequence[str], done: Done) -> Iterator[Row]:
    """Yield the rows that are not blank, in order. Raises CannotError where CSV misses a required column."""
    with path.open("rb") as file:
        yield from _csv(path, file, required, done) if kind == "csv" else _jsonl(file, done)


def _jsonl(file: BinaryIO, done: Done) -> Iterator[Row]:
    for line, text in enumerate(file, 1):
        raw = text.rstrip(b"\r\n")
        if line == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if raw.strip():
            yield Row(line, _object(raw), raw)
        if not line % _TELL_EVERY:
            done(file.tell())


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _csv(path: Path, file: BinaryIO, required: Sequence[str], done: Done) -> Iterator[Row]:
    csv.field_size_limit(_CELL_MAX)
    with io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        heading = text.readline()
        text.seek(0)
        reader = csv.reader(text, delimiter=max(_DELIMITERS, key=heading.count))
        names = [name.strip() for name in next(reader, [])]
        _check_heading(path, names, required)
        line = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield Row(line, _fields(names, cells), encode(cells))
            if not line % _TELL_EVERY:
                done(file.tell())
            line = reader.line_num + 1


def _check_heading(path: Path, names: list[str], required: Sequence[str]) -> None:
    missing = [name for name in required if name not in names]
    if missing:
        raise CannotError(f"{path.name}: the first line must name the columns; it has no {', '.join(missing)}")
    doubled = sorted({name for name in names if name and names.count(name) > 1})
    if doubled:
        raise CannotError(f"{path.name}: the first line names {', '.join(doubled)} more than once")


def _fields(names: list[str], cells: list[str]) -> dict[str, Any] | None:
    """Return the cells by column. An empty one is left out; None: there are more than columns, nobody knows which."""
    if len(cells) > len(names) and any(cells[len(names) :]):
        return None
    return {name: cell for name, cell in zip(names, cells, strict=False) if name and cell != ""}


def encode(value: Any) -> bytes:
    """Return the value as JSON; bytes that were no UTF-8 in the file come out as they were."""
    try:
        return orjson.dumps(value)
    except TypeError:  # lone surrogates
        import json  # noqa: PLC0415 - for rows that will be refused

        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", errors="surrogateescape")


def errors_path(path: Path, kind: str, named: Path | None) -> Path:
    """Return where the faults go: what is named, else beside the file."""
    return named or path.with_name(f"{path.name}.errors.{kind}")


def write_faults(target: Path, faults: Iterable[Fault]) -> None:
    """Write the faults, as CSV where the file is called so, else a JSON object a line; no faults, no file."""
    kept = sorted(faults)
    if not kept:
        target.unlink(missing_ok=True)
        return
    documents: list[Mapping[str, Any]] = [
        {name: value for name, value in fault._asdict().items() if value is not None} for fault in kept
    ]
    with target.open("w", encoding="utf-8", newline="") as file:
        if target.suffix == ".csv":
            writer = csv.DictWriter(file, fieldnames=list(documents[0]))
            writer.writeheader()
            writer.writerows(documents)
        else:
            file.writelines(orjson.dumps(document).decode() + "\n" for document in documents)
