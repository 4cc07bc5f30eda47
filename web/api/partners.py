"""Partners: who they are, what they earn, and what may become of them."""

from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any, get_args

from ledger import merchants, partner_logins, partners
from ledger.events import Rate
from ledger.partner_logins import FIRST_GENERATION, OPEN_FOR, PartnerLogin
from ledger.requests import Request
from ledger.tags import fold_tag
from projections import read_partners, rows
from schemas.api import (
    Because,
    Listing,
    NewPartner,
    Nothing,
    Page,
    PartnerChange,
    PartnerOffer,
    PartnersQuery,
    Query,
    Read,
    Standing,
)
from schemas.api_answers import DashboardLink, Partner, PartnerRate, PartnerState, Standings
from schemas.coupons import canonical_coupon
from schemas.errors import NotFoundError
from web.api import rates
from web.api.bodies import ids_of
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, from_cursor, instant_of_cursor, to_cursor
from web.api.dashboards import dashboard_url
from web.api.routes import RouteTable

partner_calls = RouteTable("partners")

# Some addresses of its kind are not partners.
_PARTNER = "/partners/{partner_id:(?!(?:apply|invite|standings)$)[^/]+}"


@partner_calls.post("/partners", body=NewPartner, answer=Partner, status=HTTPStatus.CREATED, scope="partners")
async def register_partner(call: Call[NewPartner, Query]) -> Reply:
    """Register a partner, with a coupon code if one is given."""
    return await _register(call, call.body.status)


@partner_calls.post("/partners/apply", body=PartnerOffer, answer=Partner, status=HTTPStatus.CREATED, scope="partners")
async def apply_partner(call: Call[PartnerOffer, Query]) -> Reply:
    """Record an application: the partner earns nothing until it is approved."""
    return await _register(call, "applied")


@partner_calls.post("/partners/invite", body=PartnerOffer, answer=Partner, status=HTTPStatus.CREATED, scope="partners")
async def invite_partner(call: Call[PartnerOffer, Query]) -> Reply:
    """Record an invitation: the partner earns nothing until it is approved, which is how it is accepted."""
    return await _register(call, "invited")


@partner_calls.get("/partners", query=PartnersQuery, answer=Page[Partner])
async def list_partners(call: Call[None, PartnersQuery]) -> Reply:
    """List partners, in the order in which they registered or by name; narrowed by standing, tag, text or ids."""
    query, currency = call.query, await currency_of(call)
    place = from_cursor(query.cursor, str if query.sort == "name" else int)
    page = await call.services.reads.partners(
        call.merchant_id, now=call.now, standing=query.status, tag=None if query.tag is None else fold_tag(query.tag),
        search=query.search, ids=ids_of(query.ids, "query.ids"), sort=query.sort, after=place[0] if place else None,
        limit=query.limit,
    )  # fmt: skip
    data = [_shown(call, currency, row) for row in page.rows]
    return Reply(Page[Partner](data=data, next_cursor=cursor_of(page.next)), page.position)


@partner_calls.get("/partners/standings", query=Read, answer=Standings)
async def show_standings(call: Call[None, Read]) -> Reply:
    """Count the partners by their standing."""
    position, counted = await read_partners.standings(call.services.reads, call.merchant_id)
    of = {standing: counted.get(standing, 0) for standing in get_args(Standing)}
    return Reply(Standings(**of, all=sum(of.values())), position)


@partner_calls.get(_PARTNER, query=Read, answer=Partner)
async def show_partner(call: Call[None, Read]) -> Reply:
    """Show a partner."""
    partner_id, currency = call.path["partner_id"], await currency_of(call)
    found = await call.services.reads.partner(call.merchant_id, partner_id, now=call.now)
    if found.row is None:
        raise NotFoundError("partner", partner_id)
    return Reply(_shown(call, currency, found.row), found.position)


