"""A partner's visit to their own dashboard: who is let in, and the only questions that can be asked there.

Each page asks the API's own handlers in-process, as a merchant's page does, but through `OwnBooks`, where every
question has the session's partner in it already. No page has a way to ask for another's.
"""

import asyncio
import hmac
import secrets
from base64 import b32encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from aiohttp import hdrs, web
from pydantic import BaseModel

from schemas.api import Query, Scope
from schemas.api_answers import Balance, Commission, CommissionStory, Coupon, Metrics, Partner, Program
from schemas.api_commissions import PaidMark
from schemas.api_payout_details import PayoutDetails, StripeLink, StripeStanding
from schemas.api_payouts import Payout, PayoutRun, PayoutStory, RunLine
from schemas.api_statements import Statement, StatementMonth, WaitingCommissions
from schemas.errors import NotFoundError, RejectedError
from web.api import RESOURCES
from web.api.balances import list_balances
from web.api.bodies import validated
from web.api.calls import ARRIVALS, INTAKE, THREADS, Call, path_of
from web.api.commissions import list_commissions, show_commission
from web.api.coupons import list_coupons
from web.api.metrics import show_metrics
from web.api.paid_marks import list_paid_marks
from web.api.partners import show_partner
from web.api.payout_details import (
    change_payout_details,
    check_stripe,
    link_to_stripe,
    remove_payout_details,
    show_payout_details,
)
from web.api.payout_rails import list_payout_rails
from web.api.payout_runs import make_payout_run
from web.api.payouts import list_payouts, show_payout
from web.api.program import show_program
from web.api.routes import Handler, Route
from web.api.statements import list_statements, list_waiting, show_statement
from web.callers import check_scope
from web.pages.forms import Form, Refusal, fits
from web.pages.partner_login import let_in
from web.pages.strangers import Stranger
from web.request_ids import request_id_of
from web.services import SERVICES
from web.sessions import PartnerSession, check_csrf, csrf_token

_ROUTES: Final[Mapping[Any, Route]] = {route.handler: route for table in RESOURCES for route in table.routes}
_CODES_MAX = 200
_MONTHS_MAX = 200
# Twenty-five bits: of thousands of customers hardly two look alike, and nobody is found out by it.
_MASK_LENGTH = 5
_ONCE_BYTES = 16


@dataclass(frozen=True)
class Reader:
    """A partner as the API's handlers see one: may read, in the books of one merchant."""

    merchant_id: str
    partner_id: str
    scopes: frozenset[str] = frozenset({"read"})
    key_id: None = None
    user_id: None = None

    @property
    def means(self) -> str:
        """By what means the partner reads."""
        return f"dashboard/{self.partner_id}"

    def check(self, scope: Scope | None) -> None:
        """Refuse everything but reading: ForbiddenError `scope_missing`."""
        check_scope(self.scopes, scope, "a dashboard is for reading")


