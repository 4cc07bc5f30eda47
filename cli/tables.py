"""Files of rows on this machine, and what is wrong with them."""

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from cli.failures import CannotError, UsageError
from schemas.rows import FORMATS, Done, FileError, Row, Table, table

_BY_EXTENSION = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
}  # fmt: skip
_CHUNK = 1 << 20


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


@contextmanager
def opened(
    path: Path, kind: str, required: Sequence[str], done: Done, aliases: Mapping[str, str] | None = None
) -> Iterator[Table]:
    """Yield the file as a table. Raises CannotError for a file that cannot be read as one, also while it is read."""
    with path.open("rb") as file:
        try:
            yield table(file, kind, required, aliases=aliases, done=done)
        except FileError as error:
            raise CannotError(f"{path.name}: {error.message}") from error


def rows(path: Path, kind: str, required: Sequence[str], done: Done) -> Iterator[Row]:
    """Yield the rows that are not blank, in order. Raises CannotError for a file that cannot be read as rows."""
    with opened(path, kind, required, done) as found:
        yield from found.rows


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
