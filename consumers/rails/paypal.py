"""Payouts by PayPal: one batch of one item per payout, because only a batch has a key.

The key is `sender_batch_id`, which is part of the body. PayPal cannot be asked by it: whoever wants to know sends the
same again, and is shown the original, which is then fetched and compared. The small client is ours, as no SDK that is
kept up has payouts.
"""

import asyncio
import base64
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import aiohttp

from consumers.rails import Accepted, Attempt, Found, Instruction, Missing, Rejected, State, Unknown
from schemas.errors import RejectedError, RetryableError
from schemas.money import exponent, to_decimal_string, to_minor

ANSWER_BYTES_MAX = 256 * 1024
RECEIVER_LENGTH_MAX = 127

# What PayPal pays out in, with the decimals that it takes; where that is fewer than ISO 4217 has, only whole ones go.
DECIMALS = {
    "AUD": 2, "BRL": 2, "CAD": 2, "CHF": 2, "CZK": 2, "DKK": 2, "EUR": 2, "GBP": 2, "HKD": 2, "HUF": 0, "ILS": 2,
    "JPY": 0, "MXN": 2, "MYR": 2, "NOK": 2, "NZD": 2, "PHP": 2, "PLN": 2, "SEK": 2, "SGD": 2, "THB": 2, "TWD": 0,
    "USD": 2,
}  # fmt: skip

# The closed list: the request was refused as a whole, nothing was sent. A name that is not on it is unknown.
DEFINITE = frozenset(["VALIDATION_ERROR", "INVALID_REQUEST", "MALFORMED_REQUEST", "INSUFFICIENT_FUNDS"])

_STATES: dict[str, State] = {
    "PENDING": "in_transit", "PROCESSING": "in_transit", "UNCLAIMED": "held", "ONHOLD": "held", "SUCCESS": "processed",
    "FAILED": "failed", "BLOCKED": "failed", "DENIED": "failed", "CANCELED": "failed",
    "RETURNED": "returned", "REFUNDED": "returned", "REVERSED": "returned",
}  # fmt: skip
_BATCH_DEAD = frozenset(["DENIED", "CANCELED"])

# Asked anew so long before the old one ends.
_TOKEN_MARGIN_S = 60.0
_REASON_LENGTH_MAX = 300
_BATCH_PATH = re.compile(r"/v1/payments/payouts/[A-Za-z0-9_-]{1,64}", re.ASCII)
_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+\.[^\s@\x00-\x1f\x7f]+")
_PAYPAL_ID = re.compile(r"[A-Z0-9]{13}", re.ASCII)


class AnswerError(Exception):
    """PayPal answered, but not what was asked for."""

    def __init__(self, status: int, told: Any) -> None:
        super().__init__(f"{status} {_name(told) or 'without a name'}")
        self.status, self.told = status, told


@dataclass(frozen=True)
class Credentials:
    """Of an app at PayPal. `base` is the address of the API, without a slash at the end."""

    client_id: str
    client_secret: str
    base: str


