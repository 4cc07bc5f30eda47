"""Is it alive, is it ready, and how does it do: for load balancers, operators and Prometheus."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from time import perf_counter
from typing import Any

import structlog
from aiohttp import web

from web.measures import CONTENT_TYPE, MEASURES, BooksSample, PartitionCounts, exposition
from web.services import SERVICES, Services

_log = structlog.get_logger(__name__)


def add_health(app: web.Application) -> None:
    """Add /healthz, /readyz and /metrics: outside the API, without a key."""
    app.router.add_get("/healthz", show_alive)
    app.router.add_get("/readyz", show_ready)
    app.router.add_get("/metrics", show_metrics)


async def show_alive(_: web.Request) -> web.Response:
    """The process answers: that is all that it says, so that nobody restarts it because a database is away."""
    return web.json_response({"alive": True})


async def tracked_position(services: Services) -> int:
    return 0
