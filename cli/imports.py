"""`import`: files of orders, partners or opening balances. Safe to repeat: what is booked is not booked again."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol

import typer

from cli import tables
from cli.clock import now
from cli.connection import Books, books
from cli.failures import REFUSED, CannotError
from cli.options import Data, Json
from cli.output import Advance, complain, print_json, progress, say
from cli.tables import Fault
from ledger import imports, merchants, order_rows
from ledger.batch import Source
from ledger.imports import OrderImport
from ledger.intake import Intake
from schemas.errors import RetryableError
from schemas.rows import Done, Row, RowResult
from web.api import balance_rows, partner_rows
from web.api.balance_rows import BalanceImport
from web.api.partner_rows import PartnerImport

_BATCH_ROWS = 2_000
_BATCH_BYTES = 4 << 20
_ROWS_AT_ONCE = 50

_FAULTS = (
    "SELECT position, code, path, reason, dead_letter_id FROM ledger.dead_letters"
    " WHERE source = %s AND topic = %s AND partition = %s AND status = 'open' ORDER BY position"
)

File = Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, show_default=False)]
Format = Annotated[str | None, typer.Option("--format", help="csv or jsonl; left out: by the file's extension.")]
Errors = Annotated[
    Path | None,
    typer.Option("--errors", dir_okay=False, help="Where refused rows are told; left out: beside FILE."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Decide every row, and book nothing.")]

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", add_completion=False)


class _Engine(Protocol):
    def take(self, rows: Sequence[Row], now: datetime) -> list[RowResult]: ...


class _Plan(NamedTuple):
    """How the rows of a file are read, and the outcomes that each is told to have."""

    what: str
    required: Sequence[str]
    aliases: Mapping[str, str]
    known: Collection[str]
    outcomes: Sequence[str]


_PARTNERS = _Plan(
    "partners", partner_rows.REQUIRED_COLUMNS, partner_rows.ALIASES, partner_rows.COLUMNS,
    ("registered", "duplicate", "refused"),
)  # fmt: skip
_BALANCES = _Plan(
    "balances", balance_rows.REQUIRED_COLUMNS, {}, balance_rows.COLUMNS, ("entered", "duplicate", "refused")
)  # fmt: skip


@app.callback()
def import_files() -> None:
    """Files of orders, partners or opening balances: CSV with a heading, or a JSON object a line. Safe to repeat."""


@app.command()
def orders(
    *,
    file: File,
    merchant: Annotated[
        str | None, typer.Option("--merchant", help="Whose orders they are, where the rows do not say.")
    ] = None,
    file_format: Format = None,
    errors: Errors = None,
    dry_run: DryRun = False,
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
        ignored = _look(file, kind, merchant)
        source = imports.source_of(merchant, _digest(file))
        importing = OrderImport(ledger, Intake(ledger), source, kind, rehearsal=dry_run)
        done, refused = _take_orders(importing, file, kind)
        # Those of all runs on the file that are still open: also of a run that was cut off.
        faults = refused if dry_run else _dead_letters(found, source)
    _finish(file, kind, errors, faults, done | {"ignored_columns": ignored, "dry_run": dry_run}, as_json=as_json)


@app.command("partners")
def import_partners(
    *,
    file: File,
    merchant: Annotated[str, typer.Option("--merchant", help="Whose partners they are.")],
    file_format: Format = None,
    errors: Errors = None,
    dry_run: DryRun = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Register a file of partners: name, email, rate_type, rate_value, coupon_code (or coupon_codes), status.

    A partner that is registered already, with the same data, is left as it is. Refused rows are named in the errors
    file. An export of partners can be imported.
    """
    kind = tables.format_of(file, file_format)
    with books(data) as found, found.ledger() as ledger:
        importing = PartnerImport(ledger, merchant, kind, partner_rows.CAUSE, rehearsal=dry_run)
        done, faults = _take_rows(importing, file, kind, _PARTNERS)
    _finish(file, kind, errors, faults, done | {"dry_run": dry_run}, as_json=as_json)


