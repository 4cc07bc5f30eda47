"""Every list as a file: the list's own call, page after page, as CSV or JSON Lines, all of one moment.

There is no second query and no second way of showing a row, so a file says what the list says (docs/decisions/0015).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from http import HTTPStatus
from typing import Any, NamedTuple, cast, get_args

from aiohttp import hdrs, web
from psycopg import AsyncConnection
from pydantic import BaseModel, create_model

from projections.read import Reads
from schemas.api import LIMIT_MAX, Listing, Page
from schemas.api_answers import Intake, Metrics
from schemas.api_figures import PartnerMetrics, ProgramBalances
from schemas.api_statements import Statement
from schemas.errors import RetryableError
from schemas.rows import FORMATS
from schemas.sheets import Sheet
from web.api.calls import POSITION_HEADER, Call
from web.api.routes import Handler, Route, RouteTable
from web.streams import LONG_CALLS, send

MEDIA_TYPES = {"csv": "text/csv", "jsonl": "application/jsonl"}
_CHARSET = {"csv": "text/csv; charset=utf-8; header=present", "jsonl": "application/jsonl"}

# Answers that are whole at once, and the member in which their rows stand.
_WHOLE: Mapping[type[BaseModel], str] = {
    Metrics: "series", Intake: "data", PartnerMetrics: "data", ProgramBalances: "data",
    Statement: "lines",
}  # fmt: skip
_PAGED = ("limit", "cursor")
_ALL = 2**31 - 1

_ABOUT = {
    "csv": "The members of the JSON answer, flat (`commission.amount`); amounts are decimals. A text that begins like a"
    " formula (`=`, `+`, `-`, `@`, tab, carriage return) has an apostrophe in front. RFC 4180, UTF-8.",
    "jsonl": "The objects of the JSON answer, one a line.",
}


class Listed(NamedTuple):
    """A call that answers with rows: which member they are in, and what they are."""

    member: str
    row: type[BaseModel]


class Pages(NamedTuple):
    """The rows of a list, page after page, as of a position (None: of what has none)."""

    position: int | None
    rows: AsyncIterator[Sequence[BaseModel]]


def files_of(tables: Iterable[RouteTable]) -> RouteTable:
    """Return the files of every list that is in the tables: the same address with `.csv` or `.jsonl` behind it."""
    files = RouteTable("files")
    for route in (route for table in tables for route in table.routes):
        if rows_of(route) is not None:
            files.routes += [_file(route, kind) for kind in FORMATS]
    return files


def rows_of(route: Route) -> Listed | None:
    """Return what rows the call answers with, None where it is no list."""
    if route.method != hdrs.METH_GET or route.answer is None or route.is_file:
        return None
    if issubclass(route.answer, Page):
        member = "data"
    elif route.answer in _WHOLE:
        member = _WHOLE[route.answer]
    else:
        return None
    return Listed(member, get_args(route.answer.model_fields[member].annotation)[0])


@cache
def query_of(listing: type[BaseModel]) -> type[BaseModel]:
    """Return the query of a file: that of the list, without what is about pages."""
    if not any(name in listing.model_fields for name in _PAGED):
        return listing
    kept: dict[str, Any] = {
        name: (field.annotation, field) for name, field in listing.model_fields.items() if name not in _PAGED
    }
    return create_model(f"{listing.__name__}File", __config__=listing.model_config, __doc__=listing.__doc__, **kept)


def _file(route: Route, kind: str) -> Route:
    async def handler(call: Call[Any, Any], request: web.Request) -> web.StreamResponse:
        with request.app[LONG_CALLS].turn(call.merchant_id):
            return await _answer(call, request, route, kind)

    handler.__name__ = f"{route.name}_{kind}"
    about = [_ABOUT[kind], "All rows as of one moment. A file that could not be finished breaks off without its end."]
    return replace(
        route, path=f"{route.path}.{kind}", handler=handler, query=query_of(route.query), answer=None,
        gives=MEDIA_TYPES[kind], summary=f"{route.summary}: as {'CSV' if kind == 'csv' else 'JSON Lines'}",
        description="\n\n".join(filter(None, (route.description, *about))), status=HTTPStatus.OK,
    )  # fmt: skip


async def _answer(call: Call[Any, Any], request: web.Request, route: Route, kind: str) -> web.StreamResponse:
    async with asyncio.timeout(call.services.options.export_s_max), pages(call, route) as found:
        name = request.path.rpartition("/")[2]
        headers: dict[str, str] = {hdrs.CONTENT_TYPE: _CHARSET[kind]}
        headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{name}"'
        if found.position is not None:
            headers[POSITION_HEADER] = str(found.position)
        response = web.StreamResponse(headers=headers)
        pieces = nothing() if request.method == hdrs.METH_HEAD else written(route, kind, found.rows)
        return await send(request, response, pieces)


async def nothing() -> AsyncGenerator[bytes, None]:
    """Yield nothing: HEAD asks for the headers only."""
    pieces: tuple[bytes, ...] = ()
    for piece in pieces:
        yield piece


async def written(route: Route, kind: str, pages: AsyncIterator[Sequence[BaseModel]]) -> AsyncGenerator[bytes, None]:
    """Yield the file in pieces, a page at a time."""
    listed = rows_of(route)
    assert listed is not None  # noqa: S101 - only lists have files
    write: Callable[[Sequence[BaseModel]], bytes] = _json_lines
    if kind == "csv":
        sheet = Sheet(listed.row)
        yield sheet.heading()
        write = sheet.lines
    async for rows in pages:
        if rows:
            yield write(rows)


@asynccontextmanager
async def pages(call: Call[Any, Any], route: Route) -> AsyncIterator[Pages]:
    """Yield all rows that the list would show, page after page, all of one moment.

    `call.query` is that of a file. The first page is there already: what is wrong with the call is raised here. Raises
    RetryableError, here or later, where a rebuild put other tables in the place of those that were being read.
    """
    listed = rows_of(route)
    assert listed is not None  # noqa: S101 - only lists have files
    async with call.services.reads.moment(call.merchant_id) as conn:
        lent = cast("Any", _Lent(conn))
        services = replace(call.services, reads=Reads(lent))
        paging = _Paging(replace(call, services=services), route, listed)
        first = await paging.page(None)
        yield Pages(paging.position, paging.following(first))


class _Lent:
    """One connection in the place of a pool: whoever asks gets this one, and reads what it reads."""

    def __init__(self, conn: AsyncConnection[Any]) -> None:
        self._conn = conn

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Lend the connection."""
        yield self._conn


