"""The merchant's customers: who bought, who brought them, and whose their next orders are."""

from collections.abc import Sequence
from urllib.parse import quote

from aiohttp import web

from schemas.api import LIMIT_MAX
from schemas.api_answers import CustomerStory, Partner
from web.api.customers import list_customers, reassign_customer, show_customer
from web.api.partners import list_partners
from web.pages.currencies import own_first
from web.pages.doors import user_door
from web.pages.listings import listed
from web.pages.names import partner_names
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.visits import Visit

customer_pages = PageTable(user_door)

_ONE = "/customers/{customer_id:[^/]+}"


@customer_pages.get("/customers")
async def show_customers(visit: Visit) -> Shown:
    """Show the customers, narrowed by the address's filters."""
    customers = await listed(visit, list_customers)
    whose = visit.query.get("partner_id")
    ids = [partner_id for each in customers.data for partner_id in (each.partner_id, each.assigned_partner_id)]
    names = await partner_names(visit, ids if visit.refusal else [*ids, whose])
    revenue = {each.id: own_first(visit, each.revenue) for each in customers.data}
    model = {"customers": customers, "revenue": revenue, "names": names, "whose": whose}
    return Shown("customers/list.html", model)


@customer_pages.get(_ONE)
async def show_one(visit: Visit) -> Shown:
    """Show a customer: who it is, what was bought, and who earns of it."""
    customer: CustomerStory = await visit.ask(show_customer, path=visit.path)
    ids = [customer.partner_id, customer.assigned_partner_id, *(order.partner_id for order in customer.orders)]
    owner = customer.assigned_partner_id or customer.partner_id
    model = {
        "customer": customer,
        "revenue": own_first(visit, customer.revenue),
        "names": await partner_names(visit, ids),
        "others": [(each.id, each.name or each.id) for each in await _candidates(visit) if each.id != owner],
    }
    return Shown("customers/one.html", model)


@customer_pages.post(_ONE + "/reassign")
async def reassign(visit: Visit) -> Shown | web.StreamResponse:
    """Give the customer to another partner."""
    done = await visit.attempt(reassign_customer, visit.form.body("partner_id", "reason"), path=visit.path)
    if done.refusal:
        return await show_one(visit)
    return visit.moved(f"/customers/{quote(visit.path['customer_id'], safe='')}", told="customer_reassigned")


async def _candidates(visit: Visit) -> Sequence[Partner]:
    """Return partners who can be given a customer; where there are more than a list can show, none: an id is typed."""
    if not visit.can("partners"):
        return []
    page = await visit.ask(list_partners, {"status": "approved", "sort": "name", "limit": LIMIT_MAX})
    return [] if page.next_cursor else page.data