class OwnBooks:
    """Everything that a partner can be told; each answer is about the partner of the session and nobody else.

    `position` is the earliest one that the answers reflect. Raises what the calls raise: RejectedError for what they do
    not take, RetryableError.
    """

    def __init__(self, request: web.Request, session: PartnerSession) -> None:
        self.position: int | None = None
        self._request = request
        self._reader = Reader(session.merchant_id, session.partner_id)
        # Of its own payouts a partner knows more than somebody who only reads the merchant's books: where they go.
        self._payee = Reader(session.merchant_id, session.partner_id, frozenset({"read", "payouts"}))
        self._me = {"partner_id": session.partner_id}

    async def program(self) -> Program:
        """Return the program and its terms."""
        return await self._ask(show_program)  # type: ignore[no-any-return]

    async def partner(self) -> Partner:
        """Return the partner."""
        return await self._ask(show_partner, path=self._me)  # type: ignore[no-any-return]

    async def balances(self) -> list[Balance]:
        """Return the balances, one per currency."""
        return (await self._ask(list_balances, self._me)).data  # type: ignore[no-any-return]

    async def waiting(self) -> list[WaitingCommissions]:
        """Return what is pending and held, per currency."""
        return (await self._ask(list_waiting, path=self._me)).data  # type: ignore[no-any-return]

    async def figures(self, asked: Mapping[str, Any]) -> Metrics:
        """Return the figures over time; `asked` may have `from`, `to`, `interval` and `currency`."""
        return await self._ask(show_metrics, _only(asked, "from", "to", "interval", "currency") | self._me)  # type: ignore[no-any-return]

    async def commissions(self, asked: Mapping[str, Any]) -> tuple[list[Commission], str | None]:
        """Return a page of commissions and its next cursor; `asked` may have the filters of the list but for whose."""
        filters = _only(asked, "status", "from", "to", "currency", "cursor", "limit")
        page = await self._ask(list_commissions, filters | self._me)
        return page.data, page.next_cursor

    async def commission(self, order_id: str) -> CommissionStory:
        """Return one commission. Raises NotFoundError where it is another's, as where there is none."""
        story: CommissionStory = await self._ask(show_commission, path={"order_id": order_id})
        if story.partner_id != self._reader.partner_id:
            raise NotFoundError("commission", order_id)
        return story

    async def payments(self, asked: Mapping[str, Any]) -> tuple[list[PaidMark], str | None]:
        """Return a page of what was paid, newest first, and its next cursor."""
        page = await self._ask(list_paid_marks, _only(asked, "cursor", "limit") | self._me)
        return page.data, page.next_cursor

    async def payouts(self, asked: Mapping[str, Any]) -> tuple[list[Payout], str | None]:
        """Return a page of payouts, newest first, and its next cursor; `asked` may have filters but for whose."""
        filters = _only(asked, "status", "from", "to", "currency", "transaction_id", "cursor", "limit")
        page = await self._ask(list_payouts, filters | self._me)
        return page.data, page.next_cursor

    async def payout(self, payout_id: str) -> PayoutStory:
        """Return one payout. Raises NotFoundError where it is another's, as where there is none."""
        story: PayoutStory = await self._ask(show_payout, path={"payout_id": payout_id}, reader=self._payee)
        if story.partner_id != self._reader.partner_id:
            raise NotFoundError("payout", payout_id)
        return story

    async def commissions_of(
        self, payout: PayoutStory, asked: Mapping[str, Any]
    ) -> tuple[list[Commission], str | None]:
        """Return a page of what one of the own payouts pays, and its next cursor."""
        page = await self._ask(
            list_commissions, _only(asked, "cursor", "limit") | self._me | {"payout_id": payout.id}
        )  # fmt: skip
        return page.data, page.next_cursor

    async def prospects(self) -> list[RunLine]:
        """Return what a payout run would pay now, per currency, or why not. Raises ConflictError where none can."""
        body = {"dry_run": True, "partner_ids": [self._reader.partner_id]}
        run: PayoutRun = await self._ask(make_payout_run, body=body, reader=self._payee)
        return [line for line in run.lines or () if line.partner_id == self._reader.partner_id]

    async def payout_rails(self) -> list[str]:
        """Return the ways on which payouts can go out now."""
        return [rail.name for rail in (await self._ask(list_payout_rails)).data if rail.usable]

    async def payout_details(self) -> PayoutDetails | None:
        """Return how the partner is paid, masked; None where the program pays by hand only."""
        if self._request.app[SERVICES].paying is None:
            return None
        return await self._ask(show_payout_details, path=self._me, reader=self._payee)  # type: ignore[no-any-return]

    async def change_payout_details(self, told: Mapping[str, Any]) -> None:
        """Have the partner paid that way. Raises RejectedError at what is wrong."""
        await self._ask(change_payout_details, path=self._me, body=told, reader=self._payee)

    async def remove_payout_details(self) -> None:
        """Forget how the partner is paid. Raises NotFoundError where that is not known."""
        await self._ask(remove_payout_details, path=self._me, reader=self._payee)

    async def stripe_link(self) -> str:
        """Return where the partner enters its details at Stripe. Raises RejectedError where there is no way there."""
        link: StripeLink = await self._ask(link_to_stripe, path=self._me, reader=self._payee)
        return str(link.url)

    async def stripe_standing(self) -> StripeStanding:
        """Return what Stripe says of the partner's account now. Raises NotFoundError where none was opened."""
        return await self._ask(check_stripe, path=self._me, reader=self._payee)  # type: ignore[no-any-return]

    async def codes(self) -> list[Coupon]:
        """Return the coupon codes that are the partner's now."""
        page = await self._ask(list_coupons, {"limit": str(_CODES_MAX)}, path=self._me)
        return [code for code in page.data if code.revoked_at is None]

    async def months(self) -> list[StatementMonth]:
        """Return the months with a statement, the newest first."""
        return (await self._ask(list_statements, {"limit": str(_MONTHS_MAX)}, path=self._me)).data  # type: ignore[no-any-return]

    async def statement(self, month: str, asked: Mapping[str, Any]) -> Statement:
        """Return the statement of a month; `asked` may have a `currency`. Raises NotFoundError for no such month."""
        return await self._ask(show_statement, _only(asked, "currency"), path={**self._me, "month": month})  # type: ignore[no-any-return]

    async def _ask(
        self,
        handler: Handler,
        query: Mapping[str, Any] | None = None,
        *,
        path: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        reader: Reader | None = None,
    ) -> Any:
        route, asking = _ROUTES[handler], reader or self._reader
        asking.check(route.scope)
        told = None if route.body is None else validated(route.body, dict(body or {}), root="$")
        call = self._call(route, asking, validated(route.query, query or {}, root="query"), told, path or {})
        reply = await handler(call)
        if reply.position is not None:
            self.position = reply.position if self.position is None else min(self.position, reply.position)
        return reply.body

    def _call(
        self, route: Route, reader: Reader, query: Query | Any, body: BaseModel | None, path: Mapping[str, str]
    ) -> Call[Any, Any]:
        app = self._request.app
        services = app[SERVICES]
        return Call(
            services=services, intake=app[INTAKE], threads=app[THREADS], arrivals=app[ARRIVALS], key=reader,
            now=services.now(), request_id=request_id_of(self._request), path=path, query=query, body=body,
            status=route.status, idempotency_key=None, fingerprint=b"",
        )  # fmt: skip


