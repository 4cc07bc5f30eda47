"""Dead letters: messages that were refused for good, kept with their reason."""

from functools import partial
from typing import Any

from ledger import dead_letters
from ledger.dead_letters import Resolved
from schemas.api import Because, DeadLetterState, Nothing, Query
from web.api.calls import Call, Reply
from web.api.routes import RouteTable

dead_letter_calls = RouteTable("dead letters")


@dead_letter_calls.post("/dead-letters/{dead_letter_id:[^/]+}/retry", body=Nothing, answer=DeadLetterState)
async def retry_dead_letter(call: Call[Nothing, Query]) -> Reply:
    """Take the message in again, as if it came now.

    What refused it may have been put right since. If it is refused again the answer says why, and the letter stays open.
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


def _state(resolved: Resolved) -> DeadLetterState:
    return DeadLetterState(
        id=resolved.dead_letter_id,
        status=resolved.status,  # type: ignore[arg-type]
        outcome=resolved.outcome,  # type: ignore[arg-type]
        resolution=resolved.resolution,
    )
