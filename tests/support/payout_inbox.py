"""Where providers tell what happened, as the web process takes it: checked, asked for, kept for the worker."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from aiohttp import web

from consumers.paying import Paying
from consumers.rails.messages import Message
from schemas.errors import RejectedError, RetryableError
from tests.support.doubles.serving import listening


@dataclass
class Inbox:
    """An inbox; `counts` says how its messages were answered, and how many were new."""

    paying: Paying
    now: Callable[[], datetime]
    url: str = ""
    counts: Counter[str] = field(default_factory=Counter)

    async def take(self, request: web.Request) -> web.Response:
        """Take one message."""
        status = await self._status(request.match_info["provider"], request, await request.read())
        self.counts[str(status)] += 1
        return web.Response(status=status)

    async def _status(self, provider: str, request: web.Request, body: bytes) -> int:
        try:
            message = await self._read(provider, request, body)
            if message.payment is not None:
                hint, store, now = message.payment, self.paying.books.store, self.now()
                new = await asyncio.to_thread(lambda: store.keep_hint(hint, now))
                self.counts["new" if new else "known"] += 1
        except RejectedError:
            return 400
        except RetryableError:
            return 503
        return 200

    async def _read(self, provider: str, request: web.Request, body: bytes) -> Message:
        rails = self.paying.rails
        assert rails.stripe_webhooks is not None
        assert rails.paypal_webhooks is not None
        if provider == "stripe":
            return rails.stripe_webhooks.read(body, request.headers.get("Stripe-Signature"), self.now())
        return await rails.paypal_webhooks.read(body, {k.lower(): v for k, v in request.headers.items()}, self.now())


@asynccontextmanager
async def inbox(paying: Paying, now: Callable[[], datetime]) -> AsyncIterator[Inbox]:
    """Yield an inbox that listens."""
    box = Inbox(paying, now)
    app = web.Application()
    app.router.add_post("/{provider}", box.take)
    async with listening(app) as box.url:
        yield box
