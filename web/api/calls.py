"""A call from its arrival to its answer: who calls, what is asked, the handler, the answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Generic, NamedTuple, TypeVar, cast

from aiohttp import web
from pydantic import BaseModel

from ledger.access import Actor
from ledger.intake import Intake, Taken
from ledger.requests import Request, StoredAnswer
from ledger.store import RequestRepeatedError
from schemas.errors import ConflictError, LedgerError, NotFoundError, RetryableError
from web.api.bodies import idempotency_key, parse_body, parse_query, read_body
from web.api.routes import FileHandler, Handler, Route
from web.arrivals import Arrivals
from web.callers import Caller
from web.keys import KnownKeys, find_key
from web.limits import LIMITS
from web.positions import Positions
from web.request_ids import request_id_of
from web.services import SERVICES, Services
from web.threads import Threads

THREADS = web.AppKey("threads", Threads)
POSITIONS = web.AppKey("positions", Positions)
INTAKE = web.AppKey("intake", Intake)
ARRIVALS = web.AppKey("arrivals", Arrivals)
KNOWN_KEYS = web.AppKey("known_keys", KnownKeys)
POSITION_HEADER = "X-Ledger-Position"

_PATH_LENGTH_MAX = 128

_Body = TypeVar("_Body")
_Query = TypeVar("_Query")
_Result = TypeVar("_Result")


class Reply(NamedTuple):
    """What a handler answers with: the body, and the position that it reflects (a read) or wrote (a command)."""

    body: BaseModel | None
    position: int | None = None
    stored: StoredAnswer | None = None


@dataclass(frozen=True, kw_only=True)
class Call(Generic[_Body, _Query]):
    """One call: who asks (the merchant comes from the key or the session and from nowhere else), when, and for what."""

    services: Services
    intake: Intake
    threads: Threads
    arrivals: Arrivals
    key: Caller
    now: datetime
    request_id: str
    path: Mapping[str, str]
    query: _Query
    body: _Body
    status: HTTPStatus
    idempotency_key: str | None
    fingerprint: bytes

    @property
    def merchant_id(self) -> str:
        """Whose books are open."""
        return self.key.merchant_id

    @property
    def cause(self) -> str:
        """What is written into events: the request, and the key or the user that made it."""
        return f"{self.key.means}@{self.request_id}"

    @property
    def actor(self) -> Actor:
        """Who acts, for what is recorded outside of the log."""
        return Actor(self.cause, self.key.scopes, self.key.key_id, self.key.user_id)

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """Return what the write side's synchronous `work` returns, computed off the event loop."""
        return await self.threads.run(work)

    async def write(
        self,
        command: Callable[[Request | None], _Result],
        answer: Callable[[_Result], BaseModel],
        *,
        kept: Callable[[_Result], BaseModel] | None = None,
    ) -> Reply:
        """Run the command once and return its answer, or the answer that its idempotency key was given before.

        `command` gets what the ledger stores with its events; `answer` makes the body of the command's result, `kept`
        the one that is stored and given again, where that must say less (a secret is shown once and stored nowhere).
        Raises ConflictError `idempotency_key_reused` for the same key with another body, and what the command raises.
        """
        if self.idempotency_key is None:
            return self._reply(await self.run(lambda: command(None)), answer)
        earlier = await self.answered_before(self.idempotency_key)
        if earlier:
            return earlier
        request = Request(
            merchant_id=self.merchant_id,
            idempotency_key=self.idempotency_key,
            body_sha256=self.fingerprint,
            answer=lambda result: (self.status, encoded((kept or answer)(result))),
        )
        try:
            return self._reply(await self.run(lambda: command(request)), answer)
        except LedgerError as error:
            # The same request may have won while this one was deciding; then its answer is the answer, whatever went
            # wrong here.
            earlier = await self.answered_before(self.idempotency_key)
            if earlier:
                return earlier
            if isinstance(error, RequestRepeatedError):
                raise RetryableError(str(error)) from error
            raise

    def _reply(self, result: Any, answer: Callable[[Any], BaseModel]) -> Reply:
        return Reply(answer(result), position_of(result))

    async def answered_before(self, key: str) -> Reply | None:
        """Return the answer that the idempotency key was given before, None where it is new.

        Raises ConflictError `idempotency_key_reused` where that was to another request.
        """
        stored = await self.run(lambda: self.services.ledger.answered_before(self.merchant_id, key))
        if stored is None:
            return None
        if bytes(stored.body_sha256) != self.fingerprint:
            raise ConflictError("idempotency_key_reused", "this Idempotency-Key came with another request before")
        return Reply(None, stored.position, stored)


