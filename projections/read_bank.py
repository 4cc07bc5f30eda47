"""Bank batches and the transfers in them: asked of their own tables, behind the wall. What is sealed is not read."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, LiteralString, NamedTuple, TypeVar

from psycopg.rows import dict_row

from projections.read import Reads
from projections.rows import Page

Row = TypeVar("Row")
Place = tuple[datetime, str]
"""Where a page ended: a time and an id."""


class BankBatch(NamedTuple):
    """A sealed batch, without its files."""

    batch_id: str
    message_id: str
    payments: int
    amount_minor: int
    currency: str
    execution_on: date
    sealed_at: datetime
    sealed_by: str
    xml_sha256: str
    csv_sha256: str
    unsealed_at: datetime | None
    unsealed_by: str | None
    declared: str | None


class BankOrder(NamedTuple):
    """A bank transfer, without whom it goes to."""

    end_to_end_id: str
    payout_id: str
    partner_id: str
    amount_minor: int
    currency: str
    state: str
    batch_id: str | None
    reference: str | None
    returned_minor: int
    code: str | None
    ordered_at: datetime
    moved_at: datetime


async def batches(
    reads: Reads, merchant_id: str, *, unsealed: bool | None, before: Place | None, limit: int
) -> Page[BankBatch, Place]:
    """Return the merchant's batches, those that were sealed last first; `unsealed`: only those that were, or not."""
    query = _BATCHES
    if unsealed is not None:
        query += " AND (unsealed_at IS NOT NULL) = %(unsealed)s"
    if before is not None:
        query += " AND (sealed_at, batch_id) < (%(at)s, %(id)s)"
    query += " ORDER BY sealed_at DESC, batch_id DESC LIMIT %(rows)s"
    params = {"unsealed": unsealed, **_from(before), "rows": limit + 1}
    rows = await _ask(reads, merchant_id, query, params)
    return _page(rows, BankBatch, limit, lambda last: (last.sealed_at, last.batch_id))


async def batch(reads: Reads, merchant_id: str, batch_id: str) -> tuple[BankBatch, dict[str, int]] | None:
    """Return a batch and how many of its transfers are in which state, None where the merchant has none of this id."""
    rows = await _ask(reads, merchant_id, _BATCHES + " AND batch_id = %(id)s", {"id": batch_id})
    if not rows:
        return None
    counts = await _ask(reads, merchant_id, _COUNTS, {"id": batch_id})
    return BankBatch(**rows[0]), {row["state"]: row["orders"] for row in counts}


async def orders(
    reads: Reads,
    merchant_id: str,
    *,
    state: str | None = None,
    batch_id: str | None = None,
    payout_id: str | None = None,
    before: Place | None = None,
    limit: int,
) -> Page[BankOrder, Place]:
    """Return the merchant's bank transfers, those that were ordered last first."""
    query = _ORDERS
    if state is not None:
        query += " AND told.state = %(state)s"
    if batch_id is not None:
        query += " AND told.batch_id = %(batch_id)s"
    if payout_id is not None:
        query += " AND told.payout_id = %(payout_id)s"
    if before is not None:
        query += " AND (told.ordered_at, told.end_to_end_id) < (%(at)s, %(id)s)"
    query += " ORDER BY told.ordered_at DESC, told.end_to_end_id DESC LIMIT %(rows)s"
    params = {"state": state, "batch_id": batch_id, "payout_id": payout_id, **_from(before), "rows": limit + 1}
    rows = await _ask(reads, merchant_id, query, params)
    return _page(rows, BankOrder, limit, lambda last: (last.ordered_at, last.end_to_end_id))


async def order(reads: Reads, merchant_id: str, end_to_end_id: str) -> BankOrder | None:
    """Return one bank transfer, None where the merchant has none of this id."""
    rows = await _ask(reads, merchant_id, _ORDERS + " AND told.end_to_end_id = %(id)s", {"id": end_to_end_id})
    return BankOrder(**rows[0]) if rows else None


def _from(before: Place | None) -> dict[str, Any]:
    return {"at": before[0], "id": before[1]} if before else {"at": None, "id": None}


def _page(
    rows: list[dict[str, Any]], of: Callable[..., Row], limit: int, place: Callable[[Row], Place]
) -> Page[Row, Place]:
    found = [of(**row) for row in rows[:limit]]
    return Page(found, 0, place(found[-1]) if len(rows) > limit else None)


async def _ask(reads: Reads, merchant_id: str, query: LiteralString, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    # The tables themselves: they are of no position.
    async with reads.moment(merchant_id) as conn, conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, {"merchant_id": merchant_id} | dict(params))
        return await cursor.fetchall()


_BATCHES: LiteralString = """
SELECT
    batch_id, message_id, payments, amount_minor, currency, execution_on, sealed_at, sealed_by, xml_sha256, csv_sha256,
    unsealed_at, unsealed_by, declared
FROM people.bank_batches WHERE merchant_id = %(merchant_id)s"""
_COUNTS: LiteralString = """
SELECT state, count(*) AS orders FROM people.bank_orders
WHERE merchant_id = %(merchant_id)s AND batch_id = %(id)s GROUP BY state ORDER BY state"""
_ORDERS: LiteralString = """
SELECT
    told.end_to_end_id, told.payout_id, payout.partner_id, told.amount_minor, told.currency, told.state, told.batch_id,
    told.reference, told.returned_minor, told.code, told.ordered_at, told.moved_at
FROM people.bank_orders AS told
JOIN ledger.payouts AS payout ON payout.payout_id = told.payout_id AND payout.merchant_id = told.merchant_id
WHERE told.merchant_id = %(merchant_id)s"""
