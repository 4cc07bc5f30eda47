"""The merchant's program and its terms."""

from datetime import datetime
from typing import Any

import msgspec

from ledger import merchants
from ledger.merchants import Merchant
from ledger.payout_schedules import next_run_on
from ledger.terms import Schedule, Terms
from schemas.api import Listing, Page, ProgramChange, Query, Read
from schemas.api_answers import Program, ProgramVersion
from schemas.errors import RejectedError
from schemas.money import to_minor
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, from_cursor
from web.api.routes import RouteTable
from web.problems import NotYetError

program = RouteTable("program")


@program.get("/program", query=Read, answer=Program)
async def show_program(call: Call[None, Read]) -> Reply:
    """Show the program and the terms that were decided last."""
    found = await call.services.reads.program(call.merchant_id)
    if found.row is None:
        # The key proves that there is one: it is too new for the read models.
        raise NotYetError("the read models do not know this program yet")
    row = found.row
    # The terms in the read model are the event's JSON, which leaves out what has its default.
    terms = msgspec.convert(row.terms, Terms)
    merchant = Merchant(row.merchant_id, row.name, row.currency, row.time_zone, terms)
    return Reply(_shown(merchant, call.now), found.position)


@program.get("/program/versions", query=Listing, answer=Page[ProgramVersion])
async def list_versions(call: Call[None, Listing]) -> Reply:
    """List the versions of the terms, the newest first; every commission names the one that it was decided under."""
    place = from_cursor(call.query.cursor, int)
    page = await call.services.reads.program_versions(
        call.merchant_id, before=place[0] if place else None, limit=call.query.limit
    )
    data = [
        ProgramVersion(
            from_=row.effective_at, cause=row.cause, terms=merchants.shown_terms(msgspec.convert(row.terms, Terms))
        )
        for row in page.rows
    ]
    return Reply(Page[ProgramVersion](data=data, next_cursor=cursor_of(page.next)), page.position)


@program.patch("/program", body=ProgramChange, answer=Program)
async def change_program(call: Call[ProgramChange, Query]) -> Reply:
    """Change the terms.

    The new version holds for orders placed from now on; commissions keep the terms that they were decided under.
    """
    changes = await call.run(lambda: _changes(call.body))
    return await call.write(
        lambda request: merchants.change_terms(
            call.services.ledger, merchant_id=call.merchant_id, changes=changes, now=call.now, cause=call.cause,
            request=request,
        ),
        lambda merchant: _shown(merchant, call.now),
    )  # fmt: skip


_TAKEN_AWAY_BY_NULL = ("max_orders_per_customer", "max_months_per_customer", "payout_schedule")


def _changes(body: ProgramChange) -> dict[str, Any]:
    """Return what is to change, in the ledger's words; null takes limits and the schedule away, all else stays."""
    told = body.model_dump(exclude_unset=True)
    changes = {name: value for name, value in told.items() if value is not None and name != "minimum_payout"}
    changes |= {name: msgspec.UNSET for name in _TAKEN_AWAY_BY_NULL if name in told and told[name] is None}
    if body.payout_schedule is not None:
        changes["payout_schedule"] = Schedule(**told["payout_schedule"])
    if "minimum_payout" in told:
        told_amounts = sorted((told["minimum_payout"] or {}).items())
        changes["minimum_payout_minor"] = {c: _least(c, amount) for c, amount in told_amounts} or msgspec.UNSET
    return changes


def _least(currency: str, amount: str) -> int:
    path = f"$.minimum_payout.{currency}"
    try:
        return to_minor(amount, currency, path)
    except RejectedError as error:
        # The path of an unknown currency would be that of a member `currency`, which is the key here.
        raise RejectedError.at(path, error.code, error.message) from None


def _shown(merchant: Merchant, now: datetime) -> Program:
    return Program(
        merchant_id=merchant.merchant_id,
        name=merchant.name,
        currency=merchant.currency,
        time_zone=merchant.time_zone,
        terms=merchants.shown_terms(merchant.terms),
        next_payout_on=next_run_on(merchant.terms, merchant.time_zone, now),
    )
