"""A partner's own dashboard: what is owed and why, every commission, what was paid, statements."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from schemas.api_answers import Balance, Metrics, Point, Program
from schemas.api_statements import WaitingCommissions
from schemas.errors import RejectedError
from schemas.money import Money
from web.pages.charts import rows_of
from web.pages.partner_login import DASHBOARD
from web.pages.partner_visits import PartnerVisit, partner_door
from web.pages.ranges import Range, chosen
from web.pages.render import Shown
from web.pages.table import PageTable

dashboard = PageTable(partner_door)

STATUSES = ("pending", "approved", "held", "in_payout", "paid", "rejected", "reversed", "skipped")
PRESETS = ("30-days", "90-days", "this-month", "last-month", "this-year", "all")
_LATEST = "6"


class Purse(NamedTuple):
    """What is owed and was paid in one currency, and why; `missing` of the least that is paid out, None: nothing is."""

    balance: Balance
    pending: WaitingCommissions | None
    held: WaitingCommissions | None
    minimum: Money | None
    missing: Money | None

    @property
    def currency(self) -> str:
        """The currency of all amounts."""
        return self.balance.currency


@dashboard.get(DASHBOARD)
async def show_start(visit: PartnerVisit) -> Shown:
    """Show what is owed, what was earned lately, and the coupon codes."""
    books = visit.books
    balances, waiting, codes, latest, details = await asyncio.gather(
        books.balances(), books.waiting(), books.codes(), books.commissions({"limit": _LATEST}), books.payout_details()
    )
    purses = purses_of(balances, waiting, visit.program)
    days, figures = await _figures(visit, [purse.currency for purse in purses])
    model = {
        "purses": purses, "codes": codes, "latest": latest[0], "days": days, "figures": figures, "presets": PRESETS,
        "chart_rows": _chart(visit, figures), "needs_details": details is not None and details.method is None,
    }  # fmt: skip
    return Shown("dashboard/start.html", model)


@dashboard.get(DASHBOARD + "/commissions")
async def show_commissions(visit: PartnerVisit) -> Shown:
    """Show the commissions, narrowed by the address's filters."""
    try:
        found, following = await visit.books.commissions(visit.query)
    except RejectedError as error:
        visit.refuse(error)
        found, following = [], None
    model = {"commissions": found, "next_cursor": following, "statuses": STATUSES}
    return Shown("dashboard/commissions.html", model)


@dashboard.get(DASHBOARD + "/commissions/{order_id:[^/]+}")
async def show_commission(visit: PartnerVisit) -> Shown:
    """Show how one commission came about, and what became of it."""
    commission = await visit.books.commission(visit.path["order_id"])
    sum_, steps = commission.arithmetic, [step for step in commission.steps if step.kind != "order"]
    model = {
        "commission": commission,
        "rounded": sum_ is not None and _differs(sum_.exact, sum_.earned),
        "steps": [(step, _differs(step.unrounded, step.owed)) for step in steps],
    }
    return Shown("dashboard/commission.html", model)


def _differs(exact: str, rounded: Money) -> bool:
    return Decimal(exact) != Decimal(rounded.amount)


def purses_of(balances: Sequence[Balance], waiting: Sequence[WaitingCommissions], program: Program) -> list[Purse]:
    """Return what is owed in each currency, the program's own first."""
    ordered = sorted(balances, key=lambda balance: (balance.currency != program.currency, balance.currency))
    return [_purse(balance, waiting, program) for balance in ordered]


def _purse(balance: Balance, waiting: Sequence[WaitingCommissions], program: Program) -> Purse:
    found = {each.status: each for each in waiting if each.currency == balance.currency}
    told = program.terms.minimum_payout.get(balance.currency)
    minimum = None if told is None else Money(amount=told, currency=balance.currency)
    payable, least = Decimal(balance.payable.amount), Decimal(told or 0)
    missing = Money(amount=str(least - payable), currency=balance.currency) if 0 < payable < least else None
    return Purse(balance, found.get("pending"), found.get("held"), minimum, missing)


async def _figures(visit: PartnerVisit, currencies: Sequence[str]) -> tuple[Range, Metrics]:
    """Return the days that the address asks for, and their figures; what it asks wrongly is told, and left out."""
    query = visit.query
    try:
        return await _asked(visit, query, currencies)
    except RejectedError as error:
        visit.refuse(error)
        return await _asked(visit, {}, currencies)


async def _asked(visit: PartnerVisit, query: Mapping[str, str], currencies: Sequence[str]) -> tuple[Range, Metrics]:
    today = visit.now.astimezone(visit.zone).date()
    since = await _since(visit) if query.get("range") == "all" else None
    days = chosen(query, today, since)
    own = currencies[0] if currencies and visit.program.currency not in currencies else None
    asked = {
        "from": str(days.first), "to": str(days.last), "interval": days.interval,
        "currency": query.get("currency") or own,
    }  # fmt: skip
    return days, await visit.books.figures(asked)


async def _since(visit: PartnerVisit) -> date | None:
    months = await visit.books.months()
    return date.fromisoformat(min(each.month for each in months) + "-01") if months else None


def _chart(visit: PartnerVisit, figures: Metrics) -> list[Any]:
    def values(point: Point) -> Sequence[Money]:
        return (point.commissions.earned,)

    def link(point: Point) -> str:
        return visit.to("statements", f"{point.from_:%Y-%m}", currency=figures.currency)

    return rows_of(figures.series, values, interval=figures.interval, locale=visit.locale, href=link)
