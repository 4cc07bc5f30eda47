"""The API's own calls, made in this process by whoever may open the database: nothing is decided twice."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import orjson
import psycopg
from pydantic import BaseModel

from cli.clock import now
from cli.connection import Books, books
from cli.failures import UsageError
from cli.pools import opened
from cli.serve_web import mailer, web_options
from cli.whose import merchant_of
from consumers.paying import Paying, paying
from ledger import users
from ledger.access import ROLES, SCOPES
from ledger.application import Ledger
from ledger.intake import Intake
from projections.read import Reads
from schemas.api import LIMIT_MAX, Scope
from schemas.errors import ConflictError, RejectedError
from web.api import RESOURCES
from web.api.bodies import validated
from web.api.calls import Call
from web.api.routes import PREFIX, Handler, Route
from web.arrivals import Arrivals
from web.callers import check_scope
from web.services import Services
from web.threads import Threads

MEANS = "cli/payouts"
"""What causes of events say of a command; of one in the name of a user it is `cli/` and the user's id."""

OPERATOR = "cli"
"""Who acts where nobody is named: whoever may open the database."""

Answer = TypeVar("Answer")

# `{run_id:[^/]+}` is `{run_id}` here.
_PARAMETER = re.compile(r"\{(\w+):[^{}]*\}")
_ROUTES: Mapping[tuple[str, str], Route] = {
    (route.method, _PARAMETER.sub(r"{\1}", route.path)): route for table in RESOURCES for route in table.routes
}