class _Paging:
    """Follows the cursors of a list."""

    def __init__(self, call: Call[Any, Any], route: Route, listed: Listed) -> None:
        self.position: int | None = None
        self._call, self._route, self._listed = call, route, listed
        self._begun = False

    async def page(self, cursor: str | None) -> BaseModel:
        """Return the page at the cursor. Raises RetryableError where it is not of the same moment as those before."""
        handler = cast("Handler", self._route.handler)
        reply = await handler(replace(self._call, query=self._query(cursor)))
        if self._begun and reply.position != self.position:
            # In this moment, the tables that a rebuild has put there are empty, and so is their position.
            raise RetryableError("the read models were rebuilt while they were read; ask again")
        self._begun, self.position = True, reply.position
        assert reply.body is not None  # noqa: S101 - a read has an answer
        return reply.body

    async def following(self, page: BaseModel) -> AsyncIterator[Sequence[BaseModel]]:
        """Yield the rows of this page and of all behind it."""
        yield getattr(page, self._listed.member)
        while cursor := getattr(page, "next_cursor", None):
            page = await self.page(cursor)
            yield getattr(page, self._listed.member)

    def _query(self, cursor: str | None) -> BaseModel:
        told = {name: getattr(self._call.query, name) for name in type(self._call.query).model_fields}
        if issubclass(self._route.query, Listing):
            told |= {"limit": LIMIT_MAX, "cursor": cursor}
        elif "limit" in self._route.query.model_fields:
            # The first of something; a file has all of it.
            told["limit"] = _ALL
        # Checked already, and no longer in the form in which a query string says it.
        return self._route.query.model_construct(**told)


def _json_lines(answers: Sequence[BaseModel]) -> bytes:
    return b"".join(answer.model_dump_json(by_alias=True).encode() + b"\n" for answer in answers)
