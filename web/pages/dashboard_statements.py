"""A partner's statements: the list, one month as a page, as CSV and as PDF, all of the same lines."""

import asyncio
from collections.abc import Mapping
from datetime import date
from http import HTTPStatus

from aiohttp import hdrs, web
from babel.dates import format_skeleton

from schemas.api_statements import Statement, StatementLine
from schemas.errors import RejectedError
from schemas.sheets import Sheet
from web.pages.forms import Refusal
from web.pages.partner_login import DASHBOARD
from web.pages.partner_visits import PartnerVisit, partner_door
from web.pages.render import Shown
from web.pages.statement_pdf import About, pdf_of
from web.pages.table import PageTable
from web.streams import LONG_CALLS

dashboard_statements = PageTable(partner_door)

# More than anybody reads; the spreadsheet has them all.
_SHOWN_MAX = 1_000
# Some ten seconds of computing.
_PRINTED_MAX = 10_000

_MONTH = DASHBOARD + "/statements/{month:[0-9-]+}"

_TOO_LONG = Refusal(
    HTTPStatus.UNPROCESSABLE_ENTITY, "This month is too long for a PDF. The CSV file has every line of it.", {}
)  # fmt: skip

WORDS: Mapping[str, str] = {
    "opening": "Balance at the beginning",
    "earned": "Commission",
    "entered": "Entered by hand",
    "adjusted": "Adjusted after a refund",
    "clawed_back": "Taken back after a refund",
    "rejected": "Rejected",
    "reopened": "Rejection taken back",
    "paid": "Paid",
    "payment_returned": "Payment came back",
    "closing": "Balance at the end",
}
"""What a line of a statement is called."""


@dashboard_statements.get(DASHBOARD + "/statements")
async def show_statements(visit: PartnerVisit) -> Shown:
    """Show the months with a statement."""
    months = await visit.books.months()
    names = {each.month: month_name(visit, each.month) for each in months}
    return Shown("dashboard/statements.html", {"months": months, "names": names})


@dashboard_statements.get(_MONTH)
async def show_statement(visit: PartnerVisit) -> Shown:
    """Show one month: what was owed, every movement, what is owed after it."""
    try:
        statement = await _statement(visit)
    except RejectedError as error:
        visit.refuse(error)
        statement = await visit.books.statement(visit.path["month"], {})
    listed = await visit.books.months()
    months = [each for each in listed if each.currency == statement.currency]
    currencies = sorted({each.currency for each in listed if each.month == statement.month})
    earlier = next((each.month for each in months if each.month < statement.month), None)
    later = next((each.month for each in reversed(months) if each.month > statement.month), None)
    lines = statement.lines if len(statement.lines) <= _SHOWN_MAX else statement.lines[:_SHOWN_MAX]
    model = {
        "statement": statement, "lines": lines, "words": WORDS, "name": month_name(visit, statement.month),
        "earlier": earlier, "later": later, "currencies": currencies,
    }  # fmt: skip
    return Shown("dashboard/statement.html", model)


@dashboard_statements.get(_MONTH + ".csv")
async def send_csv(visit: PartnerVisit) -> web.StreamResponse:
    """Send the lines of the month for a spreadsheet."""
    statement, sheet = await _statement(visit), Sheet(StatementLine)
    body = sheet.heading() + sheet.lines(statement.lines)
    return _file(statement, body, "csv", "text/csv; charset=utf-8; header=present")


@dashboard_statements.get(_MONTH + ".pdf")
async def send_pdf(visit: PartnerVisit) -> Shown | web.StreamResponse:
    """Send the month as a document; one that would be of hundreds of pages is to be had as a spreadsheet only."""
    with visit.request.app[LONG_CALLS].turn(visit.session.merchant_id):
        statement = await _statement(visit)
        if len(statement.lines) > _PRINTED_MAX:
            visit.refusal = _TOO_LONG
            return await show_statement(visit)
        about = About(
            program=visit.program.name, partner=visit.partner.name or visit.partner.id, locale=visit.locale,
            month=month_name(visit, statement.month), words=WORDS, made_at=visit.now, zone=visit.zone,
        )  # fmt: skip
        body = await asyncio.to_thread(pdf_of, statement, about)
    return _file(statement, body, "pdf", "application/pdf")


def month_name(visit: PartnerVisit, month: str) -> str:
    """Return what the visitor calls a month: `November 2026`."""
    return str(format_skeleton("yMMMM", date.fromisoformat(f"{month}-01"), locale=visit.locale))


async def _statement(visit: PartnerVisit) -> Statement:
    return await visit.books.statement(visit.path["month"], visit.query)


def _file(statement: Statement, body: bytes, kind: str, media_type: str) -> web.Response:
    name = f"statement-{statement.month}-{statement.currency}.{kind}"
    headers = {hdrs.CONTENT_TYPE: media_type, hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}"'}
    return web.Response(body=body, headers=headers)
