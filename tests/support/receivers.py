"""A receiver of webhooks on the loopback that behaves as a test wants, and a sender that sends when it is told."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

from consumers.health import Health
from consumers.settings import WorkerSettings
from consumers.webhook_sender import Sender
from consumers.webhooks import Webhooks
from ledger.application import Ledger


@dataclass
class Received:
    """One message as it arrived."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The id by which a receiver tells a repetition."""
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        """What it says."""
        return json.loads(self.body)


Behaviour = Callable[[Received, web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Receiver:
    """What arrived, in order. `answer` decides what is answered: a status, or a coroutine that does as it likes."""

    url: str = ""
    got: list[Received] = field(default_factory=list)
    answer: int | Behaviour = 204
    busy: int = 0
    busy_max: int = 0

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Keep the message and answer it."""
        message = Received({name.lower(): value for name, value in request.headers.items()}, await request.read())
        self.got.append(message)
        self.busy += 1
        self.busy_max = max(self.busy_max, self.busy)
        try:
            if isinstance(self.answer, int):
                return web.Response(status=self.answer)
            return await self.answer(message, request)
        finally:
            self.busy -= 1

    def subjects(self) -> list[str]:
        """Return the subject of each message."""
        return [message.json["subject"] for message in self.got]


@asynccontextmanager
async def receiving(answer: int | Behaviour = 204, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Yield a receiver that listens, with a certificate where one is given."""
    receiver = Receiver(answer=answer)
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        receiver.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield receiver
    finally:
        await runner.cleanup()


@dataclass
class Sending:
    """A sender whose clock is set, and that works only when it is told to."""

    service: Webhooks
    now: datetime

    async def all(self) -> None:
        """Send all that is due now, also what becomes due by it, and wait for every answer."""
        while await self.service.work():
            await self.service.settled()

    async def after(self, **passed: float) -> None:
        """Let time pass, and send what is due then."""
        self.now += timedelta(**passed)
        await self.all()


@asynccontextmanager
async def sending(ledger: Ledger, now: datetime, **settings: Any) -> AsyncIterator[Sending]:
    """Yield a sender that may send to the loopback."""
    told = WorkerSettings(**{"webhook_allow_private": True, "webhook_timeout_s": 5.0} | settings)
    async with Sender(timeout_s=told.webhook_timeout_s, allow_private=told.webhook_allow_private) as sender:
        service = Webhooks(told, ledger, Health(), lambda: found.now, sender)
        found = Sending(service, now)
        yield found


async def never(_: Received, __: web.Request) -> web.StreamResponse:
    """Answer nothing, for longer than anybody waits."""
    await asyncio.sleep(3_600)
    raise AssertionError
