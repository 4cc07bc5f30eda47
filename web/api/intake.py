"""Intake: every message accounted for."""

from projections import rows
from schemas.api import Read
from schemas.api_answers import Intake, Outcomes, Partition
from web.api.calls import Call, Reply
from web.api.routes import RouteTable

intake = RouteTable("intake")


@intake.get("/intake", query=Read, answer=Intake)
async def show_intake(call: Call[None, Read]) -> Reply:
    """Show per topic and partition how far it was read and how its messages ended.

    A topic's counts are of all merchants who publish to it; those of this API and of imports are the merchant's own.
    """
    found = await call.services.reads.intake(call.merchant_id)
    return Reply(Intake(data=[_shown(row) for row in found]))


def _shown(row: rows.Partition) -> Partition:
    outcomes = Outcomes(
        earned=row.earned, adjusted=row.adjusted, skipped=row.skipped, ignored=row.ignored, duplicate=row.duplicate,
        dead_lettered=row.dead_lettered,
    )  # fmt: skip
    return Partition(
        source=row.source, topic=row.topic, partition=row.partition, position=row.position, consumed=row.consumed,
        outcomes=outcomes, updated_at=row.updated_at,
    )  # fmt: skip
