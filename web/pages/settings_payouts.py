"""Payout methods: which rails there are, what each lacks, its limits, and the addresses to register at providers."""

from web.api.payout_rails import list_payout_rails
from web.pages.doors import user_door
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.visits import Visit

payout_method_pages = PageTable(user_door)

_HOOKS = ("stripe", "paypal")


@payout_method_pages.get("/settings/payouts")
async def show_methods(visit: Visit) -> Shown:
    """Show each rail: keys and limits are the operator's, so nothing is changed here."""
    rails = (await visit.ask(list_payout_rails)).data
    public_url = visit.services.options.public_url.rstrip("/")
    model = {
        "rails": rails,
        "is_set_up": visit.services.paying is not None,
        "hooks": {name: f"{public_url}/hooks/{name}" for name in _HOOKS},
    }
    return Shown("settings/payouts.html", model)
