"""Payouts by Stripe Connect: one transfer per payout, to the connected account of the partner.

The real SDK speaks to Stripe, but the body that goes out is the one that was written down, byte for byte, and under the
key that was written down; the SDK repeats nothing by itself. A transfer has no failed state: it is there or it is not,
and it may be reversed.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

import stripe
from stripe.params import TransferListParams

from consumers.rails import Accepted, Attempt, Found, Instruction, Listed, Missing, Rejected, Several, Unknown
from consumers.rails.messages import payout_id_of
from schemas.errors import RejectedError
from schemas.money import exponent

# What the SDK's types describe, whichever version the account has.
API_VERSION = "2026-10-28.endive"

# Not into the home folder of whoever runs the worker, and nothing to Stripe that the payout does not need.
stripe.enable_telemetry = False

# Stripe's own rules where they differ from ISO 4217: no decimals at all, or two of which both are 0. Of UGX its pages
# say both, and a factor of 100 is too much to guess.
_ZERO_DECIMALS = frozenset([
    "BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF",
])  # fmt: skip
_TWO_DECIMALS_BOTH_ZERO = frozenset(["ISK"])
_THREE_DECIMALS = frozenset(["BHD", "JOD", "KWD", "OMR", "TND"])
_NOT_SENT = frozenset(["UGX"])

# The closed list: with these, and no others, nothing was sent and nothing will be under the key.
DEFINITE = {
    400: frozenset([
        "balance_insufficient", "insufficient_capabilities_for_transfer", "transfers_not_allowed",
        "amount_too_large", "amount_too_small", "parameter_invalid_empty", "parameter_invalid_integer",
        "parameter_invalid_string_blank", "parameter_invalid_string_empty", "parameter_missing", "parameter_unknown",
        "parameters_exclusive",
    ]),
    404: frozenset(["resource_missing"]),
}  # fmt: skip
_PARAMETERS = frozenset(["amount", "currency", "destination", "transfer_group", "metadata"])

# More than any payout has: the rest need not be fetched to know that something is wrong.
_TRANSFERS_MAX = 10
# As much as Stripe gives at once.
_PAGE = 100
_REASON_LENGTH_MAX = 300

_body: ContextVar[bytes | None] = ContextVar("stripe_body", default=None)


class _Verbatim(stripe.HTTPXClient):
    """Sends the body that was written down instead of the SDK's own encoding of the same parameters."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(timeout=timeout_s)

    def _get_request_args_kwargs(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any
    ) -> list[tuple[str, str] | dict[str, Any]]:
        body = _body.get() if method == "post" else None
        content = body if body is not None else post_data or b""
        return [(method, url), {"headers": dict(headers), "content": content, "timeout": self._timeout}]

    async def close_async(self) -> None:
        """Close the connections."""
        await self._client_async.aclose()


def stripe_client(api_key: str, *, base: str, timeout_s: float) -> stripe.StripeClient:
    """Return a client that repeats nothing and gives up after `timeout_s` seconds without a sign of life."""
    return stripe.StripeClient(
        api_key,
        stripe_version=API_VERSION,
        base_addresses={"api": base, "connect": base, "files": base, "meter_events": base},
        http_client=_Verbatim(timeout_s),
        max_network_retries=0,
    )


async def close(client: stripe.StripeClient) -> None:
    """Close the client's connections."""
    http = client._requestor._client  # noqa: SLF001 - the SDK has no other way to its connections
    if isinstance(http, _Verbatim):
        await http.close_async()


