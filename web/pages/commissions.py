"""The merchant's commissions: the list, and moves of many at once."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import quote

from aiohttp import web

from schemas.api import Page
from schemas.api_answers import Commission, Partner
from schemas.errors import NotFoundError
from web.api.commissions import TAKES, list_commissions, move_commissions, show_commission
from web.api.partners import list_partners
from web.pages.doors import user_door
from web.pages.listings import listed
from web.pages.names import partner_names
from web.pages.render import Shown
from web.pages.table import PageTable, see_other
from web.pages.visits import Visit

commission_pages = PageTable(user_door)

# What the address of the list may say that is no filter of the API: a partner as people call it, an order to go to,
# and what a page that is open has shown.
_OF_PAGE = ("partner", "order", "seen")
_FOUND_MAX = 8
_DIGEST_LENGTH = 16
# As the commands are told: which scope shows them.
_MOVES = {"partners": ("approve", "reject", "reopen", "hold", "release"), "payouts": ("mark-paid", "mark-unpaid")}


class News(NamedTuple):
    """What became of a list since a page showed it: whether it is another one, and how many are new at its head."""

    changed: bool
    new: int


@commission_pages.get("/commissions")
async def show_commissions(visit: Visit) -> Shown | web.StreamResponse:
    """Show commissions, narrowed by the address's filters; `order` leads to one, `partner` to a partner's."""
    order_id, called = visit.query.get("order"), visit.query.get("partner")
    if order_id is not None and await _is_there(visit, order_id):
        return see_other(address_of(order_id))
    found = [] if called is None else await partners_called(visit, called)
    if len(found) == 1:
        return see_other(visit.address(partner=None, partner_id=found[0].id))
    return await _show_list(visit, called, found)


async def _show_list(visit: Visit, called: str | None = None, found: list[Partner] | None = None) -> Shown:
    refused = visit.refusal
    query = {name: value for name, value in visit.query.items() if name not in _OF_PAGE}
    commissions = await listed(visit, list_commissions, query)
    # What the form was refused for comes before what is wrong with the address.
    visit.refusal = refused or visit.refusal
    names = await partner_names(visit, [query.get("partner_id"), *(each.partner_id for each in commissions.data)])
    model = {
        "commissions": commissions, "names": names, "called": called, "found": found or [], "query": query,
        "seen": visit.query.get("seen") or _seen(commissions), "news": news(visit.query.get("seen"), commissions),
        "moves": [move for scope, moves in _MOVES.items() if visit.can(scope) for move in moves],  # type: ignore[arg-type]
    }  # fmt: skip
    return Shown("commissions/list.html", model)


@commission_pages.post("/commissions")
async def move_many(visit: Visit) -> Shown | web.StreamResponse:
    """Move those that are ticked; where some could not be, say of each what became of it."""
    done = await visit.attempt(move_commissions, _bulk(visit))
    if done.refusal:
        return await _show_list(visit)
    if all(result.ok for result in done.body.results):
        return visit.moved(visit.address(), told="commissions_moved")
    return Shown("commissions/moved.html", {"results": done.body.results, "action": visit.form.text("action")})


async def _is_there(visit: Visit, order_id: str) -> bool:
    try:
        await visit.ask(show_commission, path={"order_id": order_id})
    except NotFoundError:
        return False
    return True


def _bulk(visit: Visit) -> Mapping[str, Any]:
    """Return the body of the move: of the fields that stand there for all moves only those that this one takes."""
    required, optional = TAKES.get(visit.form.text("action") or "", ((), ()))
    return visit.form.body("action", *required, *optional) | {"order_ids": visit.form.all("order_ids")}


async def partners_called(visit: Visit, text: str) -> list[Partner]:
    """Return the partners in whose name, address or code the text stands, at most a few; the one whose it is alone."""
    page: Page[Partner] = await visit.ask(list_partners, {"search": text[:100], "limit": _FOUND_MAX})
    exactly = [each for each in page.data if text.casefold() in _names_of(each)]
    return exactly if len(exactly) == 1 else page.data


def _names_of(partner: Partner) -> set[str]:
    return {each.casefold() for each in (partner.id, partner.name, partner.email, *partner.coupon_codes) if each}


def address_of(order_id: str) -> str:
    """Return where a commission's page is, also for ids that an address would swallow (`..`) or that is a page."""
    if order_id in (".", "..", "new"):
        return f"/commissions/?id={order_id}"
    return "/commissions/" + quote(order_id, safe="")


# --- what is new ------------------------------------------------------------------------------------------------------


def _seen(commissions: Page[Commission]) -> str:
    """Return what the page shows, in short: a digest of its rows, and the first of them."""
    rows = "\n".join(f"{each.order_id} {each.status} {each.commission.amount}" for each in commissions.data)
    digest = sha256(rows.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
    return digest + (commissions.data[0].order_id if commissions.data else "")


def news(seen: str | None, commissions: Page[Commission]) -> News:
    """Return what is new to a page that shows `seen`; nothing, where that is not told."""
    if seen is None or seen == _seen(commissions):
        return News(changed=False, new=0)
    first = seen[_DIGEST_LENGTH:]
    ids = [each.order_id for each in commissions.data]
    if not first:
        return News(changed=True, new=len(ids))
    return News(changed=True, new=ids.index(first) if first in ids else 0)
