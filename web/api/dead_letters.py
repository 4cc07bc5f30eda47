"""Dead letters: messages that were refused for good, kept with their reason."""

from base64 import b64encode
from functools import partial
from typing import Any

from ledger import dead_letters
from ledger.dead_letters import ManyResolved, Resolved
from projections import rows
from schemas.api import Because, DeadLettersQuery, FieldError, Nothing, Page, Query, Read
from schemas.api_answers import DeadLetter, DeadLetterState, DeadLetterStory
from schemas.api_dead_letters import (
    BulkResolution,
    DeadLetterCount,
    DeadLetterCounts,
    ResolutionError,
    ResolutionResult,
    ResolutionResults,
)
from schemas.errors import Fault, NotFoundError, RejectedError
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, from_cursor
from web.api.routes import RouteTable

dead_letter_calls = RouteTable("dead letters")

_EXCERPT_BYTES = 500


@dead_letter_calls.get("/dead-letters", query=DeadLettersQuery, answer=Page[DeadLetter])
async def list_dead_letters(call: Call[None, DeadLettersQuery]) -> Reply:
    """List refused messages, newest first.

    Messages that name no merchant that we know belong to nobody; the operator sees them, the API does not.
    """
    query = call.query
    place = from_cursor(query.cursor, int)
    page = await call.services.reads.dead_letters(
        call.merchant_id, status=query.status, code=query.code, after=place[0] if place else None, limit=query.limit
    )
    data = [DeadLetter(**_shown(row)) for row in page.rows]
    return Reply(Page[DeadLetter](data=data, next_cursor=cursor_of(page.next)), page.position)


@dead_letter_calls.get("/dead-letters/counts", query=Read, answer=DeadLetterCounts)
async def count_dead_letters(call: Call[None, Read]) -> Reply:
    """Count refused messages by what they were refused for, and by what became of them."""
    position, rows = await call.services.reads.dead_letter_counts(call.merchant_id)
    data = [DeadLetterCount(status=status, code=code, count=count) for status, code, count in rows]
    return Reply(DeadLetterCounts(data=data), position)


@dead_letter_calls.post("/dead-letters/bulk", body=BulkResolution, answer=ResolutionResults)
async def resolve_dead_letters(call: Call[BulkResolution, Query]) -> Reply:
    """Take up to 100 refused messages in again, or put them away.

    Each for itself: those that can be resolved are, each of the others says why not. An id may stand there once.
    """
    body = call.body
    _check_unique(body.dead_letter_ids)
    run = partial(
        dead_letters.resolve_many, call.services.ledger, body.action, dead_letter_ids=body.dead_letter_ids,
        merchant_id=call.merchant_id, now=call.now, cause=call.cause, **_details(body),
    )  # fmt: skip

    def answer(many: ManyResolved) -> ResolutionResults:
        return ResolutionResults(
            results=[_result(id_, found) for id_, found in zip(body.dead_letter_ids, many.results, strict=True)]
        )

    return await call.write(lambda request: run(request=request), answer)


@dead_letter_calls.get("/dead-letters/{dead_letter_id:(?!(?:bulk|counts)$)[^/]+}", query=Read, answer=DeadLetterStory)
async def show_dead_letter(call: Call[None, Read]) -> Reply:
    """Show a refused message, whole."""
    dead_letter_id = call.path["dead_letter_id"]
    found = await call.services.reads.dead_letter(call.merchant_id, dead_letter_id)
    if found.row is None:
        raise NotFoundError("dead letter", dead_letter_id)
    raw = found.row.raw
    told = None if raw is None else b64encode(raw).decode()
    return Reply(DeadLetterStory(**_shown(found.row), raw=_text(raw), raw_base64=told), found.position)


@dead_letter_calls.post("/dead-letters/{dead_letter_id:[^/]+}/retry", body=Nothing, answer=DeadLetterState)
async def retry_dead_letter(call: Call[Nothing, Query]) -> Reply:
    """Take the message in again, as if it came now.

    What it was refused for may be right by now. If it is refused again the answer says why, and the letter stays open.
    """
    return await _resolve(call, dead_letters.retry)


@dead_letter_calls.post("/dead-letters/{dead_letter_id:[^/]+}/discard", body=Because, answer=DeadLetterState)
async def discard_dead_letter(call: Call[Because, Query]) -> Reply:
    """Put the letter away; it stays on record with the reason."""
    return await _resolve(call, dead_letters.discard, reason=call.body.reason)


async def _resolve(call: Call[Any, Any], command: Any, **details: Any) -> Reply:
    run = partial(
        command, call.services.ledger, dead_letter_id=call.path["dead_letter_id"], merchant_id=call.merchant_id,
        now=call.now, cause=call.cause, **details,
    )  # fmt: skip
    return await call.write(lambda request: run(request=request), _state)


def _shown(row: rows.DeadLetter) -> dict[str, Any]:
    text = _text(row.raw[:_EXCERPT_BYTES] if row.raw else None)
    return {
        "id": row.dead_letter_id,
        "status": row.status,
        "code": row.code,
        "path": row.path,
        "reason": row.reason,
        "source": row.source,
        "topic": row.topic,
        "partition": row.partition,
        "position": row.position,
        "received_at": row.received_at,
        "resolved_at": row.resolved_at,
        "resolution": row.resolution,
        "excerpt": text,
    }


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else bytes(raw).decode("utf-8", "replace")


def _details(body: BulkResolution) -> dict[str, Any]:
    """Return what the action takes. Raises RejectedError for a reason that is missing, or that it does not take."""
    if (body.reason is None) is (body.action == "retry"):
        return {} if body.reason is None else {"reason": body.reason}
    if body.reason is None:
        raise RejectedError.at("$.reason", "missing", "discard needs it")
    raise RejectedError.at("$.reason", "not_taken", "retry takes none")


def _check_unique(ids: list[str]) -> None:
    repeated = [number for number, id_ in enumerate(ids) if id_ in ids[:number]]
    if repeated:
        faults = [Fault(f"$.dead_letter_ids[{number}]", "repeated", "may be there only once") for number in repeated]
        raise RejectedError("invalid_body", "an id is there more than once", faults)


def _result(id_: str, found: Resolved | RejectedError) -> ResolutionResult:
    if isinstance(found, Resolved):
        return ResolutionResult(id=id_, ok=True, status=found.status, outcome=found.outcome)
    errors = [FieldError(path=fault.path, code=fault.code, message=fault.message) for fault in found.faults]
    error = ResolutionError(code=found.code, message=found.message, errors=errors or None)
    return ResolutionResult(id=id_, ok=False, error=error)


def _state(resolved: Resolved) -> DeadLetterState:
    return DeadLetterState(
        id=resolved.dead_letter_id,
        status=resolved.status,
        outcome=resolved.outcome,
        resolution=resolved.resolution,
    )
