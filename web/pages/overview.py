"""The overview: what a program made in some days, against the days before, and what waits for somebody."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import urlencode

from schemas.api_answers import Commission, Metrics, Partner, Point
from schemas.api_figures import ProgramBalance
from schemas.errors import Fault, NotFoundError, RejectedError
from schemas.money import Money
from web.api.balances import list_balances
from web.api.commissions import list_commissions
from web.api.metrics import show_metrics
from web.api.partners import list_partners, show_partner
from web.api.program_figures import rank_partners, show_program_balances, show_waiting
from web.pages.changes import Change, change
from web.pages.charts import ChartRow, rows_of
from web.pages.charts import label as label_of
from web.pages.doors import user_door
from web.pages.forms import faults_by_name
from web.pages.ranges import PRESET_DEFAULT, PRESETS, Range, chosen, preset, previous
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.visits import Visit

overview = PageTable(user_door)

# What is shown of each list, before the list itself is a better place to look.
_PARTNERS, _LATEST, _FOUND = 8, 8, 6
# Figures that are as old as this are said to be.
_STALE = timedelta(seconds=10)
_SORTS = ("earned", "revenue", "conversions")


class Asked(NamedTuple):
    """What an address asks for. `faults` say what in it could not be taken, by the name of its field."""

    days: Range
    currency: str
    currencies: Sequence[str]
    sort: str
    partner: Partner | None
    found: Sequence[Partner]
    faults: Mapping[str, str]

    @property
    def filters(self) -> dict[str, str]:
        """What the entries behind the figures are found by."""
        told = {"from": self.days.first.isoformat(), "to": self.days.last.isoformat()}
        return told | self.whose

    @property
    def whose(self) -> dict[str, str]:
        """The currency, and the partner where there is one."""
        return {"currency": self.currency} | ({"partner_id": self.partner.id} if self.partner else {})


class Compared(NamedTuple):
    """A figure, what it was before (None: there was nothing before), and how it has changed."""

    now: Any
    before: Any
    change: Change


@overview.get("/overview")
async def show_overview(visit: Visit) -> Shown:
    """Show the figures of the days that the address asks for; before the first order, how to send it."""
    balances = (await visit.ask(show_program_balances)).data
    if not balances:
        return await _show_beginning(visit)
    asked = await _asked(visit, balances)
    before = previous(asked.days)
    metrics, earlier, ranked, latest, waiting, owed = await asyncio.gather(
        _metrics(visit, asked, asked.days, asked.days.interval),
        _metrics(visit, asked, before, "month") if before else _nothing(),
        _ranked(visit, asked),
        visit.ask(list_commissions, {**asked.whose, "limit": str(_LATEST)}),
        visit.ask(show_waiting),
        _owed(visit, asked, balances),
    )
    model = {
        "asked": asked,
        "presets": _presets(visit, asked),
        "before": before,
        "told_days": _told(visit, asked.days),
        "told_before": _told(visit, before),
        "figures": _figures(metrics, earlier),
        "charts": _charts(visit, metrics, asked),
        "metrics": metrics,
        "ranked": ranked,
        "latest": latest.data,
        "names": await _names(visit, latest.data, ranked, asked),
        "waiting": waiting,
        "owed": owed,
        "stale_since": waiting.behind_since if _is_stale(visit, waiting.behind_since) else None,
        "entries": _link(asked.filters),
        "entries_of": lambda **filters: _link(asked.filters | filters),
        "open_of": lambda status: _link(asked.whose | {"status": status}),
    }
    return Shown("overview/figures.html", model, 422 if asked.faults else 200)


async def _show_beginning(visit: Visit) -> Shown:
    """Show what is to be done before there are figures, and what of it is done."""
    partners, commissions, waiting = await asyncio.gather(
        visit.ask(list_partners, {"limit": "1"}),
        visit.ask(list_commissions, {"limit": "1"}),
        visit.ask(show_waiting),
    )
    model = {
        "partner": next(iter(partners.data), None),
        "skipped": bool(commissions.data),
        "waiting": waiting,
        "at": visit.now.astimezone(visit.zone).replace(microsecond=0).isoformat(),
    }
    return Shown("overview/beginning.html", model)


# --- what is asked for ---


async def _asked(visit: Visit, balances: Sequence[ProgramBalance]) -> Asked:
    """Return what the address asks for; what it says wrong is as if it did not say it, and told."""
    currencies = [balance.currency for balance in balances]
    query, faults = visit.query, list[Fault]()
    usual = visit.program.currency if visit.program.currency in currencies else currencies[0]
    currency = query.get("currency", usual)
    if currency not in currencies:
        faults.append(Fault("query.currency", "no_figures", "there are no figures in this currency"))
        currency = usual
    since = next(balance.first_on for balance in balances if balance.currency == currency)
    today = visit.now.astimezone(visit.zone).date()
    try:
        days = chosen(query, today, since)
    except RejectedError as error:
        faults += error.faults
        days = preset(PRESET_DEFAULT, today, since)
    partner, found, fault = await _partner(visit)
    faults += fault
    sort = query.get("sort", "")
    return Asked(
        days, currency, currencies, sort if sort in _SORTS else _SORTS[0], partner, found, faults_by_name(faults)
    )


async def _partner(visit: Visit) -> tuple[Partner | None, Sequence[Partner], list[Fault]]:
    """Return the partner whose figures are asked for, or those whom the words may mean, or what is wrong with them."""
    nobody = [Fault("query.partner", "unknown_partner", "there is no such partner")]
    if partner_id := visit.query.get("partner_id"):
        try:
            return await visit.ask(show_partner, path={"partner_id": partner_id}), (), []
        except NotFoundError:
            return None, (), nobody
    words = visit.query.get("partner")
    if words is None:
        return None, (), []
    try:
        found = (await visit.ask(list_partners, {"search": words.strip(), "limit": str(_FOUND)})).data
    except RejectedError as error:
        return None, (), [Fault("query.partner", error.code, error.faults[0].message if error.faults else str(error))]
    return (found[0], (), []) if len(found) == 1 else (None, found, [] if found else nobody)


def _presets(visit: Visit, asked: Asked) -> list[tuple[str, str, bool]]:
    """Return each preset's word, its address, and whether it is the one that is shown."""
    return [
        (word, visit.address(**{"range": word, "from": None, "to": None}), word == asked.days.preset)
        for word in PRESETS
    ]


