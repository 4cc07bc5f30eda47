"""A merchant's webhooks and what they were told: asked of the sender's own tables, behind the wall."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

from psycopg.rows import dict_row

from projections.read import Reads
from projections.rows import Page

ATTEMPTS_SHOWN = 50


class Webhook(NamedTuple):
    """A webhook as it stands; `reached` is the position up to which its deliveries are made out."""

    webhook_id: str
    url: str
    types: list[str]
    description: str
    status: str
    reason: str | None
    reached: int
    failing_since: datetime | None
    previous_until: datetime | None
    created_at: datetime
    sequence: int


class Delivery(NamedTuple):
    """What a webhook is told of one event; `attempts` as JSON objects, oldest first."""

    delivery_id: str
    position: int
    type: str
    subject: str
    status: str
    created_at: datetime
    due_at: datetime | None
    finished_at: datetime | None
    attempts: list[dict[str, Any]]


async def webhooks(reads: Reads, merchant_id: str, *, after: int | None, limit: int) -> Page[Webhook, int]:
    """Return the merchant's webhooks, oldest first. The position is that of the log."""
    query = _WEBHOOKS + " AND sequence > %(after)s ORDER BY sequence LIMIT %(rows)s"
    head, rows = await _ask(reads, merchant_id, query, {"after": after or 0, "rows": limit + 1})
    found = [Webhook(**row) for row in rows[:limit]]
    return Page(found, head, found[-1].sequence if len(rows) > limit else None)


async def webhook(reads: Reads, merchant_id: str, webhook_id: str) -> Webhook | None:
    """Return one webhook of the merchant, None where there is none of this id."""
    _, rows = await _ask(reads, merchant_id, _WEBHOOKS + " AND webhook_id = %(id)s", {"id": webhook_id})
    return Webhook(**rows[0]) if rows else None


async def deliveries(
    reads: Reads, merchant_id: str, webhook_id: str, *, status: str | None, before: int | None, limit: int
) -> Page[Delivery, int]:
    """Return the webhook's deliveries, newest events first, each with its last attempts."""
    query = _DELIVERIES
    if status is not None:
        query += " AND told.status = %(status)s"
    if before is not None:
        query += " AND told.position < %(before)s"
    query += " ORDER BY told.position DESC LIMIT %(rows)s"
    params = {"id": webhook_id, "status": status, "before": before, "rows": limit + 1, "shown": ATTEMPTS_SHOWN}
    head, rows = await _ask(reads, merchant_id, query, params)
    found = [Delivery(**row) for row in rows[:limit]]
    return Page(found, head, found[-1].position if len(rows) > limit else None)


async def _ask(
    reads: Reads, merchant_id: str, query: LiteralString, params: Mapping[str, Any]
) -> tuple[int, list[dict[str, Any]]]:
    async with reads.moment(merchant_id) as conn, conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_HEAD)
        head = await cursor.fetchone()
        await cursor.execute(query, {"merchant_id": merchant_id} | dict(params))
        return (head or {"head": 0})["head"], await cursor.fetchall()


_HEAD = "SELECT coalesce(max(notification_id), 0) AS head FROM ledger.events"
_WEBHOOKS: LiteralString = """
SELECT
    webhook_id, url, types, description, status, reason, position AS reached, failing_since, previous_until, created_at,
    sequence
FROM webhooks.endpoints WHERE merchant_id = %(merchant_id)s"""
_DELIVERIES: LiteralString = """
SELECT
    told.delivery_id, told.position, told.type, told.subject, told.status, told.created_at, told.due_at,
    told.finished_at,
    ARRAY(
        SELECT to_jsonb(last) FROM (
            SELECT number, at, latency_ms, status, answer, error FROM webhooks.attempts AS attempt
            WHERE attempt.webhook_id = told.webhook_id AND attempt.position = told.position
            ORDER BY number DESC LIMIT %(shown)s
        ) AS last ORDER BY last.number
    ) AS attempts
FROM webhooks.deliveries AS told
WHERE told.merchant_id = %(merchant_id)s AND told.webhook_id = %(id)s"""
