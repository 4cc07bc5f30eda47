"""Payout runs: who would be paid and who not; the frozen list, its approval, and what became of it."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from consumers import payout_choosing
from consumers.paying import Paying
from consumers.payout_choosing import Choice, Wanted
from ledger import merchants, payout_runs
from ledger.hashes import run_id
from ledger.payout_runs import Run
from ledger.payout_store import Line
from ledger.payouts import Act
from ledger.requests import Request
from projections import read_payouts
from projections.payables import SqlPayables
from projections.read_payouts import LineFilter, LineSum
from schemas.api import Because, Nothing, Page, Query, Read
from schemas.api_payouts import (
    PREVIEW_LINES_MAX,
    NewPayoutRun,
    PayoutRun,
    RunLine,
    RunLinesQuery,
    RunOut,
    RunsQuery,
    RunState,
    RunTotal,
)
from schemas.api_stories import ActedBy
from schemas.errors import NotFoundError, RejectedError
from schemas.money import Money, to_minor
from web.api.actors import actors_of
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, from_cursor, instant_of_cursor
from web.api.routes import RouteTable
from web.payees import paying_of

payout_run_calls = RouteTable("payouts")

_ONE = "/payout-runs/{run_id:[^/]+}"


@payout_run_calls.post("/payout-runs", body=NewPayoutRun, answer=PayoutRun, scope="payouts")
async def make_payout_run(call: Call[NewPayoutRun, Query]) -> Reply:
    """Pay partners: freeze the list of who is paid, and who not and why; the worker then requests the payouts.

    With `dry_run` nothing is written. What is payable is as of `X-Ledger-Position`. Send an `Idempotency-Key`: the
    run's id comes from it. Without one, a repetition has to carry the same `X-Request-Id`.
    """
    paying = paying_of(call.services)
    wanted = _wanted(call)
    payables, act = SqlPayables(call.services.ledger), act_of(call)
    id_ = run_id(call.merchant_id, *_once(call))

    def choice() -> tuple[int, Choice]:
        position = payables.position()
        terms = merchants.find(call.services.ledger, call.merchant_id).terms
        return position, payout_choosing.choose_run(
            paying, payables, call.merchant_id, id_, terms, wanted, call.now
        )  # fmt: skip

    by = (await actors_of(call, [call.cause]))[call.cause]
    if call.body.dry_run:
        position, chosen = await call.run(choice)
        return Reply(await call.run(lambda: _preview(call, chosen, by)), position)
    return await _freeze(call, paying, id_, act, lambda: choice()[1], by)


async def _freeze(
    call: Call[NewPayoutRun, Query], paying: Paying, id_: str, act: Act, choose: Any, by: ActedBy
) -> Reply:
    frozen: list[Sequence[Line]] = []

    def command(request: Request | None) -> Run:
        chosen = choose()
        frozen.append(chosen.lines)
        run = payout_runs.prepare(
            paying.books, call.merchant_id, id_, chosen.lines, chosen.criteria, act,
            needs_approval=chosen.needs_approval, request=request,
        )  # fmt: skip
        if run.position is None:
            # There was this run already: its list counts, whatever would be on it now.
            frozen.append(paying.books.store.lines(call.merchant_id, id_, waiting=False))
        return run

    def answer(run: Run) -> PayoutRun:
        prepared = run.prepared
        return PayoutRun(
            id=run.run_id, status=run.state, cut_off=prepared.cut_off_at, made_by=by, made_at=prepared.recorded_at,
            needs_approval=prepared.needs_approval, approved_by=None, approved_at=None, cancelled_because=None,
            partners_in=prepared.partners_in, partners_out=prepared.partners_out, **_sums(_summed(frozen[-1])),
            waiting=prepared.partners_in, payouts={}, lines=None, lines_left_out=0,
        )  # fmt: skip

    return await call.write(command, answer)


@payout_run_calls.get("/payout-runs", query=RunsQuery, answer=Page[PayoutRun])
async def list_payout_runs(call: Call[None, RunsQuery]) -> Reply:
    """List payout runs, the newest first."""
    place = from_cursor(call.query.cursor, str, str)
    after = (instant_of_cursor(place[0]), place[1]) if place else None
    page = await read_payouts.runs(call.services.reads, call.merchant_id, after=after, limit=call.query.limit)
    by = await actors_of(call, [cause for row in page.rows for cause in _causes(row)])
    data = [_shown(row, by) for row in page.rows]
    return Reply(Page[PayoutRun](data=data, next_cursor=cursor_of(page.next)), page.position)


@payout_run_calls.get(_ONE, query=Read, answer=PayoutRun)
async def show_payout_run(call: Call[None, Read]) -> Reply:
    """Show a payout run: its sums, why partners are out, and how many of its payouts stand where."""
    found = await read_payouts.run(call.services.reads, call.merchant_id, call.path["run_id"])
    if found.row is None:
        raise NotFoundError("payout run", call.path["run_id"])
    by = await actors_of(call, _causes(found.row))
    return Reply(_shown(found.row, by), found.position)


@payout_run_calls.get(_ONE + "/lines", query=RunLinesQuery, answer=Page[RunLine])
async def list_run_lines(call: Call[None, RunLinesQuery]) -> Reply:
    """List who is in a run and who is out, and why, in order of the partners' ids."""
    query = call.query
    asked = LineFilter(
        included=None if query.included is None else query.included == "true", reason=query.reason,
        currency=query.currency, partner_id=query.partner_id,
    )  # fmt: skip
    place = from_cursor(query.cursor, str, str)
    page = await read_payouts.lines(
        call.services.reads, call.merchant_id, call.path["run_id"], asked,
        after=(place[0], place[1]) if place else None, limit=query.limit,
    )  # fmt: skip
    if page is None:
        raise NotFoundError("payout run", call.path["run_id"])
    data = [_line(row) for row in page.rows]
    return Reply(Page[RunLine](data=data, next_cursor=cursor_of(page.next)), page.position)


