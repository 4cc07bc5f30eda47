"""How partners are paid: their payout details, and Stripe's onboarding. Always masked, also here."""

from functools import partial
from typing import Any

from ledger import partner_logins
from ledger.payout_details import Change, Details
from schemas.api import Nothing, Query
from schemas.api_payout_details import (
    DetailsChange,
    MaskedMethod,
    PayoutDetails,
    PayoutDetailsChange,
    StripeLink,
    StripeStanding,
)
from schemas.api_stories import ActedBy
from schemas.errors import NotFoundError
from web.api.actors import actors_of
from web.api.calls import Call, Reply
from web.api.dashboards import dashboard_url
from web.api.done_already import answered_before, answered_now
from web.api.routes import RouteTable
from web.payees import Payee, Standing, shown_account

payout_details = RouteTable("payout details")

_DETAILS = "/partners/{partner_id:[^/]+}/payout-details"
DASHBOARD_PAGE = "payout-details"
"""The page of a partner's dashboard to which Stripe sends the partner back."""


@payout_details.get(_DETAILS, query=Query, answer=PayoutDetails, scope="payouts")
async def show_payout_details(call: Call[None, Query]) -> Reply:
    """Show how a partner is paid, masked, and who changed it when."""
    return Reply(await _shown(call, await _payee(call).standing()))


@payout_details.put(_DETAILS, body=PayoutDetailsChange, answer=PayoutDetails, scope="payouts")
async def change_payout_details(call: Call[PayoutDetailsChange, Query]) -> Reply:
    """Have a partner paid that way from now on.

    `address` is an IBAN for `bank` (with the holder's `name`, and a BIC as `routing` if you like), an e-mail address or
    PayPal id for `paypal` (`routing` says `PAYPAL_ID` for the latter), and what you agreed on for `manual`; `stripe`
    comes from its own onboarding. Payouts that were requested before go where they were requested to go. A change has
    to cool down before anything new is paid there; the partner is written to.
    """
    payee = _payee(call)
    await payee.change(call.body)
    return Reply(await _shown(call, await payee.standing()))


@payout_details.delete(_DETAILS, scope="payouts")
async def remove_payout_details(call: Call[None, Query]) -> Reply:
    """Forget how a partner is paid; the partner is written to."""
    await _payee(call).remove()
    return Reply(None)


@payout_details.post(_DETAILS + "/stripe", body=Nothing, answer=StripeLink, scope="payouts")
async def link_to_stripe(call: Call[Nothing, Query]) -> Reply:
    """Make a link for the partner to enter the details at Stripe.

    The account is opened with the first link. Coming back proves nothing: `.../stripe/check` asks Stripe.
    """
    earlier = await answered_before(call)
    if earlier is not None:
        return earlier
    login = await call.run(
        partial(partner_logins.find, call.services.ledger, call.merchant_id, call.path["partner_id"])
    )
    address = dashboard_url(call.services.options, call.merchant_id, login.partner_id, login.generation)
    place = f"{address}/{DASHBOARD_PAGE}"
    url = await _payee(call).link(return_url=f"{place}?stripe=back", refresh_url=f"{place}?stripe=again")
    # A request that is repeated does not get a link that was used.
    return await answered_now(call, StripeLink(url=url), kept=StripeLink(url=None))


@payout_details.post(_DETAILS + "/stripe/check", body=Nothing, answer=StripeStanding, scope="payouts")
async def check_stripe(call: Call[Nothing, Query]) -> Reply:
    """Ask Stripe whether the partner's account can be paid; only that makes it the way the partner is paid."""
    earlier = await answered_before(call)
    if earlier is not None:
        return earlier
    standing = await _payee(call).check()
    if standing.account is None:
        raise NotFoundError("account at Stripe of partner", call.path["partner_id"])
    answer = StripeStanding(**shown_account(standing.account), details=await _shown(call, standing))
    return await answered_now(call, answer)


def _payee(call: Call[Any, Any]) -> Payee:
    return Payee(
        services=call.services, threads=call.threads, merchant_id=call.merchant_id,
        partner_id=call.path["partner_id"], by=call.actor, now=call.now,
    )  # fmt: skip


async def _shown(call: Call[Any, Any], standing: Standing) -> PayoutDetails:
    actors = await actors_of(call, {each.changed_by for each in standing.history})
    details = standing.details
    return PayoutDetails(
        partner_id=call.path["partner_id"],
        method=details and _masked(details),
        changed_at=details and details.changed_at,
        changed_by=details and details.changed_by,
        usable_at=details and details.usable_at,
        is_cooling=details is not None and call.now < details.usable_at,
        history=[_change(each, actors[each.changed_by]) for each in standing.history],
    )


def _masked(details: Details) -> MaskedMethod:
    # Masked by the ledger: nothing else ever comes up to here.
    return MaskedMethod(**details.method.model_dump())


def _change(each: Change, by: ActedBy) -> DetailsChange:
    return DetailsChange(
        number=each.number, method=each.method, changed_at=each.changed_at, changed_by=each.changed_by, by=by
    )
