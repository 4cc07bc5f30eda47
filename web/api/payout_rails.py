"""The rails on which money leaves: which there are, what they lack, what limits them. All of it is the operator's."""

import asyncio
from functools import partial

from consumers.paying import Paying
from consumers.rails.chosen import NAMES, Standing
from schemas.api import Query
from schemas.api_payout_details import PayoutRail, PayoutRails, RailLimits
from schemas.money import to_decimal_string
from web.api.calls import Call, Reply
from web.api.routes import RouteTable

payout_rails = RouteTable("payout details")

_MISSING = Standing("", usable=False, missing=("PAYOUT_DETAILS_KEYS",))


@payout_rails.get("/payout-rails", query=Query, answer=PayoutRails)
async def list_payout_rails(call: Call[None, Query]) -> Reply:
    """List the ways in which money can leave, and what each of them lacks."""
    paying = call.services.paying
    if paying is None:
        return Reply(PayoutRails(data=[shown_rail(_MISSING._replace(name=name), None, None) for name in NAMES]))
    standings = paying.rails.standings()
    reasons = await asyncio.gather(*(call.run(partial(paying.spending.off, rail.name)) for rail in standings))
    rails = zip(standings, reasons, strict=True)
    return Reply(PayoutRails(data=[shown_rail(standing, paying, reason) for standing, reason in rails]))


def shown_rail(standing: Standing, paying: Paying | None, reason: str | None) -> PayoutRail:
    """Return the rail; `reason` is why it is switched off for all workers, None: it is not."""
    hooks = paying and {"stripe": paying.rails.stripe_webhooks, "paypal": paying.rails.paypal_webhooks}
    limits = paying.settings.limits_of(standing.name) if paying else {}
    told = {
        name: {currency: to_decimal_string(minor, currency) for currency, minor in limits.get(name, {}).items()}
        for name in RailLimits.model_fields
    }
    return PayoutRail(
        name=standing.name,
        usable=standing.usable and reason is None,
        missing=list(standing.missing),
        off=standing.off or reason is not None,
        reason=reason,
        webhooks=bool(hooks and hooks.get(standing.name)),
        limits=RailLimits(**told),
    )
