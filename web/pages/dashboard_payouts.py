"""A partner's payouts: what was paid and what became of it, and what the next payout waits for."""

import asyncio
from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

from schemas.api_commissions import PaidMark
from schemas.api_payout_details import PayoutDetails
from schemas.api_payouts import Payout, RunLine
from schemas.errors import RejectedError
from web.pages.dashboard import purses_of
from web.pages.partner_login import DASHBOARD
from web.pages.partner_visits import PartnerVisit, partner_door
from web.pages.render import Shown
from web.pages.table import PageTable

dashboard_payouts = PageTable(partner_door)


class Coming(NamedTuple):
    """The next payout: where it goes, what stands in its way, what would be in it now, and its day where it has one."""

    details: PayoutDetails
    is_frozen: bool
    lines: Sequence[RunLine]
    next_on: date | None


@dashboard_payouts.get(DASHBOARD + "/payouts")
async def show_payouts(visit: PartnerVisit) -> Shown:
    """Show what was paid, and what the next payout waits for."""
    books = visit.books
    balances, waiting, coming = await asyncio.gather(books.balances(), books.waiting(), _coming(visit))
    try:
        (payouts, following), (payments, earlier) = await asyncio.gather(books.payouts(visit.query), _payments(visit))
    except RejectedError as error:
        visit.refuse(error)
        payouts, following, payments, earlier = list[Payout](), None, list[PaidMark](), None
    model = {
        "purses": purses_of(balances, waiting, visit.program), "coming": coming, "payouts": payouts,
        "next_cursor": following, "payments": payments, "paid_cursor": earlier,
    }  # fmt: skip
    return Shown("dashboard/payouts.html", model)


@dashboard_payouts.get(DASHBOARD + "/payouts/{payout_id:[^/]+}")
async def show_payout(visit: PartnerVisit) -> Shown:
    """Show one payout: where it stands, what that means, and what it pays."""
    payout = await visit.books.payout(visit.path["payout_id"])
    try:
        commissions, following = await visit.books.commissions_of(payout, visit.query)
    except RejectedError as error:
        visit.refuse(error)
        commissions, following = [], None
    model: dict[str, Any] = {"payout": payout, "commissions": commissions, "next_cursor": following}
    return Shown("dashboard/payout.html", model)


async def _payments(visit: PartnerVisit) -> tuple[list[PaidMark], str | None]:
    """Return what was paid outside of payouts; the list has a cursor of its own in the address."""
    return await visit.books.payments({"cursor": visit.query.get("paid")})


async def _coming(visit: PartnerVisit) -> Coming | None:
    """Return what is known of the next payout; None where the program pays by hand only."""
    details = await visit.books.payout_details()
    if details is None:
        return None
    lines = await visit.books.prospects()
    return Coming(details, any(line.reason == "frozen" for line in lines), lines, visit.program.next_payout_on)
