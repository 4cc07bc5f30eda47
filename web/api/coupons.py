"""The coupon codes of a partner, each with a rate of its own if it has one."""

from functools import partial
from http import HTTPStatus
from typing import Any

from ledger import partners
from ledger.events import Rate
from ledger.partners import CouponCode
from projections.partner_lists import Coupon as CouponRow
from schemas.api import CouponChange, Listing, NewCoupon, Page, Query
from schemas.api_answers import Coupon
from schemas.errors import NotFoundError
from web.api import rates
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, from_cursor
from web.api.partners import currency_of
from web.api.routes import RouteTable

coupons = RouteTable("coupon codes")

_CODES = "/partners/{partner_id:[^/]+}/coupons"
_CODE = _CODES + "/{code:[^/]+}"


@coupons.get(_CODES, query=Listing, answer=Page[Coupon])
async def list_coupons(call: Call[None, Listing]) -> Reply:
    """List the codes that a partner has or had, the oldest first, each with its rate now."""
    partner_id, reads, currency = call.path["partner_id"], call.services.reads, await currency_of(call)
    place = from_cursor(call.query.cursor, int)
    if (await reads.partner(call.merchant_id, partner_id, now=call.now)).row is None:
        raise NotFoundError("partner", partner_id)
    page = await reads.coupons(
        call.merchant_id, partner_id, now=call.now, after=place[0] if place else None, limit=call.query.limit
    )
    data = [_shown(row, currency) for row in page.rows]
    return Reply(Page[Coupon](data=data, next_cursor=cursor_of(page.next)), page.position)


@coupons.post(_CODES, body=NewCoupon, answer=Coupon, status=HTTPStatus.CREATED, scope="partners")
async def assign_coupon(call: Call[NewCoupon, Query]) -> Reply:
    """Give a partner one more coupon code, with a rate of its own if one is given; codes are unique without case."""
    body, currency = call.body, await currency_of(call)
    rate = rates.to_ledger(body.rate, currency) if body.rate else None
    return await _command(call, currency, partners.assign_coupon, code=body.code, rate=rate, from_=body.from_)


@coupons.patch(_CODE, body=CouponChange, answer=Coupon, scope="partners")
async def change_coupon(call: Call[CouponChange, Query]) -> Reply:
    """Change the rate of orders with a code.

    It is for orders placed from `rate_from` on (left out: from now on), and cannot reach back behind orders of the
    partner that are on the books.
    """
    body, currency = call.body, await currency_of(call)
    rate = rates.to_ledger(body.rate, currency) if body.rate else None
    return await _command(
        call, currency, partners.change_coupon, code=call.path["code"], rate=rate, rate_from=body.rate_from
    )


@coupons.delete(_CODE, scope="partners")
async def revoke_coupon(call: Call[None, Query]) -> Reply:
    """Take a coupon code from a partner; orders that came with it before stay the partner's."""
    partner = await call.run(
        lambda: partners.revoke_coupon(
            call.services.ledger, merchant_id=call.merchant_id, partner_id=call.path["partner_id"],
            code=call.path["code"], now=call.now, cause=call.cause,
        )
    )  # fmt: skip
    return Reply(None, partner.position)


async def _command(call: Call[Any, Any], currency: str, command: Any, **details: Any) -> Reply:
    run = partial(
        command, call.services.ledger, merchant_id=call.merchant_id, partner_id=call.path["partner_id"],
        now=call.now, cause=call.cause, **details,
    )  # fmt: skip
    return await call.write(lambda request: run(request=request), lambda code: _state(code, currency))


def _state(code: CouponCode, currency: str) -> Coupon:
    rate = None if code.rate is None else rates.of_ledger(code.rate, currency)
    return Coupon(code=code.code, rate=rate, from_=code.assigned_at, revoked_at=None)


def _shown(row: CouponRow, currency: str) -> Coupon:
    rate = row.rate_type and Rate(type=row.rate_type, bps=row.rate_bps, amount_minor=row.rate_minor)
    return Coupon(
        code=row.code,
        rate=rates.of_ledger(rate, currency) if rate else None,
        from_=row.assigned_at,
        revoked_at=row.revoked_at,
    )
