"""Imports: files of partners, orders and opening balances, with a result for every row. Safe to repeat.

The file is received whole before anything of it is booked, and never stands in memory: it comes from a disk, a batch of
rows at a time, and so does the report.
"""

import asyncio
import hashlib
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from itertools import islice
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from ledger import imports, order_rows
from ledger.requests import Request
from ledger.store import RequestRepeatedError
from schemas.api import FieldError
from schemas.api_imports import ImportQuery, ImportReport, ImportResult
from schemas.rows import Row, RowResult, Table, table
from web.api import balance_rows, partner_rows
from web.api.balance_rows import BalanceImport
from web.api.calls import POSITION_HEADER, Call
from web.api.partner_rows import PartnerImport
from web.api.routes import RouteTable
from web.problems import MalformedError, MediaTypeError, TooLargeError, TooSlowError
from web.services import WebOptions
from web.streams import LONG_CALLS, send

import_calls = RouteTable("imports")

ROWS_MAX = 100_000
TAKES = {"text/csv": "csv", "application/jsonl": "jsonl", "application/x-ndjson": "jsonl"}

_IN_MEMORY_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16
_ORDERS_AT_ONCE = 1_000
# Each is a transaction of its own.
_ROWS_AT_ONCE = 50
_IGNORED_MAX = 100


class Engine(Protocol):
    """Takes rows; `event_position` is that of the last event that it wrote."""

    event_position: int | None

    def take(self, rows: Sequence[Row], now: datetime) -> list[RowResult]:
        """Return what became of each row, in order."""


class Upload(NamedTuple):
    """A file that has arrived: whether it is CSV or JSON Lines, its bytes, and their SHA-256."""

    kind: str
    file: BinaryIO
    digest: str


class Plan(NamedTuple):
    """How files of one kind are read and taken."""

    name: str
    required: tuple[str, ...]
    aliases: dict[str, str]
    is_known: Callable[[str], bool]
    at_once: int
    engine: Callable[[Call[Any, Any], Upload], Engine]

    def table(self, upload: Upload) -> Table:
        """Return the rows of the file, from its beginning."""
        upload.file.seek(0)
        return table(upload.file, upload.kind, self.required, aliases=self.aliases)


@import_calls.upload("/imports/partners", query=ImportQuery, takes=tuple(TAKES), answer=ImportReport)
async def import_partners(call: Call[None, ImportQuery], request: web.Request) -> web.StreamResponse:
    """Import a file of partners.

    Columns: `name`, `email`, `rate_type`, `rate_value`, and `coupon_code` or `coupon_codes`, `status`, `tags`; JSON
    Lines may have the shape of `POST /partners`. An export of partners can be imported. A partner who is there already,
    with the same name, rate and codes, is a `duplicate` and left as it is.
    """
    return await _import(call, request, _PARTNERS)


@import_calls.upload("/imports/orders", query=ImportQuery, takes=tuple(TAKES), answer=ImportReport)
async def import_orders(call: Call[None, ImportQuery], request: web.Request) -> web.StreamResponse:
    """Import a file of order events.

    The fields are those of `POST /orders`; in CSV `customer_id`, `customer_email`, `customer_name` and `metadata.NAME`
    stand for what is nested there. A row without a type is a placed order. Refused rows are kept as dead letters.
    """
    return await _import(call, request, _ORDERS)


@import_calls.upload("/imports/balances", query=ImportQuery, takes=tuple(TAKES), answer=ImportReport)
async def import_balances(call: Call[None, ImportQuery], request: web.Request) -> web.StreamResponse:
    """Import opening balances: what partners are owed from before.

    Columns: `partner` (id or e-mail), `currency`, `amount` (may be negative), `as_of` (a day, in the program's time
    zone, or an instant), and `reference`. Each becomes a commission that is entered by hand, payable at once. Rows that
    are alike are one balance told twice, unless their references differ.
    """
    return await _import(call, request, _BALANCES)


