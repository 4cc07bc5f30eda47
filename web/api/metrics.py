"""Metrics: revenue, commissions and conversions over time."""

from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from projections import rows
from schemas.api import MetricsQuery
from schemas.api_answers import Commissions, Metrics, PaidOut, Point, Revenue, Totals
from schemas.api_figures import PartnerMetricsQuery
from schemas.errors import RejectedError
from schemas.money import Money, exponent
from web.api.bodies import check_days
from web.api.calls import Call, Reply
from web.api.routes import RouteTable
from web.problems import NotYetError

metrics = RouteTable("metrics")

_DAYS_DEFAULT = 30
_ONE, _HUNDREDTH = Decimal(1), Decimal("0.01")
_POINTS_MAX = {"day": 3_660, "week": 25_620, "month": 109_800}


@metrics.get("/metrics", query=MetricsQuery, answer=Metrics)
async def show_metrics(call: Call[None, MetricsQuery]) -> Reply:
    """Show revenue, commissions and conversions per day, week or month, and over all of the time asked for.

    Weeks begin on Monday; the first and last stretch are cut at the days asked for.
    """
    query = call.query
    currency, first, last = await range_of(call)
    _check_points(first, last, query.interval)
    found = await call.services.reads.metrics(
        call.merchant_id,
        currency=currency,
        from_on=first,
        to_on=last,
        interval=query.interval,
        partner_id=query.partner_id,
    )
    answer = Metrics.trusted(
        from_=first,
        to=last,
        interval=query.interval,
        currency=currency,
        totals=Totals.trusted(**_figures(found.totals, currency), **_ratios(found.totals, currency)),
        series=[Point.trusted(from_=row.first_on, to=row.last_on, **_figures(row, currency)) for row in found.series],
    )
    return Reply(answer, found.position)


async def range_of(call: Call[None, MetricsQuery] | Call[None, PartnerMetricsQuery]) -> tuple[str, date, date]:
    """Return the currency, the first and the last day that a call is about, with what is left out filled in.

    Raises RejectedError, NotYetError while the read models do not know the program.
    """
    query = call.query
    program = (await call.services.reads.program(call.merchant_id)).row
    if program is None:
        raise NotYetError("the read models do not know this program yet")
    today = call.now.astimezone(ZoneInfo(program.time_zone)).date()
    last = query.to or max(today, query.from_ or today)
    first = query.from_ or last - timedelta(days=_DAYS_DEFAULT - 1)
    check_days(first, last)
    currency = query.currency or program.currency
    check_currency(currency)
    return currency, first, last


def _check_points(first: date, last: date, interval: str) -> None:
    if (last - first).days >= _POINTS_MAX[interval]:
        message = f"at most {_POINTS_MAX[interval]} days; ask for a wider interval"
        raise RejectedError.at("query.from", "range_too_long", message)


def check_currency(currency: str) -> None:
    """Refuse what is no currency: RejectedError `unknown_currency` at `query.currency`."""
    try:
        exponent(currency)
    except RejectedError as error:
        raise RejectedError.at("query.currency", error.code, error.message) from None


def _figures(row: rows.Figures, currency: str) -> dict[str, Any]:
    def money(minor: int) -> Money:
        return Money.of(minor, currency)

    return {
        "revenue": Revenue.trusted(
            gross=money(row.gross_minor),
            refunded=money(row.refunded_minor),
            net=money(row.gross_minor - row.refunded_minor),
        ),
        "commissions": Commissions.trusted(
            earned=money(row.earned_minor), paid=money(row.paid_minor), outstanding=money(row.outstanding_minor)
        ),
        "payouts": PaidOut.trusted(paid=money(row.payouts_paid_minor), returned=money(row.payouts_returned_minor)),
        "conversions": row.conversions,
        "skipped": row.skipped,
        "entered": row.entered,
        "reversed": row.reversed,
        "rejected": row.rejected,
    }


def _ratios(row: rows.Figures, currency: str) -> dict[str, Any]:
    """Return what is one figure per another, rounded half up."""
    net_minor = row.gross_minor - row.refunded_minor
    average = _rounded(Decimal(row.gross_minor) / row.conversions) if row.conversions else None
    rate = _rounded(Decimal(row.earned_minor) * 100 / net_minor, _HUNDREDTH) if net_minor > 0 else None
    return {
        "average_order": None if average is None else Money.of(int(average), currency),
        "commission_rate": None if rate is None else f"{rate:f}",
    }


def _rounded(value: Decimal, unit: Decimal = _ONE) -> Decimal:
    return value.quantize(unit, ROUND_HALF_UP)
