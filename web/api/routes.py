"""The table of calls: what each takes and answers, in one place, for the server and for OpenAPI."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

from aiohttp import web
from pydantic import BaseModel

from schemas.api import Nothing, Query, Scope

if TYPE_CHECKING:
    from web.api.calls import Call, Reply

PREFIX = "/api/v1"

Handler: TypeAlias = "Callable[[Call[Any, Any]], Awaitable[Reply]]"
FileHandler: TypeAlias = "Callable[[Call[Any, Any], web.Request], Awaitable[web.StreamResponse]]"


@dataclass(frozen=True, kw_only=True)
class Route:
    """One call. `path` is relative to the prefix; `large` allows the long bodies that only /orders takes.

    `scope` is what a key must have to make the call (`admin` includes every other); None: any valid key will do.
    `takes` are the media types of a body that is a file, `gives` is that of an answer that is one: longer than memory,
    so the handler reads the request and writes the answer itself.
    """

    method: str
    path: str
    handler: "Handler | FileHandler"
    tag: str
    summary: str
    description: str
    query: type[BaseModel]
    body: type[BaseModel] | None
    body_required: bool
    answer: type[BaseModel] | None
    status: HTTPStatus
    scope: Scope | None
    parameters: Mapping[str, str] = field(default_factory=dict)
    large: bool = False
    takes: tuple[str, ...] = ()
    gives: str | None = None

    @property
    def is_file(self) -> bool:
        """Whether the handler is a FileHandler."""
        return bool(self.takes) or self.gives is not None

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

    def get(
        self, path: str, *, query: type[BaseModel], answer: type[BaseModel], scope: Scope | None = "read"
    ) -> Callable[[Handler], Handler]:
        """Register a read."""
        return self._add("GET", path, query=query, answer=answer, scope=scope)

    def post(
        self,
        path: str,
        *,
        body: type[BaseModel] = Nothing,
        body_required: bool = True,
        answer: type[BaseModel],
        status: HTTPStatus = HTTPStatus.OK,
        large: bool = False,
        scope: Scope | None = "admin",
    ) -> Callable[[Handler], Handler]:
        """Register a command. Where no scope is named it is for administrators; None: the handler asks for one."""
        required = body_required and body is not Nothing
        return self._add(
            "POST", path, body=body, body_required=required, answer=answer, status=status, large=large, scope=scope
        )

    def patch(
        self, path: str, *, body: type[BaseModel], answer: type[BaseModel], scope: Scope = "admin"
    ) -> Callable[[Handler], Handler]:
        """Register a change of some members."""
        return self._add("PATCH", path, body=body, body_required=True, answer=answer, scope=scope)

    def put(
        self, path: str, *, body: type[BaseModel], answer: type[BaseModel], scope: Scope = "admin"
    ) -> Callable[[Handler], Handler]:
        """Register what something is to be from now on, whatever it was: the same again changes nothing."""
        return self._add("PUT", path, body=body, body_required=True, answer=answer, scope=scope)

    def upload(
        self,
        path: str,
        *,
        query: type[BaseModel],
        takes: tuple[str, ...],
        answer: type[BaseModel],
        scope: Scope = "admin",
    ) -> Callable[[FileHandler], FileHandler]:
        """Register a command whose body is a file."""
        return self._add("POST", path, query=query, answer=answer, takes=takes, scope=scope)

    def download(
        self, path: str, *, gives: str, query: type[BaseModel] = Query, scope: Scope = "read"
    ) -> Callable[[FileHandler], FileHandler]:
        """Register a read whose answer is a file of the media type `gives`."""
        return self._add("GET", path, query=query, gives=gives, scope=scope)

    def delete(self, path: str, *, scope: Scope = "admin") -> Callable[[Handler], Handler]:
        """Register a removal, which answers with nothing."""
        return self._add("DELETE", path, status=HTTPStatus.NO_CONTENT, scope=scope)

    def _add(
        self,
        method: str,
        path: str,
        *,
        scope: Scope | None,
        query: type[BaseModel] = Query,
        body: type[BaseModel] | None = None,
        body_required: bool = False,
        answer: type[BaseModel] | None = None,
        status: HTTPStatus = HTTPStatus.OK,
        large: bool = False,
        takes: tuple[str, ...] = (),
        gives: str | None = None,
    ) -> Callable[[Any], Any]:
        def register(handler: Any) -> Any:
            summary, _, description = inspect.cleandoc(handler.__doc__ or "").partition("\n")
            self.routes.append(
                Route(
                    method=method, path=path, handler=handler, tag=self.tag, summary=summary.rstrip("."),
                    description=description.strip(), query=query, body=body, body_required=body_required, answer=answer,
                    status=status, scope=scope, large=large, takes=takes, gives=gives,
                )
            )  # fmt: skip
            return handler

        return register
