"""One commission's page: its state and what can be done with it, its arithmetic, and everything that happened to it."""

import asyncio

import orjson
from aiohttp import web

from schemas.errors import NotFoundError
from web.api.commissions import (
    approve_commission,
    hold_commission,
    list_order_events,
    mark_paid,
    mark_unpaid,
    reject_commission,
    release_commission,
    reopen_commission,
    show_commission,
)
from web.api.routes import Handler
from web.pages.commissions import address_of
from web.pages.doors import user_door
from web.pages.names import partner_names
from web.pages.render import Shown
from web.pages.table import PageTable, see_other
from web.pages.visits import Visit

story_pages = PageTable(user_door)

# Every move: the API's command, the fields that it takes, and the word for that it is done.
_MOVES: dict[str, tuple[Handler, tuple[str, ...], str]] = {
    "approve": (approve_commission, (), "commission_approved"),
    "reject": (reject_commission, ("reason",), "commission_rejected"),
    "reopen": (reopen_commission, ("reason",), "commission_reopened"),
    "hold": (hold_commission, ("reason",), "commission_held"),
    "release": (release_commission, (), "commission_released"),
    "mark-paid": (mark_paid, ("reference", "note"), "commission_paid"),
    "mark-unpaid": (mark_unpaid, ("reason", "note"), "commission_unpaid"),
}


@story_pages.get("/commissions/{order_id:[^/]+}")
async def show_one(visit: Visit) -> Shown:
    """Show a commission."""
    return await _show(visit, visit.path["order_id"])


@story_pages.get("/commissions/")
async def show_named(visit: Visit) -> Shown | web.StreamResponse:
    """Show a commission whose id no address can hold."""
    order_id = visit.query.get("id")
    return see_other("/commissions") if order_id is None else await _show(visit, order_id)


@story_pages.post("/commissions/{move:[a-z-]+}")
async def move_one(visit: Visit) -> Shown | web.StreamResponse:
    """Make a move with the commission that the address names behind its question mark."""
    order_id, move = visit.query.get("id", ""), _MOVES.get(visit.path["move"])
    if move is None or not order_id:
        raise NotFoundError("page", visit.path["move"])
    command, fields, told = move
    body = visit.form.body(*fields) if fields else {}
    done = await visit.attempt(command, body, path={"order_id": order_id})
    if done.refusal:
        return await _show(visit, order_id)
    return visit.moved(address_of(order_id), told=told)


async def _show(visit: Visit, order_id: str) -> Shown:
    path = {"order_id": order_id}
    story, events = await asyncio.gather(visit.ask(show_commission, path=path), visit.ask(list_order_events, path=path))
    names = await partner_names(visit, [story.partner_id])
    told = orjson.dumps(events.model_dump(mode="json", by_alias=True)["data"], option=orjson.OPT_INDENT_2).decode()
    model = {
        "commission": story, "partner": names[story.partner_id], "address": address_of(order_id), "raw": told,
        "moves": [move for move in story.legal if visit.can("payouts" if move.startswith("mark-") else "partners")],
    }  # fmt: skip
    return Shown("commissions/one.html", model)