class StripeRail:
    """The rail `stripe`. `timeout_s` is for the whole of a call, in seconds."""

    name = "stripe"
    # Keys are kept "at least 24 hours": an hour for a clock that is wrong and a request that is slow.
    window = timedelta(hours=23)

    def __init__(self, client: stripe.StripeClient, *, timeout_s: float = 30.0) -> None:
        self._client, self._timeout_s = client, timeout_s

    def refusal(self, instruction: Instruction, now: datetime) -> str | None:  # noqa: ARG002 - others ask what it is
        """Return None: whoever has a key may try."""
        return None

    def compose(self, instruction: Instruction) -> bytes:
        """Return the body of the transfer, byte for byte the same for the same instruction.

        Raises RejectedError `bad_payee`, `bad_amount`, `unsupported_currency`, `amount_not_payable` (more decimals than
        Stripe takes).
        """
        account = instruction.payee.address
        if not (account.startswith("acct_") and account.isascii() and account[5:].isalnum()):
            raise RejectedError.at("$.payee", "bad_payee", "is not the id of a connected account at Stripe")
        told = {
            "amount": to_stripe(instruction.amount_minor, instruction.currency),
            "currency": instruction.currency.lower(),
            "destination": account,
            # Enough to know whose it is, for books that were restored and know nothing of it.
            "metadata[attempt]": str(instruction.number),
            "metadata[merchant_id]": instruction.merchant_id,
            "metadata[partner_id]": instruction.partner_id,
            "metadata[payout_id]": instruction.payout_id,
            "transfer_group": _group(instruction),
        }
        return urlencode(told, safe="[]").encode()

    async def submit(self, attempt: Attempt) -> Accepted | Rejected | Unknown:
        """Create the transfer, with exactly the body and the key of the attempt, and return what Stripe said."""
        _body.set(attempt.body)
        try:
            async with asyncio.timeout(self._timeout_s):
                transfer = await self._client.v1.transfers.create_async(
                    _params(attempt.body),  # type: ignore[arg-type]
                    {"idempotency_key": attempt.instruction.key},
                )
            return Accepted(_found(transfer))
        except stripe.InvalidRequestError as error:
            return _rejected(error) or _unknown(error)
        except Exception as error:  # noqa: BLE001 - whatever else it is, it says nothing about the payment
            return _unknown(error)
        finally:
            _body.set(None)

    async def look_up(self, attempt: Attempt) -> Found | Missing | Several | Unknown:
        """Return the transfer of the attempt's payout, of whichever attempt it is.

        What was reversed altogether is shown to the attempt that made it, and stands in nobody else's way.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                listed = await self._client.v1.transfers.list_async(
                    {"transfer_group": _group(attempt.instruction), "limit": _TRANSFERS_MAX}
                )
            if listed.has_more:
                return Several(tuple(sorted(str(each.id) for each in listed.data)))
            return _of_attempt(attempt, list(listed.data))
        except Exception as error:  # noqa: BLE001 - as above
            return _unknown(error)

    async def state(self, reference: str) -> Found | Missing | Unknown:
        """Return what Stripe says of the transfer with this id."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return _found(await self._client.v1.transfers.retrieve_async(reference))
        except stripe.InvalidRequestError as error:
            missing = error.http_status == 404 and _code(error) == "resource_missing"  # noqa: PLR2004
            return Missing() if missing else _unknown(error)
        except Exception as error:  # noqa: BLE001 - as above
            return _unknown(error)

    async def listed(self, since: datetime, until: datetime) -> Sequence[Listed] | Unknown:
        """Return the transfers of that time, whoever made them; see `Lists.listed`."""
        told: TransferListParams = {
            "created": {"gte": int(since.timestamp()), "lt": math.ceil(until.timestamp())},
            "limit": _PAGE,
        }
        found: list[Listed] = []
        try:
            while True:
                async with asyncio.timeout(self._timeout_s):
                    page = await self._client.v1.transfers.list_async(told)
                found += [_listed(each) for each in page.data]
                if not page.has_more:
                    return found
                told["starting_after"] = page.data[-1].id
        except Exception as error:  # noqa: BLE001 - half a list is none
            return _unknown(error)


def to_stripe(amount_minor: int, currency: str) -> int:
    """Return the amount as Stripe counts it, of ISO minor units.

    Raises RejectedError `bad_amount`, `unknown_currency`, `unsupported_currency`, `amount_not_payable`.
    """
    if amount_minor <= 0:
        raise RejectedError.at("$.amount", "bad_amount", "must be more than 0")
    ours, theirs, step = exponent(currency), *_stripe_decimals(currency)
    amount, rest = divmod(amount_minor * _power(theirs - ours), _power(ours - theirs))
    if rest or amount % step:
        raise RejectedError.at("$.amount", "amount_not_payable", f"Stripe pays no such fraction of {currency}")
    return amount


