"""How a partner is paid, for the merchant: masked, with every change; entered for the partner, or removed."""

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from schemas.api_answers import Partner
from schemas.api_payout_details import PayoutDetails
from schemas.errors import NotFoundError
from web.api.partners import show_partner
from web.api.payout_details import (
    change_payout_details,
    check_stripe,
    link_to_stripe,
    remove_payout_details,
    show_payout_details,
)
from web.api.payout_rails import list_payout_rails
from web.pages.doors import user_door
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.visits import Visit

partner_detail_pages = PageTable(user_door)

_PARTNER = "/partners/{partner_id:[^/]+}"
_DETAILS = _PARTNER + "/payout-details"
_FIELDS = ("address", "name", "routing")


async def details_of(visit: Visit, partner_id: str) -> PayoutDetails | None:
    """Return how the partner is paid, masked; None for whoever may not see it, and where nobody is paid from here."""
    if not visit.can("payouts") or visit.services.paying is None:
        return None
    return await visit.ask(show_payout_details, path={"partner_id": partner_id})  # type: ignore[no-any-return]


@partner_detail_pages.get(_DETAILS)
async def show_details(visit: Visit) -> Shown:
    """Show how the partner is paid, every change of it, and the form of the way that the address names."""
    return await _shown(visit)


@partner_detail_pages.post(_DETAILS + "/{method:bank|paypal|manual}")
async def change_details(visit: Visit) -> Shown | web.StreamResponse:
    """Have the partner paid in another way from now on."""
    told = {"method": visit.path["method"]} | visit.form.body(*_FIELDS)
    done = await visit.attempt(change_payout_details, told, path=_whose(visit))
    return await _shown(visit) if done.refusal else _back(visit, "payout_details_kept")


@partner_detail_pages.post(_DETAILS + "/remove")
async def remove_details(visit: Visit) -> Shown | web.StreamResponse:
    """Forget how the partner is paid; where that was done already, it is done."""
    await visit.ask(show_partner, path=_whose(visit))
    try:
        done = await visit.attempt(remove_payout_details, path=_whose(visit))
    except NotFoundError:
        return _back(visit, "payout_details_gone")
    return await _shown(visit) if done.refusal else _back(visit, "payout_details_gone")


@partner_detail_pages.post(_DETAILS + "/stripe")
async def make_link(visit: Visit) -> Shown:
    """Make a link to Stripe for the partner, and show it: this once."""
    done = await visit.attempt(link_to_stripe, {}, path=_whose(visit))
    return await _shown(visit, link=done.body)


@partner_detail_pages.post(_DETAILS + "/stripe/check")
async def ask_stripe(visit: Visit) -> Shown:
    """Ask Stripe whether the partner's account can be paid by now."""
    try:
        done = await visit.attempt(check_stripe, {}, path=_whose(visit))
    except NotFoundError:
        # Also where there is no such partner, which the page finds.
        return await _shown(visit, asked=True)
    return await _shown(visit, standing=done.body, asked=True)


def _whose(visit: Visit) -> Mapping[str, str]:
    return {"partner_id": visit.path["partner_id"]}


def _back(visit: Visit, told: str) -> web.Response:
    partner_id = visit.path["partner_id"]
    return visit.moved(f"/partners/{partner_id}/payout-details", told=told)


async def _shown(visit: Visit, **told: Any) -> Shown:
    visit.session.check("payouts")
    partner: Partner = await visit.ask(show_partner, path=_whose(visit))
    details = await details_of(visit, partner.id)
    rails = [rail.name for rail in (await visit.ask(list_payout_rails)).data if rail.usable] if details else []
    model: Mapping[str, Any] = {
        "partner": partner, "details": details, "rails": rails, "chosen": _chosen(visit, rails, details),
        "link": None, "standing": None, "asked": False, "is_written": visit.services.mail is not None,
    }  # fmt: skip
    return Shown("partners/payout_method.html", {**model, **told})


def _chosen(visit: Visit, rails: Sequence[str], details: PayoutDetails | None) -> str | None:
    """Return the way whose form is shown: the one that was sent or asked for, else the one of today, else the first."""
    asked = visit.path.get("method") or visit.query.get("method")
    if visit.request.path.endswith(("/stripe", "/stripe/check")):
        asked = "stripe"
    stored = details.method.method if details and details.method else None
    return next((name for name in (asked, stored, *rails) if name in rails), None)
