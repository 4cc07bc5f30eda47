"""The aiohttp application: the API under /api/v1, its documentation, health and Prometheus."""

from collections.abc import AsyncIterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from aiohttp import web

from ledger.intake import Intake
from web.api import RESOURCES
from web.api.calls import INTAKE, POSITIONS, THREADS, Endpoint
from web.api.openapi import document
from web.api.routes import PREFIX
from web.docs_page import render
from web.health import add_health
from web.measures import MEASURES, Measures
from web.middlewares import answer_always, measure
from web.positions import Positions
from web.services import SERVICES, Services
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
    app[THREADS] = Threads(options.ledger_threads, options.waiting_max)
    app[INTAKE] = Intake(services.ledger)
    app[POSITIONS] = Positions(services.reads.lag)
    for table in RESOURCES:
        for route in table.routes:
            app.router.add_route(route.method, PREFIX + route.path, Endpoint(route).__call__)
    add_health(app)
    _add_documentation(app)
    app.cleanup_ctx.append(_threads)
    return app


async def _threads(app: web.Application) -> AsyncIterator[None]:
    yield
    app[THREADS].close()


def _version() -> str:
    try:
        return version("commission-ledger")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0"


def _add_documentation(app: web.Application) -> None:
    openapi = document([route for table in RESOURCES for route in table.routes], _version())
    page, css = render(openapi), _CSS.read_text(encoding="utf-8")

    async def show_document(_: web.Request) -> web.Response:
        return web.json_response(openapi)

    async def show_page(_: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html", headers={"Content-Security-Policy": _DOCS_POLICY})

    async def show_css(_: web.Request) -> web.Response:
        return web.Response(text=css, content_type="text/css")

    app.router.add_get(f"{PREFIX}/openapi.json", show_document)
    app.router.add_get("/api/docs", show_page)
    app.router.add_get("/api/docs.css", show_css)
