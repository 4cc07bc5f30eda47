"""The start: from here to the overview."""

from aiohttp import web

from web.pages.doors import user_door
from web.pages.table import PageTable, see_other
from web.pages.visits import Visit

home = PageTable(user_door)


@home.get("/")
async def show_home(_: Visit) -> web.StreamResponse:
    """Send whoever is logged in to the overview."""
    return see_other("/overview")
