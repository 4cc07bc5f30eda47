"""Calls that did their work before their answer can be kept: it was done elsewhere, or does no harm twice."""

from typing import Any

from pydantic import BaseModel

from ledger.requests import Request
from web.api.calls import Call, Reply


async def answered_before(call: Call[Any, Any]) -> Reply | None:
    """Return the answer that the call's idempotency key was given before, None where it has none or a new one.

    Raises ConflictError `idempotency_key_reused`.
    """
    return None if call.idempotency_key is None else await call.answered_before(call.idempotency_key)


async def answered_now(call: Call[Any, Any], answer: BaseModel, *, kept: BaseModel | None = None) -> Reply:
    """Return the answer, kept under the call's idempotency key; `kept` is what is given again where that says less."""

    def keep(request: Request | None) -> None:
        if request is not None:
            call.services.ledger.record([], request=request)

    return await call.write(keep, lambda _: answer, kept=None if kept is None else lambda _: kept)
