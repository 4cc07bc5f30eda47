"""Stripe on the loopback: transfers, reversals, connected accounts, idempotency keys, events. It keeps the truth."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import stripe
from aiohttp import web
from stripe.params import AccountCreateParams, AccountLinkCreateParams, TransferCreateParams, TransferListParams

from tests.support.doubles.faults import Fault, answer, next_fault
from tests.support.doubles.serving import serving
from tests.support.doubles.typed import faults_of, nested

KEY = "sk_test_double"
WEBHOOK_SECRET = "whsec_double"  # noqa: S105 - of nobody
KEYS_LAST = timedelta(hours=24)
AMOUNT_MAX = 99_999_999

Done = Callable[[], Awaitable[web.Response]]


class RefusalError(Exception):
    """An answer that is an error. `executed`: the key keeps it."""

    def __init__(self, status: int, code: str | None, param: str | None = None, *, executed: bool = False) -> None:
        super().__init__(code)
        self.status, self.code, self.param, self.executed = status, code, param, executed

    def answer(self) -> tuple[int, dict[str, Any]]:
        """Return status and body."""
        kind = "idempotency_error" if self.code == "idempotency_error" else "invalid_request_error"
        told = {"type": kind, "code": None if self.code == "idempotency_error" else self.code, "param": self.param}
        told["message"] = f"double: {self.code} {self.param or ''}".strip()
        return self.status, {"error": {name: value for name, value in told.items() if value is not None}}


@dataclass
class Kept:
    """What a key did first."""

    at: datetime
    path: str
    body: bytes
    status: int
    answer: dict[str, Any]


@dataclass
class Sent:
    """One request as it arrived."""

    method: str
    path: str
    key: str | None
    body: bytes
    headers: dict[str, str]


@dataclass
class StripeDouble:
    """Stripe. `faults` are used up, one a request; `now` is its clock."""

    url: str = ""
    now: datetime = datetime(2026, 11, 22, 12, tzinfo=UTC)
    balance: dict[str, int] = field(default_factory=lambda: {"usd": 10**9, "eur": 10**9, "jpy": 10**9})
    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    transfers: list[dict[str, Any]] = field(default_factory=list)
    keys: dict[str, Kept] = field(default_factory=dict)
    faults: deque[Fault] = field(default_factory=deque)
    sent: list[Sent] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    events: int = 0

    # --- the world ---

    def account(self, account_id: str, transfers: str = "active") -> str:
        """Let there be a connected account; returns its id."""
        self.accounts[account_id] = {
            "id": account_id, "object": "account", "type": "express", "capabilities": {"transfers": transfers},
            "details_submitted": transfers == "active", "payouts_enabled": transfers == "active",
            "requirements": {"disabled_reason": None if transfers == "active" else "requirements.past_due"},
        }  # fmt: skip
        return account_id

    def reverse(self, transfer_id: str, amount: int | None = None) -> dict[str, Any]:
        """Take back an amount, or all of it; returns the transfer."""
        (found,) = (each for each in self.transfers if each["id"] == transfer_id)
        found["amount_reversed"] += found["amount"] - found["amount_reversed"] if amount is None else amount
        found["reversed"] = found["amount_reversed"] == found["amount"]
        return found

    def event(self, kind: str, told: dict[str, Any], event_id: str | None = None) -> bytes:
        """Return the body of an event about the object."""
        self.events += 1
        event = {
            "id": event_id or f"evt_{self.events}", "object": "event", "type": kind, "api_version": None,
            "created": int(self.now.timestamp()), "data": {"object": told}, "livemode": False, "pending_webhooks": 1,
            "request": None,
        }  # fmt: skip
        return json.dumps(event).encode()

    def signed(self, body: bytes, at: datetime | None = None, secret: str = WEBHOOK_SECRET) -> str:
        """Return the signature header of a body."""
        stamp = int((at or self.now).timestamp())
        return stripe.WebhookSignature.generate_signature_header(body.decode(), secret, stamp)

    # --- the server ---

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, or not, as the next fault has it."""
        body = await request.read()
        if request.path in self.links:
            return self._set_up(request)
        key = request.headers.get("Idempotency-Key")
        self.sent.append(Sent(request.method, request.path_qs, key, body, dict(request.headers)))

        async def done() -> web.Response:
            status, told, replayed = self._answer(request, key, body)
            headers = {"Request-Id": f"req_{len(self.sent)}"} | ({"Idempotent-Replayed": "true"} if replayed else {})
            return web.json_response(told, status=status, headers=headers)

        fault = next_fault(self.faults, request)
        return await (done() if fault is None else answer(fault, request, done))

    def _answer(self, request: web.Request, key: str | None, body: bytes) -> tuple[int, dict[str, Any], bool]:
        try:
            self._check(request, key)
            if request.method == "GET":
                return 200, self._get(request), False
            return self._post(request.path, key or "", body)
        except RefusalError as refusal:
            return *refusal.answer(), False

    def _check(self, request: web.Request, key: str | None) -> None:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            raise RefusalError(401, "api_key_invalid")
        if not request.headers.get("Stripe-Version"):
            raise RefusalError(400, "version_missing")
        if request.method == "POST" and not key:
            raise RefusalError(400, "key_missing")

    def _post(self, path: str, key: str, body: bytes) -> tuple[int, dict[str, Any], bool]:
        kept = self.keys.get(key)
        if kept is not None and self.now - kept.at < KEYS_LAST:
            if (kept.path, kept.body) != (path, body):
                raise RefusalError(400, "idempotency_error")
            return kept.status, kept.answer, True
        made = {"/v1/transfers": self._transfer, "/v1/accounts": self._account, "/v1/account_links": self._link}
        if path not in made:
            raise RefusalError(404, "resource_missing")
        try:
            status, told = 200, made[path](nested(parse_qsl(body.decode(), keep_blank_values=True)))
        except RefusalError as refusal:
            if not refusal.executed:
                raise
            status, told = refusal.answer()
        self.keys[key] = Kept(self.now, path, body, status, json.loads(json.dumps(told)))
        return status, told, False

    def _transfer(self, told: dict[str, Any]) -> dict[str, Any]:
        _typed(told, TransferCreateParams)
        amount, currency = int(told.get("amount", 0)), told["currency"]
        if currency != currency.lower() or len(currency) != 3:
            raise RefusalError(400, None, "currency")
        if amount < 1:
            raise RefusalError(400, "parameter_invalid_integer", "amount")
        if amount > AMOUNT_MAX:
            raise RefusalError(400, "amount_too_large", "amount")
        account = self.accounts.get(told["destination"])
        if account is None:
            raise RefusalError(404, "resource_missing", "destination")
        if account["capabilities"]["transfers"] != "active":
            raise RefusalError(400, "insufficient_capabilities_for_transfer", executed=True)
        if self.balance.get(currency, 0) < amount:
            raise RefusalError(400, "balance_insufficient", executed=True)
        self.balance[currency] -= amount
        made = {
            "id": f"tr_{len(self.transfers) + 1}", "object": "transfer", "amount": amount, "amount_reversed": 0,
            "balance_transaction": f"txn_{len(self.transfers) + 1}", "created": int(self.now.timestamp()),
            "currency": currency, "description": told.get("description"), "destination": told["destination"],
            "destination_payment": f"py_{len(self.transfers) + 1}", "livemode": False,
            "metadata": told.get("metadata", {}), "reversals": {"object": "list", "data": [], "has_more": False},
            "reversed": False, "source_transaction": None, "source_type": "card",
            "transfer_group": told.get("transfer_group"),
        }  # fmt: skip
        self.transfers.append(made)
        return made

    def _account(self, told: dict[str, Any]) -> dict[str, Any]:
        _typed(told, AccountCreateParams)
        found = self.account(f"acct_{len(self.accounts) + 1}", "inactive")
        self.accounts[found]["metadata"] = told.get("metadata", {})
        return self.accounts[found]

    def _link(self, told: dict[str, Any]) -> dict[str, Any]:
        _typed(told, AccountLinkCreateParams)
        if told["account"] not in self.accounts:
            raise RefusalError(404, "resource_missing", "account")
        stamp = int(self.now.timestamp())
        url = f"{self.url}/setup/{told['account']}/{len(self.sent)}"
        self.links[url.removeprefix(self.url)] = told["return_url"]
        return {"object": "account_link", "created": stamp, "expires_at": stamp + 300, "url": url}

    def _set_up(self, request: web.Request) -> web.Response:
        """Show a partner what it would fill in at Stripe; sent, the account can be paid, and the link is used up."""
        if request.method != "POST":
            page = "<!doctype html><title>Double</title><form method=post><button>Fill in everything</button></form>"
            return web.Response(text=page, content_type="text/html")
        self.account(request.path.split("/")[2])
        return web.Response(status=303, headers={"Location": self.links.pop(request.path)})

    def _get(self, request: web.Request) -> dict[str, Any]:
        *_, kind, last = request.path.split("/")
        if last == "transfers":
            return self._list(nested(list(request.query.items())))
        known = {"transfers": {each["id"]: each for each in self.transfers}, "accounts": self.accounts}
        if last not in known.get(kind, {}):
            raise RefusalError(404, "resource_missing", "id")
        return known[kind][last]

    def _list(self, told: dict[str, Any]) -> dict[str, Any]:
        _typed(told, TransferListParams)
        group, limit, created = told.get("transfer_group"), int(told.get("limit", "10")), told.get("created", {})
        begin, end = int(created.get("gte", 0)), int(created.get("lt", 2**60))
        data = [each for each in reversed(self.transfers) if group in (None, each["transfer_group"])]
        data = [each for each in data if begin <= each["created"] < end]
        ids = [each["id"] for each in data]
        data = data[ids.index(told["starting_after"]) + 1 :] if "starting_after" in told else data
        return {"object": "list", "url": "/v1/transfers", "has_more": len(data) > limit, "data": data[:limit]}


def _typed(told: dict[str, Any], shape: Any) -> None:
    wrong = faults_of(told, shape)
    if wrong:
        raise RefusalError(400, wrong[0].code, wrong[0].param)


@asynccontextmanager
async def stripe_double() -> AsyncIterator[StripeDouble]:
    """Yield Stripe, listening."""
    double = StripeDouble()
    async with serving(double):
        yield double
