"""Dead letters: look at one again, or put it away for good. Nothing of a refused message is ever lost."""

from datetime import datetime
from typing import Any, NamedTuple

import orjson
from psycopg import Cursor
from psycopg.rows import DictRow

from ledger.application import ATTEMPTS, Ledger, following
from ledger.batch import Message, Result, Source
from ledger.events import DeadLetterDiscarded, DeadLetterRetried, Event, Recorded, Stream
from ledger.intake import Intake
from ledger.requests import Request
from ledger.rows import check_decision, reclassify, write_batch
from ledger.store import VersionConflictError
from schemas.errors import ConflictError, NotFoundError, RetryableError


class Resolved(NamedTuple):
    """What became of a dead letter: `retried` with the outcome of its message, or `discarded`.

    `position`: of the last event.
    """

    dead_letter_id: str
    status: str
    outcome: str | None
    resolution: str
    position: int | None = None


def retry(
    ledger: Ledger,
    *,
    dead_letter_id: str,
    merchant_id: str | None = None,
    now: datetime,
    cause: str,
    request: Request | None = None,
) -> Resolved:
    """Take the message in again, as if it came now; what it was counted as changes with it.

    With a `merchant_id` only that merchant's letters exist. Raises NotFoundError, ConflictError `not_open`,
    RetryableError, and the RejectedError that refuses it still (the letter stays open).
    """
    intake = Intake(ledger)
    for _ in range(ATTEMPTS):
        row = _open(ledger, dead_letter_id, merchant_id)
        source = Source(row["source"], row["topic"], row["partition"])
        headers = [(name, value.encode("latin-1")) for name, value in orjson.loads(row["headers"])]
        message = Message(row["position"], row["raw"], row["key"], headers)
        batch, result = intake.take_again(source, message, now)
        if result.error is not None:
            raise result.error
        resolved = Resolved(dead_letter_id, "retried", result.outcome, _told(result, cause))

        def beside(
            curs: Cursor[DictRow], batch: Any = batch, source: Source = source, done: Resolved = resolved
        ) -> None:
            _close(curs, done, now)
            reclassify(curs, source, "dead_lettered", str(done.outcome))
            write_batch(curs, batch, now)

        def after(curs: Cursor[DictRow], _: int | None, batch: Any = batch) -> None:
            check_decision(curs, batch)

        told = _told_of(ledger, row["merchant_id"], DeadLetterRetried, resolved, now, cause, outcome=result.outcome)
        events = [*batch.events, *told]
        try:
            position = ledger.record(events, beside=beside, after=after, request=request, result=resolved)
        except VersionConflictError:
            continue
        return resolved._replace(position=position)
    raise RetryableError("the order of this message is being written by somebody else")


def discard(
    ledger: Ledger,
    *,
    dead_letter_id: str,
    merchant_id: str | None = None,
    reason: str,
    now: datetime,
    cause: str,
    request: Request | None = None,
) -> Resolved:
    """Put the letter away, with the reason; it stays on record and stays counted.

    Raises NotFoundError, ConflictError `not_open`, RetryableError.
    """
    row = _open(ledger, dead_letter_id, merchant_id)
    resolved = Resolved(dead_letter_id, "discarded", None, f"{reason} ({cause})")
    told = _told_of(ledger, row["merchant_id"], DeadLetterDiscarded, resolved, now, cause)
    position = ledger.record(told, beside=lambda curs: _close(curs, resolved, now), request=request, result=resolved)
    return resolved._replace(position=position)


def _told_of(
    ledger: Ledger,
    merchant_id: str | None,
    kind: type[Event],
    resolved: Resolved,
    now: datetime,
    cause: str,
    **more: Any,
) -> list[Recorded]:
    """Return what the merchant is told of the letter, in its place; nobody is told of one that belongs to nobody."""
    if merchant_id is None:
        return []
    stream = Stream.notice(merchant_id, "dead-letter", resolved.dead_letter_id)
    event: Event = kind(  # type: ignore[call-arg]
        merchant_id=merchant_id, occurred_at=now, recorded_at=now, cause=cause, dead_letter_id=resolved.dead_letter_id,
        **more,
    )  # fmt: skip
    return following(stream, len(ledger.stream(stream)), [event])


def _told(result: Result, cause: str) -> str:
    return f"{result.outcome} ({cause})"


def _open(ledger: Ledger, dead_letter_id: str, merchant_id: str | None) -> DictRow:
    with ledger.connection() as conn:
        row = conn.execute(
            "SELECT merchant_id, source, topic, partition, position, key, raw, headers, status FROM ledger.dead_letters"
            " WHERE dead_letter_id = %s AND (%s::text IS NULL OR merchant_id = %s)",
            (dead_letter_id, merchant_id, merchant_id),
        ).fetchone()
    if row is None:
        raise NotFoundError("dead letter", dead_letter_id)
    if row["status"] != "open":
        raise ConflictError("not_open", f"this dead letter was {row['status']} already")
    return row


def _close(curs: Cursor[DictRow], resolved: Resolved, now: datetime) -> None:
    curs.execute(
        "UPDATE ledger.dead_letters SET status = %s, resolved_at = %s, resolution = %s"
        " WHERE dead_letter_id = %s AND status = 'open'",
        (resolved.status, now, resolved.resolution, resolved.dead_letter_id),
    )
    if curs.rowcount != 1:
        raise ConflictError("not_open", "somebody else resolved this dead letter at the same time")
