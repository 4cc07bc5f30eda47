"""The merchant's partners: the list, one partner, and what may become of them."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from schemas.api_answers import Balance, Metrics, Partner, Point
from web.api.balances import list_balances
from web.api.commissions import list_commissions
from web.api.coupons import list_coupons
from web.api.customers import list_customers
from web.api.metrics import show_metrics
from web.api.notes import add_note, list_notes, remove_note
from web.api.partner_history import show_history
from web.api.partners import (
    approve_partner,
    ban_partner,
    change_partner,
    list_partners,
    list_rates,
    pause_partner,
    register_partner,
    reinstate_partner,
    reject_partner,
    renew_dashboard_link,
    show_partner,
    show_standings,
)
from web.api.payouts import hold_payouts, list_payouts, release_payouts, show_payout_standing, write_off
from web.api.routes import Handler
from web.pages.charts import ChartRow, rows_of
from web.pages.currencies import own_first
from web.pages.days import start_of_day, today
from web.pages.doors import user_door
from web.pages.forms import Form
from web.pages.listings import listed
from web.pages.partner_details import details_of
from web.pages.ranges import preset
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.visits import Visit

partner_pages = PageTable(user_door)

_ONE = "/partners/{partner_id:[^/]+}"
_LATEST = 8
_FEW = 5
_SHOWN_MAX = 200
# What a merchant does with a partner: the call, and what is told afterwards.
_MOVES: Mapping[str, tuple[Handler, str]] = {
    "approve": (approve_partner, "partner_approved"),
    "reject": (reject_partner, "partner_rejected"),
    "pause": (pause_partner, "partner_paused"),
    "reinstate": (reinstate_partner, "partner_reinstated"),
    "ban": (ban_partner, "partner_banned"),
}
# The same of what is paid to it.
_PAYOUT_MOVES: Mapping[str, tuple[Handler, str]] = {
    "hold-payouts": (hold_payouts, "payouts_held"),
    "release-payouts": (release_payouts, "payouts_released"),
}


_RANGES = ("30-days", "90-days", "this-year")
_RANGE_DEFAULT = "90-days"


# --- the list ---------------------------------------------------------------------------------------------------------


@partner_pages.get("/partners")
async def show_partners(visit: Visit) -> Shown:
    """Show the partners, the newest first unless the address says otherwise, each with what is payable."""
    query = {"sort": "newest"} | dict(visit.query)
    partners, standings = await asyncio.gather(listed(visit, list_partners, query), visit.ask(show_standings))
    model = {
        "partners": partners,
        "standings": standings,
        "balances": await _balances(visit, [partner.id for partner in partners.data]),
        "narrowed": any(visit.query.get(name) for name in ("search", "status", "tag", "ids")),
    }
    return Shown("partners/list.html", model)


async def _balances(visit: Visit, partner_ids: Sequence[str]) -> Mapping[str, Sequence[Balance]]:
    """Return the partners' balances, a page of which has them all unless they have many currencies each."""
    found: dict[str, list[Balance]] = {}
    asked: dict[str, Any] = {"partner_ids": ",".join(partner_ids), "limit": _SHOWN_MAX}
    while partner_ids:
        page = await visit.ask(list_balances, asked)
        for balance in page.data:
            found.setdefault(balance.partner_id, []).append(balance)
        if page.next_cursor is None:
            break
        asked["cursor"] = page.next_cursor
    return {partner_id: own_first(visit, rows) for partner_id, rows in found.items()}


# --- a new one --------------------------------------------------------------------------------------------------------


@partner_pages.get("/partners/new")
async def show_new(visit: Visit) -> Shown:
    """Show the form for a new partner."""
    visit.session.check("partners")
    return Shown("partners/new.html", {})


@partner_pages.post("/partners/new")
async def register(visit: Visit) -> Shown | web.StreamResponse:
    """Register a partner: approved at once, invited, or as somebody who applied."""
    body = visit.form.body() | ({"tags": _tags(visit.form)} if visit.form.text("tags") else {})
    done = await visit.attempt(register_partner, body)
    if done.refusal:
        return await show_new(visit)
    return visit.moved(f"/partners/{done.body.id}", told=f"partner_registered_{done.body.status}")


# --- one of them ------------------------------------------------------------------------------------------------------


@partner_pages.get(_ONE)
async def show_one(visit: Visit) -> Shown:
    """Show a partner: what is owed, earned and paid, the terms, and what may be done."""
    path = visit.path
    partner: Partner = await visit.ask(show_partner, path=path)
    of: dict[str, Any] = {"partner_id": partner.id}
    answers = await asyncio.gather(
        visit.ask(list_balances, of),
        visit.ask(list_commissions, of | {"limit": _LATEST}),
        visit.ask(list_commissions, of | {"status": "paid", "limit": _FEW}),
        visit.ask(list_customers, of | {"limit": _FEW}),
        visit.ask(list_coupons, {"limit": _SHOWN_MAX}, path=path),
        visit.ask(list_rates, path=path),
        visit.ask(list_notes, path=path),
        visit.ask(show_history, path=path),
        details_of(visit, partner.id),
        visit.ask(list_payouts, of | {"limit": _FEW}),
        visit.ask(show_payout_standing, path=path),
    )
    names = (
        "balances", "latest", "paid", "customers", "coupons", "rates", "notes", "history", "details", "payouts",
        "standing",
    )  # fmt: skip
    model = dict(zip(names, answers, strict=True))
    model["balances"] = own_first(visit, model["balances"].data)
    figures = await _figures(visit, partner, model["balances"])
    return Shown("partners/one.html", {"partner": partner, **model, **figures})