@payout_run_calls.post(_ONE + "/approve", body=Nothing, answer=RunState, scope="payouts")
async def approve_payout_run(call: Call[Nothing, Query]) -> Reply:
    """Approve a run, so that its payouts are submitted; whoever made it cannot (403 `maker_is_checker`)."""
    run = partial(
        payout_runs.approve, paying_of(call.services).books, call.merchant_id, call.path["run_id"], act_of(call)
    )  # fmt: skip
    return await call.write(lambda request: run(request=request), _state)


@payout_run_calls.post(_ONE + "/cancel", body=Because, answer=RunState, scope="payouts")
async def cancel_payout_run(call: Call[Because, Query]) -> Reply:
    """Call a run off: its payouts are cancelled, as far as nothing was submitted."""
    run = partial(
        payout_runs.cancel, paying_of(call.services).books, call.merchant_id, call.path["run_id"], act_of(call),
        call.body.reason,
    )  # fmt: skip
    return await call.write(lambda request: run(request=request), _state)


# --- what all calls about payouts need --------------------------------------------------------------------------------


def act_of(call: Call[Any, Any]) -> Act:
    """Return who acts: the user, also by a key of theirs, or else the key; nobody is their own second person."""
    return Act(call.now, call.cause, call.key.user_id or call.key.key_id or "")


# --- parts ------------------------------------------------------------------------------------------------------------


def _once(call: Call[Any, Any]) -> tuple[str, ...]:
    if call.idempotency_key:
        return ("key", call.idempotency_key)
    return ("request", call.request_id, call.fingerprint.hex())


def _wanted(call: Call[NewPayoutRun, Query]) -> Wanted:
    body = call.body
    if body.cut_off is not None and body.cut_off > call.now:
        raise RejectedError.at("$.cut_off", "in_the_future", "must not be later than now")
    minimum = None if body.minimum is None else {
        currency: to_minor(amount, currency, f"$.minimum.{currency}") for currency, amount in body.minimum.items()
    }  # fmt: skip
    return Wanted(
        body.cut_off or call.now, body.currency, body.partner_ids, frozenset(body.exclude_partner_ids), minimum
    )


def _preview(call: Call[NewPayoutRun, Query], chosen: Choice, by: ActedBy) -> PayoutRun:
    lines = chosen.lines
    included = sum(line.included for line in lines)
    return PayoutRun.trusted(
        id=None, status="preview", cut_off=chosen.criteria.cut_off_at, made_by=by, made_at=call.now,
        needs_approval=chosen.needs_approval, approved_by=None, approved_at=None, cancelled_because=None,
        partners_in=included, partners_out=len(lines) - included, **_sums(_summed(lines)), waiting=included,
        payouts={}, lines=[_previewed(line) for line in lines[:PREVIEW_LINES_MAX]],
        lines_left_out=max(0, len(lines) - PREVIEW_LINES_MAX),
    )  # fmt: skip


def _summed(lines: Sequence[Line]) -> list[LineSum]:
    """Return the sums of the lines, in the order in which the database tells those of a run."""
    sums: dict[tuple[bool, str, str], list[int]] = {}
    for line in lines:
        of = sums.setdefault((not line.included, line.reason, line.currency), [0, 0, 0])
        for number, value in enumerate((1, line.commissions, line.amount_minor)):
            of[number] += value
    return [LineSum(not out, reason, currency, *of) for (out, reason, currency), of in sorted(sums.items())]


def _sums(lines: Sequence[LineSum]) -> dict[str, Any]:
    return {
        "totals": [
            RunTotal.trusted(
                currency=each.currency, partners=each.partners, commissions=each.commissions,
                amount=Money.of(each.amount_minor, each.currency),
            )
            for each in lines if each.included
        ],
        "out": [
            RunOut.trusted(
                reason=each.reason, currency=each.currency, partners=each.partners,
                amount=Money.of(each.amount_minor, each.currency),
            )
            for each in lines if not each.included
        ],
    }  # fmt: skip


def _previewed(line: Line) -> RunLine:
    return RunLine.trusted(
        partner_id=line.partner_id, amount=Money.of(line.amount_minor, line.currency), commissions=line.commissions,
        included=line.included, reason=line.reason, rail=line.rail, payout_id=None,
    )  # fmt: skip


def _line(row: read_payouts.Line) -> RunLine:
    return RunLine.trusted(
        partner_id=row.partner_id, amount=Money.of(row.amount_minor, row.currency), commissions=row.commissions,
        included=row.included, reason=row.reason, rail=row.rail, payout_id=row.payout_id if row.requested else None,
    )  # fmt: skip


def _causes(row: read_payouts.Run) -> list[str]:
    return [cause for cause in (row.cause, row.approved_cause) if cause is not None]


def _shown(row: read_payouts.Run, by: Any) -> PayoutRun:
    return PayoutRun.trusted(
        id=row.run_id, status=row.state, cut_off=row.cut_off_at, made_by=by[row.cause], made_at=row.prepared_at,
        needs_approval=row.needs_approval, approved_by=by[row.approved_cause] if row.approved_cause else None,
        approved_at=row.approved_at, cancelled_because=row.cancelled_because,
        partners_in=sum(each.partners for each in row.lines if each.included),
        partners_out=sum(each.partners for each in row.lines if not each.included), **_sums(row.lines),
        waiting=row.waiting, payouts=row.payouts, lines=None, lines_left_out=0,
    )  # fmt: skip


def _state(run: Run) -> RunState:
    return RunState(id=run.run_id, status=run.state, needs_approval=run.prepared.needs_approval)
