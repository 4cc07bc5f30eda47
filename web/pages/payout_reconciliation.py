"""How the books agree with the providers, and what does not agree."""

from aiohttp import web

from schemas.api import Page
from schemas.api_reconciliation import PayoutFinding, PayoutReconciliation
from web.api.payout_reconciliation import list_payout_findings, resolve_payout_finding, show_payout_reconciliation
from web.pages.doors import user_door
from web.pages.names import partner_names
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.visits import Visit

payout_reconciliation_pages = PageTable(user_door)

_ALL = "/payouts/reconciliation"
_SETTLED = 10


@payout_reconciliation_pages.get(_ALL)
async def show_reconciliation(visit: Visit) -> Shown:
    """Show what does not agree, and when each way of paying was compared last."""
    told: PayoutReconciliation = await visit.ask(show_payout_reconciliation)
    settled: Page[PayoutFinding] = await visit.ask(list_payout_findings, {"status": "resolved", "limit": _SETTLED})
    names = await partner_names(visit, [each.partner_id for each in (*told.findings, *settled.data)])
    model = {
        "rails": told.rails, "findings": told.findings, "left_out": told.findings_left_out, "names": names,
        "settled": settled.data,
    }  # fmt: skip
    return Shown("payouts/reconciliation.html", model)


@payout_reconciliation_pages.post(_ALL + "/{finding_id:[^/]+}/resolve")
async def resolve(visit: Visit) -> Shown | web.StreamResponse:
    """Note what somebody found out about a difference, and close it."""
    path = {"finding_id": visit.path["finding_id"]}
    done = await visit.attempt(resolve_payout_finding, visit.form.body("declared"), path=path)
    return await show_reconciliation(visit) if done.refusal else visit.moved(_ALL, told="finding_resolved")
