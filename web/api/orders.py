"""Orders by HTTP: the same order events that storefronts publish to the topic, into the same books."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, PlainValidator, RootModel, SkipValidation, WithJsonSchema
from pydantic_core import PydanticCustomError

from ledger.batch import Result
from ledger.intake import Taken
from ledger.requests import Request
from schemas.api import ORDERS_MAX, FieldError, Query
from schemas.api_answers import OrderError, OrderResult, OrderResults
from schemas.errors import RejectedError
from schemas.money import Money
from schemas.order_messages import (
    CancelledMessage,
    DisputedMessage,
    DisputeWonMessage,
    PlacedMessage,
    RefundedMessage,
)
from web.api.calls import Call, Reply
from web.api.routes import RouteTable

orders = RouteTable("orders")

_REFUSED = "Whatever else is sent becomes a dead letter and says so in its result; its neighbours are booked."
_AnyObject = Annotated[dict[str, Any], WithJsonSchema({"type": "object", "description": _REFUSED})]
_Anything = Annotated[Any, WithJsonSchema({"description": _REFUSED})]
_Known = PlacedMessage | RefundedMessage | CancelledMessage | DisputedMessage | DisputeWonMessage
_One = Annotated[_Known | _AnyObject, SkipValidation]
_Many = Annotated[list[Annotated[_Known | _Anything, SkipValidation]], Field(min_length=1, max_length=ORDERS_MAX)]


def _listed(value: Any) -> list[Any]:
    """One event is a list of one. What an event says is read by the intake, which keeps what it must refuse."""
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise PydanticCustomError("wrong_type", "must be an order event or an array of them")
    if not 0 < len(value) <= ORDERS_MAX:
        code = "too_long" if value else "too_short"
        raise PydanticCustomError(code, "must have 1 to {most} order events", {"most": ORDERS_MAX})
    return value


class OrderEvents(RootModel[Annotated[list[Any], PlainValidator(_listed, json_schema_input_type=_One | _Many)]]):
    """One order event or an array of at most 1,000, as on the topic `orders`; `merchant_id` may be left out."""


@orders.post("/orders", body=OrderEvents, answer=OrderResults, large=True, scope="orders:write")
async def take_orders(call: Call[OrderEvents, Query]) -> Reply:
    """Take order events.

    Each event has its own result, in order: one that is refused does not keep the others from being booked. Events are
    deduplicated by their order's and refund's own ids, so sending them again is always safe.
    """

    def command(request: Request | None) -> Taken:
        return call.intake.take_objects(call.merchant_id, call.body.root, call.now, request)

    def answer(taken: Taken | Sequence[Result]) -> OrderResults:
        results = taken.results if isinstance(taken, Taken) else taken
        return OrderResults(
            results=[_shown(result, sent) for result, sent in zip(results, call.body.root, strict=True)]
        )

    return await call.write(command, answer)


def _shown(result: Result, sent: Any) -> OrderResult:
    commission = None
    if result.commission_minor is not None and result.currency is not None:
        commission = Money.of(result.commission_minor, result.currency)
    return OrderResult(
        order_id=result.order_id or _order_id(sent),
        outcome=result.outcome,
        commission=commission,
        error=_error(result.error) if result.error else None,
    )


def _error(error: RejectedError) -> OrderError:
    fields = [FieldError(path=fault.path, code=fault.code, message=fault.message) for fault in error.faults]
    return OrderError(code=error.code, message=error.message, path=error.path, errors=fields)


def _order_id(sent: Any) -> str | None:
    """Return the order's id, as far as it can be told of an event that was refused."""
    found = sent.get("order_id") if isinstance(sent, dict) else None
    return found if isinstance(found, str) else None
