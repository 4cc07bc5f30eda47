"""The aiohttp application: the API under /api/v1, its documentation, health and Prometheus."""

import json
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

from aiohttp import hdrs, web

from ledger.intake import Intake
from ledger.passwords import Passwords
from web.api import RESOURCES
from web.api.calls import ARRIVALS, INTAKE, KNOWN_KEYS, POSITIONS, THREADS, Endpoint
from web.api.routes import PREFIX
from web.arrivals import Arrivals
from web.assets import add_assets
from web.attempts import ATTEMPTS, Attempts
from web.docs_page import render
from web.health import add_health
from web.hooks import add_hooks
from web.keys import KnownKeys
from web.limits import LIMITS, Limits
from web.measures import MEASURES, Measures
from web.middlewares import add_headers, answer_always, measure
from web.pages import add_pages
from web.pages.live import add_live
from web.passwords import HASHING, Hashing
from web.positions import Positions
from web.published import openapi
from web.services import SERVICES, Services
from web.streams import LONG_CALLS, Turns
from web.threads import Threads

_CSS = Path(__file__).parent / "static" / "api-docs.css"
_DOCS_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def create_app(services: Services) -> web.Application:
    """Return the application. It owns its threads; what is in `services` is the caller's to open and close."""
    options = services.options
    app = web.Application(
        middlewares=[measure, answer_always],
        client_max_size=max(options.body_max, options.orders_body_max),
    )
    app[SERVICES] = services
    app[MEASURES] = Measures()
    app[LIMITS] = Limits(options)
    app[THREADS] = Threads(options.ledger_threads, options.waiting_max)
    app[INTAKE] = Intake(services.ledger)
    app[POSITIONS] = Positions(services.reads.lag)
    app[ARRIVALS] = Arrivals(str(services.pool.conninfo))
    app[KNOWN_KEYS] = KnownKeys(app[ARRIVALS])
    app.on_shutdown.append(_wake)
    app[LONG_CALLS] = Turns(options.long_calls_max)
    app[HASHING] = Hashing(Passwords(options.password_cost))
    app[ATTEMPTS] = Attempts(options)
    if services.mail is not None:
        app[MEASURES].registry.register(services.mail)
    for table in RESOURCES:
        for route in table.routes:
            endpoint = Endpoint(route).__call__
            app.router.add_route(route.method, PREFIX + route.path, endpoint)
            if route.method == hdrs.METH_GET:
                app.router.add_route(hdrs.METH_HEAD, PREFIX + route.path, endpoint)
    app.on_response_prepare.append(add_headers)
    add_health(app)
    add_hooks(app)
    add_pages(app)
    add_live(app)
    _add_documentation(app)
    add_assets(app)
    app.cleanup_ctx.append(_threads)
    return app


async def _wake(app: web.Application) -> None:
    """Answer those who wait for events, before the server waits for them."""
    await app[ARRIVALS].close()


async def _threads(app: web.Application) -> AsyncIterator[None]:
    yield
    app[THREADS].close()


@cache
def _documentation() -> tuple[str, str]:
    """Return the OpenAPI document and its page; they take longer to make than all the rest of an application."""
    document = openapi()
    return json.dumps(document), render(document)


def _add_documentation(app: web.Application) -> None:
    text, page = _documentation()
    css = _CSS.read_text(encoding="utf-8")

    async def show_document(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type="application/json")

    async def show_page(_: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html", headers={"Content-Security-Policy": _DOCS_POLICY})

    async def show_css(_: web.Request) -> web.Response:
        return web.Response(text=css, content_type="text/css")

    app.router.add_get(f"{PREFIX}/openapi.json", show_document)
    app.router.add_get("/api/docs", show_page)
    app.router.add_get("/api/docs.css", show_css)
