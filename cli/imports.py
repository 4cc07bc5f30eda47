"""`import`: files of orders or partners. Safe to repeat: what is booked is not booked again."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import order_rows, partner_rows, tables
from cli.clock import now
from cli.connection import Books, books
from cli.failures import REFUSED, CannotError
from cli.options import Data, Json
from cli.output import Advance, complain, print_json, progress, say
from cli.partner_rows import PartnerImport
from cli.tables import Fault, Row
from ledger import merchants
from ledger.application import Ledger
from ledger.intake import Intake, Message, Source, Taken
from ledger.store import PositionTakenError
from schemas.errors import RetryableError

_BATCH_ROWS = 2_000
_BATCH_BYTES = 4 << 20
_ID_DIGITS = 12

_FAULTS = (
    "SELECT position, code, path, reason, dead_letter_id FROM ledger.dead_letters"
    " WHERE source = %s AND topic = %s AND partition = %s AND status = 'open' ORDER BY position"
)
_NAME = "SELECT name FROM people.partners WHERE merchant_id = %s AND partner_id = %s"

File = Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, show_default=False)]
Format = Annotated[str | None, typer.Option("--format", help="csv or jsonl; left out: by the file's extension.")]
Errors = Annotated[
    Path | None,
    typer.Option("--errors", dir_okay=False, help="Where refused rows are told; left out: beside FILE."),
]

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", add_completion=False)


@app.callback()
def import_files() -> None:
    """Files of orders or partners: CSV with a heading, or a JSON object a line. Safe to repeat."""


@app.command()
def orders(
    *,
    file: File,
    merchant: Annotated[
        str | None, typer.Option("--merchant", help="Whose orders they are, where the rows do not say.")
    ] = None,
    file_format: Format = None,
    errors: Errors = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Book a file of order events.

    The fields are those of the topic; in CSV customer_id, customer_email, customer_name and metadata.NAME stand for
    what is nested there. A row without a type is a placed order. Refused rows are kept as dead letters, and named in
    the errors file.
    """
    kind = tables.format_of(file, file_format)
    with books(data) as found, found.ledger() as ledger:
        if merchant is not None:
            merchants.find(ledger, merchant)
            _check_merchants(file, kind, merchant)
        source = _source(file, merchant)
        done = _OrderImport(ledger, source).run(file, kind, merchant)
        faults = _dead_letters(found, source)
    _finish(file, kind, errors, faults, done, as_json=as_json)


