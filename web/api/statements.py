"""A partner's statements per month and currency, and what waits; the same for the merchant's API and the dashboard."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from projections import read_statements, rows
from projections.read_statements import Accounts, Moved, post
from schemas.api import Listing, Page, Read
from schemas.api_statements import (
    LineType,
    Owed,
    Statement,
    StatementLine,
    StatementMonth,
    StatementQuery,
    WaitingCommissions,
)
from schemas.errors import NotFoundError
from schemas.money import Money
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, day_of_cursor, from_cursor
from web.api.metrics import check_currency
from web.api.routes import RouteTable
from web.problems import NotYetError

statement_calls = RouteTable("statements")

_STATEMENTS = "/partners/{partner_id:[^/]+}/statements"
# What is owed to a partner, however far it is on its way. What was paid is owed no longer.
_OWED = ("pending", "approved", "held", "in_payout", "clawed_back")
_FIRST_YEAR, _MONTHS_OF_YEAR = 1970, 12


@statement_calls.get(_STATEMENTS, query=Listing, answer=Page[StatementMonth])
async def list_statements(call: Call[None, Listing]) -> Reply:
    """List the months in which a partner earned something or was paid, the newest first, a row per currency."""
    partner_id = await _checked_partner(call)
    place = from_cursor(call.query.cursor, int, str)
    after = (day_of_cursor(place[0]), place[1]) if place else None
    page = await read_statements.months(
        call.services.reads, call.merchant_id, partner_id, after=after, limit=call.query.limit
    )
    following = page.next and (page.next[0].toordinal(), page.next[1])
    data = [_month(row) for row in page.rows]
    return Reply(Page[StatementMonth](data=data, next_cursor=cursor_of(following)), page.position)


@statement_calls.get(_STATEMENTS + "/{month:[0-9-]+}", query=StatementQuery, answer=Statement)
async def show_statement(call: Call[None, StatementQuery]) -> Reply:
    """Show a partner's statement of a month (`2026-11`): what was owed, every movement, what is owed after it.

    It is made of the log, as it is known now: each month begins with what the month before ended with, and the last one
    ends with the partner's balance.
    """
    partner_id, program = await _checked_partner(call), await _program(call)
    month = call.path["month"]
    first = month_of(month, call.now.astimezone(ZoneInfo(program.time_zone)).date())
    if first is None:
        raise NotFoundError("statement", month)
    currency = call.query.currency or program.currency
    check_currency(currency)
    last = last_of(first)
    found = await read_statements.movements(
        call.services.reads, call.merchant_id, partner_id, currency=currency, from_on=first, to_on=last
    )
    return Reply(statement_of(partner_id, currency, first, found.before, found.moved), found.position)


@statement_calls.get("/partners/{partner_id:[^/]+}/waiting", query=Read, answer=Page[WaitingCommissions])
async def list_waiting(call: Call[None, Read]) -> Reply:
    """List what waits of a partner's commissions, per currency: pending until a day or an approval, and held."""
    partner_id = await _checked_partner(call)
    page = await read_statements.waiting(call.services.reads, call.merchant_id, partner_id)
    return Reply(Page[WaitingCommissions](data=[_waiting(row) for row in page.rows], next_cursor=None), page.position)


def month_of(told: str, today: date) -> date | None:
    """Return the first day of a month (`2026-11`), None for what is none, or has not begun."""
    try:
        first = datetime.strptime(told, "%Y-%m").date()  # noqa: DTZ007 - a month has no time zone
    except ValueError:
        return None
    return first if told == f"{first:%Y-%m}" and first.year >= _FIRST_YEAR and first <= today else None


def last_of(first: date) -> date:
    """Return the last day of the month of which this is the first."""
    return date.fromordinal(following_month(first).toordinal() - 1)


