"""A partner's payout details: shown masked, changed and removed with the password, at Stripe by Stripe's own pages."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from schemas.api_payout_details import StripeStanding
from schemas.errors import NotFoundError, RejectedError
from web.pages.partner_login import DASHBOARD
from web.pages.partner_visits import PartnerVisit, partner_door
from web.pages.password_again import password_again
from web.pages.render import Shown
from web.pages.table import PageTable, see_other
from web.services import SERVICES

dashboard_details = PageTable(partner_door)

_DETAILS = DASHBOARD + "/payout-details"
_FIELDS = ("address", "name", "routing")
_UNCHANGED = "Your payout details were not changed."


@dashboard_details.get(_DETAILS)
async def show_details(visit: PartnerVisit) -> Shown:
    """Show how the partner is paid, and the form of the way that the address names.

    Whoever comes back from Stripe, or to a link that was used, is told what Stripe says.
    """
    if visit.query.get("stripe") == "back":
        return await _shown(visit, standing=await _standing(visit))
    return await _shown(visit)


@dashboard_details.post(_DETAILS + "/{method:bank|paypal|manual}")
async def change_details(visit: PartnerVisit) -> Shown | web.StreamResponse:
    """Have the partner paid in another way from now on."""
    told = {"method": visit.path["method"]} | visit.form.body(*_FIELDS)
    return await _done(visit, lambda: visit.books.change_payout_details(told), "payout_details_saved")


@dashboard_details.post(_DETAILS + "/remove")
async def remove_details(visit: PartnerVisit) -> Shown | web.StreamResponse:
    """Forget how the partner is paid; where that was done already, it is done."""
    return await _done(visit, lambda: _removed(visit), "payout_details_removed")


@dashboard_details.post(_DETAILS + "/stripe")
async def begin_at_stripe(visit: PartnerVisit) -> Shown:
    """Show the way to Stripe: a form may not lead to another site, a link on the page may."""
    visit.refusal = await password_again(visit, _UNCHANGED)
    if visit.refusal is not None:
        return await _shown(visit)
    try:
        link = await visit.books.stripe_link()
    except RejectedError as error:
        visit.refuse(error)
        return await _shown(visit)
    return await _shown(visit, link=link)


@dashboard_details.post(_DETAILS + "/stripe/check")
async def ask_stripe(visit: PartnerVisit) -> Shown:
    """Ask Stripe whether the partner's account can be paid by now."""
    return await _shown(visit, standing=await _standing(visit))


async def _done(visit: PartnerVisit, command: Callable[[], Awaitable[None]], told: str) -> Shown | web.StreamResponse:
    """Return the way back to the details, or the page with what was refused."""
    visit.refusal = await password_again(visit, _UNCHANGED)
    if visit.refusal is not None:
        return await _shown(visit)
    try:
        await command()
    except RejectedError as error:
        visit.refuse(error)
        return await _shown(visit)
    return see_other(visit.to("payout-details", told=told))


async def _removed(visit: PartnerVisit) -> None:
    try:
        await visit.books.remove_payout_details()
    except NotFoundError:
        return


async def _standing(visit: PartnerVisit) -> StripeStanding | None:
    try:
        return await visit.books.stripe_standing()
    except NotFoundError:
        return None
    except RejectedError as error:
        visit.refuse(error)
        return None


async def _shown(visit: PartnerVisit, **told: Any) -> Shown:
    details = await visit.books.payout_details()
    rails = [] if details is None else await visit.books.payout_rails()
    model: Mapping[str, Any] = {
        "details": details, "rails": rails, "chosen": _chosen(visit, rails, details and details.method),
        "link": None, "standing": None, "is_written": visit.request.app[SERVICES].mail is not None,
    }  # fmt: skip
    return Shown("dashboard/payout_details.html", {**model, **told})


def _chosen(visit: PartnerVisit, rails: list[str], stored: Any) -> str | None:
    """Return the way whose form is shown: the one that was sent or asked for, else the one of today, else the first."""
    asked = visit.path.get("method") or visit.query.get("method") or ("stripe" if "stripe" in visit.query else None)
    if visit.request.path.endswith(("/stripe", "/stripe/check")):
        asked = "stripe"
    known = [name for name in (asked, stored and stored.method, *rails) if name in rails]
    return known[0] if known else None
