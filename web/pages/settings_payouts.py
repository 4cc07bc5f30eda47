"""Payout methods: what there is today, and nothing that pretends to be more."""

from web.pages.doors import user_door
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.visits import Visit

payout_method_pages = PageTable(user_door)


@payout_method_pages.get("/settings/payouts")
async def show_methods(_: Visit) -> Shown:
    """Say how partners are paid as yet."""
    return Shown("settings/payouts.html", {})
