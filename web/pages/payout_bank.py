"""Bank transfers: what waits, batches with their files, and what the bank told."""

import asyncio
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from schemas.api import Page, Query
from schemas.api_bank import BankBatch, BankOrder
from schemas.errors import RejectedError
from web.api.bank_batches import (
    download_bank_batch_csv,
    download_bank_batch_xml,
    list_bank_batches,
    list_bank_orders,
    seal_bank_batch,
    show_bank_batch,
    unseal_bank_batch,
    withdraw_bank_order,
)
from web.api.bank_statements import import_bank_statement, take_statement
from web.api.payout_rails import list_payout_rails
from web.api.routes import FileHandler
from web.pages.days import today
from web.pages.doors import user_door
from web.pages.forms import Refusal
from web.pages.listings import listed
from web.pages.names import partner_names
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.uploads import FIELD, file_bytes, name_of, read_fields
from web.pages.visits import ROUTES, Visit
from web.streams import LONG_CALLS

payout_bank_pages = PageTable(user_door)

_ALL = "/payouts/bank"
_ONE = _ALL + "/{batch_id:bb_[^/.]+}"
_FILES: dict[str, FileHandler] = {"xml": download_bank_batch_xml, "csv": download_bank_batch_csv}


@payout_bank_pages.get(_ALL)
async def show_bank(visit: Visit) -> Shown:
    """Show what waits to be put into a file, and the files that were made."""
    visit.session.check("payouts")
    visit.place = _ALL
    refused = visit.refusal
    rails, batches, waiting = await asyncio.gather(
        visit.ask(list_payout_rails),
        visit.ask(list_bank_batches, {"limit": 20, "cursor": visit.query.get("batches")}),
        listed(visit, list_bank_orders, {"state": "waiting", "cursor": visit.query.get("cursor")}),
    )
    # What a form was refused for comes before what is wrong with the address.
    visit.refusal = refused or visit.refusal
    model = {
        "bank": next((rail for rail in rails.data if rail.name == "bank"), None), "batches": batches,
        "waiting": waiting, "names": await _names(visit, waiting.data), "today": today(visit).isoformat(),
    }  # fmt: skip
    return Shown("payouts/bank.html", model)


@payout_bank_pages.post(_ALL)
async def seal(visit: Visit) -> Shown | web.StreamResponse:
    """Seal all that waits into a file."""
    done = await visit.attempt(seal_bank_batch, visit.form.body("execution_on"))
    return await show_bank(visit) if done.refusal else visit.moved(f"{_ALL}/{done.body.id}", told="batch_sealed")


@payout_bank_pages.post(_ALL + "/orders/{order_id:[^/.]+}/withdraw")
async def withdraw(visit: Visit) -> Shown | web.StreamResponse:
    """Take a transfer back that is in no file."""
    done = await visit.attempt(withdraw_bank_order, path={"end_to_end_id": visit.path["order_id"]})
    return await show_bank(visit) if done.refusal else visit.moved(_ALL, told="order_withdrawn")


@payout_bank_pages.get(_ONE)
async def show_batch(visit: Visit) -> Shown:
    """Show a batch, its files, and what became of its payments."""
    visit.place = f"{_ALL}/{visit.path['batch_id']}"
    batch: BankBatch = await visit.ask(show_bank_batch, path={"batch_id": visit.path["batch_id"]})
    refused = visit.refusal
    asked = {"batch_id": batch.id, "cursor": visit.query.get("cursor")}
    orders: Page[BankOrder] = await listed(visit, list_bank_orders, asked)
    visit.refusal = refused or visit.refusal
    return Shown("payouts/batch.html", {"batch": batch, "orders": orders, "names": await _names(visit, orders.data)})


@payout_bank_pages.post(_ONE + "/unseal")
async def unseal(visit: Visit) -> Shown | web.StreamResponse:
    """Let the payments of a batch wait again, because its file was not uploaded."""
    path = {"batch_id": visit.path["batch_id"]}
    done = await visit.attempt(unseal_bank_batch, visit.form.body("declared"), path=path)
    return await show_batch(visit) if done.refusal else visit.moved(_ALL, told="batch_unsealed")


@payout_bank_pages.get(_ONE + ".{kind:xml|csv}")
async def send_file(visit: Visit) -> web.StreamResponse:
    """Send a batch's file, as the API does: the same bytes each time."""
    handler = _FILES[visit.path["kind"]]
    route = ROUTES[handler]
    visit.session.check(route.scope)
    call = visit.call_of(route, Query(), path={"batch_id": visit.path["batch_id"]})
    return await handler(call, visit.request)


@payout_bank_pages.post(_ALL + "/statement", read=read_fields)
async def take(visit: Visit) -> Shown | web.StreamResponse:
    """Take a file of the bank, and say of each movement what became of it."""
    route = ROUTES[import_bank_statement]
    visit.session.check(route.scope)
    call, options = visit.call_of(route, Query()), visit.services.options
    try:
        with visit.request.app[LONG_CALLS].turn(call.merchant_id):
            report = await take_statement(call, await file_bytes(visit.request, options.import_body_max))
    except RejectedError as error:
        visit.refusal = Refusal.of(error)._replace(faults={FIELD: error.message})
        return await show_bank(visit)
    return Shown("payouts/statement.html", {"report": report, "name": name_of(visit.request)})


async def _names(visit: Visit, orders: Iterable[BankOrder]) -> Any:
    return await partner_names(visit, [each.partner_id for each in orders])