class PayPalClient:
    """Speaks JSON with PayPal; to be entered. `timeout_s` is for the whole of a call, its token included."""

    def __init__(
        self, credentials: Credentials, *, timeout_s: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._credentials, self._timeout_s, self._clock = credentials, timeout_s, clock
        self._session: aiohttp.ClientSession | None = None
        self._token, self._token_until = "", 0.0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=self._timeout_s)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str) -> dict[str, Any]:
        """Return what is at the path. Raises AnswerError, and whatever else a call can raise."""
        async with asyncio.timeout(self._timeout_s):
            return await self._call("GET", path, None)

    async def post(self, path: str, body: bytes) -> dict[str, Any]:
        """Send the body, exactly as it is, and return the answer. Raises as `get` does."""
        async with asyncio.timeout(self._timeout_s):
            return await self._call("POST", path, body)

    async def fetch(self, url: str) -> bytes:
        """Return what is at an address, asked for without our credentials. Raises as `get` does."""
        assert self._session is not None  # noqa: S101 - entered by the caller
        async with self._session.get(url, allow_redirects=False) as response:
            found = await _read(response)
            if response.status != HTTPStatus.OK:
                raise AnswerError(response.status, None)
            return found

    async def _call(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        status, told = await self._once(method, path, body, await self._bearer())
        if status == HTTPStatus.UNAUTHORIZED and self._token:
            # A token can be taken back before its time; nothing was done under it, so the same may go again.
            self._token = ""
            status, told = await self._once(method, path, body, await self._bearer())
        if status not in (HTTPStatus.OK, HTTPStatus.CREATED) or not isinstance(told, dict):
            raise AnswerError(status, told)
        return told

    async def _bearer(self) -> str:
        if not self._token or self._clock() >= self._token_until:
            secret = f"{self._credentials.client_id}:{self._credentials.client_secret}".encode()
            headers = {
                "Authorization": f"Basic {base64.b64encode(secret).decode()}",
                "Content-Type": "application/x-www-form-urlencoded",
            }
            began = self._clock()
            status, told = await self._request("POST", "/v1/oauth2/token", b"grant_type=client_credentials", headers)
            if status != HTTPStatus.OK:
                raise AnswerError(status, told)
            self._token, lasts_s = str(told["access_token"]), float(told["expires_in"])
            self._token_until = began + lasts_s - _TOKEN_MARGIN_S
        return self._token

    async def _once(self, method: str, path: str, body: bytes | None, token: str) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return await self._request(method, path, body, headers)

    async def _request(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, Any]:
        assert self._session is not None  # noqa: S101 - entered by the caller
        async with self._session.request(
            method, self._credentials.base + path, data=body, headers=headers, allow_redirects=False
        ) as response:
            return response.status, json.loads(await _read(response))


class PayPalRail:
    """The rail `paypal`."""

    name = "paypal"
    # A key is kept for 30 days. A batch that was denied frees its key at once: what was seen denied never goes again.
    window = timedelta(days=29)

    def __init__(self, client: PayPalClient) -> None:
        self._client = client

    def refusal(self, instruction: Instruction, now: datetime) -> str | None:  # noqa: ARG002 - others ask what it is
        """Return None: whoever has credentials may try."""
        return None

    def compose(self, instruction: Instruction) -> bytes:
        """Return the body of the batch, byte for byte the same for the same instruction.

        Raises RejectedError `bad_payee`, `bad_amount`, `unsupported_currency`, `amount_not_payable`.
        """
        item = {
            "recipient_type": _recipient_type(instruction),
            "amount": {
                "value": to_paypal(instruction.amount_minor, instruction.currency),
                "currency": instruction.currency,
            },
            "receiver": instruction.payee.address,
            "sender_item_id": instruction.payout_id,
        }
        told = {"sender_batch_header": {"sender_batch_id": instruction.key}, "items": [item]}
        return json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()

    async def submit(self, attempt: Attempt) -> Accepted | Rejected | Unknown:
        """Create the batch, with exactly the body of the attempt; a repeat is answered with the original."""
        try:
            made = await self._client.post("/v1/payments/payouts", attempt.body)
            return Accepted(_taken(made, attempt))
        except AnswerError as error:
            if error.status == HTTPStatus.BAD_REQUEST:
                return await self._refused(error, attempt)
            return _unknown(error)
        except Exception as error:  # noqa: BLE001 - whatever else it is, it says nothing about the payment
            return _unknown(error)

    async def look_up(self, attempt: Attempt) -> Missing:  # noqa: ARG002 - as the protocol has it
        """Return Missing: PayPal shows a batch only by its own id, or to who sends the same again."""
        return Missing()

    async def state(self, reference: str) -> Found | Missing | Unknown:
        """Return what PayPal says of the batch with this id."""
        try:
            return found_of(await self._client.get(f"/v1/payments/payouts/{quote(reference, safe='')}"))
        except AnswerError as error:
            return Missing() if error.status == HTTPStatus.NOT_FOUND and _name(error.told) else _unknown(error)
        except Exception as error:  # noqa: BLE001 - as above
            return _unknown(error)

    async def item(self, item_id: str) -> dict[str, Any] | None:
        """Return the item as PayPal has it, None where it has none of this id. Raises RetryableError."""
        try:
            item = await self._client.get(f"/v1/payments/payouts-item/{quote(item_id, safe='')}")
        except AnswerError as error:
            if error.status == HTTPStatus.NOT_FOUND and _name(error.told):
                return None
            raise RetryableError(f"PayPal gave no answer: {error}") from error
        except Exception as error:
            raise RetryableError(f"PayPal gave no answer: {type(error).__name__}") from error
        if item.get("payout_item_id") != item_id:
            raise RetryableError("PayPal's answer is not the item that was asked for")
        return item

    async def _refused(self, error: AnswerError, attempt: Attempt) -> Accepted | Rejected | Unknown:
        """Return what a 400 means: that there is one already, that there is none and will be none, or nothing."""
        href = _original(error.told)
        if href is not None:
            return await self._adopted(href, attempt)
        name = _name(error.told)
        if name in DEFINITE and not _about_the_key(error.told):
            return Rejected(name, _issues(error.told))
        return _unknown(error)

    async def _adopted(self, href: str, attempt: Attempt) -> Accepted | Unknown:
        try:
            # Only the path is taken from what was told: our token goes to nobody but PayPal.
            batch = await self._client.get(_batch_path(href))
            found, ours = found_of(batch), attempt.instruction
            key, item_id = _key(batch), _items(batch)[0]["payout_item"].get("sender_item_id") if _items(batch) else None
        except Exception as failed:  # noqa: BLE001 - there is one, and it cannot be seen now
            return _unknown(failed)
        if key != ours.key or item_id not in (None, ours.payout_id):
            return Unknown("under our key there is a batch that is not ours", "review")
        return Accepted(found)


def found_of(batch: dict[str, Any]) -> Found:
    """Return the state of a batch of one item. Raises whatever there is to raise where the answer is not one."""
    header, items = batch["batch_header"], _items(batch)
    if len(items) > 1:
        raise ValueError("the batch has several items, so it is not one of ours")
    item = items[0] if items else {}
    told = item.get("payout_item") or {"amount": header["amount"]}
    amount_minor, currency = _amount(told["amount"])
    # The batch is dead as a whole, whatever its items said last; a live one says nothing about its item.
    status = header["batch_status"] if header["batch_status"] in _BATCH_DEAD else item.get("transaction_status")
    state = _STATES[status or "PENDING"]
    return Found(
        state=state,
        reference=_reference(header["payout_batch_id"]),
        amount_minor=amount_minor,
        currency=currency,
        payee=told.get("receiver"),
        returned_minor=amount_minor if state == "returned" else 0,
        code=_code(status, item),
        transaction_id=_text(item.get("transaction_id")),
    )


def _code(status: str | None, item: dict[str, Any]) -> str | None:
    if status in (None, "PENDING", "SUCCESS"):
        return None
    return str((item.get("errors") or {}).get("name") or status).lower()


def _taken(made: dict[str, Any], attempt: Attempt) -> Found:
    """Return what the answer to a new batch says: nothing of its item yet. Raises where it is not that answer."""
    ours, header = attempt.instruction, made["batch_header"]
    if _key(made) != ours.key:
        raise ValueError("the answer is about another batch")
    state: State = "failed" if header["batch_status"] in _BATCH_DEAD else "in_transit"
    code = header["batch_status"].lower() if state == "failed" else None
    return Found(state, _reference(header["payout_batch_id"]), ours.amount_minor, ours.currency, code=code)


def _reference(told: Any) -> str:
    if not isinstance(told, str) or not told:
        raise TypeError("the batch has no id")
    return told


def _text(told: Any) -> str | None:
    return told if isinstance(told, str) and told else None


def _key(batch: dict[str, Any]) -> Any:
    return batch["batch_header"]["sender_batch_header"]["sender_batch_id"]


def _items(batch: dict[str, Any]) -> list[dict[str, Any]]:
    items = batch.get("items") or []
    if not isinstance(items, list):
        raise TypeError("the items are not a list")
    return items


def _amount(told: dict[str, Any]) -> tuple[int, str]:
    currency = str(told["currency"])
    value = str(told["value"])
    # Two zeros that PayPal adds to a currency without decimals are no fraction.
    plain = value.rstrip("0").rstrip(".") if "." in value else value
    return to_minor(plain, currency, "$.amount"), currency


def to_paypal(minor: int, currency: str) -> str:
    """Return the amount as PayPal reads it, of ISO minor units.

    Raises RejectedError `bad_amount`, `unsupported_currency`, `amount_not_payable`.
    """
    if minor <= 0:
        raise RejectedError.at("$.amount", "bad_amount", "must be more than 0")
    if currency not in DECIMALS:
        raise RejectedError.at("$.currency", "unsupported_currency", f"{currency} is not sent by PayPal")
    whole, rest = divmod(minor, 10 ** (exponent(currency) - DECIMALS[currency]))
    if rest:
        raise RejectedError.at("$.amount", "amount_not_payable", f"PayPal pays no fraction of {currency}")
    return to_decimal_string(minor, currency) if DECIMALS[currency] else str(whole)


def _recipient_type(instruction: Instruction) -> str:
    address, kind = instruction.payee.address, instruction.payee.routing or "EMAIL"
    fine = {"EMAIL": _EMAIL, "PAYPAL_ID": _PAYPAL_ID}.get(kind)
    if fine is None or not fine.fullmatch(address) or len(address) > RECEIVER_LENGTH_MAX:
        raise RejectedError.at("$.payee", "bad_payee", "is neither an e-mail address nor a PayPal id")
    return kind


def _batch_path(href: str) -> str:
    path = urlsplit(href).path
    if not _BATCH_PATH.fullmatch(path):
        raise ValueError("the address is not that of a batch")
    return path


def _details(told: Any) -> list[dict[str, Any]]:
    details = told.get("details") if isinstance(told, dict) else None
    return [each for each in details if isinstance(each, dict)] if isinstance(details, list) else []


def _original(told: Any) -> str | None:
    """Return where the batch is that has our key already, None where the answer does not say so."""
    for each in _details(told):
        links = each.get("link") or each.get("links")
        if isinstance(links, list) and links and isinstance(links[0], dict) and isinstance(links[0].get("href"), str):
            return str(links[0]["href"])
    return None


def _about_the_key(told: Any) -> bool:
    return any("sender_batch_id" in json.dumps(each).lower() for each in _details(told))


def _name(told: Any) -> str:
    name = told.get("name") if isinstance(told, dict) else None
    return name if isinstance(name, str) else ""


def _issues(told: Any) -> str:
    return "; ".join(f"{each.get('field', '')}: {each.get('issue', '')}" for each in _details(told))[
        :_REASON_LENGTH_MAX
    ]


def _unknown(error: BaseException) -> Unknown:
    reason = f"{type(error).__name__}: {error}"[:_REASON_LENGTH_MAX]
    if isinstance(error, AnswerError) and error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Unknown(reason, "stop")
    return Unknown(reason)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the whole answer. Raises ValueError where it is longer than any of PayPal's."""
    answer = bytearray()
    async for chunk in response.content.iter_any():
        answer += chunk
        if len(answer) > ANSWER_BYTES_MAX:
            raise ValueError("the answer is too long")
    return bytes(answer)
