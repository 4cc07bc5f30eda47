"""Dead letters: look at one again, or put it away for good. Nothing of a refused message is ever lost."""

from collections.abc import Callable, Sequence
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
from schemas.errors import ConflictError, NotFoundError, RejectedError, RetryableError


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


class ManyResolved(NamedTuple):
    """What became of each of many dead letters, or why it stays as it is; `position`: of the last event."""

    results: list[Resolved | RejectedError]
    position: int | None


def resolve_many(
    ledger: Ledger,
    action: str,
    *,
    dead_letter_ids: Sequence[str],
    merchant_id: str,
    now: datetime,
    cause: str,
    request: Request | None = None,
    **details: Any,
) -> ManyResolved:
    """Retry or discard (with a `reason`) many of the merchant's letters, one after the other.

    Each in a transaction of its own: their messages have nothing to do with one another. Raises RetryableError; those
    that were resolved until then are, and a repetition finds them `not_open`.
    """
    command: Callable[..., Resolved] = retry if action == "retry" else discard
    results: list[Resolved | RejectedError] = []
    for dead_letter_id in dead_letter_ids:
        try:
            results.append(
                command(
                    ledger, dead_letter_id=dead_letter_id, merchant_id=merchant_id, now=now, cause=cause, **details
                )
            )  # fmt: skip
        except RejectedError as error:
            results.append(error)
    positions = [each.position for each in results if isinstance(each, Resolved) and each.position is not None]
    done = ManyResolved(results, max(positions, default=None))
    if request is not None:
        ledger.record([], request=request, result=done)
    return done


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
