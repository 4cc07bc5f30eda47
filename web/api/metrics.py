"""Metrics: revenue, commissions and conversions over time."""

from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from projections import rows
from schemas.api import MetricsQuery
from schemas.api_answers import Commissions, Metrics, Point, Revenue
from schemas.api_answers import Figures as FiguresAnswer
from schemas.errors import RejectedError
from schemas.money import Money, exponent
from web.api.bodies import check_days
from web.api.calls import Call, Reply
from web.api.routes import RouteTable
from web.problems import NotYetError

metrics = RouteTable("metrics")

_DAYS_DEFAULT = 30
_POINTS_MAX = {"day": 3_660, "week": 25_620, "month": 109_800}


@metrics.get("/metrics", query=MetricsQuery, answer=Metrics)
async def show_metrics(call: Call[None, MetricsQuery]) -> Reply:
    """Show revenue, commissions and conversions per day, week or month, and over all of the time asked for.

    Weeks begin on Monday; the first and last stretch are cut at the days asked for.
    """
    query, reads = call.query, call.services.reads
    program = (await reads.program(call.merchant_id)).row
    if program is None:
        raise NotYetError("the read models do not know this program yet")
    first, last = _days(query, call.now.astimezone(ZoneInfo(program.time_zone)).date())
    currency = query.currency or program.currency
    _check_currency(currency)
    found = await reads.metrics(
        call.merchant_id,
        currency=currency,
        from_on=first,
        to_on=last,
        interval=query.interval,
        partner_id=query.partner_id,
    )
    answer = Metrics(
        from_=first,
        to=last,
        interval=query.interval,
        currency=currency,
        totals=FiguresAnswer(**_figures(found.totals, currency)),
        series=[Point.trusted(from_=row.first_on, to=row.last_on, **_figures(row, currency)) for row in found.series],
    )
    return Reply(answer, found.position)


def _days(query: MetricsQuery, today: date) -> tuple[date, date]:
    last = query.to or max(today, query.from_ or today)
    first = query.from_ or last - timedelta(days=_DAYS_DEFAULT - 1)
    check_days(first, last)
    if (last - first).days >= _POINTS_MAX[query.interval]:
        message = f"at most {_POINTS_MAX[query.interval]} days; ask for a wider interval"
        raise RejectedError.at("query.from", "range_too_long", message)
    return first, last


def _check_currency(currency: str) -> None:
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
        "conversions": row.conversions,
        "skipped": row.skipped,
        "entered": row.entered,
        "reversed": row.reversed,
        "rejected": row.rejected,
    }
