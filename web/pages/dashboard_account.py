"""A partner's own account: who the program knows them as, and another password."""

from functools import partial

from aiohttp import web

from ledger import partner_logins
from schemas.errors import RejectedError
from web.api.calls import THREADS
from web.attempts import ATTEMPTS
from web.pages.forms import Refusal
from web.pages.login import raw, unlike
from web.pages.partner_login import DASHBOARD, place_of
from web.pages.partner_visits import PartnerVisit, partner_door
from web.pages.password_again import password_again
from web.pages.render import Shown
from web.pages.table import PageTable, see_other
from web.passwords import HASHING
from web.request_ids import request_id_of
from web.services import SERVICES
from web.sessions import PARTNER_COOKIE, origin_of, set_cookie

dashboard_account = PageTable(partner_door)


@dashboard_account.get(DASHBOARD + "/account")
async def show_account(_: PartnerVisit) -> Shown:
    """Show as whom the program knows the partner, and the way to another password."""
    return Shown("dashboard/account.html", {})


@dashboard_account.post(DASHBOARD + "/account/password")
async def change_password(visit: PartnerVisit) -> Shown | web.StreamResponse:
    """Set another password, for which the one until now is needed; all other sessions end, and this one is renewed."""
    try:
        response = await _change(visit)
    except RejectedError as error:
        visit.refusal = Refusal.of(error)
        return await show_account(visit)
    return await show_account(visit) if response is None else response


async def _change(visit: PartnerVisit) -> web.StreamResponse | None:
    """Return the answer, or None where the visit has the refusal. Raises RejectedError for a password that is weak."""
    request, ledger = visit.request, visit.request.app[SERVICES].ledger
    password = raw(visit.form)
    visit.refusal = unlike(visit.form) or await password_again(visit, "The password was not changed.")
    if visit.refusal is not None or password is None:
        return None
    login = (await place_of(request)).login
    name_mac = request.app[ATTEMPTS].name_of("partner", login.merchant_id, login.partner_id)
    hashed = await request.app[HASHING].hash_new(password, (login.email, visit.partner.name, visit.program.name))
    change = partial(
        partner_logins.change_password, ledger, login, hashed, came=origin_of(request), name_mac=name_mac,
        cause=f"dashboard/{login.partner_id}@{request_id_of(request)}", now=visit.now,
    )  # fmt: skip
    response = see_other(visit.to("account") + "?told=password_changed")
    set_cookie(response, PARTNER_COOKIE, await request.app[THREADS].run(change))
    return response
