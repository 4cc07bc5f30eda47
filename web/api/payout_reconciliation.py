"""How payouts agree with their providers, and what people found out where they do not."""

from functools import partial
from http import HTTPStatus

from consumers.payout_reconciliation import HOW
from consumers.rails.chosen import NAMES
from ledger.payout_findings import Kept, Sum
from projections import read_reconciliation
from projections.read_reconciliation import LastRun
from schemas.api import Page, Query
from schemas.api_reconciliation import (
    FindingResolution,
    PayoutFinding,
    PayoutFindingsQuery,
    PayoutReconciliation,
    RailReconciliation,
    ReconciliationRun,
)
from schemas.api_stories import ActedBy
from schemas.money import Money
from web.api.actors import actors_of
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, from_cursor, instant_of_cursor
from web.api.routes import RouteTable
from web.payees import paying_of

payout_reconciliation = RouteTable("payouts")


@payout_reconciliation.get("/payout-reconciliation", query=Query, answer=PayoutReconciliation)
async def show_payout_reconciliation(call: Call[None, Query]) -> Reply:
    """Show how the payouts agree with their providers.

    Every rail is compared once a day, 35 days back. Of what is open somebody has to find out what it is; where a
    provider has a payment that the books do not have, its partner's payouts are frozen until then.
    """
    found = await read_reconciliation.standing(call.services.reads, call.merchant_id)
    runs = {run.rail: run for run in found.runs}
    return Reply(
        PayoutReconciliation(
            rails=[RailReconciliation(rail=name, compares=HOW[name], last=_run(runs.get(name))) for name in NAMES],
            findings=[shown(kept) for kept in found.open],
            findings_left_out=found.open_count - len(found.open),
        )
    )


@payout_reconciliation.get("/payout-reconciliation/findings", query=PayoutFindingsQuery, answer=Page[PayoutFinding])
async def list_payout_findings(call: Call[None, PayoutFindingsQuery]) -> Reply:
    """List what did not agree, newest first; also what is resolved."""
    place = from_cursor(call.query.cursor, str, str)
    before = (instant_of_cursor(place[0]), place[1]) if place else None
    page = await read_reconciliation.findings(
        call.services.reads, call.merchant_id, status=call.query.status, before=before, limit=call.query.limit
    )
    by = await actors_of(call, [kept.resolved_by for kept in page.rows if kept.resolved_by])
    data = [shown(kept, by.get(kept.resolved_by or "")) for kept in page.rows]
    return Reply(Page[PayoutFinding](data=data, next_cursor=_cursor(page.next)), page.position)


@payout_reconciliation.post(
    "/payout-reconciliation/findings/{finding_id:[^/]+}/resolve",
    body=FindingResolution,
    answer=PayoutFinding,
    status=HTTPStatus.OK,
    scope="payouts",
)
async def resolve_payout_finding(call: Call[FindingResolution, Query]) -> Reply:
    """Say what a finding was, and what was done about it.

    It stays resolved, even where it is seen again. Who is frozen stays frozen: release that partner's payouts when
    nothing can be paid twice any more.
    """
    run = partial(
        paying_of(call.services).findings.resolve, call.path["finding_id"], declared=call.body.declared, by=call.cause,
        now=call.now, merchant_id=call.merchant_id,
    )  # fmt: skip
    by = await actors_of(call, [call.cause])
    return await call.write(lambda request: run(request=request), lambda kept: shown(kept, by[call.cause]))


def shown(kept: Kept, by: ActedBy | None = None) -> PayoutFinding:
    """Return the finding as it is shown to its merchant; where nobody says who resolved it, an operator did."""
    found = kept.finding
    if by is None and kept.resolved_by is not None:
        by = ActedBy(kind="operator")
    return PayoutFinding(
        id=kept.finding_id, rail=found.rail, kind=found.kind, reason=found.reason, payout_id=found.payout_id,
        partner_id=found.partner_id, references=list(found.references), ours=_money(found.ours),
        theirs=_money(found.theirs), first_seen_at=kept.first_seen_at, last_seen_at=kept.last_seen_at,
        resolved_at=kept.resolved_at, resolved_by=by, declared=kept.declared,
    )  # fmt: skip


def _cursor(place: read_reconciliation.Place | None) -> str | None:
    return cursor_of(None if place is None else (place[0].isoformat(), place[1]))


def _money(told: Sum | None) -> Money | None:
    return None if told is None else Money.of(*told)


def _run(run: LastRun | None) -> ReconciliationRun | None:
    if run is None:
        return None
    return ReconciliationRun(
        status="complete" if run.complete else "incomplete", since=run.since, until=run.until,
        finished_at=run.finished_at, **run.counts._asdict(),
    )  # fmt: skip