def from_stripe(amount: int, currency: str) -> int:
    """Return ISO minor units of an amount as Stripe counts it. Raises RejectedError as `to_stripe` does."""
    ours, (theirs, _) = exponent(currency), _stripe_decimals(currency)
    minor, rest = divmod(amount * _power(ours - theirs), _power(theirs - ours))
    if rest:
        raise RejectedError.at("$.amount", "amount_not_payable", f"Stripe pays no such fraction of {currency}")
    return minor


def _power(decimals: int) -> int:
    return int(10 ** max(decimals, 0))


def _stripe_decimals(currency: str) -> tuple[int, int]:
    """Return how many decimals Stripe counts, and of what the amount has to be a multiple."""
    if currency in _ZERO_DECIMALS:
        return 0, 1
    if currency in _TWO_DECIMALS_BOTH_ZERO:
        return 2, 100
    if currency in _THREE_DECIMALS:
        return 3, 10
    if currency in _NOT_SENT or exponent(currency) != 2:  # noqa: PLR2004 - all others have cents
        raise RejectedError.at("$.currency", "unsupported_currency", f"{currency} is not sent by Stripe")
    return 2, 1


def _group(instruction: Instruction) -> str:
    return f"payout_{instruction.payout_id}"


def _params(body: bytes) -> dict[str, Any]:
    """Return the parameters of a body; the SDK wants them, though not they but the body is sent."""
    flat = dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True))
    metadata = {name[9:-1]: flat.pop(name) for name in list(flat) if name.startswith("metadata[")}
    return {**flat, "amount": int(flat["amount"]), "metadata": metadata}


def _of_attempt(attempt: Attempt, transfers: Sequence[Any]) -> Found | Missing | Several:
    found = [(_told(each, "attempt"), _found(each)) for each in transfers]
    alive = [each for _, each in found if each.is_alive]
    if len(alive) > 1:
        return Several(tuple(sorted(each.reference for each in alive)))
    own = [each for number, each in found if number == str(attempt.instruction.number)]
    return next(iter(alive or own), Missing())


def _listed(transfer: Any) -> Listed:
    payout_id, merchant_id, partner_id = (_told(transfer, name) for name in ("payout_id", "merchant_id", "partner_id"))
    return Listed(payout_id_of(payout_id), _found(transfer), merchant_id, partner_id)


def _told(transfer: Any, name: str) -> str | None:
    """Return what was sent along with the transfer under this name."""
    value = getattr(transfer.metadata, name, None)
    return value if isinstance(value, str) else None


def _found(transfer: Any) -> Found:
    """Return the transfer's state. Raises whatever there is to raise where the answer is not a transfer."""
    if transfer.object != "transfer" or not isinstance(transfer.id, str):
        raise ValueError("the answer is not a transfer")
    currency = transfer.currency.upper()
    amount, back = (from_stripe(int(n), currency) for n in (transfer.amount, transfer.amount_reversed))
    destination = transfer.destination
    payee = destination if isinstance(destination, str) or destination is None else destination.id
    return Found(
        state="returned" if transfer.reversed or back >= amount else "processed",
        reference=transfer.id,
        amount_minor=amount,
        currency=currency,
        payee=payee,
        returned_minor=back,
        code="reversed" if back else None,
    )


def _rejected(error: stripe.InvalidRequestError) -> Rejected | None:
    """Return the rejection that the error is, None where it is not on the closed list."""
    code = _code(error)
    if (error.headers or {}).get("stripe-should-retry") == "true" or error.http_status not in DEFINITE:
        return None
    if code in DEFINITE[error.http_status]:
        return Rejected(code, str(error.user_message or ""))
    # An invalid value has no code of its own, only the parameter that has it.
    if error.http_status == 400 and not code and error.param in _PARAMETERS:  # noqa: PLR2004
        return Rejected(f"parameter_invalid_{error.param}", str(error.user_message or ""))
    return None


def _code(error: stripe.StripeError) -> str:
    return str(getattr(error.error, "code", None) or error.code or "")


def _unknown(error: BaseException) -> Unknown:
    reason = f"{type(error).__name__}: {error}"[:_REASON_LENGTH_MAX]
    if isinstance(error, stripe.IdempotencyError):
        return Unknown(reason, "review")
    if isinstance(error, (stripe.AuthenticationError, stripe.PermissionError)):
        return Unknown(reason, "stop")
    return Unknown(reason)