class CommandCaller(NamedTuple):
    """Who stands behind a command: an operator, in the name of a user of the merchant where one is named."""

    merchant_id: str
    scopes: frozenset[str]
    user_id: str | None = None
    key_id: str | None = OPERATOR
    means: str = MEANS

    def check(self, scope: Scope | None) -> None:
        """Refuse what the user's role does not allow: ForbiddenError `scope_missing`."""
        check_scope(self.scopes, scope, f"this needs a user whose role has `{scope}`")


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What a command works with: the books, what pays partners, and the API's calls in the name of `caller`."""

    found: Books
    ledger: Ledger
    services: Services
    caller: CommandCaller
    threads: Threads

    @property
    def merchant_id(self) -> str:
        """Whose books are open."""
        return self.caller.merchant_id

    @property
    def by(self) -> str:
        """Who acts: the user's id, `cli` where none is named."""
        return self.caller.user_id or OPERATOR

    @property
    def paying(self) -> Paying:
        """What pays partners. Raises ConflictError `payouts_not_set_up`."""
        return _set_up(self.services.paying)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        names: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> dict[str, Any]:
        """Return what the API answers to the call, as JSON has it; `names` are the path's parameters.

        Raises what the call raises, in the words of the command line's options where a field is at fault.
        """
        route = _ROUTES[method, path]
        self.caller.check(route.scope)
        call = self.call(
            path=names or {}, query=validated(route.query, _told(query), root="query"), body=_body(route, body),
            status=route.status, idempotency_key=key, fingerprint=_fingerprint(route, names or {}, body),
        )  # fmt: skip
        reply = await cast("Handler", route.handler)(call)
        if reply.stored is not None:
            return dict(orjson.loads(bytes(reply.stored.body)))
        return {} if reply.body is None else dict(orjson.loads(reply.body.model_dump_json(by_alias=True)))

    def call(self, **asked: Any) -> Call[Any, Any]:
        """Return a call of the API in the name of the caller, which says what is `asked` for."""
        whose: dict[str, Any] = {
            "services": self.services, "intake": Intake(self.ledger), "threads": self.threads,
            "arrivals": Arrivals(self.found.database_url), "key": self.caller, "now": now(),
            "request_id": f"cli-{secrets.token_hex(8)}",
        }  # fmt: skip
        nothing: dict[str, Any] = {
            "path": {}, "query": None, "body": None, "status": HTTPStatus.OK, "idempotency_key": None,
            "fingerprint": b"",
        }  # fmt: skip
        return Call(**whose, **{**nothing, **asked})

    async def rows(
        self,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        names: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the rows of a list, page after page, `limit` of them at most; `names` are the path's parameters."""
        cursor, left = None, limit
        while left is None or left > 0:
            size = LIMIT_MAX if left is None else min(left, LIMIT_MAX)
            page = await self.ask("GET", path, query={**(query or {}), "limit": size, "cursor": cursor}, names=names)
            for row in page["data"]:
                yield row
            cursor, left = page["next_cursor"], None if left is None else left - len(page["data"])
            if cursor is None:
                return


def at_desk(
    work: Callable[[Desk], Awaitable[Answer]], data: Path | None, merchant: str | None, by: str | None = None
) -> Answer:
    """Return what the work returns, done at a desk of the merchant that is named or the only one.

    `by` is the e-mail address or id of the user in whose name it is done. Raises UsageError, NotFoundError,
    ConflictError `user_disabled`, and what the work raises.
    """
    with books(data) as found, found.ledger() as ledger:
        merchant_id = merchant_of(found, ledger, merchant)
        caller = _caller(ledger, merchant_id, by)

        async def run() -> Answer:
            async with _desk(found, ledger, caller) as desk:
                return await work(desk)

        with _in_words_of_options():
            return asyncio.run(run())


def with_paying(work: Callable[[Books, Ledger, Paying], Awaitable[Answer]], data: Path | None) -> Answer:
    """Return what the work returns, which belongs to no merchant. Raises ConflictError `payouts_not_set_up`."""
    with books(data) as found, found.ledger() as ledger:

        async def run() -> Answer:
            async with paying(ledger, found.payout_settings) as pays:
                return await work(found, ledger, _set_up(pays))

        return asyncio.run(run())


@asynccontextmanager
async def _desk(found: Books, ledger: Ledger, caller: CommandCaller) -> AsyncIterator[Desk]:
    # Where nobody answers, a pool would try for a while and keep the reason to itself.
    async with await psycopg.AsyncConnection.connect(found.database_url):
        pass
    url, threads, mail = found.database_url, Threads(1, 1), mailer(found.settings)
    async with opened(url, 1, walled=True) as readers, opened(url, 1) as pool, paying(
        ledger, found.payout_settings
    ) as pays:  # fmt: skip
        options = web_options(found.settings, found.hash_key)
        services = Services(
            ledger=ledger, reads=Reads(readers), pool=pool, now=now, options=options, mail=mail, paying=pays
        )  # fmt: skip
        try:
            yield Desk(found=found, ledger=ledger, services=services, caller=caller, threads=threads)
        finally:
            threads.close()
            if mail is not None:
                await mail.close()


def _caller(ledger: Ledger, merchant_id: str, by: str | None) -> CommandCaller:
    if by is None:
        return CommandCaller(merchant_id, frozenset(SCOPES))
    user = users.find(ledger, merchant_id, by)
    if user.disabled_at is not None:
        raise ConflictError("user_disabled", f"{by} is disabled, and acts no more")
    return CommandCaller(merchant_id, ROLES[user.role], user.user_id, None, f"cli/{user.user_id}")


def _set_up(pays: Paying | None) -> Paying:
    if pays is None:
        raise ConflictError(
            "payouts_not_set_up", "PAYOUT_DETAILS_KEYS is not set: the key that seals how partners are paid"
        )
    return pays


def _body(route: Route, told: Mapping[str, Any] | None) -> BaseModel | None:
    if route.body is None:
        return None
    return validated(route.body, {name: value for name, value in (told or {}).items() if value is not None}, root="$")


def _told(query: Mapping[str, Any] | None) -> dict[str, str]:
    return {name: str(value) for name, value in (query or {}).items() if value is not None}


def _fingerprint(route: Route, names: Mapping[str, str], body: Mapping[str, Any] | None) -> bytes:
    """Return what tells one request from another under the same key. Commands and HTTP are two: keys are not shared."""
    told = [route.method, f"{PREFIX}{route.path}", dict(names), dict(body or {})]
    return sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).digest()


@contextmanager
def _in_words_of_options() -> Iterator[None]:
    """Name the option where a field of a body or a query is at fault: `$.cut_off` is `--cut-off`."""
    try:
        yield
    except RejectedError as error:
        if error.code not in ("invalid_body", "invalid_query"):
            raise
        faults = (f"--{_option(fault.path)}: {fault.message}" for fault in error.faults)
        raise UsageError("; ".join(faults)) from None


_OPTIONS = {"partner_ids": "partner", "exclude_partner_ids": "exclude", "from_": "from"}
_PLACE = re.compile(r"^(?:query|\$)\.(?P<name>\w+)(?P<inside>.*)$")


def _option(path: str) -> str:
    found = _PLACE.match(path)
    if found is None:
        return path
    return _OPTIONS.get(found["name"], found["name"].replace("_", "-"))
