"""What a merchant pays outside of the ledger: what is due to whom, marked as paid by hand."""

import asyncio
from decimal import Decimal
from typing import Any

from aiohttp import web

from schemas.api import Page
from schemas.api_answers import Balance, Commission
from schemas.api_commissions import BULK_MAX, BulkResult
from schemas.errors import NotFoundError
from schemas.money import Money
from web.api.balances import list_balances
from web.api.commissions import list_commissions, move_commissions
from web.api.paid_marks import list_paid_marks
from web.pages.doors import user_door
from web.pages.listings import listed
from web.pages.names import partner_names
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.visits import Visit

by_hand_pages = PageTable(user_door)

# How many commissions one form marks: the next ones are marked by the next form, with the same reference.
_MARKED_MAX = 500
_LATEST = 10
_OWING_MAX = 50


@by_hand_pages.get("/payouts/outside")
async def show_outside(visit: Visit) -> Shown:
    """Show what is due per partner and currency, who owes something, and what was marked as paid lately."""
    visit.place = "/payouts/outside"
    due, owing, marks = await asyncio.gather(
        listed(visit, list_balances, dict(visit.query) | {"payable": "positive"}),
        visit.ask(list_balances, {"payable": "negative", "limit": _OWING_MAX}),
        visit.ask(list_paid_marks, {"limit": _LATEST}),
    )
    whose = [each.partner_id for each in (*due.data, *owing.data, *marks.data)]
    model = {
        "due": due, "owing": owing, "marks": marks, "names": await partner_names(visit, whose),
        "minimums": {each.currency: minimum(visit, each.currency) for each in due.data},
        "below": {(each.partner_id, each.currency) for each in due.data if is_below(visit, each)},
        "is_set_up": visit.services.paying is not None,
    }  # fmt: skip
    return Shown("payouts/outside.html", model)


@by_hand_pages.get("/payouts/history")
async def show_history(visit: Visit) -> Shown:
    """Show everything that was marked as paid by hand, and taken back."""
    marks = await listed(visit, list_paid_marks)
    partner_id = visit.query.get("partner_id")
    names = await partner_names(visit, [partner_id, *(each.partner_id for each in marks.data)])
    return Shown("payouts/history.html", {"marks": marks, "names": names, "partner_id": partner_id})


@by_hand_pages.get("/payouts/pay")
async def show_payment(visit: Visit) -> Shown:
    """Show what marking all approved commissions of a partner as paid would do, to the cent."""
    visit.session.check("payouts")
    return await _payment(visit)


@by_hand_pages.post("/payouts/pay")
async def mark_all_paid(visit: Visit) -> Shown | web.StreamResponse:
    """Mark exactly those commissions as paid that the page has shown, and say what became of each that could not be.

    Sent twice it does nothing more; where it breaks off, the page shows what is left.
    """
    body = visit.form.body("reference", "note") | {"action": "mark-paid"}
    ids = visit.form.all("order_ids")
    results: list[BulkResult] = []
    for part, first in enumerate(range(0, max(len(ids), 1), BULK_MAX)):
        done = await visit.attempt(move_commissions, body | {"order_ids": ids[first : first + BULK_MAX]}, part=part)
        if done.refusal:
            return await _payment(visit)
        results += done.body.results
    failed = [each for each in results if not each.ok]
    left = await _approved(visit)
    if not failed and not left.data:
        return visit.moved("/payouts/outside", told="all_marked_paid")
    model = {
        "failed": failed, "marked": len(results) - len(failed), "sums": _sums(results), "left": bool(left.data),
        "reference": visit.form.text("reference"),
    }  # fmt: skip
    return Shown("payouts/marked.html", await _whose(visit) | model)


async def _payment(visit: Visit) -> Shown:
    whose, approved = await asyncio.gather(_whose(visit), _approved(visit, _MARKED_MAX))
    currency = whose["balance"].currency
    together = sum(Decimal(each.commission.amount) for each in approved.data)
    model = {
        "commissions": approved.data, "more": approved.next_cursor is not None,
        "together": Money(amount=str(together), currency=currency), "minimum": minimum(visit, currency),
        "below": is_below(visit, whose["balance"]),
    }  # fmt: skip
    return Shown("payouts/pay.html", whose | model)


async def _whose(visit: Visit) -> dict[str, Any]:
    """Return the partner's name and balance. Raises NotFoundError where the partner has none in this currency."""
    partner_id, currency = visit.query.get("partner_id", ""), visit.query.get("currency", "")
    found: Page[Balance] = await listed(visit, list_balances, {"partner_id": partner_id, "currency": currency})
    if not partner_id or not currency or not found.data:
        raise NotFoundError("balance", f"{partner_id} {currency}")
    names = await partner_names(visit, [partner_id])
    return {"partner_id": partner_id, "name": names[partner_id], "balance": found.data[0]}


async def _approved(visit: Visit, most: int = 1) -> Page[Commission]:
    """Return the partner's approved commissions, the newest first, at most so many."""
    asked = {"partner_id": visit.query.get("partner_id"), "currency": visit.query.get("currency"), "status": "approved"}
    found: list[Commission] = []
    cursor = None
    while len(found) < most:
        limit = min(most - len(found), 200)
        page: Page[Commission] = await visit.ask(list_commissions, asked | {"cursor": cursor, "limit": limit})
        found += page.data
        cursor = page.next_cursor
        if cursor is None:
            break
    return Page(data=found, next_cursor=cursor)


def minimum(visit: Visit, currency: str) -> Money | None:
    """Return what a partner must be owed by the terms before it is paid out, None: nothing in particular."""
    amount = visit.program.terms.minimum_payout.get(currency)
    return None if amount is None else Money(amount=amount, currency=currency)


def is_below(visit: Visit, balance: Balance) -> bool:
    """Return whether less is payable than what the terms ask for."""
    least = minimum(visit, balance.currency)
    return least is not None and Decimal(balance.payable.amount) < Decimal(least.amount)


def _sums(results: list[BulkResult]) -> Money | None:
    """Return what the commissions that were marked are together, None where none was."""
    marked = [each.commission for each in results if each.ok and each.commission]
    if not marked:
        return None
    return Money(amount=str(sum(Decimal(each.amount) for each in marked)), currency=marked[0].currency)
