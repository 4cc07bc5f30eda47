"""The table of calls: what each takes and answers, in one place, for the server and for OpenAPI."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import BaseModel

from schemas.api import Nothing, Query

if TYPE_CHECKING:
    from web.api.calls import Call, Reply

PREFIX = "/api/v1"

Handler: TypeAlias = "Callable[[Call[Any, Any]], Awaitable[Reply]]"


@dataclass(frozen=True, kw_only=True)
class Route:
    """One call. `path` is relative to the prefix; `large` allows the long bodies that only /orders takes."""

    method: str
    path: str
    handler: Handler
    tag: str
    summary: str
    description: str
    query: type[BaseModel]
    body: type[BaseModel] | None
    body_required: bool
    answer: type[BaseModel] | None
    status: HTTPStatus
    parameters: Mapping[str, str] = field(default_factory=dict)
    large: bool = False

    @property
    def name(self) -> str:
        """The operation's id: the handler's name."""
        return self.handler.__name__

    @property
    def idempotent_by_key(self) -> bool:
        """Every POST takes an `Idempotency-Key`."""
        return self.method == "POST"

    @property
    def reads(self) -> bool:
        """Whether the call answers from a read model."""
        return self.method == "GET"


class RouteTable:
    """The calls of one resource; `tag` groups them in the documentation."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.routes: list[Route] = []

    def get(self, path: str, *, query: type[BaseModel], answer: type[BaseModel]) -> Callable[[Handler], Handler]:
        """Register a read."""
        return self._add("GET", path, query=query, answer=answer)

    def post(
        self,
        path: str,
        *,
        body: type[BaseModel] = Nothing,
        body_required: bool = True,
        answer: type[BaseModel],
        status: HTTPStatus = HTTPStatus.OK,
        large: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Register a command."""
        required = body_required and body is not Nothing
        return self._add("POST", path, body=body, body_required=required, answer=answer, status=status, large=large)

    def patch(self, path: str, *, body: type[BaseModel], answer: type[BaseModel]) -> Callable[[Handler], Handler]:
        """Register a change of some members."""
        return self._add("PATCH", path, body=body, body_required=True, answer=answer)

    def delete(self, path: str) -> Callable[[Handler], Handler]:
        """Register a removal, which answers with nothing."""
        return self._add("DELETE", path, status=HTTPStatus.NO_CONTENT)

    def _add(
        self,
        method: str,
        path: str,
        *,
        query: type[BaseModel] = Query,
        body: type[BaseModel] | None = None,
        body_required: bool = False,
        answer: type[BaseModel] | None = None,
        status: HTTPStatus = HTTPStatus.OK,
        large: bool = False,
    ) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            summary, _, description = inspect.cleandoc(handler.__doc__ or "").partition("\n")
            self.routes.append(
                Route(
                    method=method, path=path, handler=handler, tag=self.tag, summary=summary.rstrip("."),
                    description=description.strip(), query=query, body=body, body_required=body_required, answer=answer,
                    status=status, large=large,
                )
            )  # fmt: skip
            return handler

        return register