@dataclass(kw_only=True)
class PartnerVisit(Stranger):
    """One page for one partner, who is logged in. `home` is where the dashboard begins."""

    session: PartnerSession
    home: str
    books: OwnBooks
    partner: Partner = field(init=False)
    program: Program = field(init=False)

    @property
    def path(self) -> Mapping[str, str]:
        """The parameters of the address."""
        return path_of(self.request)

    @property
    def query(self) -> Mapping[str, str]:
        """What stands behind the address's question mark and is not empty."""
        return {name: value for name, value in self.request.query.items() if value and name != "told"}

    def address(self, **changes: object) -> str:
        """Return this page's address with other values in its query; None takes one away. A cursor is not kept."""
        query = {name: value for name, value in self.query.items() if name != "cursor"} | changes
        told = {name: str(value) for name, value in query.items() if value is not None}
        return self.request.rel_url.raw_path + ("?" + urlencode(told) if told else "")

    def to(self, *steps: str, **query: object) -> str:
        """Return the address of a page of this dashboard: `to("commissions", "1001")`."""
        told = {name: str(value) for name, value in query.items() if value is not None}
        place = "/".join((self.home, *(quote(step, safe="") for step in steps)))
        return place + ("?" + urlencode(told) if told else "")

    @property
    def section(self) -> str:
        """The page's first step below the dashboard's address: `commissions` of one, too; empty at the start."""
        return self.request.path.removeprefix(f"/dashboard/{self.path['address']}").lstrip("/").partition("/")[0]

    def refuse(self, error: RejectedError) -> None:
        """Keep what is wrong with the address, for the page to tell. Raises the error that belongs on no page."""
        refusal = Refusal.of(error)
        if not fits(refusal.status):
            raise error
        self.refusal = refusal

    def on(self, instant: datetime) -> date:
        """Return the day of an instant, in the program's time zone."""
        return instant.astimezone(self.zone).date()

    def customer(self, customer_id: str) -> str:
        """Return what a customer is called here: always the same, and nothing that says who it is."""
        return masked(self.request.app[SERVICES].options.secret, self.session, customer_id)


async def partner_door(request: web.Request, form: Form) -> PartnerVisit | web.StreamResponse:
    """Return the visit of the partner whose dashboard the address names, else the way to its login.

    Raises NotFoundError where there is no such dashboard, ForbiddenError for a form that does not come from a page of
    this session.
    """
    session = await let_in(request)
    if not isinstance(session, PartnerSession):
        return session
    if request.method == hdrs.METH_POST:
        check_csrf(request, session, form.text("csrf"))
    visit = PartnerVisit(
        request=request, form=form, session=session, csrf=csrf_token(request, session),
        once=secrets.token_urlsafe(_ONCE_BYTES), home="/dashboard/" + quote(path_of(request)["address"], safe=""),
        books=OwnBooks(request, session),
    )  # fmt: skip
    visit.program, visit.partner = await asyncio.gather(visit.books.program(), visit.books.partner())
    visit.zone = ZoneInfo(visit.program.time_zone)
    return visit


def masked(secret: bytes, session: PartnerSession, customer_id: str) -> str:
    """Return five letters and digits that stand for a customer, for this partner only.

    Made with our secret: no part of the id is in them, and nobody can try ids to see whose they are.
    """
    said = f"customer-mask\n{session.merchant_id}\n{session.partner_id}\n{customer_id}".encode()
    return b32encode(hmac.digest(secret, said, "sha256")).decode()[:_MASK_LENGTH]


def _only(asked: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: asked[name] for name in names if asked.get(name) is not None}
