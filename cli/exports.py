"""`export`: every list of the API as a file, with the same filters and the same figures."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated

import psycopg
import typer
from pydantic import BaseModel

from cli import tables
from cli.clock import now
from cli.connection import Books, books
from cli.failures import CannotError, UsageError
from cli.options import Data, Json
from cli.output import complain, print_json, spinner
from cli.pools import opened
from cli.serve_web import web_options
from cli.whose import merchant_of
from ledger.application import Ledger
from ledger.intake import Intake
from projections.read import Reads
from schemas.errors import RejectedError
from schemas.rows import FORMATS
from web.api import RESOURCES
from web.api.bodies import validated
from web.api.calls import Call
from web.api.exports import pages, query_of, rows_of, written
from web.api.routes import Route
from web.arrivals import Arrivals
from web.keys import ApiKey
from web.services import Services
from web.threads import Threads

_KEY_ID = "cli"
_NOT_FILTERS = ("min_position",)

LISTS: dict[str, Route] = {
    route.path.removeprefix("/"): route
    for table in RESOURCES
    for route in table.routes
    if rows_of(route) is not None and "{" not in route.path
}
"""The lists that have a file, by the names of their files."""

Write = Callable[[bytes], object]

app = typer.Typer(rich_markup_mode="markdown", add_completion=False)


def filters_of(route: Route) -> dict[str, str]:
    """Return the names of the list's filters as options (`--partner-id`), with the names that the API has for them."""
    model = query_of(route.query)
    names = (field.alias or name for name, field in model.model_fields.items() if name not in _NOT_FILTERS)
    return {f"--{name.replace('_', '-')}": name for name in names}


def _help() -> str:
    known = "\n\n".join(f"- `{name}` {' '.join(filters_of(route))}" for name, route in sorted(LISTS.items()))
    return (
        "Write a list as CSV or JSON Lines: the rows that the API shows, all of one moment.\n\n"
        f"The lists, each with its filters (as in the API, `--status paid`):\n\n{known}"
    )


@app.command(
    help=_help(), no_args_is_help=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def export(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="LIST", show_default=False)],
    merchant: Annotated[
        str | None, typer.Option("--merchant", help="Whose; left out: the merchant's, where there is only one.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", dir_okay=False, help="The file to write, whole or not at all; else stdout.")
    ] = None,
    file_format: Annotated[
        str | None, typer.Option("--format", help="csv or jsonl; left out: by the file's extension, else csv.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Write a list to a file."""
    export_list(name, context.args, merchant, out, file_format, data, as_json=as_json)


def export_list(
    name: str,
    filters: Sequence[str],
    merchant: str | None,
    out: Path | None,
    file_format: str | None,
    data: Path | None,
    *,
    as_json: bool = False,
) -> None:
    """Write the list of this name, of those that the filters (`--status paid`) let through, and tell how many rows.

    Raises UsageError, CannotError, NotFoundError.
    """
    if as_json and out is None:
        raise UsageError("--json tells of the file that --out names; without one, the list itself is on stdout")
    route = LISTS.get(name)
    if route is None:
        raise UsageError(f"there is no list {name!r}; there are: {', '.join(sorted(LISTS))}")
    query, kind = _query(route, filters), _kind_of(out, file_format)
    with books(data) as found, found.ledger() as ledger:
        merchant_id = merchant_of(found, ledger, merchant)
        with written_to(out) as write, spinner(name) as tell:
            count, position = asyncio.run(_export(found, ledger, merchant_id, route, query, kind, write, tell))
    if as_json:
        print_json({"file": str(out), "format": kind, "merchant": merchant_id, "rows": count, "position": position})
    elif out is not None:
        complain(f"{count:,} rows in {out}")


async def _export(
    found: Books,
    ledger: Ledger,
    merchant_id: str,
    route: Route,
    query: BaseModel,
    kind: str,
    write: Write,
    tell: Callable[[str], None],
) -> tuple[int, int | None]:
    """Write the list; returns how many rows it has, and the position that they reflect."""
    # Where nobody answers, a pool would try for a while and keep the reason to itself.
    async with await psycopg.AsyncConnection.connect(found.database_url):
        pass
    options = web_options(found.settings, found.hash_key)
    threads, count = Threads(1, 1), 0
    async with opened(found.database_url, 1, walled=True) as readers, opened(found.database_url, 1) as pool:
        services = Services(ledger=ledger, reads=Reads(readers), pool=pool, now=now, options=options)
        call = _call(services, threads, merchant_id, query)

        async def counted(rows: AsyncIterator[Sequence[BaseModel]]) -> AsyncIterator[Sequence[BaseModel]]:
            nonlocal count
            async for page in rows:
                count += len(page)
                tell(f"{route.path.removeprefix('/')}: {count:,} rows")
                yield page

        try:
            async with pages(call, route) as read:
                async for piece in written(route, kind, counted(read.rows)):
                    write(piece)
        finally:
            threads.close()
    return count, read.position


def _call(services: Services, threads: Threads, merchant_id: str, query: BaseModel) -> Call[None, BaseModel]:
    """Return the call that the API would be asked with."""
    return Call(
        services=services, intake=Intake(services.ledger), threads=threads,
        arrivals=Arrivals(str(services.pool.conninfo)),
        key=ApiKey(_KEY_ID, merchant_id, _KEY_ID, frozenset({"read"})), now=services.now(), request_id=_KEY_ID, path={},
        query=query, body=None, status=HTTPStatus.OK, idempotency_key=None, fingerprint=b"",
    )  # fmt: skip


def _query(route: Route, arguments: Sequence[str]) -> BaseModel:
    known = filters_of(route)
    told: dict[str, str] = {}
    for option, value in _options(arguments):
        if option not in known:
            raise UsageError(f"{option}: {route.path.removeprefix('/')} has no such filter; it has: {', '.join(known)}")
        told[known[option]] = value
    try:
        return validated(query_of(route.query), told, root="query")
    except RejectedError as error:
        faults = (f"--{fault.path.removeprefix('query.').replace('_', '-')}: {fault.message}" for fault in error.faults)
        raise UsageError("; ".join(faults)) from None


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    left = iter(arguments)
    for argument in left:
        option, equals, value = argument.partition("=")
        if not option.startswith("--"):
            raise UsageError(f"{argument}: what is it? Filters are told as --status paid")
        if not equals:
            following = next(left, None)
            if following is None:
                raise UsageError(f"{option}: needs a value")
            value = following
        yield option, value


def _kind_of(out: Path | None, named: str | None) -> str:
    if out is not None:
        return tables.format_of(out, named)
    if named is not None and named not in FORMATS:
        raise UsageError("--format csv or --format jsonl")
    return named or FORMATS[0]


@contextmanager
def written_to(out: Path | None, *, private: bool = False) -> Iterator[Write]:
    """Yield what writes to the file. It takes its name when all is written: a part is never taken for the whole.

    A `private` one only its owner can read. Raises CannotError.
    """
    if out is None:
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    if not out.parent.is_dir():
        raise CannotError(f"{out.parent}: there is no such folder")
    with NamedTemporaryFile(dir=out.parent, prefix=f".{out.name}.", delete=False) as file:
        try:
            yield file.write
            file.flush()
            os.fsync(file.fileno())
            if not private:
                _like_any_other(file.name)
            Path(file.name).replace(out)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _like_any_other(name: str) -> None:
    """Give the file the mode of any new file: a temporary one is its owner's alone."""
    mask = os.umask(0)
    os.umask(mask)
    Path(name).chmod(0o666 & ~mask)