def following_month(first: date) -> date:
    """Return the first day of the next month."""
    return date(first.year + first.month // _MONTHS_OF_YEAR, first.month % _MONTHS_OF_YEAR + 1, 1)


def statement_of(partner_id: str, currency: str, first: date, before: Accounts, moved: list[Moved]) -> Statement:
    """Return the statement of a month from what stood in the accounts before it, and what moved in it, in order."""
    accounts, opening, last = dict(before), _owed(before), last_of(first)
    for each in moved:
        post(accounts, each.debit, each.credit, each.amount_minor)
    closing, paid = _owed(accounts), accounts["paid"] - before["paid"]
    lines = [
        _balance_line("opening", first, opening, currency),
        *_lines(moved, opening, currency),
        _balance_line("closing", last, closing, currency),
    ]
    return Statement(
        partner_id=partner_id,
        month=f"{first:%Y-%m}",
        from_=first,
        to=last,
        currency=currency,
        opening=Money.of(opening, currency),
        earned=Money.of(closing - opening + paid, currency),
        paid=Money.of(paid, currency),
        closing=Money.of(closing, currency),
        standing=_standing(accounts, currency),
        lines=lines,
    )


def _lines(moved: list[Moved], balance: int, currency: str) -> Iterator[StatementLine]:
    # From one of the accounts to another: as much is owed as before.
    changing = [each for each in moved if (each.credit in _OWED) != (each.debit in _OWED)]
    for (type_, payout_id, _), group in groupby(changing, _line_of):
        parts = list(group)
        change = sum(each.amount_minor * (1 if each.credit in _OWED else -1) for each in parts)
        balance += change
        yield StatementLine(
            on=parts[0].occurred_on,
            type=type_,
            order_id=None if payout_id else parts[0].order_id,
            reference=_reference(parts, payout_id),
            payout_id=payout_id,
            amount=Money.of(change, currency),
            balance=Money.of(balance, currency),
        )


def _line_of(moved: Moved) -> tuple[LineType, str | None, object]:
    """Return what makes movements that follow one another one line: what a payout did at one time, or each alone."""
    if moved.topic == "CommissionEntered" and moved.payout_id is not None:
        return "payment_returned", moved.payout_id, moved.position
    return _TYPES[moved.topic], moved.payout_id, moved.occurred_at if moved.payout_id else moved.position


def _reference(parts: Sequence[Moved], payout_id: str | None) -> str | None:
    """Return the line's reference; of money that came back it is the payout's, which `payout_id` says already."""
    return next((each.reference for each in parts if each.reference != payout_id), None)


_TYPES: dict[str, LineType] = {
    "CommissionEarned": "earned",
    "CommissionEntered": "entered",
    "CommissionAdjusted": "adjusted",
    "CommissionClawedBack": "clawed_back",
    "CommissionRejected": "rejected",
    "CommissionReopened": "reopened",
    "CommissionPaid": "paid",
    "CommissionMarkedUnpaid": "payment_returned",
    "ClawbackSettled": "paid",
    "ClawbackOwedAgain": "payment_returned",
}


def _balance_line(type_: LineType, on: date, minor: int, currency: str) -> StatementLine:
    return StatementLine(
        on=on, type=type_, order_id=None, reference=None, amount=None, balance=Money.of(minor, currency)
    )


def _owed(accounts: Accounts) -> int:
    return sum(accounts[account] for account in _OWED)


def _standing(accounts: Accounts, currency: str) -> Owed:
    return Owed(
        pending=Money.of(accounts["pending"], currency),
        held=Money.of(accounts["held"], currency),
        payable=Money.of(accounts["approved"] + accounts["clawed_back"], currency),
        in_payout=Money.of(accounts["in_payout"], currency),
    )


def _month(row: read_statements.Month) -> StatementMonth:
    return StatementMonth(
        month=f"{row.month:%Y-%m}",
        currency=row.currency,
        opening=Money.of(row.opening_minor, row.currency),
        earned=Money.of(row.earned_minor, row.currency),
        paid=Money.of(row.paid_minor, row.currency),
        closing=Money.of(row.closing_minor, row.currency),
    )


def _waiting(row: read_statements.Waiting) -> WaitingCommissions:
    return WaitingCommissions(
        currency=row.currency,
        status=row.state,
        commissions=row.commissions,
        amount=Money.of(row.amount_minor, row.currency),
        next_due_at=row.next_due_at,
        next_due=None if row.next_due_minor is None else Money.of(row.next_due_minor, row.currency),
    )


async def _checked_partner(call: Call[None, Any]) -> str:
    partner_id = call.path["partner_id"]
    if (await call.services.reads.partner(call.merchant_id, partner_id, now=call.now)).row is None:
        raise NotFoundError("partner", partner_id)
    return partner_id


async def _program(call: Call[None, Any]) -> rows.Program:
    program = (await call.services.reads.program(call.merchant_id)).row
    if program is None:
        raise NotYetError("the read models do not know this program yet")
    return program
