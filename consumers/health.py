"""Whether this worker does its work, and if not, why not: one line in the log per change, one JSON for whoever asks."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import structlog
from aiohttp import web

_log = structlog.get_logger(__name__)

Facts = Callable[[], Mapping[str, Any]]


class Health:
    """The conditions under which the worker is ready. Each is fine, or has a reason why it is not.

    Telling the same thing again is free and silent, so callers tell it whenever they learn it.
    """

    def __init__(self, *conditions: str) -> None:
        self._reasons: dict[str, str | None] = dict.fromkeys(conditions, "starting")
        self._warned: set[str] = set()
        self._told: dict[str, str] = {}
        self.facts: Facts = dict

    @property
    def ready(self) -> bool:
        """Whether every condition is fine."""
        return all(reason is None for reason in self._reasons.values())

    def up(self, condition: str) -> None:
        """Tell that the condition is fine."""
        if self._reasons.get(condition) is not None:
            self._reasons[condition] = None
            self._warned.discard(condition)
            _log.info(f"{condition}: fine", condition=condition, ready=self.ready)

    def begin(self, condition: str, doing: str) -> None:
        """Tell that the condition is on its way to being fine, which is nothing to warn of."""
        self._reasons[condition] = doing

    def down(self, condition: str, reason: str) -> None:
        """Tell that the condition is not fine, and why. Another reason for the same condition is not another line."""
        self._reasons[condition] = reason
        if condition not in self._warned:
            self._warned.add(condition)
            _log.warning(f"{condition}: {reason}", condition=condition, ready=False)

    def tell(self, condition: str, what: str | None) -> None:
        """Tell people about something that makes the worker no less ready; None: there is nothing to tell any more."""
        if what is None:
            self._told.pop(condition, None)
        else:
            self._told[condition] = what

    @property
    def told(self) -> Mapping[str, str]:
        """What people have to look into, by condition."""
        return dict(self._told)

    def is_up(self, condition: str) -> bool:
        """Return whether this one condition is fine."""
        return self._reasons.get(condition) is None

    def report(self) -> dict[str, Any]:
        """Return what `/readyz` answers: `ready`, each condition (`ok` or its reason), and the worker's facts."""
        conditions = {name: reason or "ok" for name, reason in self._reasons.items()}
        return {"ready": self.ready, "checks": conditions, **self._look_into(), **self.facts()}

    def alive(self) -> dict[str, Any]:
        """Return what `/healthz` answers: that it is alive, and what people have to look into, where there is any."""
        return {"alive": True, **self._look_into()}

    def _look_into(self) -> dict[str, Any]:
        return {"look_into": self.told} if self._told else {}


@asynccontextmanager
async def served(health: Health, host: str, port: int | None) -> AsyncIterator[int | None]:
    """Answer `/healthz` and `/readyz` while inside; yields the port, None (nothing listens) where none is asked for."""
    if port is None:
        yield None
        return
    runner = web.AppRunner(_application(health), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _application(health: Health) -> web.Application:
    async def alive(_: web.Request) -> web.Response:
        return web.json_response(health.alive())

    async def ready(_: web.Request) -> web.Response:
        report = health.report()
        return web.json_response(report, status=200 if report["ready"] else 503)

    application = web.Application()
    application.router.add_get("/healthz", alive)
    application.router.add_get("/readyz", ready)
    return application
