"""The access log: every change of users, keys, passwords and links."""

import asyncio

from web.api.access_log import list_access_changes
from web.pages.causes import cause_of, names
from web.pages.doors import user_door
from web.pages.listings import listed
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.visits import Visit

access_pages = PageTable(user_door)


@access_pages.get("/settings/access-log")
async def show_changes(visit: Visit) -> Shown:
    """Show the changes, newest first."""
    answer, known = await asyncio.gather(listed(visit, list_access_changes), names(visit))
    changes = [
        {"told": each, "by": cause_of(each.cause, known), "subject": known.get(each.subject, each.subject)}
        for each in answer.data
    ]
    return Shown("settings/access_log.html", {"changes": changes, "next_cursor": answer.next_cursor})
