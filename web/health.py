"""Is it alive, is it ready, and how does it do: for load balancers, operators and Prometheus; without a key."""

import asyncio
from http import HTTPStatus
from typing import Any

import psycopg
import psycopg_pool
import structlog
from aiohttp import web

from projections.read import Reads
from projections.rows import Partition
from schemas.errors import RetryableError
from web.measures import CONTENT_TYPE, MEASURES, OUTCOMES, BooksSample, PartitionCounts, exposition
from web.services import SERVICES, Services

_log = structlog.get_logger(__name__)
_WAIT_S = 3.0
_AWAY = (psycopg.Error, psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests, RetryableError, TimeoutError)
_OPEN_DEAD_LETTERS = "SELECT count(*) FROM ledger.dead_letters WHERE status = 'open'"
_OPEN_FINDINGS = "SELECT rail, count(*) FROM ledger.payout_findings WHERE resolved_at IS NULL GROUP BY rail ORDER BY 1"
_WEBHOOKS = """
SELECT
    (SELECT count(*) FROM webhooks.deliveries WHERE status = 'waiting'),
    (SELECT count(*) FROM webhooks.endpoints WHERE status = 'enabled' AND failing_since IS NOT NULL)"""


def add_health(app: web.Application) -> None:
    """Add /healthz, /readyz and /metrics, outside the API."""
    app.router.add_get("/healthz", show_alive)
    app.router.add_get("/readyz", show_ready)
    app.router.add_get("/metrics", show_metrics)


async def show_alive(_: web.Request) -> web.Response:
    """Answer, and say no more: nobody must restart the process because a database is away."""
    return web.json_response({"alive": True})


async def show_ready(request: web.Request) -> web.Response:
    """Tell whether requests can be served, and each check with its reason: 200, or 503."""
    checks = await ready_checks(request.app[SERVICES])
    ready = all(check["ok"] for check in checks.values())
    status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    return web.json_response({"ready": ready, "checks": checks}, status=status)


async def ready_checks(services: Services) -> dict[str, dict[str, Any]]:
    """Return each check by name: `ok`, what was measured, and the reason where it is not."""
    try:
        async with asyncio.timeout(_WAIT_S), services.pool.connection() as conn:
            await conn.execute("SELECT 1")
    except _AWAY:
        away = {"ok": False, "reason": "the database does not answer"}
        return {"database": away, "read_models": {"ok": False, "reason": "unknown while the database is away"}}
    return {"database": {"ok": True}, "read_models": await _read_models(services)}


async def _read_models(services: Services) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_WAIT_S):
            position, head = await services.reads.lag()
    except psycopg.errors.UndefinedTable:
        return {"ok": False, "reason": "the projector has not made them yet"}
    except _AWAY:
        return {"ok": False, "reason": "the database does not answer"}
    lag = max(head - position, 0)
    measured = {"position": position, "head": head, "lag_events": lag}
    if lag > services.options.lag_max:
        return {"ok": False, **measured, "reason": f"more than {services.options.lag_max} events behind the log"}
    return {"ok": True, **measured}


async def show_metrics(request: web.Request) -> web.Response:
    """Tell Prometheus everything; where the database is away, all the rest."""
    try:
        async with asyncio.timeout(_WAIT_S):
            sample = await _sample(request.app[SERVICES])
    except _AWAY:
        _log.warning("the books were not measured: the database does not answer")
        sample = BooksSample(up=False)
    body = exposition(request.app[MEASURES], sample)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})


async def _sample(services: Services) -> BooksSample:
    async with services.pool.connection() as conn:
        row = await (await conn.execute(_OPEN_DEAD_LETTERS)).fetchone()
        waiting, failing = await (await conn.execute(_WEBHOOKS)).fetchone() or (0, 0)
        findings = dict(await (await conn.execute(_OPEN_FINDINGS)).fetchall())
    try:
        tracked, head = await services.reads.lag()
    except psycopg.errors.UndefinedTable:
        tracked, head = 0, await asyncio.to_thread(services.ledger.head)
    # Of all merchants: asked past the wall, as the operator.
    partitions = tuple(_counts(partition) for partition in await Reads(services.pool).intake())
    return BooksSample(
        up=True, head=head, tracked=tracked, open_dead_letters=int(row[0]) if row else 0, partitions=partitions,
        webhooks_waiting=int(waiting), webhooks_failing=int(failing), payout_findings=findings,
    )  # fmt: skip


def _counts(row: Partition) -> PartitionCounts:
    outcomes = {outcome: int(getattr(row, outcome)) for outcome in OUTCOMES}
    return PartitionCounts(
        source=row.source,
        topic=row.topic,
        partition=row.partition,
        position=row.position,
        lag=row.lag,
        outcomes=outcomes,
    )
