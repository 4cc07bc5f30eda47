"""What the bank tells by file: booked, come back, refused. The same file again changes nothing."""

from collections import Counter
from dataclasses import replace
from hashlib import sha256
from typing import Any, cast

from aiohttp import web

from consumers.rails.bank_statements import FILE_BYTES_MAX, Statement, read_statement
from ledger.bank_orders import Applied, Result
from schemas.api_bank import BankStatementQuery, BankStatementReport, BankStatementResult
from schemas.money import Money
from web.api.bank_batches import bank_of
from web.api.bodies import read_body
from web.api.calls import Call, encoded
from web.api.done_already import answered_before, answered_now
from web.api.routes import RouteTable
from web.problems import MediaTypeError
from web.streams import LONG_CALLS

bank_statements = RouteTable("bank transfers")

TAKES = ("application/xml", "text/xml", "application/octet-stream")
_RESULTS_MAX = 10_000
_KEPT_MAX = 1_000
# What a person should look at comes first.
_ORDER = ("differs", "returned", "rejected", "settled", "known", "unknown")


@bank_statements.upload(
    "/bank-statements", query=BankStatementQuery, takes=TAKES, answer=BankStatementReport, scope="payouts"
)
async def import_bank_statement(call: Call[None, BankStatementQuery], request: web.Request) -> web.StreamResponse:
    """Take a file of the bank: camt.053 or camt.054 (booked, come back) or pain.002 (refused), in any version.

    Each movement is taken once, by the bank's reference: files may be sent again, and in any order. What does not fit
    its payment changes nothing, and comes first in the answer.
    """
    bank_of(call)
    if request.content_type not in TAKES:
        raise MediaTypeError("unsupported_media_type", f"send the file as one of {', '.join(TAKES)}")
    options = call.services.options
    with request.app[LONG_CALLS].turn(call.merchant_id):
        bytes_max = min(FILE_BYTES_MAX, options.import_body_max)
        file = await read_body(request, bytes_max=bytes_max, wait_s=options.import_wait_s)
        parts = (request.method.encode(), request.raw_path.encode(), sha256(file).hexdigest().encode())
        call = replace(call, fingerprint=sha256(b"\n".join(parts)).digest())
        reply = await answered_before(call)
        if reply is None:
            report = await take_statement(call, file)
            reply = await answered_now(call, report, kept=_shortened(report))
    if reply.stored is not None:
        headers = {"Idempotency-Replayed": "true"}
        return web.Response(body=bytes(reply.stored.body), content_type="application/json", headers=headers)
    assert reply.body is not None  # noqa: S101 - a report, made just now
    return web.Response(body=encoded(reply.body), content_type="application/json")


async def take_statement(call: Call[Any, Any], file: bytes) -> BankStatementReport:
    """Take a file of the bank, and return what came of it.

    Raises ConflictError `payouts_not_set_up`, `rail_not_there`, RejectedError as `read_statement` does.
    """
    bank = bank_of(call)

    def take() -> tuple[Statement, Applied]:
        statement = read_statement(file)
        return statement, bank.take(statement, by=call.cause, now=call.now, merchant_id=call.merchant_id)

    statement, applied = await call.run(take)
    results = sorted(applied.results, key=lambda result: _ORDER.index(result.became))
    return BankStatementReport(
        sha256=sha256(file).hexdigest(),
        counts=dict(Counter(result.became for result in results)),
        skipped=statement.skipped,
        results=[_shown(result) for result in results[:_RESULTS_MAX]],
        results_left_out=max(len(results) - _RESULTS_MAX, 0),
    )


def _shortened(report: BankStatementReport) -> BankStatementReport:
    """Return the report as it is kept for ever: those of long files would take more room than the files."""
    left = max(len(report.results) - _KEPT_MAX, 0)
    shorter = {"results": report.results[:_KEPT_MAX], "results_left_out": report.results_left_out + left}
    return report.model_copy(update=shorter)


def _shown(result: Result) -> BankStatementResult:
    told = result.told
    amount = None
    if told.amount_minor is not None and told.currency is not None:
        amount = Money.of(told.amount_minor, told.currency)
    return BankStatementResult(
        end_to_end_id=told.end_to_end_id, payout_id=result.payout_id, kind=cast("Any", told.kind),
        reference=told.reference, amount=amount, code=told.code, became=result.became,
    )  # fmt: skip
