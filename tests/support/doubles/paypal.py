"""PayPal on the loopback: tokens, batches, items, webhooks. Requests and answers are checked; it keeps the truth."""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zlib import crc32

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.support.doubles import paypal_schema as schema
from tests.support.doubles.faults import Fault, answer, next_fault
from tests.support.doubles.serving import serving

CLIENT_ID, CLIENT_SECRET, WEBHOOK_ID = "double-client", "double-secret", "WH-DOUBLE"
KEYS_LAST = timedelta(days=30)
TOKEN_LASTS_S = 32_400
NO_DECIMALS = ("HUF", "JPY", "TWD")


class RefusalError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, name: str, *details: dict[str, Any]) -> None:
        super().__init__(name)
        self.status = status
        self.body = {"name": name, "message": f"double: {name}", "debug_id": "d0ub1e", "details": list(details)}


@dataclass
class PayPalDouble:
    """PayPal. `faults` are used up, one a request that is not for a token; `now` is its clock."""

    url: str = ""
    now: datetime = datetime(2026, 11, 22, 12, tzinfo=UTC)
    balance: int = 10**9
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, tuple[datetime, str]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    faults: deque[Fault] = field(default_factory=deque)
    sent: list[tuple[str, str, bytes]] = field(default_factory=list)
    # What becomes of an item as soon as its batch is there.
    outcome: str = "PENDING"
    secret: str = CLIENT_SECRET

    # --- the world ---

    @property
    def items(self) -> list[dict[str, Any]]:
        """Every item of every batch."""
        return [item for batch in self.batches.values() for item in batch["items"]]

    def move(self, item_id: str, status: str) -> dict[str, Any]:
        """Let the item come into this status; returns it."""
        (item,) = (each for each in self.items if each["payout_item_id"] == item_id)
        item["transaction_status"] = status
        item.pop("errors", None)
        if status == "SUCCESS":
            item["transaction_id"] = f"TX{item_id}"
        if status in ("UNCLAIMED", "FAILED", "BLOCKED"):
            name = "RECEIVER_UNREGISTERED" if status == "UNCLAIMED" else "RECEIVER_ACCOUNT_LOCKED"
            item["errors"] = {"name": name, "message": "double", "debug_id": "d0ub1e"}
        return item

    def deny(self, batch_id: str) -> None:
        """Deny the batch as a whole, which frees its key."""
        batch = self.batches[batch_id]
        batch["batch_header"]["batch_status"] = "DENIED"
        self.keys.pop(batch["batch_header"]["sender_batch_header"]["sender_batch_id"], None)

    def event(self, kind: str, item_id: str, event_id: str = "WH-1") -> bytes:
        """Return the body of an event about the item."""
        found = [each for each in self.items if each["payout_item_id"] == item_id]
        resource = found[0] if found else {"payout_item_id": item_id}
        told = {"id": event_id, "event_type": f"PAYMENT.PAYOUTS-ITEM.{kind}", "resource": resource}
        return json.dumps(told).encode()

    def signed(self, body: bytes, at: datetime | None = None, webhook_id: str = WEBHOOK_ID) -> dict[str, str]:
        """Return the headers of a message, by their names in lower case."""
        stamp = (at or self.now).strftime("%Y-%m-%dT%H:%M:%SZ")
        signed = f"transmission-1|{stamp}|{webhook_id}|{crc32(body)}"
        return {
            "paypal-transmission-id": "transmission-1",
            "paypal-transmission-time": stamp,
            "paypal-transmission-sig": base64.b64encode(_key().sign(signed.encode(), PKCS1v15(), SHA256())).decode(),
            "paypal-cert-url": self.certificate,
            "paypal-auth-algo": "SHA256withRSA",
        }

    @property
    def certificate(self) -> str:
        """Where its certificate is."""
        return f"{self.url}/v1/notifications/certs/CERT-1"

    # --- the server ---

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, or not, as the next fault has it."""
        body = await request.read()
        if request.path == "/v1/oauth2/token":
            return self._token(request, body)
        if request.path.startswith("/v1/notifications/certs/"):
            return web.Response(body=_certificate().public_bytes(Encoding.PEM))
        self.sent.append((request.method, request.path, body))

        async def done() -> web.Response:
            status, told = self._answer(request, body)
            return web.json_response(told, status=status)

        fault = next_fault(self.faults, request)
        return await (done() if fault is None else answer(fault, request, done))

    def _token(self, request: web.Request, body: bytes) -> web.Response:
        told = base64.b64encode(f"{CLIENT_ID}:{self.secret}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {told}" or body != b"grant_type=client_credentials":
            return web.json_response({"error": "invalid_client", "error_description": "double"}, status=401)
        token = f"token-{len(self.tokens) + 1}"
        self.tokens.add(token)
        return web.json_response({"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_LASTS_S})

    def _answer(self, request: web.Request, body: bytes) -> tuple[int, dict[str, Any]]:
        try:
            self._check_token(request)
            if request.method == "POST" and request.path == "/v1/payments/payouts":
                told = self._create(body)
                schema.CREATED.validate(told)
                return 201, told
            return 200, self._get(request.path)
        except RefusalError as refusal:
            schema.ERROR.validate(refusal.body)
            return refusal.status, refusal.body

    def _check_token(self, request: web.Request) -> None:
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            raise RefusalError(401, "AUTHENTICATION_FAILURE")

    def _create(self, body: bytes) -> dict[str, Any]:
        try:
            told = json.loads(body)
        except ValueError:
            raise RefusalError(400, "MALFORMED_REQUEST") from None
        wrong = [{"field": each.json_path, "issue": each.message} for each in schema.REQUEST.iter_errors(told)]
        if wrong:
            raise RefusalError(400, "VALIDATION_ERROR", *wrong)
        self._check(told)
        key = told["sender_batch_header"]["sender_batch_id"]
        first = self.keys.get(key)
        if first is not None and self.now - first[0] < KEYS_LAST:
            # To another address than the one that is asked, as PayPal's own links are.
            href = f"https://api.paypal.com/v1/payments/payouts/{first[1]}"
            detail = {"field": "SENDER_BATCH_ID", "issue": "Batch with given sender_batch_id already exists"}
            links = [{"href": href, "rel": "self", "method": "GET"}]
            raise RefusalError(400, "USER_BUSINESS_ERROR", detail | {"link": links})
        return self._keep(key, told["items"])

    def _check(self, told: dict[str, Any]) -> None:
        if len({item["amount"]["currency"] for item in told["items"]}) > 1:
            raise RefusalError(400, "VALIDATION_ERROR", {"field": "items", "issue": "Currencies differ"})
        for number, item in enumerate(told["items"]):
            amount = item["amount"]
            decimals = len(amount["value"].partition(".")[2])
            if decimals > (0 if amount["currency"] in NO_DECIMALS else 2) or float(amount["value"]) <= 0:
                raise RefusalError(400, "VALIDATION_ERROR", {"field": f"items[{number}].amount", "issue": "invalid"})
            if item["recipient_type"] == "EMAIL" and "@" not in item["receiver"]:
                # One bad receiver refuses all of the batch.
                issue = {
                    "field": f"items[{number}].receiver",
                    "issue": "Receiver is invalid or does not match with type",
                }
                raise RefusalError(400, "VALIDATION_ERROR", issue)
        if sum(float(item["amount"]["value"]) for item in told["items"]) > self.balance:
            raise RefusalError(400, "INSUFFICIENT_FUNDS")

    def _keep(self, key: str, items: list[dict[str, Any]]) -> dict[str, Any]:
        batch_id = f"BATCH{len(self.batches) + 1}"
        header = {
            "payout_batch_id": batch_id, "batch_status": "PENDING", "sender_batch_header": {"sender_batch_id": key},
        }  # fmt: skip
        made = [
            {
                "payout_item_id": f"ITEM{len(self.items) + n}", "payout_batch_id": batch_id, "sender_batch_id": key,
                "transaction_status": "PENDING", "payout_item": item,
            }
            for n, item in enumerate(items, start=1)
        ]  # fmt: skip
        self.batches[batch_id] = {"batch_header": header | {"amount": items[0]["amount"]}, "items": made}
        self.keys[key] = (self.now, batch_id)
        if self.outcome != "PENDING":
            for item in made:
                self.move(item["payout_item_id"], self.outcome)
        return {
            "batch_header": header,
            "links": [{"href": f"{self.url}/v1/payments/payouts/{batch_id}", "rel": "self"}],
        }

    def _get(self, path: str) -> dict[str, Any]:
        *_, kind, last = path.split("/")
        if kind == "payouts" and last in self.batches:
            schema.BATCH.validate(self.batches[last])
            return self.batches[last]
        for item in self.items:
            if kind == "payouts-item" and item["payout_item_id"] == last:
                schema.ITEM.validate(item)
                return item
        raise RefusalError(404, "RESOURCE_NOT_FOUND")


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


@cache
def _certificate() -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "messageverificationcerts.paypal.test")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(_key().public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2027, 12, 31, tzinfo=UTC))
        .sign(_key(), SHA256())
    )


@asynccontextmanager
async def paypal_double() -> AsyncIterator[PayPalDouble]:
    """Yield PayPal, listening."""
    double = PayPalDouble()
    async with serving(double):
        yield double
