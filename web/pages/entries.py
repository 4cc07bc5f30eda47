"""Commissions entered by hand: a bonus, a correction, an opening balance."""

from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

from aiohttp import web

from schemas.api_answers import Partner
from web.api.commissions import enter_commission
from web.api.partners import list_partners
from web.pages.commissions import address_of, partners_called
from web.pages.doors import user_door
from web.pages.forms import Refusal
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.visits import Visit

entry_pages = PageTable(user_door)

_REFUSED = 422


@entry_pages.get("/commissions/new")
async def show_form(visit: Visit) -> Shown:
    """Show the form, for a partner where the address names one."""
    visit.session.check("partners")
    return await _form(visit, [])


@entry_pages.post("/commissions/new")
async def enter(visit: Visit) -> Shown | web.StreamResponse:
    """Enter a commission; where it is not clear for which partner, ask which one is meant."""
    visit.session.check("partners")
    called, chosen = visit.form.text("partner"), visit.form.text("partner_id")
    found = [] if chosen or called is None else await partners_called(visit, called)
    if not chosen and len(found) != 1:
        visit.refusal = Refusal(_REFUSED, "", {"partner": _unclear(called, found)})
        return await _form(visit, found)
    done = await visit.attempt(enter_commission, _body(visit, chosen or found[0].id))
    if done.refusal:
        # The partner is known by now: a fault of it belongs to the field in which it was told.
        faults = {"partner" if name == "partner_id" else name: told for name, told in done.refusal.faults.items()}
        visit.refusal = done.refusal._replace(faults=faults)
        return await _form(visit, found)
    return visit.moved(address_of(done.body.order_id), told="commission_entered")


def _unclear(called: str | None, found: list[Partner]) -> str:
    if called is None:
        return "say for whom it is"
    return "several partners are called that: choose one" if found else "no partner is called that"


def _body(visit: Visit, partner_id: str) -> Mapping[str, Any]:
    body = visit.form.body("amount", "currency", "reason", "reference", "occurred_at") | {"partner_id": partner_id}
    if "currency" in body:
        body["currency"] = str(body["currency"]).upper()
    if "occurred_at" in body:
        body["occurred_at"] = _instant(visit, str(body["occurred_at"]))
    return body


def _instant(visit: Visit, told: str) -> str:
    """Return the first instant of the day, in the program's time zone; what is no day is left for the API to refuse."""
    try:
        return datetime.combine(date.fromisoformat(told), time(), visit.zone).isoformat()
    except ValueError:
        return told


async def _form(visit: Visit, found: list[Partner]) -> Shown:
    known = visit.form.text("partner_id") or visit.query.get("partner_id")
    if known and not found:
        found = (await visit.ask(list_partners, {"ids": known[:128]})).data
    return Shown("commissions/new.html", {"found": found, "known": known})