@partner_calls.patch(_PARTNER, body=PartnerChange, answer=PartnerState, scope="partners")
async def change_partner(call: Call[PartnerChange, Query]) -> Reply:
    """Change a partner's name, e-mail, tags or rate.

    A new rate is for orders placed from `rate_from` on (left out: from now on). It cannot reach back behind orders that
    are on the books.
    """
    body, currency = call.body, await currency_of(call)
    rate = rates.to_ledger(body.rate, currency) if body.rate else None
    return await _command(
        call, currency, partners.change, name=body.name, email=body.email, rate=rate, rate_from=body.rate_from,
        tags=body.tags,
    )  # fmt: skip


@partner_calls.get("/partners/{partner_id:[^/]+}/rates", query=Listing, answer=Page[PartnerRate])
async def list_rates(call: Call[None, Listing]) -> Reply:
    """List the rates that a partner has, had and will have, the latest first; an order's own time decides."""
    partner_id, reads, currency = call.path["partner_id"], call.services.reads, await currency_of(call)
    place = from_cursor(call.query.cursor, str, int)
    if (await reads.partner(call.merchant_id, partner_id, now=call.now)).row is None:
        raise NotFoundError("partner", partner_id)
    before = (instant_of_cursor(place[0]), place[1]) if place else None
    page = await read_partners.rates(reads, call.merchant_id, partner_id, before=before, limit=call.query.limit)
    next_cursor = page.next and to_cursor(page.next[0].isoformat(), page.next[1])
    data = [_rate(row, currency) for row in page.rows]
    return Reply(Page[PartnerRate](data=data, next_cursor=next_cursor), page.position)


@partner_calls.post("/partners/{partner_id:[^/]+}/approve", body=Nothing, answer=PartnerState, scope="partners")
async def approve_partner(call: Call[Nothing, Query]) -> Reply:
    """Accept an application, or note that an invitation was accepted: the partner earns from now on."""
    return await _command(call, await currency_of(call), partners.approve)


@partner_calls.post("/partners/{partner_id:[^/]+}/reject", body=Because, answer=PartnerState, scope="partners")
async def reject_partner(call: Call[Because, Query]) -> Reply:
    """Turn an application down."""
    return await _command(call, await currency_of(call), partners.reject, reason=call.body.reason)


@partner_calls.post("/partners/{partner_id:[^/]+}/pause", body=Because, answer=PartnerState, scope="partners")
async def pause_partner(call: Call[Because, Query]) -> Reply:
    """Let new orders not earn until the partner is reinstated."""
    return await _command(call, await currency_of(call), partners.pause, reason=call.body.reason)


@partner_calls.post("/partners/{partner_id:[^/]+}/reinstate", body=Nothing, answer=PartnerState, scope="partners")
async def reinstate_partner(call: Call[Nothing, Query]) -> Reply:
    """Let a paused or banned partner earn again."""
    return await _command(call, await currency_of(call), partners.reinstate)


@partner_calls.post("/partners/{partner_id:[^/]+}/ban", body=Because, answer=PartnerState, scope="partners")
async def ban_partner(call: Call[Because, Query]) -> Reply:
    """Shut a partner out."""
    return await _command(call, await currency_of(call), partners.ban, reason=call.body.reason)


@partner_calls.post(
    "/partners/{partner_id:[^/]+}/dashboard-link", body=Nothing, answer=DashboardLink, scope="partners"
)  # fmt: skip
async def renew_dashboard_link(call: Call[Nothing, Query]) -> Reply:
    """Give the partner's dashboard a new address, where a password can be set for the first time again, for 30 days.

    The old address leads nowhere from now on, the password that was set is forgotten, and the partner is logged out.
    """

    def command(request: Request | None) -> PartnerLogin:
        return partner_logins.renew(
            call.services.ledger, merchant_id=call.merchant_id, partner_id=call.path["partner_id"], now=call.now,
            by=call.actor, request=request,
        )  # fmt: skip

    return await call.write(
        command, lambda login: DashboardLink(id=login.partner_id, **_access(call, login))
    )  # fmt: skip


