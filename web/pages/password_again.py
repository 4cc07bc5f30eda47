"""The password, asked for again before what matters is changed: whoever found an open browser may not change it."""

from functools import partial
from http import HTTPStatus

from ledger import lockouts
from web.api.calls import THREADS
from web.attempts import ATTEMPTS
from web.pages.forms import Refusal
from web.pages.login import raw, waits
from web.pages.partner_login import place_of
from web.pages.partner_visits import PartnerVisit
from web.passwords import HASHING
from web.services import SERVICES

FIELD = "current"
"""The field in which it is typed."""


async def password_again(visit: PartnerVisit, message: str) -> Refusal | None:
    """Return why the form does not bring the partner's password, in a refusal of this message; None where it does.

    Attempts count as those at the login do. Raises TooManyRequestsError where too much failed from the address.
    """
    request, password = visit.request, raw(visit.form, FIELD)
    if password is None:
        return _refusal(message, "is needed")
    login, attempts = (await place_of(request)).login, request.app[ATTEMPTS]
    name_mac = attempts.name_of("partner", login.merchant_id, login.partner_id)
    refusal = await waits(request, name_mac, visit.now)
    if refusal is not None:
        return refusal
    if not (await request.app[HASHING].verify(login.hash, password)).right:
        attempts.failed(request)
        return _refusal(message, "is not right")
    await request.app[THREADS].run(partial(lockouts.forgiven, request.app[SERVICES].ledger, name_mac))
    return None


def _refusal(message: str, fault: str) -> Refusal:
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, message, {FIELD: fault})