async def _import(call: Call[None, ImportQuery], request: web.Request, plan: Plan) -> web.StreamResponse:
    options = call.services.options
    with request.app[LONG_CALLS].turn(call.merchant_id):
        async with received(_kind_of(request), _pieces(request, options.body_wait_s), options) as upload:
            parts = (request.method.encode(), request.raw_path.encode(), upload.digest.encode())
            call = replace(call, fingerprint=hashlib.sha256(b"\n".join(parts)).digest())
            repeated = await _answered_before(call)
            if repeated is not None:
                return repeated
            ignored = await asyncio.to_thread(_look, plan, upload)
            with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as spooled:
                report = _Report(plan.name, ignored, cast("BinaryIO", spooled), dry_run=call.query.dry_run)
                position = await _run(call, plan, upload, report)
                await _keep_answer(call, report)
                headers: dict[str, str] = {hdrs.CONTENT_TYPE: "application/json", hdrs.CONTENT_LENGTH: str(report.size)}
                if position is not None:
                    headers[POSITION_HEADER] = str(position)
                return await send(request, web.StreamResponse(headers=headers), report.pieces())


async def take(call: Call[None, ImportQuery], kind: str, upload: Upload, report: "Report") -> list[str]:
    """Take a file of one of the three kinds (`partners`, `orders`, `balances`); `call.query` says whether in earnest.

    Each row's result is added to the report; the columns that nobody knows come back. Raises FileError, TooLargeError.
    """
    plan = {"partners": _PARTNERS, "orders": _ORDERS, "balances": _BALANCES}[kind]
    ignored = await asyncio.to_thread(_look, plan, upload)
    await _run(call, plan, upload, report)
    return ignored


async def _run(call: Call[None, ImportQuery], plan: Plan, upload: Upload, report: "Report") -> int | None:
    """Take the file's rows, and return the position of the last event that was written for them."""
    engine = await call.run(lambda: plan.engine(call, upload))
    rows = plan.table(upload).rows

    def take() -> bool:
        batch = list(islice(rows, plan.at_once))
        report.add(engine.take(batch, call.now) if batch else [])
        return bool(batch)

    # A batch at a time: between them, others have their turn with the ledger.
    while await call.run(take):
        continue
    return engine.event_position


def _look(plan: Plan, upload: Upload) -> list[str]:
    """Return the columns that nobody knows. Raises FileError, TooLargeError: before anything of the file is taken."""
    found = plan.table(upload)
    names = dict.fromkeys(name for name in found.columns if name)
    for number, row in enumerate(found.rows, 1):
        if number > ROWS_MAX:
            raise TooLargeError("too_many_rows", f"the file has more than {ROWS_MAX} rows; send it in parts")
        if upload.kind == "jsonl" and row.fields and len(names) < _IGNORED_MAX:
            names |= dict.fromkeys(row.fields)
    return [name for name in names if not plan.is_known(name)][:_IGNORED_MAX]


# --- what arrives ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def received(kind: str, pieces: AsyncIterator[bytes], options: WebOptions) -> AsyncIterator[Upload]:
    """Yield what arrives as a file. Raises TooLargeError, TooSlowError, MalformedError."""
    digest = hashlib.sha256()
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
        size = 0
        try:
            async with asyncio.timeout(options.import_wait_s):
                async for piece in pieces:
                    size += len(piece)
                    if size > options.import_body_max:
                        raise TooLargeError("body_too_large", f"the body has more than {options.import_body_max} bytes")
                    digest.update(piece)
                    file.write(piece)
        except TimeoutError:
            raise TooSlowError("request_timeout", "the body did not arrive in time") from None
        except (HttpProcessingError, web.RequestPayloadError) as error:
            message = "the body ends too early or is not encoded as its headers say"
            raise MalformedError("broken_body", message) from error
        yield Upload(kind, cast("BinaryIO", file), digest.hexdigest())


async def _pieces(request: web.Request, wait_s: float) -> AsyncIterator[bytes]:
    while True:
        async with asyncio.timeout(wait_s):
            piece = await request.content.readany()
        if not piece:
            return
        yield piece


def _kind_of(request: web.Request) -> str:
    kind = TAKES.get(request.content_type)
    if kind is None or (request.charset or "utf-8").lower().replace("_", "-") not in ("utf-8", "utf8", "us-ascii"):
        raise MediaTypeError("unsupported_media_type", f"send the file as one of {', '.join(TAKES)}, in UTF-8")
    return kind


# --- the report ------------------------------------------------------------------------------------------------------


class Report(Protocol):
    """Is told what became of rows."""

    def add(self, results: Sequence[RowResult]) -> None:
        """Add the results of a batch."""


