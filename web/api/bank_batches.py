"""Bank transfers: what waits, batches and their files, and what a person declares about them."""

from base64 import b64encode
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, cast
from uuid import uuid4

from aiohttp import hdrs, web

from consumers.rails.bank import BankBatches
from ledger.bank_orders import Batch
from projections import read_bank
from schemas.api import Nothing, Page, Query
from schemas.api_bank import (
    BankBatch,
    BankBatchesQuery,
    BankOrder,
    BankOrdersQuery,
    NewBankBatch,
    SettledByHand,
    Unsealing,
)
from schemas.api_stories import ActedBy
from schemas.errors import ConflictError, NotFoundError
from schemas.money import Money
from web.api.actors import actors_of
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, from_cursor, instant_of_cursor
from web.api.done_already import answered_before, answered_now
from web.api.routes import RouteTable
from web.payees import paying_of

bank_batches = RouteTable("bank transfers")

_BATCH = "/bank-batches/{batch_id:[^/.]+}"
_ORDER = "/bank-orders/{end_to_end_id:[^/.]+}"


def bank_of(call: Call[Any, Any]) -> BankBatches:
    """Return what seals batches. Raises ConflictError `payouts_not_set_up`, `rail_not_there`."""
    found = paying_of(call.services).rails.bank_batches
    if found is None:
        raise ConflictError("rail_not_there", "nobody is paid by bank transfer here: BANK_DEBTOR_IBAN is not set")
    return found


@bank_batches.get("/bank-batches", query=BankBatchesQuery, answer=Page[BankBatch], scope="payouts")
async def list_bank_batches(call: Call[None, BankBatchesQuery]) -> Reply:
    """List the sealed batches, the newest first."""
    query = call.query
    page = await read_bank.batches(
        call.services.reads, call.merchant_id, unsealed=None if query.status is None else query.status == "unsealed",
        before=_place(query.cursor), limit=query.limit,
    )  # fmt: skip
    actors = await actors_of(call, {row.sealed_by for row in page.rows})
    data = [_batch(row, actors) for row in page.rows]
    return Reply(Page[BankBatch](data=data, next_cursor=_cursor(page.next)))


@bank_batches.post("/bank-batches", body=NewBankBatch, answer=BankBatch, status=HTTPStatus.CREATED, scope="payouts")
async def seal_bank_batch(call: Call[NewBankBatch, Query]) -> Reply:
    """Seal all bank transfers that wait into one batch, whose files are then the same for ever.

    At most 10,000 transfers are in a batch; the others wait for the next one. Upload one of its two files, once.
    """
    bank = bank_of(call)
    earlier = await answered_before(call)
    if earlier is not None:
        return earlier
    seal = partial(
        bank.seal, call.merchant_id, call.idempotency_key or uuid4().hex, execution_on=call.body.execution_on,
        by=call.cause, now=call.now,
    )  # fmt: skip
    batch = await call.run(seal)
    return await answered_now(call, await _found(call, batch.batch_id))


@bank_batches.get(_BATCH, query=Query, answer=BankBatch, scope="payouts")
async def show_bank_batch(call: Call[None, Query]) -> Reply:
    """Show a batch, and how many of its payments are in which state."""
    return Reply(await _found(call, call.path["batch_id"]))


@bank_batches.download(_BATCH + ".xml", gives="application/xml", scope="payouts")
async def download_bank_batch_xml(call: Call[None, Query], request: web.Request) -> web.StreamResponse:
    """Download the batch's pain.001.001.09 file: the same bytes each time."""
    batch = await _sealed(call)
    return _file(request, batch.xml, batch.xml_sha256, f"{batch.batch_id}.xml", "application/xml")


@bank_batches.download(_BATCH + ".csv", gives="text/csv", scope="payouts")
async def download_bank_batch_csv(call: Call[None, Query], request: web.Request) -> web.StreamResponse:
    """Download the batch's payments as CSV, for banks without ISO 20022: the same bytes each time."""
    batch = await _sealed(call)
    return _file(request, batch.csv, batch.csv_sha256, f"{batch.batch_id}.csv", "text/csv")


@bank_batches.post(_BATCH + "/unseal", body=Unsealing, answer=BankBatch, scope="payouts")
async def unseal_bank_batch(call: Call[Unsealing, Query]) -> Reply:
    """Let the payments of a batch wait again, because somebody declares that its files were not uploaded.

    Not once the bank told of any payment in it. The batch and its bytes stay on record.
    """
    orders = paying_of(call.services).orders
    earlier = await answered_before(call)
    if earlier is not None:
        return earlier
    unseal = partial(
        orders.unseal, call.merchant_id, call.path["batch_id"], declared=call.body.declared, by=call.cause, now=call.now
    )
    await call.run(unseal)
    return await answered_now(call, await _found(call, call.path["batch_id"]))