class Endpoint:
    """Makes an aiohttp handler of a route."""

    def __init__(self, route: Route) -> None:
        self.route = route

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Return the answer; errors go up to the middleware that turns them into problems."""
        call = await self._call(request)
        min_position = getattr(call.query, "min_position", None)
        if min_position is not None:
            await request.app[POSITIONS].reached(min_position)
        try:
            if self.route.is_file:
                return await cast("FileHandler", self.route.handler)(call, request)
            return self._response(await cast("Handler", self.route.handler)(call))
        finally:
            if not self.route.reads:
                # Before it is answered: whoever revoked a key must not see it work once more.
                request.app[KNOWN_KEYS].forget()

    async def _call(self, request: web.Request) -> Call[Any, Any]:
        services = request.app[SERVICES]
        now = services.now()
        authorization = request.headers.get("Authorization")
        # Whoever changes something is looked up anew each time.
        find = request.app[KNOWN_KEYS].find if self.route.reads else find_key
        key = await request.app[LIMITS].admit(request, lambda: find(services.pool, authorization, now))
        key.check(self.route.scope)
        raw = await self._raw(request, services)
        return Call(
            services=services,
            intake=request.app[INTAKE],
            threads=request.app[THREADS],
            arrivals=request.app[ARRIVALS],
            key=key,
            now=now,
            request_id=request_id_of(request),
            path=path_of(request),
            query=parse_query(request, self.route.query),
            body=await self._body(request, services, raw),
            status=self.route.status,
            idempotency_key=idempotency_key(request.headers) if self.route.idempotent_by_key else None,
            fingerprint=b"" if self.route.reads else _fingerprint(request, raw),
        )

    def _bytes_max(self, services: Services) -> int:
        return services.options.orders_body_max if self.route.large else services.options.body_max

    async def _raw(self, request: web.Request, services: Services) -> bytes:
        if self.route.body is None:
            return b""
        return await read_body(request, bytes_max=self._bytes_max(services), wait_s=services.options.body_wait_s)

    async def _body(self, request: web.Request, services: Services, raw: bytes) -> BaseModel | None:
        if self.route.body is None:
            return None
        if not raw and not self.route.body_required:
            return self.route.body()
        return await parse_body(request, self.route.body, raw, bytes_max=self._bytes_max(services))

    def _response(self, reply: Reply) -> web.Response:
        headers = {} if reply.position is None else {POSITION_HEADER: str(reply.position)}
        if reply.stored:
            headers["Idempotency-Replayed"] = "true"
            return _json(bytes(reply.stored.body), HTTPStatus(reply.stored.status), headers)
        if reply.body is None:
            return web.Response(status=self.route.status, headers=headers)
        return _json(encoded(reply.body), self.route.status, headers)


def path_of(request: web.Request) -> Mapping[str, str]:
    """Return the path's parameters. Raises NotFoundError for what no id can be, before a database sees it."""
    for value in request.match_info.values():
        if not 0 < len(value) <= _PATH_LENGTH_MAX or any(_is_control(each) for each in value):
            raise NotFoundError("thing named", value[:_PATH_LENGTH_MAX].encode("ascii", "backslashreplace").decode())
    return request.match_info


def _fingerprint(request: web.Request, raw: bytes) -> bytes:
    return sha256(b"\n".join((request.method.encode(), request.raw_path.encode(), raw))).digest()


def position_of(result: Any) -> int | None:
    """Return the position of the last event that a command wrote, None where it wrote none."""
    return result.event_position if isinstance(result, Taken) else getattr(result, "position", None)


def encoded(body: BaseModel) -> bytes:
    """Return the body as JSON."""
    return body.model_dump_json(by_alias=True).encode()


def _is_control(character: str) -> bool:
    return character < " " or "\x7f" <= character <= "\x9f" or "\ud800" <= character <= "\udfff"


def _json(body: bytes, status: HTTPStatus, headers: Mapping[str, str]) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)
