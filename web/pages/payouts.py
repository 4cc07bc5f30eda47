"""Payouts as they stand: what is due, who can be paid now and who not, what needs a person, what went out lately."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from aiohttp import web

from schemas.api import Page
from schemas.api_figures import Waiting
from schemas.api_payouts import Payout, PayoutRun
from web.api.bank_batches import list_bank_orders
from web.api.payout_rails import list_payout_rails
from web.api.payout_runs import list_payout_runs, make_payout_run
from web.api.payouts import list_payouts
from web.api.program_figures import show_program_balances, show_waiting
from web.pages.currencies import own_first
from web.pages.doors import user_door
from web.pages.listings import listed
from web.pages.names import partner_names
from web.pages.payouts_by_hand import show_outside
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.visits import Visit

payout_pages = PageTable(user_door)

# What is shown of each list, before the list itself is a better place to look.
_RUNS, _LATEST = 5, 8
# Among so many of the newest runs are those that wait for an approval.
_RUNS_ASKED = 20
# How far what needs a person is counted.
_COUNTED = 100
STATUSES = (
    "requested", "approved", "submitting", "submitted", "held", "review", "processed", "failed", "returned", "cancelled"
)  # fmt: skip
"""The states of a payout, in the order in which it goes through them."""


class Count(NamedTuple):
    """How many there are of something; `more`: at least so many. Nothing is false."""

    number: int
    more: bool

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return self.number > 0


@payout_pages.get("/payouts")
async def show_payouts(visit: Visit) -> Shown | web.StreamResponse:
    """Show what is due and who can be paid now; where nothing pays partners, what is marked as paid by hand."""
    if visit.services.paying is None:
        return await show_outside(visit)
    may = visit.can("payouts")
    rails, preview, owed, runs, latest, waiting = await asyncio.gather(
        visit.ask(list_payout_rails),
        _preview(visit) if may else _nothing(),
        visit.ask(show_program_balances),
        visit.ask(list_payout_runs, {"limit": _RUNS_ASKED}),
        visit.ask(list_payouts, {"limit": _LATEST}),
        visit.ask(show_waiting),
    )
    needs, missed_on = await _needs(visit, waiting), waiting.payout_run_missed_on
    approvals = [run for run in runs.data if run.status == "prepared" and run.needs_approval]
    model = {
        "may": may, "rails": rails.data, "usable": [rail.name for rail in rails.data if rail.usable],
        "preview": preview,
        # It pays what was payable when its day began: up to the end of the day before.
        "missed_until": missed_on and missed_on - timedelta(days=1), "missed_on": missed_on,
        "owed": own_first(visit, owed.data),
        "runs": runs.data[:_RUNS], "latest": latest.data, "approvals": approvals, "needs": needs,
        "anything": approvals or missed_on or any(needs.values()),
        "names": await partner_names(visit, [each.partner_id for each in latest.data]),
    }  # fmt: skip
    return Shown("payouts/now.html", model)


@payout_pages.get("/payouts/all")
async def show_all(visit: Visit) -> Shown:
    """Show every payout, the newest first, narrowed by the address's filters."""
    payouts: Page[Payout] = await listed(visit, list_payouts)
    whose = [visit.query.get("partner_id"), *(each.partner_id for each in payouts.data)]
    model = {"payouts": payouts, "names": await partner_names(visit, whose), "statuses": STATUSES}
    return Shown("payouts/all.html", model)


async def _nothing() -> None:
    return None


async def _preview(visit: Visit) -> PayoutRun | None:
    """Return what a run of everybody would be now."""
    done = await visit.attempt(make_payout_run, {"dry_run": True})
    found: PayoutRun | None = done.body
    # What was refused, if anything, is the preview, and no form of this page.
    visit.refusal = None
    if found is None or not (found.totals or found.out):
        return None
    return found.model_copy(update={"totals": own_first(visit, found.totals)})


async def _needs(visit: Visit, waiting: Waiting) -> Mapping[str, Count]:
    """Return how much there is of each thing that only a person can do."""
    held, requested, approved, bank = await asyncio.gather(
        _payouts(visit, status="held"),
        _payouts(visit, status="requested", rail="manual"),
        _payouts(visit, status="approved", rail="manual"),
        _waiting_orders(visit),
    )
    # Those that wait for an approval are nothing to be paid yet.
    free = [each for each in requested.data if not each.needs_approval]
    return {
        "review": Count(waiting.payouts_in_review, more=False), "held": _count(held), "bank": bank,
        "manual_requested": Count(len(free), requested.next_cursor is not None), "manual_approved": _count(approved),
        "findings": Count(waiting.payout_findings_open, more=False),
    }  # fmt: skip


async def _payouts(visit: Visit, **query: str) -> Page[Payout]:
    page: Page[Payout] = await visit.ask(list_payouts, query | {"limit": _COUNTED})
    return page


async def _waiting_orders(visit: Visit) -> Count:
    """Return how many bank transfers are in no file yet; those who may not pay are not told."""
    if not visit.can("payouts"):
        return Count(0, more=False)
    return _count(await visit.ask(list_bank_orders, {"state": "waiting", "limit": _COUNTED}))


def _count(page: Page[Any]) -> Count:
    return Count(len(page.data), page.next_cursor is not None)
