"""A bare aiohttp handler per read: the very statements that the service sends, their rows by `json.dumps`, no more.

`python -m tests.benchmarks.bare PORT` reads the address of the database and the statements of each path from stdin.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import date
from typing import Any, ClassVar

from aiohttp import web
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from projections.read import Reads

Statements = list[tuple[str, dict[str, Any]]]

_POOL_SIZE = 8
# The benchmarks' orders begin here, with some twelve thousand a day.
DAYS = (date(2026, 1, 1), date(2026, 1, 30))


class _Listening(AsyncCursor[Any]):
    """Writes down what is asked for."""

    heard: ClassVar[Statements] = []

    async def execute(self, query: Any, params: Any = None, **options: Any) -> "_Listening":
        self.heard.append((query, dict(params or {})))
        return await super().execute(query, params, **options)


async def statements(url: str, merchant_id: str, partner_id: str) -> dict[str, Statements]:
    """Return what the service asks the database for each of the paths that are measured."""

    async def heard(ask: Callable[[Reads], Awaitable[object]]) -> Statements:
        _Listening.heard = []
        async with opened(url, 1, cursor_factory=_Listening) as pool:
            await ask(Reads(pool))
        return _Listening.heard

    async def metrics(reads: Reads) -> None:
        program = (await reads.program(merchant_id)).row
        assert program is not None
        first, last = DAYS
        await reads.metrics(merchant_id, currency=program.currency, from_on=first, to_on=last, interval="day")

    return {
        "balances": await heard(lambda reads: reads.balances(merchant_id)),
        "balances_of_partner": await heard(lambda reads: reads.balances(merchant_id, partner_id=partner_id)),
        "commissions": await heard(lambda reads: reads.commissions(merchant_id)),
        "commissions_of_partner": await heard(
            lambda reads: reads.commissions(merchant_id, partner_id=partner_id, state="pending")
        ),
        "metrics": await heard(metrics),
    }


@asynccontextmanager
async def opened(url: str, size: int, **options: Any):
    """Lend a pool like the service's."""
    pool: AsyncConnectionPool[AsyncConnection[Any]] = AsyncConnectionPool(
        url, kwargs={"autocommit": True, **options}, min_size=1, max_size=size, open=False
    )
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close()


def _handler(pool: Any, asked: Statements) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_: web.Request) -> web.Response:
        found = []
        async with pool.connection() as conn, conn.cursor(row_factory=dict_row) as cursor:
            for query, params in asked:
                await cursor.execute(query, params)
                found.append(await cursor.fetchall())
        return web.Response(text=json.dumps(found, default=str), content_type="application/json")

    return handle


async def _serve(port: int, told: dict[str, Any]) -> None:
    async with opened(told["url"], _POOL_SIZE) as pool:
        app = web.Application()
        for name, asked in told["paths"].items():
            app.router.add_get(f"/{name}", _handler(pool, [(query, _dated(params)) for query, params in asked]))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


def _dated(params: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters as they were before they became JSON: the only texts that are days end in `_on`."""
    return {
        name: date.fromisoformat(value) if name.endswith("_on") and value else value for name, value in params.items()
    }


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), json.load(sys.stdin)))
