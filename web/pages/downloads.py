"""Lists as files, for users who are logged in: the API's own files (docs/decisions/0015), with the page's filters."""

from collections.abc import Mapping
from typing import cast

from aiohttp import web

from schemas.errors import NotFoundError
from web.api import RESOURCES
from web.api.bodies import parse_query
from web.api.routes import FileHandler, Route
from web.pages.doors import user_door
from web.pages.table import PageTable
from web.pages.visits import Visit

downloads = PageTable(user_door)

# Those without an id in their address: the lists of a whole program.
FILES: Mapping[str, Route] = {
    route.path.removeprefix("/"): route
    for table in RESOURCES
    for route in table.routes
    if route.gives is not None and "{" not in route.path
}


@downloads.get("/files/{name:.+}")
async def send_file(visit: Visit) -> web.StreamResponse:
    """Send a list as a file."""
    route = FILES.get(visit.path["name"])
    if route is None:
        raise NotFoundError("file", visit.path["name"])
    visit.session.check(route.scope)
    call = visit.call_of(route, parse_query(visit.request, route.query))
    return await cast("FileHandler", route.handler)(call, visit.request)
