"""A visit: one page asked for by a merchant's user who is logged in, and the calls of the API that the page makes."""

import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import orjson
from aiohttp import web
from babel import Locale
from pydantic import BaseModel

from schemas.api import Query, Scope
from schemas.api_answers import Program
from schemas.errors import RejectedError
from web.api import RESOURCES
from web.api.bodies import validated
from web.api.calls import ARRIVALS, INTAKE, POSITIONS, THREADS, Call, Reply, path_of
from web.api.program import show_program
from web.api.routes import Handler, Route
from web.pages.formats import locale_of
from web.pages.forms import Form, Refusal, fits
from web.problems import NotYetError
from web.request_ids import request_id_of
from web.services import SERVICES, Services
from web.sessions import UserSession, csrf_token

ROUTES: Final[Mapping[Any, Route]] = {route.handler: route for table in RESOURCES for route in table.routes}
# What an address says of the form before it, and not of the page.
_SAID = ("told", "lagging")
_ONCE_BYTES = 16
_ONCE_LENGTH_MAX = 64


class Done(NamedTuple):
    """How a command ended: its answer (None where it has none), or its refusal."""

    body: Any
    refusal: Refusal | None


@dataclass(kw_only=True)
class Visit:
    """One page for one user. `refusal` is set by a form that was not accepted, `lagging` where figures follow.

    `place` is the address of what is shown where that is not the address that was asked for (a form's answer), and
    `position` the earliest one that the page's reads reflect.
    """

    request: web.Request
    session: UserSession
    form: Form
    refusal: Refusal | None = None
    lagging: bool = False
    place: str = ""
    position: int | None = None
    once: str = field(default_factory=lambda: secrets.token_urlsafe(_ONCE_BYTES))
    program: Program = field(init=False)

    @classmethod
    async def begin(cls, request: web.Request, session: UserSession, form: Form) -> "Visit":
        """Return the visit, with its program. Raises NotYetError while the read models do not know that."""
        visit = cls(request=request, session=session, form=form)
        visit.program = await visit.ask(show_program)
        return visit

    @property
    def services(self) -> Services:
        """What the application is made of."""
        return self.request.app[SERVICES]

    @cached_property
    def now(self) -> datetime:
        """When the page was asked for."""
        return self.services.now()

    @cached_property
    def locale(self) -> Locale:
        """How the visitor writes numbers and days."""
        return locale_of(self.request.headers.get("Accept-Language", ""))

    @cached_property
    def zone(self) -> ZoneInfo:
        """The program's time zone."""
        return ZoneInfo(self.program.time_zone)

    @property
    def csrf(self) -> str:
        """The token that every form carries."""
        return csrf_token(self.request, self.session)

    @property
    def path(self) -> Mapping[str, str]:
        """The parameters of the address. Raises NotFoundError for what no id can be."""
        return path_of(self.request)

    @property
    def query(self) -> Mapping[str, str]:
        """What stands behind the address's question mark and is not empty."""
        return {name: value for name, value in self.request.query.items() if value and name not in _SAID}

    def can(self, scope: Scope) -> bool:
        """Return whether the visitor may do what needs the scope."""
        return scope in self.session.scopes

    def address(self, **changes: object) -> str:
        """Return this page's address with other values in its query; None takes one away. A cursor is not kept."""
        query = {name: value for name, value in self.query.items() if name != "cursor"} | changes
        told = {name: str(value) for name, value in query.items() if value is not None}
        return (self.place or self.request.rel_url.raw_path) + ("?" + urlencode(told) if told else "")

    def file(self, name: str, query: Mapping[str, str] | None = None) -> str:
        """Return where one of the API's lists is to be had as a file (`commissions.csv`), with this page's filters."""
        told = self.query if query is None else query
        kept = {key: value for key, value in told.items() if key not in ("cursor", "limit")}
        return f"/files/{name}" + ("?" + urlencode(kept) if kept else "")

    async def ask(
        self, handler: Handler, query: Mapping[str, Any] | None = None, *, path: Mapping[str, str] | None = None
    ) -> Any:
        """Return the answer of one of the API's reads; members of the query that are None are left out.

        Raises what the call raises: RejectedError (also for a query that the API would not take), RetryableError.
        """
        route = ROUTES[handler]
        given = {name: value for name, value in (query or {}).items() if value is not None}
        asked = validated(route.query, given, root="query")
        return (await self._run(handler, self._call(route, path, asked, None))).body

    async def attempt(
        self,
        handler: Handler,
        body: Mapping[str, Any] | None = None,
        *,
        path: Mapping[str, str] | None = None,
        part: int = 0,
    ) -> Done:
        """Run one of the API's commands, and return when the read models have what it wrote (after 5 s at the latest).

        A refusal that belongs on the form (409, 422) is returned, and kept for the page; others are raised. The form's
        `once` is the idempotency key, so that a form that is sent twice is done once; where a form runs the command
        more than once, `part` tells which time it is.
        """
        route = ROUTES[handler]
        # Before anything is told about what was typed.
        self.session.check(route.scope)
        try:
            told = None if route.body is None else validated(route.body, dict(body or {}), root="$")
            reply = await self._run(handler, self._call(route, path, Query(), told, part))
        except RejectedError as error:
            refusal = Refusal.of(error)
            if not fits(refusal.status):
                raise
            self.refusal = refusal
            return Done(None, refusal)
        await self._reached(reply.position)
        return Done(_body_of(route, reply), None)

    async def answered(
        self, handler: Handler, body: Mapping[str, Any] | None = None, *, path: Mapping[str, str] | None = None
    ) -> Done | None:
        """Return how the command ended that this form has run already, None where it has not, or said other things."""
        route = ROUTES[handler]
        self.session.check(route.scope)
        try:
            told = None if route.body is None else validated(route.body, dict(body or {}), root="$")
            call = self._call(route, path, Query(), told)
            earlier = call.idempotency_key and await call.answered_before(call.idempotency_key)
        except RejectedError:
            return None
        return Done(_body_of(route, earlier), None) if earlier else None

    async def _run(self, handler: Handler, call: Call[Any, Any]) -> Reply:
        call.key.check(ROUTES[handler].scope)
        reply = await handler(call)
        if ROUTES[handler].reads and reply.position is not None:
            self.position = reply.position if self.position is None else min(self.position, reply.position)
        return reply

    def call_of(self, route: Route, query: BaseModel, *, path: Mapping[str, str] | None = None) -> Call[Any, Any]:
        """Return the call that a file of the API answers."""
        return self._call(route, path, query, None)

    def _call(
        self, route: Route, path: Mapping[str, str] | None, query: BaseModel, body: BaseModel | None, part: int = 0
    ) -> Call[Any, Any]:
        app, once = self.request.app, self.form.text("once")
        key = None
        if route.idempotent_by_key and once and len(once) <= _ONCE_LENGTH_MAX and once.isascii() and once.isprintable():
            key = f"page-{once}-{route.name}" + (f"-{part}" if part else "")
        return Call(
            services=self.services, intake=app[INTAKE], threads=app[THREADS], arrivals=app[ARRIVALS], key=self.session,
            now=self.now, request_id=request_id_of(self.request), path=path or {}, query=query, body=body,
            status=route.status, idempotency_key=key, fingerprint=_fingerprint(route, path, body),
        )  # fmt: skip

    async def _reached(self, position: int | None) -> None:
        if position is None:
            return
        # Later than that the page is shown as it is, and says that more is to come.
        with suppress(NotYetError):
            await self.request.app[POSITIONS].reached(position)
            return
        self.lagging = True

    def moved(self, address: str, *, told: str | None = None) -> web.Response:
        """Return the answer to a form that was accepted: go there, and be told (a word of `sentences`)."""
        query = {"told": told} if told else {}
        if self.lagging:
            query["lagging"] = "1"
        if query:
            address += ("&" if "?" in address else "?") + urlencode(query)
        return web.Response(status=303, headers={"Location": address})


def _body_of(route: Route, reply: Reply) -> BaseModel | None:
    if reply.stored is None or route.answer is None:
        return reply.body
    return route.answer.model_validate_json(bytes(reply.stored.body))


def _fingerprint(route: Route, path: Mapping[str, str] | None, body: BaseModel | None) -> bytes:
    told = b"" if body is None else body.model_dump_json(by_alias=True).encode()
    return sha256(b"\n".join((route.name.encode(), orjson.dumps(dict(path or {})), told))).digest()
