"""The API under test: the real application on PostgreSQL, two merchants with a key each, and a clock that is set."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Thread
from typing import Any

from aiohttp.test_utils import TestClient, TestServer
from argon2.profiles import CHEAPEST
from psycopg_pool import AsyncConnectionPool
from pydantic import SecretStr

from consumers.paying import Paying, paying
from ledger import merchants
from ledger.application import Ledger
from ledger.terms import Terms
from projections import wall
from projections.read import Reads
from projections.runner import Projector
from schemas.payout_settings import PayoutSettings
from tests.support.keys import key_of
from web.application import create_app
from web.connections import Runner
from web.mail import Mailer
from web.services import Services, WebOptions

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
JANE = {
    "name": "Jane",
    "email": "jane@example.com",
    "rate": {"type": "percentage", "value": "10"},
    "coupon_code": "JANE10",
}

JOE = {"name": "Joe", "email": "joe@example.com", "coupon_code": "JOE5", "rate": {"type": "fixed", "value": "5.00"}}

# Manual payouts and bank transfers, and whatever else a test sets up.
PAYOUTS = PayoutSettings(
    payout_details_keys=(SecretStr("test:" + b64encode(b"k" * 32).decode()),), bank_debtor_name="Acme GmbH",
    bank_debtor_iban="DE89370400440532013000",
)  # fmt: skip

# Tests ask faster than callers may, and their passwords are worth little.
_CHOICES: dict[str, Any] = {
    "public_url": "https://ledger.example",
    "rate_burst": 10**9,
    "failures_burst": 10**9,
    "password_cost": CHEAPEST,
}


@dataclass
class Answer:
    """One HTTP answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    text: str
    json: Any

    @property
    def code(self) -> str | None:
        """The problem's code, None for what is no problem."""
        return self.json.get("code") if isinstance(self.json, dict) else None


@dataclass
class Api:
    """A running application. `ask` calls it as one of the merchants; `now` is its clock."""

    client: TestClient[Any, Any]
    ledger: Ledger
    database_url: str
    keys: dict[str, str]
    now: datetime = NOW
    order_number: int = field(default=0)
    paying: Paying | None = None

    async def ask(self, method: str, path: str, body: Any = None, *, of: str | None = "acme", **options: Any) -> Answer:
        """Return the answer to a call under /api/v1 (or to an absolute path that starts with `//`)."""
        headers = dict(options.pop("headers", {}))
        if of is not None:
            headers.setdefault("Authorization", f"Bearer {self.keys[of]}")
        if body is not None:
            options["json"] = body
        address = path[1:] if path.startswith("//") else f"/api/v1{path}"
        async with self.client.request(method, address, headers=headers, **options) as response:
            text = await response.text()
            is_json = response.content_type.endswith("json")
            return Answer(response.status, response.headers, text, await response.json() if is_json and text else None)

    async def project(self) -> int:
        """Bring the read models up to the log and return their position."""
        return await asyncio.to_thread(Projector(self.database_url).catch_up)

    async def get(self, path: str, **options: Any) -> Answer:
        """Return the answer to a GET."""
        return await self.ask("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        """Return the answer to a POST."""
        return await self.ask("POST", path, body, **options)

    async def partner(self, *, of: str = "acme", **change: Any) -> dict[str, Any]:
        """Register a partner (Jane, unless changed) and return it."""
        answer = await self.post("/partners", JANE | change, of=of)
        assert answer.status == 201, answer.text
        return dict(answer.json)

    def order(self, **change: Any) -> dict[str, Any]:
        """Return a new order of 100.00 USD with Jane's code."""
        self.order_number += 1
        number = self.order_number
        return {
            "type": "order.placed",
            "event_id": f"e-{number}",
            "order_id": f"o-{number}",
            "occurred_at": "2026-11-22T10:00:00Z",
            "currency": "USD",
            "total": "100.00",
            "coupon_code": "JANE10",
        } | change

    def refund(self, order_id: str, amount: str, **change: Any) -> dict[str, Any]:
        """Return a refund of an order."""
        return {
            "type": "order.refunded",
            "event_id": f"r-{order_id}",
            "order_id": order_id,
            "occurred_at": "2026-11-22T11:00:00Z",
            "currency": "USD",
            "refund_id": f"r-{order_id}",
            "amount": amount,
        } | change


class _Server(TestServer):
    """Runs the application behind the connections that it has in earnest."""

    async def _make_runner(self, **options: Any) -> Runner:
        return Runner(self.app, **options)


@asynccontextmanager
async def running(
    database_url: str, *, mail: Mailer | None = None, payouts: PayoutSettings | None = PAYOUTS, **options: Any
) -> AsyncIterator[Api]:
    """Yield the application of two merchants: acme and zenith (both USD, manual approval).

    `payouts` None: nothing is set up by which anybody could be paid.
    """
    async with AsyncExitStack() as stack:
        ledger = Ledger(database_url, hash_key=b"hash key of the tests", pool_size=6)
        stack.callback(ledger.close)
        keys = await asyncio.to_thread(_open_programs, ledger)
        pool = await stack.enter_async_context(_pool(database_url))
        readers = await stack.enter_async_context(_pool(database_url, configure=wall.stand_behind))
        choices = WebOptions(secret=b"secret of the tests", **_CHOICES | options)
        pays = None if payouts is None else await stack.enter_async_context(paying(ledger, payouts))
        services = Services(
            ledger=ledger, reads=Reads(readers), pool=pool, now=lambda: api.now, options=choices, mail=mail,
            paying=pays,
        )  # fmt: skip
        client = await stack.enter_async_context(TestClient(_Server(create_app(services))))
        api = Api(client, ledger, database_url, keys, paying=pays)
        await api.project()
        yield api


@asynccontextmanager
async def kept_up(database_url: str) -> AsyncIterator[None]:
    """Keep the read models at the head of the log while inside, as the projector does."""
    projector = Projector(database_url)
    thread = Thread(target=projector.run, name="projector")
    thread.start()
    try:
        yield
    finally:
        projector.stop()
        await asyncio.to_thread(thread.join)


def _pool(database_url: str, **options: Any) -> AsyncConnectionPool[Any]:
    return AsyncConnectionPool(
        database_url, open=False, min_size=1, max_size=4, timeout=2, kwargs={"autocommit": True}, **options
    )


def _open_programs(ledger: Ledger) -> dict[str, str]:
    """Register the merchants and return a key of each."""
    for merchant_id in ("acme", "zenith"):
        merchants.register(
            ledger, merchant_id=merchant_id, name=merchant_id.title(), currency="USD", email="owner@example.com",
            terms=Terms(approval="manual"), now=NOW, cause="test",
        )  # fmt: skip
    return {merchant_id: key_of(ledger, merchant_id, now=NOW) for merchant_id in ("acme", "zenith")}
