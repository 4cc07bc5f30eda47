"""Files of orders: their rows booked, or only rehearsed, a batch at a time. Safe to repeat.

A file is a source like a Kafka topic, told by its content: its lines are positions, so a line that was booked once is
known, whatever the file is called and by whichever way it comes again.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ledger import order_rows
from ledger.application import Ledger
from ledger.batch import Batch, Message, Result, Source
from ledger.intake import Intake
from ledger.store import PositionTakenError
from schemas.errors import ConflictError, Fault
from schemas.rows import Row, RowResult

DIGEST_DIGITS = 12
REFUSED = "dead_lettered"

_LETTERS = (
    "SELECT position, code, path, reason FROM ledger.dead_letters"
    " WHERE source = %s AND topic = %s AND partition = %s AND position BETWEEN %s AND %s AND status = 'open'"
)


def source_of(merchant_id: str | None, digest: str) -> Source:
    """Return the source that a file is, by the SHA-256 of its content; None: its rows say whose they are."""
    return Source("import", f"{merchant_id or '*'}-{digest[:DIGEST_DIGITS]}", 0)


class OrderImport:
    """Takes the rows of one file, in order; `event_position` is that of the last event that was written.

    A rehearsal decides like an import and writes nothing.
    """

    def __init__(self, ledger: Ledger, intake: Intake, source: Source, kind: str, *, rehearsal: bool = False) -> None:
        self.source = source
        self.booked_before = intake.position(source)
        self.event_position: int | None = None
        self._ledger, self._intake, self._kind = ledger, intake, kind
        self._merchant_id = source.merchant_id
        self._position = self.booked_before
        self._rehearsed = _Rehearsed() if rehearsal else None

    def take(self, rows: Sequence[Row], now: datetime) -> list[RowResult]:
        """Return what became of each row, in order. Lines that were booked before are duplicates, or refused as then.

        Raises ConflictError `import_under_way` where somebody else is importing this very file, RetryableError while
        the database is away: what was taken before is booked, and the next import of the file goes on from there.
        """
        known = [row for row in rows if self.is_known(row)]
        fresh = [row for row in rows if not self.is_known(row)]
        return self._known(known) + self._fresh(fresh, now)

    def is_known(self, row: Row) -> bool:
        """Return whether an earlier import of the file has booked this line."""
        return self.booked_before is not None and row.line <= self.booked_before

    def _known(self, rows: Sequence[Row]) -> list[RowResult]:
        if not rows:
            return []
        with self._ledger.connection() as conn:
            found = conn.execute(_LETTERS, (*self.source, rows[0].line, rows[-1].line)).fetchall()
        letters = {row["position"]: Fault(row["path"], row["code"], row["reason"]) for row in found}
        return [
            RowResult(row.line, REFUSED, _order_id(row), (letters[row.line],))
            if row.line in letters
            else RowResult(row.line, "duplicate", _order_id(row))
            for row in rows
        ]

    def _fresh(self, rows: Sequence[Row], now: datetime) -> list[RowResult]:
        messages = list(order_rows.messages(rows, self._kind, self._merchant_id))
        results = self._results(messages, now) if messages else []
        return [_told(row, result) for row, result in zip(rows, results, strict=True)]

    def _results(self, messages: list[Message], now: datetime) -> Sequence[Result]:
        if self._rehearsed is not None:
            return self._rehearsed.take(self._intake, self.source, messages, now)
        try:
            taken = self._intake.take(self.source, messages, now, after=self._position)
        except PositionTakenError as error:
            message = "somebody else is importing this very file; repeat it when that is done"
            raise ConflictError("import_under_way", message) from error
        self._position = taken.position
        self.event_position = taken.event_position or self.event_position
        return taken.results


class _Rehearsed:
    """What a rehearsal has decided so far: the rows behind it are decided as if it were on the books."""

    def __init__(self) -> None:
        self._batch: Batch | None = None

    def take(self, intake: Intake, source: Source, messages: list[Message], now: datetime) -> list[Result]:
        self._batch, results = intake.rehearse(source, messages, now, self._batch)
        return results


def _told(row: Row, result: Result) -> RowResult:
    if result.error is None:
        return RowResult(row.line, result.outcome, result.order_id)
    # What keeps a row from being one is told by its reader, not by how the books see what is left of it.
    faults = (row.fault,) if row.fault else result.error.faults or (_whole(result.error),)
    return RowResult(row.line, REFUSED, result.order_id or _order_id(row), faults)


def _whole(error: Any) -> Fault:
    return Fault("$", error.code, error.message)


def _order_id(row: Row) -> str | None:
    found = row.fields.get("order_id") if row.fields else None
    return found if isinstance(found, str) else None
