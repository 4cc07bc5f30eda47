"""A double on the loopback, listening."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Take = Callable[[web.Request], Awaitable[web.StreamResponse]]
Watch = Callable[[web.Request, Take], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def listening(app: web.Application, port: int = 0) -> AsyncIterator[str]:
    """Yield the address of the application; a port of 0 is any that is free."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving(double: Any, port: int = 0, watch: Watch | None = None) -> AsyncIterator[None]:
    """Let the double take every request while inside, watched; its `url` is set to where it is."""

    async def take(request: web.Request) -> web.StreamResponse:
        answer: web.StreamResponse = await (watch(request, double.take) if watch else double.take(request))
        return answer

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    async with listening(app, port) as double.url:
        yield