async def _register(call: Call[Any, Query], standing: str) -> Reply:
    body, currency = call.body, await currency_of(call)
    rate = rates.to_ledger(body.rate, currency)
    expires_at = call.now + OPEN_FOR

    def command(request: Request | None) -> partners.Partner:
        return partners.register(
            call.services.ledger, merchant_id=call.merchant_id, name=body.name, email=body.email, rate=rate,
            coupon_code=body.coupon_code, standing=standing, tags=body.tags, now=call.now, cause=call.cause,
            request=request,
        )  # fmt: skip

    def answer(partner: partners.Partner) -> Partner:
        codes = [] if body.coupon_code is None else [canonical_coupon(body.coupon_code)]
        return Partner(
            **_state(call, currency, partner, _new_login(partner, expires_at)),
            name=body.name,
            email=body.email,
            coupon_codes=codes,
            tags=[tag.strip() for tag in body.tags],
            registered_at=call.now,
        )

    return await call.write(command, answer)


async def _command(call: Call[Any, Any], currency: str, command: Any, **details: Any) -> Reply:
    """Run a command on the partner that the path names, and answer with what it left."""
    login = await call.run(lambda: partner_logins.find(call.services.ledger, call.merchant_id, call.path["partner_id"]))
    run = partial(
        command, call.services.ledger, merchant_id=call.merchant_id, partner_id=call.path["partner_id"],
        now=call.now, cause=call.cause, **details,
    )  # fmt: skip
    return await call.write(
        lambda request: run(request=request), lambda partner: PartnerState(**_state(call, currency, partner, login))
    )


def _shown(call: Call[Any, Any], currency: str, row: rows.Partner) -> Partner:
    rate = Rate(type=row.rate_type, bps=row.rate_bps, amount_minor=row.rate_minor)
    return Partner(
        id=row.partner_id,
        status=row.standing,
        moves=moves_of(row.standing),
        rate=rates.of_ledger(rate, currency),
        **_access(call, _login(call, row)),
        name=row.name,
        email=row.email,
        coupon_codes=row.coupon_codes,
        tags=row.tags,
        registered_at=row.registered_at,
    )


def _state(call: Call[Any, Any], currency: str, partner: partners.Partner, login: PartnerLogin) -> dict[str, Any]:
    return {
        "id": partner.partner_id,
        "status": partner.standing,
        "moves": moves_of(partner.standing),
        "rate": rates.of_ledger(partner.rate, currency),
        **_access(call, login),
    }


def _access(call: Call[Any, Any], login: PartnerLogin) -> dict[str, Any]:
    # Whoever has an open address can come in before the partner does, and say where the money is to go.
    may_send = "partners" in call.key.scopes
    url = dashboard_url(call.services.options, call.merchant_id, login.partner_id, login.generation)
    return {
        "dashboard_url": url if may_send else None,
        "dashboard_access": login.access(call.now),
        "dashboard_link_expires_at": login.link_expires_at,
    }


def _new_login(partner: partners.Partner, expires_at: datetime) -> PartnerLogin:
    return PartnerLogin(partner.merchant_id, partner.partner_id, None, FIRST_GENERATION, expires_at, None, None)


def _login(call: Call[Any, Any], row: rows.Partner) -> PartnerLogin:
    return PartnerLogin(
        call.merchant_id,
        row.partner_id,
        row.email,
        row.generation or FIRST_GENERATION,
        row.link_expires_at or row.registered_at + OPEN_FOR,
        None,
        row.password_set_at,
    )


def _rate(row: read_partners.PartnerRate, currency: str) -> PartnerRate:
    rate = Rate(type=row.type, bps=row.bps, amount_minor=row.amount_minor)
    return PartnerRate(rate=rates.of_ledger(rate, currency), from_=row.effective_at, until=row.until)


def moves_of(standing: str) -> list[str]:
    """Return what may be done with a partner of this standing."""
    return list(partners.LEGAL_MOVES[standing])


async def currency_of(call: Call[Any, Any]) -> str:
    """Return the program's currency, in which fixed rates are."""
    merchant = await call.run(lambda: merchants.find(call.services.ledger, call.merchant_id))
    return merchant.currency
