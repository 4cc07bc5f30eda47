"""The list by which a person pays: a file and no page, for it tells in clear where money is to go."""

from functools import partial
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web

from ledger import payouts_by_hand
from ledger.payouts import BY_HAND
from ledger.payouts_by_hand import FILE, ToPay
from schemas.api import Query
from schemas.api_payouts import PaymentByHand
from schemas.errors import ConflictError
from schemas.money import to_decimal_string
from schemas.sheets import Sheet
from web.api.calls import Call
from web.api.routes import RouteTable
from web.payees import paying_of
from web.streams import LONG_CALLS

by_hand_calls = RouteTable("payouts")

_HEADERS = {
    hdrs.CONTENT_TYPE: "text/csv; charset=utf-8; header=present",
    hdrs.CONTENT_DISPOSITION: f'attachment; filename="{FILE}"',
    hdrs.CACHE_CONTROL: "no-store",
}


@by_hand_calls.download(f"/payouts/{FILE}", gives="text/csv", scope="payouts")
async def download_payouts_by_hand(call: Call[None, Query], request: web.Request) -> web.StreamResponse:
    """Download what is to be paid by hand now, with where it is to go, in clear: as CSV, the oldest first.

    `payout_id`, `partner_id`, `partner_name`, `amount`, `currency`, `name`, `pay_to`, `requested_at`: every payout of
    the rail `manual` that may be paid now. Not what waits for an approval, and nothing of partners whose payouts are
    held. Confirm each with `POST /payouts/{id}/confirm`.

    The access log tells who took it, and how many payouts were in it. 409 `rail_off` where nothing may be paid now. A
    text that begins like a formula (`=`, `+`, `-`, `@`) has an apostrophe in front. RFC 4180, UTF-8.
    """
    if request.method == hdrs.METH_HEAD:
        return web.Response(status=HTTPStatus.OK, headers=_HEADERS)
    with request.app[LONG_CALLS].turn(call.merchant_id):
        file, _ = await take_list(call)
    return web.Response(body=file, headers=_HEADERS)


async def take_list(call: Call[Any, Any]) -> tuple[bytes, int]:
    """Return the file, and how many payouts are in it, and record who took it.

    Raises ConflictError `payouts_not_set_up`, `rail_off`, CorruptionError, RetryableError.
    """
    paying = paying_of(call.services)
    if paying.settings.is_off(BY_HAND):
        raise ConflictError("rail_off", "nothing is paid by hand now: PAYOUTS_OFF is set")
    take = partial(
        payouts_by_hand.take, call.services.ledger, paying.keys, call.merchant_id, by=call.actor, now=call.now
    )
    return await call.run(lambda: _file(take()))


def _file(found: list[ToPay]) -> tuple[bytes, int]:
    sheet = Sheet(PaymentByHand)
    return sheet.heading() + sheet.lines([_shown(each) for each in found]), len(found)


def _shown(each: ToPay) -> PaymentByHand:
    return PaymentByHand(
        payout_id=each.payout_id, partner_id=each.partner_id, partner_name=each.partner_name,
        amount=to_decimal_string(each.amount_minor, each.currency), currency=each.currency, name=each.name,
        pay_to=each.pay_to, requested_at=each.requested_at,
    )  # fmt: skip