@app.command("balances")
def import_balances(
    *,
    file: File,
    merchant: Annotated[str, typer.Option("--merchant", help="Who owes them.")],
    file_format: Format = None,
    errors: Errors = None,
    dry_run: DryRun = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Enter a file of opening balances: partner (id or e-mail), currency, amount, as_of, reference.

    Each becomes a commission that is entered by hand, payable at once. Rows that are alike are one balance told twice,
    unless their references differ. Refused rows are named in the errors file.
    """
    kind = tables.format_of(file, file_format)
    with books(data) as found, found.ledger() as ledger:
        importing = BalanceImport(ledger, merchant, kind, balance_rows.CAUSE, rehearsal=dry_run)
        done, faults = _take_rows(importing, file, kind, _BALANCES)
    _finish(file, kind, errors, faults, done | {"dry_run": dry_run}, as_json=as_json)


def _take_orders(importing: OrderImport, file: Path, kind: str) -> tuple[dict[str, Any], list[Fault]]:
    """Return what was done: the rows of this run, their outcomes, and the line that an earlier run came to."""
    outcomes: Counter[str] = Counter()
    faults: list[Fault] = []
    found = _rows(file, kind, order_rows.REQUIRED_COLUMNS, "orders")
    for batch in _batches(row for row in found if not importing.is_known(row)):
        try:
            results = importing.take(batch, now())
        except RetryableError as error:
            raise RetryableError(f"{error}; repeat the command, and it goes on from line {batch[0].line}") from error
        outcomes.update(result.outcome for result in results)
        faults += _faults(results)
    done = {
        "source": f"{importing.source.source}/{importing.source.topic}",
        "rows": outcomes.total(),
        "outcomes": dict(outcomes),
        "booked_before_to_line": importing.booked_before,
    }
    return done, faults


def _take_rows(importing: _Engine, file: Path, kind: str, plan: _Plan) -> tuple[dict[str, Any], list[Fault]]:
    """Return what was done, with a count for each of the outcomes, and the faults."""
    counts = Counter(dict.fromkeys(plan.outcomes, 0))
    faults: list[Fault] = []
    names: dict[str, None] = {}
    size = file.stat().st_size
    with (
        progress(plan.what) as advance,
        tables.opened(file, kind, plan.required, _told(advance, size), plan.aliases) as found,
    ):
        names |= dict.fromkeys(found.columns)
        while batch := list(islice(found.rows, _ROWS_AT_ONCE)):
            names |= dict.fromkeys(name for row in batch if kind == "jsonl" for name in row.fields or ())
            results = importing.take(batch, now())
            counts.update(result.outcome for result in results)
            faults += _faults(results)
    ignored = [name for name in names if name and name not in plan.known]
    return {"rows": counts.total(), "outcomes": dict(counts), "ignored_columns": ignored}, faults


def _faults(results: Iterable[RowResult]) -> list[Fault]:
    return [
        Fault(result.line, fault.code, fault.path, fault.message) for result in results for fault in result.faults
    ]  # fmt: skip


def _digest(file: Path) -> str:
    size = file.stat().st_size
    with progress("reading") as advance:
        return tables.digest(file, lambda done: advance(done, size))


def _look(file: Path, kind: str, merchant_id: str | None) -> list[str]:
    """Return the columns that nobody knows, before anything is booked.

    Raises CannotError for a file that cannot be read to its end, or has rows of another merchant than is named.
    """
    names: dict[str, None] = {}
    for row in _rows(file, kind, order_rows.REQUIRED_COLUMNS, "looking"):
        named = order_rows.merchant_of(row)
        if merchant_id is not None and named not in (None, merchant_id):
            raise CannotError(
                f"{file.name} line {row.line} is of merchant {named!r}, not {merchant_id!r}; nothing was booked"
            )
        names |= dict.fromkeys(row.fields or ())
    return [name for name in names if not order_rows.is_known(name)]


def _rows(file: Path, kind: str, required: Iterable[str], what: str) -> Iterator[Row]:
    size = file.stat().st_size
    with progress(what) as advance:
        yield from tables.rows(file, kind, tuple(required), _told(advance, size))


def _told(advance: Advance, size: int) -> Done:
    return lambda done: advance(done, size)


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row.raw)
        if len(batch) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _dead_letters(found: Books, source: Source) -> list[Fault]:
    with found.connect() as connection:
        return [Fault(*row) for row in connection.execute(_FAULTS, source)]  # type: ignore[arg-type]


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
    if document["ignored_columns"]:
        complain(f"nobody knows these columns, they were left out: {', '.join(document['ignored_columns'])}")
    if document["dry_run"]:
        say("a dry run: nothing was booked")
    outcomes = ", ".join(f"{count} {name.replace('_', '-')}" for name, count in document["outcomes"].items() if count)
    say(f"{document['rows']} rows" + (f": {outcomes}" if outcomes else ", nothing new"))
    if document["errors_file"]:
        complain(f"{document['refused']} rows refused, see {document['errors_file']}")