async def _figures(visit: Visit, partner: Partner, balances: Sequence[Balance]) -> dict[str, Any]:
    """Return the figures of a range of days, in one of the currencies that the partner has."""
    told = visit.query.get("range", _RANGE_DEFAULT)
    days = preset(told if told in _RANGES else _RANGE_DEFAULT, today(visit), None)
    currencies = [balance.currency for balance in balances] or [visit.program.currency]
    currency = visit.query.get("currency")
    if currency not in currencies:
        currency = currencies[0]
    asked = {
        "partner_id": partner.id, "currency": currency, "interval": days.interval,
        "from": days.first.isoformat(), "to": days.last.isoformat(),
    }  # fmt: skip
    metrics: Metrics = await visit.ask(show_metrics, asked)
    rows = _rows(visit, partner, metrics) if balances else []
    return {
        "metrics": metrics, "rows": rows, "range": days.preset, "ranges": _RANGES, "currencies": currencies
    }  # fmt: skip


def _rows(visit: Visit, partner: Partner, metrics: Metrics) -> list[ChartRow]:
    def href(point: Point) -> str:
        return f"/commissions?partner_id={partner.id}&currency={metrics.currency}&from={point.from_}&to={point.to}"

    return rows_of(
        metrics.series, lambda point: [point.commissions.earned], interval=metrics.interval, locale=visit.locale,
        href=href,
    )  # fmt: skip


@partner_pages.post(_ONE + "/{move:approve|reject|pause|reinstate|ban}")
async def move(visit: Visit) -> Shown | web.StreamResponse:
    """Approve, reject, pause, reinstate or ban a partner."""
    handler, told = _MOVES[visit.path["move"]]
    return await _done(visit, handler, visit.form.body("reason"), told)


@partner_pages.post(_ONE + "/{move:hold-payouts|release-payouts}")
async def move_payouts(visit: Visit) -> Shown | web.StreamResponse:
    """Send a partner nothing more, or let it be paid again."""
    handler, told = _PAYOUT_MOVES[visit.path["move"]]
    return await _done(visit, handler, visit.form.body("reason"), told, "payouts")


@partner_pages.post(_ONE + "/write-off")
async def forgive(visit: Visit) -> Shown | web.StreamResponse:
    """Forgive a partner what it owes in a currency."""
    return await _done(visit, write_off, visit.form.body("currency", "reason"), "balance_written_off", "payouts")


@partner_pages.post(_ONE + "/dashboard-link")
async def renew_link(visit: Visit) -> Shown | web.StreamResponse:
    """Give the partner's dashboard a new address."""
    return await _done(visit, renew_dashboard_link, {}, "partner_link_renewed")


@partner_pages.post(_ONE + "/notes")
async def note(visit: Visit) -> Shown | web.StreamResponse:
    """Note something about a partner."""
    return await _done(visit, add_note, visit.form.body("note"), "note_added", "notes")


@partner_pages.post(_ONE + "/notes/{note_id:[^/]+}/remove")
async def unnote(visit: Visit) -> Shown | web.StreamResponse:
    """Blot a note out."""
    return await _done(visit, remove_note, None, "note_removed", "notes")


async def _done(
    visit: Visit, handler: Handler, body: Mapping[str, Any] | None, told: str, part: str = ""
) -> Shown | web.StreamResponse:
    """Return the way back to the partner, or the partner's page with what was refused."""
    done = await visit.attempt(handler, body, path=visit.path)
    if done.refusal:
        return await show_one(visit)
    address = visit.moved(f"/partners/{visit.path['partner_id']}", told=told)
    if part:
        address.headers["Location"] += f"#{part}"
    return address


# --- its details ------------------------------------------------------------------------------------------------------


@partner_pages.get(_ONE + "/edit")
async def show_edit(visit: Visit) -> Shown:
    """Show the form for a partner's name, e-mail, tags and rate."""
    visit.session.check("partners")
    partner: Partner = await visit.ask(show_partner, path=visit.path)
    return Shown("partners/edit.html", {"partner": partner})


@partner_pages.post(_ONE + "/edit")
async def edit(visit: Visit) -> Shown | web.StreamResponse:
    """Change what was typed otherwise than it stands."""
    partner: Partner = await visit.ask(show_partner, path=visit.path)
    done = await visit.attempt(change_partner, _changes(visit, partner), path=visit.path)
    if done.refusal:
        return await show_edit(visit)
    return visit.moved(f"/partners/{partner.id}", told="saved")


def _changes(visit: Visit, partner: Partner) -> dict[str, Any]:
    """Return what differs from the partner: each thing that is changed is an event, and so would no change be."""
    typed = visit.form.body("name", "email", "rate.type", "rate.value")
    stands = {"name": partner.name, "email": partner.email}
    changes = {name: typed[name] for name in stands if name in typed and typed[name] != stands[name]}
    tags = _tags(visit.form)
    if tags != partner.tags:
        changes["tags"] = tags
    rate, rate_from = typed.get("rate"), visit.form.text("rate_from")
    if rate and (rate_from or rate != partner.rate.model_dump()):
        changes["rate"] = rate
        if rate_from:
            changes["rate_from"] = start_of_day(visit, rate_from)
    return changes


def _tags(form: Form) -> list[str]:
    """Return the tags as they were typed, with commas between them."""
    return [tag.strip() for tag in (form.text("tags") or "").split(",") if tag.strip()]