class _Report:
    """Collects the results of rows in a file, and is written with the counts in front of them."""

    def __init__(self, kind: str, ignored: list[str], spooled: BinaryIO, *, dry_run: bool) -> None:
        self._kind, self._ignored, self._dry_run = kind, ignored, dry_run
        self._spooled = spooled
        self._outcomes: Counter[str] = Counter()
        self._refused = 0

    def add(self, results: Sequence[RowResult]) -> None:
        """Add the results of a batch."""
        for result in results:
            separator = b"," if self._outcomes else b""
            self._outcomes[result.outcome] += 1
            self._refused += bool(result.faults)
            self._spooled.write(separator + _shown(result).model_dump_json().encode())

    @property
    def size(self) -> int:
        """Return the number of bytes of the report."""
        return len(self._head()) + self._spooled.tell() + len(_END)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the report as JSON, piece after piece."""
        for piece in self.whole():
            yield piece

    def whole(self) -> Iterator[bytes]:
        """Yield the report as JSON, piece after piece."""
        yield self._head()
        self._spooled.seek(0)
        while piece := self._spooled.read(_PIECE_BYTES):
            yield piece
        yield _END

    def _head(self) -> bytes:
        rows = self._outcomes.total()
        report = ImportReport(
            kind=self._kind, dry_run=self._dry_run, rows=rows, accepted=rows - self._refused, refused=self._refused,
            outcomes=dict(sorted(self._outcomes.items())), ignored_columns=self._ignored, results=[],
        )  # fmt: skip
        return report.model_dump_json().encode().removesuffix(_END)


_END = b"]}"


def _shown(result: RowResult) -> ImportResult:
    errors = [FieldError(path=fault.path, code=fault.code, message=fault.message) for fault in result.faults]
    return ImportResult(
        line=result.line, ok=not errors, outcome=result.outcome, id=result.id, errors=errors or None
    )  # fmt: skip


# --- Idempotency-Key -------------------------------------------------------------------------------------------------


async def _answered_before(call: Call[None, ImportQuery]) -> web.Response | None:
    """Return the report that the key was given before. Raises ConflictError where it came with another file."""
    if call.idempotency_key is None or call.query.dry_run:
        return None
    earlier = await call.answered_before(call.idempotency_key)
    if earlier is None or earlier.stored is None or not earlier.stored.body:
        # None yet, or one that was too long to be kept: the import is run again, and finds that all is there.
        return None
    headers = {"Idempotency-Replayed": "true"}
    if earlier.position is not None:
        headers[POSITION_HEADER] = str(earlier.position)
    status, body = HTTPStatus(earlier.stored.status), bytes(earlier.stored.body)
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


async def _keep_answer(call: Call[None, ImportQuery], report: _Report) -> None:
    key = call.idempotency_key
    if key is None or call.query.dry_run:
        return
    body = b"".join(report.whole()) if report.size <= _IN_MEMORY_BYTES else b""
    kept = Request(
        merchant_id=call.merchant_id, idempotency_key=key, body_sha256=call.fingerprint,
        answer=lambda _: (HTTPStatus.OK, body),
    )  # fmt: skip
    try:
        await call.run(lambda: call.services.ledger.record([], request=kept))
    except RequestRepeatedError:
        return  # the same file was sent twice at the same time, or its long report is not kept


# --- the three kinds -------------------------------------------------------------------------------------------------


def _partners(call: Call[Any, Any], upload: Upload) -> Engine:
    rehearsal = call.query.dry_run
    return PartnerImport(call.services.ledger, call.merchant_id, upload.kind, call.cause, rehearsal=rehearsal)


def _orders(call: Call[Any, Any], upload: Upload) -> Engine:
    source = imports.source_of(call.merchant_id, upload.digest)
    rehearsal = call.query.dry_run
    return imports.OrderImport(call.services.ledger, call.intake, source, upload.kind, rehearsal=rehearsal)


def _balances(call: Call[Any, Any], upload: Upload) -> Engine:
    rehearsal = call.query.dry_run
    return BalanceImport(call.services.ledger, call.merchant_id, upload.kind, call.cause, rehearsal=rehearsal)


_PARTNERS = Plan(
    "partners", partner_rows.REQUIRED_COLUMNS, partner_rows.ALIASES, partner_rows.COLUMNS.__contains__, _ROWS_AT_ONCE,
    _partners,
)  # fmt: skip
_ORDERS = Plan("orders", order_rows.REQUIRED_COLUMNS, {}, order_rows.is_known, _ORDERS_AT_ONCE, _orders)
_BALANCES = Plan(
    "balances", balance_rows.REQUIRED_COLUMNS, {}, balance_rows.COLUMNS.__contains__, _ROWS_AT_ONCE, _balances
)  # fmt: skip
