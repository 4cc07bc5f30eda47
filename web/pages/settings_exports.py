"""Exports: every list as a file, and the journal for whoever keeps the merchant's books."""

from datetime import date
from typing import NamedTuple

from schemas.api import Scope
from web.pages.doors import user_door
from web.pages.downloads import FILES
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.visits import Visit

export_pages = PageTable(user_door)

JOURNAL = "journal"
_KIND = ".csv"
# What is no list has one kind of file: that of payments by hand is where they wait.
_OF_LISTS = ".jsonl"


class Export(NamedTuple):
    """A list that is to be had as a file; `days` tells whether it can be narrowed to a range of days."""

    name: str
    summary: str
    scope: Scope | None
    days: bool


def exports() -> list[Export]:
    """Return every list of the API that belongs to the whole program."""
    return [
        Export(path.removesuffix(_KIND), route.summary, route.scope, "from_" in route.query.model_fields)
        for path, route in sorted(FILES.items())
        if path.endswith(_KIND) and path.removesuffix(_KIND) + _OF_LISTS in FILES
    ]


@export_pages.get("/settings/exports")
async def show_exports(visit: Visit) -> Shown:
    """Show what can be had as a file."""
    today = visit.now.astimezone(visit.zone).date()
    allowed = [each for each in exports() if each.scope is None or visit.can(each.scope)]
    last_month = date.fromordinal(today.replace(day=1).toordinal() - 1)
    model = {
        "exports": [each for each in allowed if each.name != JOURNAL],
        "first": last_month.replace(day=1), "last": last_month, "today": today,
    }  # fmt: skip
    return Shown("settings/exports.html", model)