@app.command("partners")
def import_partners(
    *,
    file: File,
    merchant: Annotated[str, typer.Option("--merchant", help="Whose partners they are.")],
    file_format: Format = None,
    errors: Errors = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Register a file of partners: name, email, rate_type, rate_value, coupon_code, status.

    A partner that is registered already, with the same data, is left as it is. Refused rows are named in the errors
    file.
    """
    kind = tables.format_of(file, file_format)
    outcomes: Counter[str] = Counter()
    faults: list[Fault] = []
    with books(data) as found, found.ledger() as ledger, _name_of(found, merchant) as name_of:
        importing = PartnerImport(ledger, merchant, name_of, now)
        for row in _rows(file, kind, partner_rows.REQUIRED_COLUMNS, "partners"):
            result = importing.take(row)
            if isinstance(result, str):
                outcomes[result] += 1
            else:
                outcomes["refused"] += 1
                faults += result
    done = {"rows": outcomes.total(), "outcomes": {"registered": 0, "unchanged": 0, "refused": 0} | outcomes}
    _finish(file, kind, errors, faults, done, as_json=as_json)


class _OrderImport:
    """Books the messages of one file, from behind the line that was booked last."""

    def __init__(self, ledger: Ledger, source: Source) -> None:
        self._intake, self._source = Intake(ledger), source
        self._outcomes: Counter[str] = Counter()

    def run(self, file: Path, kind: str, merchant_id: str | None) -> dict[str, Any]:
        """Return what was done: the rows of this run, their outcomes, and the line that an earlier run came to."""
        position = already = self._intake.position(self._source)
        found = order_rows.messages(_rows(file, kind, order_rows.REQUIRED_COLUMNS, "orders"), kind, merchant_id)
        fresh = (message for message in found if already is None or message.position > already)
        for batch in _batches(fresh):
            taken = self._take(batch, position)
            position = taken.position
            self._outcomes.update(taken.counts)
        return {
            "source": f"{self._source.source}/{self._source.topic}",
            "rows": self._outcomes.total(),
            "outcomes": dict(self._outcomes),
            "booked_before_to_line": already,
        }

    def _take(self, batch: list[Message], position: int | None) -> Taken:
        try:
            return self._intake.take(self._source, batch, now(), after=position)
        except PositionTakenError as error:
            raise CannotError(
                "somebody else is importing this very file; repeat the command when that is done"
            ) from error
        except RetryableError as error:
            raise RetryableError(
                f"{error}; repeat the command, and it goes on from line {batch[0].position}"
            ) from error


def _source(file: Path, merchant_id: str | None) -> Source:
    """Return the source that a file is: the same for the same content, so that its lines are known."""
    size = file.stat().st_size
    with progress("reading") as advance:
        digest = tables.digest(file, lambda done: advance(done, size))
    return Source("import", f"{merchant_id or '*'}-{digest[:_ID_DIGITS]}", 0)


def _check_merchants(file: Path, kind: str, merchant_id: str) -> None:
    """Refuse, before anything is booked, a file with rows of another merchant than the command line names."""
    for row in _rows(file, kind, order_rows.REQUIRED_COLUMNS, "looking"):
        named = order_rows.merchant_of(row)
        if named not in (None, merchant_id):
            raise CannotError(
                f"{file.name} line {row.line} is of merchant {named!r}, not {merchant_id!r}; nothing was booked"
            )


def _rows(file: Path, kind: str, required: Iterable[str], what: str) -> Iterator[Row]:
    size = file.stat().st_size
    with progress(what) as advance:
        yield from tables.rows(file, kind, tuple(required), _told(advance, size))


def _told(advance: Advance, size: int) -> tables.Done:
    return lambda done: advance(done, size)


def _batches(messages: Iterable[Message]) -> Iterator[list[Message]]:
    batch: list[Message] = []
    size = 0
    for message in messages:
        batch.append(message)
        size += len(message.raw or b"")
        if len(batch) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _dead_letters(found: Books, source: Source) -> list[Fault]:
    """Return the faults of all runs on the file that are still open: also those of a run that was cut off."""
    with found.connect() as connection:
        return [Fault(*row) for row in connection.execute(_FAULTS, source)]  # type: ignore[arg-type]


@contextmanager
def _name_of(found: Books, merchant_id: str) -> Iterator[partner_rows.NameOf]:
    with found.connect() as connection:

        def look_up(partner_id: str) -> str | None:
            row = connection.execute(_NAME, (merchant_id, partner_id)).fetchone()
            return None if row is None or row[0] is None else str(row[0])

        yield look_up


def _finish(
    file: Path, kind: str, errors: Path | None, faults: list[Fault], done: dict[str, Any], *, as_json: bool
) -> None:
    """Write the errors file, tell what was done, and exit 1 where rows were refused."""
    target = tables.errors_path(file, kind, errors)
    tables.write_faults(target, faults)
    refused = len({fault.line for fault in faults})
    document = {"file": str(file), **done, "refused": refused, "errors_file": str(target) if faults else None}
    if as_json:
        print_json(document)
    else:
        _tell(document)
    if faults:
        raise typer.Exit(REFUSED)


def _tell(document: dict[str, Any]) -> None:
    before = document.get("booked_before_to_line")
    if before is not None:
        say(f"booked before: everything up to line {before}")
    outcomes = ", ".join(f"{count} {name.replace('_', '-')}" for name, count in document["outcomes"].items() if count)
    say(f"{document['rows']} rows" + (f": {outcomes}" if outcomes else ", nothing new"))
    if document["errors_file"]:
        complain(f"{document['refused']} rows refused, see {document['errors_file']}")
