"""Dead letters: messages that were refused for good, kept with their reason."""

from functools import partial
from typing import Any

from ledger import dead_letters
from ledger.dead_letters import Resolved
from projections import rows
from schemas.api import Because, DeadLettersQuery, Nothing, Page, Query, Read
from schemas.api_answers import DeadLetter, DeadLetterState, DeadLetterStory
from schemas.errors import NotFoundError
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
        call.merchant_id, status=query.status, after=place[0] if place else None, limit=query.limit
    )
    data = [DeadLetter(**_shown(row)) for row in page.rows]
    return Reply(Page[DeadLetter](data=data, next_cursor=cursor_of(page.next)), page.position)


@dead_letter_calls.get("/dead-letters/{dead_letter_id:[^/]+}", query=Read, answer=DeadLetterStory)
async def show_dead_letter(call: Call[None, Read]) -> Reply:
    """Show a refused message, whole."""
    dead_letter_id = call.path["dead_letter_id"]
    found = await call.services.reads.dead_letter(call.merchant_id, dead_letter_id)
    if found.row is None:
        raise NotFoundError("dead letter", dead_letter_id)
    return Reply(DeadLetterStory(**_shown(found.row), raw=_text(found.row.raw)), found.position)


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


def _state(resolved: Resolved) -> DeadLetterState:
    return DeadLetterState(
        id=resolved.dead_letter_id,
        status=resolved.status,
        outcome=resolved.outcome,
        resolution=resolved.resolution,
    )