@bank_batches.get("/bank-orders", query=BankOrdersQuery, answer=Page[BankOrder], scope="payouts")
async def list_bank_orders(call: Call[None, BankOrdersQuery]) -> Reply:
    """List the bank transfers, the newest first."""
    query = call.query
    page = await read_bank.orders(
        call.services.reads, call.merchant_id, state=query.state, batch_id=query.batch_id, payout_id=query.payout_id,
        before=_place(query.cursor), limit=query.limit,
    )  # fmt: skip
    data = [_order(row) for row in page.rows]
    return Reply(Page[BankOrder](data=data, next_cursor=_cursor(page.next)))


@bank_batches.post(_ORDER + "/withdraw", body=Nothing, answer=BankOrder, scope="payouts")
async def withdraw_bank_order(call: Call[Nothing, Query]) -> Reply:
    """Take a transfer back that is in no batch: it was not paid, and its commissions become payable again."""
    orders = paying_of(call.services).orders
    earlier = await answered_before(call)
    if earlier is not None:
        return earlier
    await call.run(partial(orders.withdraw, call.merchant_id, call.path["end_to_end_id"], call.now))
    return await answered_now(call, await _found_order(call))


@bank_batches.post(_ORDER + "/settle", body=SettledByHand, answer=BankOrder, scope="payouts")
async def settle_bank_order(call: Call[SettledByHand, Query]) -> Reply:
    """Note that somebody saw the payment on the bank's statement, under a reference that no other payment has."""
    orders = paying_of(call.services).orders
    earlier = await answered_before(call)
    if earlier is not None:
        return earlier
    settle = partial(orders.settle_by_hand, call.merchant_id, call.path["end_to_end_id"], call.body.reference)
    await call.run(partial(settle, by=call.cause, now=call.now))
    return await answered_now(call, await _found_order(call))


async def _found(call: Call[Any, Any], batch_id: str) -> BankBatch:
    """Return the batch as it stands. Raises NotFoundError."""
    found = await read_bank.batch(call.services.reads, call.merchant_id, batch_id)
    if found is None:
        raise NotFoundError("bank batch", batch_id)
    row, orders = found
    return _batch(row, await actors_of(call, {row.sealed_by}), orders)


async def _found_order(call: Call[Any, Any]) -> BankOrder:
    own_id = call.path["end_to_end_id"]
    found = await read_bank.order(call.services.reads, call.merchant_id, own_id)
    if found is None:
        raise NotFoundError("bank order", own_id)
    return _order(found)


async def _sealed(call: Call[Any, Any]) -> Batch:
    """Return the batch with its files. Raises NotFoundError, CorruptionError where they are not what was sealed."""
    return await call.run(partial(paying_of(call.services).orders.batch, call.merchant_id, call.path["batch_id"]))


def _file(request: web.Request, body: bytes, sha256: str, name: str, media_type: str) -> web.Response:
    headers = {
        hdrs.ETAG: f'"{sha256}"',
        "Repr-Digest": f"sha-256=:{b64encode(bytes.fromhex(sha256)).decode()}:",
        hdrs.CONTENT_TYPE: f"{media_type}; charset=utf-8",
        hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}"',
    }
    known = request.if_none_match or ()
    if any(tag.value in (sha256, "*") for tag in known):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers={hdrs.ETAG: f'"{sha256}"'})
    return web.Response(body=body, headers=headers)


def _place(cursor: str | None) -> read_bank.Place | None:
    place = from_cursor(cursor, str, str)
    return None if place is None else (instant_of_cursor(place[0]), place[1])


def _cursor(place: read_bank.Place | None) -> str | None:
    return None if place is None else cursor_of((place[0].isoformat(), place[1]))


def _batch(row: read_bank.BankBatch, actors: Mapping[str, ActedBy], orders: dict[str, int] | None = None) -> BankBatch:
    return BankBatch(
        id=row.batch_id, status="sealed" if row.unsealed_at is None else "unsealed", message_id=row.message_id,
        payments=row.payments, amount=Money.of(row.amount_minor, row.currency), execution_on=row.execution_on,
        sealed_at=row.sealed_at, sealed_by=row.sealed_by, by=actors[row.sealed_by], xml_sha256=row.xml_sha256,
        csv_sha256=row.csv_sha256, unsealed_at=row.unsealed_at, unsealed_by=row.unsealed_by, declared=row.declared,
        orders=orders,
    )  # fmt: skip


def _order(row: read_bank.BankOrder) -> BankOrder:
    return BankOrder(
        id=row.end_to_end_id, payout_id=row.payout_id, partner_id=row.partner_id, batch_id=row.batch_id,
        state=cast("Any", row.state),
        amount=Money.of(row.amount_minor, row.currency), returned=Money.of(row.returned_minor, row.currency),
        code=row.code, reference=row.reference, ordered_at=row.ordered_at, moved_at=row.moved_at,
    )  # fmt: skip