# --- the answers ---


async def _nothing() -> None:
    return None


def _metrics(visit: Visit, asked: Asked, days: Range, interval: str) -> Awaitable[Metrics]:
    told = {"from": days.first.isoformat(), "to": days.last.isoformat(), "interval": interval}
    return visit.ask(show_metrics, asked.whose | told)


async def _ranked(visit: Visit, asked: Asked) -> Any:
    """Return the partners who made the most; of one partner alone there is no such list."""
    if asked.partner:
        return None
    return await visit.ask(rank_partners, {**asked.filters, "sort": asked.sort, "limit": str(_PARTNERS)})


async def _owed(visit: Visit, asked: Asked, balances: Sequence[ProgramBalance]) -> Any:
    """Return the balance of the program, or of the partner, None where that has none in the currency."""
    if asked.partner is None:
        return next(balance for balance in balances if balance.currency == asked.currency)
    return next(iter((await visit.ask(list_balances, asked.whose)).data), None)


async def _names(visit: Visit, latest: Sequence[Commission], ranked: Any, asked: Asked) -> dict[str, str]:
    """Return the names of the partners that are shown, by their id; those of erased persons are missing."""
    known = {row.partner_id: row.name for row in ranked.data} if ranked else {}
    if asked.partner:
        known[asked.partner.id] = asked.partner.name
    missing = sorted({row.partner_id for row in latest} - known.keys())
    if missing:
        found = await visit.ask(list_partners, {"ids": ",".join(missing), "limit": str(len(missing))})
        known |= {partner.id: partner.name for partner in found.data}
    return {partner_id: name for partner_id, name in known.items() if name}


def _is_stale(visit: Visit, behind_since: Any) -> bool:
    return behind_since is not None and visit.now - behind_since > _STALE


# --- the figures ---


def _figures(metrics: Metrics, earlier: Metrics | None) -> dict[str, Compared]:
    """Return the figures by name. Where all of them are zero before, there were none to compare with."""
    now = _values(metrics)
    before: Mapping[str, Any] = _values(earlier) if earlier and _any(earlier) else dict.fromkeys(now)
    return {name: Compared(now[name], before[name], change(now[name], before[name])) for name in now}


def _values(metrics: Metrics) -> dict[str, Any]:
    totals = metrics.totals
    rate = totals.commission_rate
    return {
        "revenue": totals.revenue.net,
        "conversions": totals.conversions,
        "refunded": totals.revenue.refunded,
        "earned": totals.commissions.earned,
        "outstanding": totals.commissions.outstanding,
        "paid": totals.commissions.paid,
        "average": totals.average_order,
        "rate": None if rate is None else Decimal(rate) / 100,
    }


def _any(metrics: Metrics) -> bool:
    totals = metrics.totals
    amounts = (totals.revenue.gross, totals.revenue.refunded, *dict(totals.commissions).values())
    return bool(totals.conversions or any(Decimal(amount.amount) for amount in amounts))


def _charts(visit: Visit, metrics: Metrics, asked: Asked) -> dict[str, list[ChartRow]]:
    """Return the rows of each chart; where nothing happened in all of the days there is nothing to draw."""
    paid, so_far = Decimal(0), dict[date, Money]()
    for point in metrics.series:
        paid += Decimal(point.commissions.paid.amount)
        so_far[point.from_] = Money(amount=f"{paid:f}", currency=metrics.currency)

    def entries(point: Point) -> str:
        return _link(asked.whose | {"from": point.from_.isoformat(), "to": point.to.isoformat()})

    shown: dict[str, Any] = {
        "revenue": lambda point: [point.revenue.net, point.commissions.earned],
        "owed": lambda point: [so_far[point.from_], point.commissions.outstanding],
        "conversions": lambda point: [point.conversions],
    }
    series = metrics.series if _any(metrics) else []
    return {
        name: rows_of(series, values, interval=metrics.interval, locale=visit.locale, href=entries)
        for name, values in shown.items()
    }


def _told(visit: Visit, days: Range | None) -> str | None:
    return None if days is None else label_of(days.first, days.last, "day", visit.locale)


def _link(filters: Mapping[str, str]) -> str:
    """Return the address of the commissions behind a figure."""
    return "/commissions?" + urlencode(filters)
