"""Intake: every message accounted for."""

from datetime import date

from projections import rows
from projections.ignored import ignored
from schemas.api import Listing, Page, Read
from schemas.api_answers import IgnoredOrders, Intake, Outcomes, Partition
from schemas.errors import RejectedError
from schemas.money import Money
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, from_cursor
from web.api.routes import RouteTable

intake = RouteTable("intake")


@intake.get("/intake", query=Read, answer=Intake)
async def show_intake(call: Call[None, Read]) -> Reply:
    """Show per topic and partition how far it was read and how its messages ended.

    A topic's counts are of all merchants who publish to it; those of this API and of imports are the merchant's own.
    """
    found = await call.services.reads.intake(call.merchant_id)
    return Reply(Intake(data=[_shown(row) for row in found]))


@intake.get("/intake/ignored", query=Listing, answer=Page[IgnoredOrders])
async def list_ignored(call: Call[None, Listing]) -> Reply:
    """List per day and currency the orders that are no partner's, the newest day first."""
    place = from_cursor(call.query.cursor, str, str)
    after = None if place is None else (_day(place[0]), place[1])
    page = await ignored(call.services.reads, call.merchant_id, after=after, limit=call.query.limit)
    data = [
        IgnoredOrders(
            day=row.day, currency=row.currency, orders=row.orders, total=Money.of(row.total_minor, row.currency)
        )
        for row in page.rows
    ]  # fmt: skip
    return Reply(Page[IgnoredOrders](data=data, next_cursor=cursor_of(page.next)))


def _day(told: str) -> str:
    """Return the day of a cursor. Raises RejectedError `bad_cursor` for what PostgreSQL would not take for one."""
    try:
        return date.fromisoformat(told).isoformat()
    except ValueError:
        raise RejectedError.at("query.cursor", "bad_cursor", "not a cursor of this list") from None


def _shown(row: rows.Partition) -> Partition:
    outcomes = Outcomes(
        earned=row.earned, adjusted=row.adjusted, skipped=row.skipped, ignored=row.ignored, duplicate=row.duplicate,
        dead_lettered=row.dead_lettered,
    )  # fmt: skip
    return Partition(
        source=row.source, topic=row.topic, partition=row.partition, position=row.position, consumed=row.consumed,
        outcomes=outcomes, updated_at=row.updated_at, lag_at=row.seen_at,
        lag=row.lag,
    )  # fmt: skip
