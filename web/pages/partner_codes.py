"""The coupon codes of a partner: one more, another rate, taken away."""

from typing import Any

from aiohttp import web

from schemas.api_answers import Coupon, Partner
from schemas.coupons import canonical_coupon
from schemas.errors import NotFoundError
from web.api.coupons import assign_coupon, change_coupon, list_coupons, revoke_coupon
from web.api.partners import show_partner
from web.pages.days import start_of_day
from web.pages.doors import user_door
from web.pages.partners import show_one
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.visits import Visit

partner_code_pages = PageTable(user_door)

_CODES = "/partners/{partner_id:[^/]+}/codes"
_CODE = _CODES + "/{code:[^/]+}"
_SHOWN_MAX = 200
_OWN = "own"


@partner_code_pages.post(_CODES)
async def assign(visit: Visit) -> Shown | web.StreamResponse:
    """Give the partner one more code."""
    body = visit.form.body("code") | _rate(visit)
    if from_ := visit.form.text("from"):
        body["from"] = start_of_day(visit, from_)
    done = await visit.attempt(assign_coupon, body, path=visit.path)
    return await show_one(visit) if done.refusal else _back(visit, "code_assigned")


@partner_code_pages.get(_CODE)
async def show_code(visit: Visit) -> Shown:
    """Show the form for a code's own rate."""
    visit.session.check("partners")
    partner: Partner = await visit.ask(show_partner, path=visit.path)
    return Shown("partners/code.html", {"partner": partner, "coupon": await _held(visit)})


@partner_code_pages.post(_CODE)
async def change(visit: Visit) -> Shown | web.StreamResponse:
    """Give the code another rate, or the partner's own again."""
    body: dict[str, Any] = {"rate": None} | _rate(visit)
    if rate_from := visit.form.text("rate_from"):
        body["rate_from"] = start_of_day(visit, rate_from)
    done = await visit.attempt(change_coupon, body, path=visit.path)
    return await show_code(visit) if done.refusal else _back(visit, "code_changed")


@partner_code_pages.post(_CODE + "/revoke")
async def revoke(visit: Visit) -> Shown | web.StreamResponse:
    """Take the code away."""
    done = await visit.attempt(revoke_coupon, path=visit.path)
    return await show_code(visit) if done.refusal else _back(visit, "code_revoked")


def _rate(visit: Visit) -> dict[str, Any]:
    """Return the code's own rate as it was typed; nothing where the partner's own is to be in force."""
    if visit.form.text("rate.type") in (None, _OWN):
        return {}
    return visit.form.body("rate.type", "rate.value")


async def _held(visit: Visit) -> Coupon:
    """Return the code as the partner has it. Raises NotFoundError."""
    wanted, cursor = canonical_coupon(visit.path["code"]), None
    while True:
        page = await visit.ask(list_coupons, {"limit": _SHOWN_MAX, "cursor": cursor}, path=visit.path)
        for coupon in page.data:
            if coupon.code == wanted and coupon.revoked_at is None:
                held: Coupon = coupon
                return held
        cursor = page.next_cursor
        if cursor is None:
            raise NotFoundError("coupon code", wanted)


def _back(visit: Visit, told: str) -> web.Response:
    way = visit.moved(f"/partners/{visit.path['partner_id']}", told=told)
    way.headers["Location"] += "#codes"
    return way
