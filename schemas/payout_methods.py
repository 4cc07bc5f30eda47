"""How a partner wants to be paid, checked for each method, and how it is shown: never in full."""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from schemas.bank_accounts import checked_bic, checked_iban, checked_name
from schemas.errors import RejectedError

METHODS = ("stripe", "paypal", "bank", "manual")
ADDRESS_LENGTH_MAX = 127

_ACCOUNT = re.compile(r"acct_[A-Za-z0-9]{1,64}", re.ASCII)
_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+\.[^\s@\x00-\x1f\x7f.]+")
_PAYPAL_ID = re.compile(r"[A-Z0-9]{13}", re.ASCII)
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SHOWN = 4
_UNFIT = {
    "stripe": "is not an account at Stripe",
    "paypal": "is not an e-mail address",
    "PAYPAL_ID": "is not an id of PayPal: 13 capital letters and digits",
    "manual": "is not one line of words",
}

Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=ADDRESS_LENGTH_MAX)]


class PayoutMethod(BaseModel):
    """How somebody is paid. `address` is a connected account, an e-mail address or PayPal id, an IBAN, or words.

    `routing` is a BIC for `bank`, `PAYPAL_ID` for `paypal` where the address is one, and else empty. Personal data.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    method: Literal["stripe", "paypal", "bank", "manual"]
    address: Line
    name: Line = ""
    routing: Annotated[str, StringConstraints(strip_whitespace=True, max_length=16)] = ""


def checked_method(told: PayoutMethod) -> PayoutMethod:
    """Return it as it is kept and paid to.

    Raises RejectedError `bad_address`, `bad_routing`, and for `bank` as `schemas.bank_accounts` does.
    """
    if told.method == "bank":
        iban = checked_iban(told.address, "$.address")
        bic = checked_bic(told.routing, iban, "$.routing") if told.routing else ""
        return told.model_copy(update={"address": iban, "routing": bic, "name": checked_name(told.name)})
    _check_routing(told)
    if not _pattern(told).fullmatch(told.address):
        raise RejectedError.at("$.address", "bad_address", _UNFIT[_kind(told)])
    if told.name and not _TEXT.fullmatch(told.name):
        raise RejectedError.at("$.name", "control_characters", "has control characters")
    return told


def _check_routing(told: PayoutMethod) -> None:
    if told.routing and not (told.method == "paypal" and told.routing in ("EMAIL", "PAYPAL_ID")):
        raise RejectedError.at("$.routing", "bad_routing", f"{told.method} has no such thing")


def _kind(told: PayoutMethod) -> str:
    return told.routing if told.routing == "PAYPAL_ID" else told.method


def _pattern(told: PayoutMethod) -> re.Pattern[str]:
    if told.method == "paypal":
        return _PAYPAL_ID if told.routing == "PAYPAL_ID" else _EMAIL
    return _ACCOUNT if told.method == "stripe" else _TEXT


def masked(told: PayoutMethod) -> PayoutMethod:
    """Return it as every page and answer shows it: enough to recognise, too little to use."""
    if told.method == "paypal" and "@" in told.address:
        address = _masked_email(told.address)
    elif told.method == "manual":
        address = _dots(told.address, 0, 0)
    else:
        begin = {"stripe": len("acct_"), "bank": _SHOWN, "paypal": 0}[told.method]
        address = _dots(told.address, begin, _SHOWN)
    name = " ".join(_dots(word, 1, 0) for word in told.name.split())
    return told.model_copy(update={"address": address, "name": name})


def _masked_email(address: str) -> str:
    local, _, host = address.rpartition("@")
    label, _, rest = host.partition(".")
    return f"{_dots(local, 1, 0)}@{_dots(label, 1, 0)}.{rest}"


def _dots(text: str, begin: int, end: int) -> str:
    """Return the text with its middle as three dots, whatever its length: of a short one nothing is shown."""
    if len(text) <= begin + end:
        begin = end = 0
    return f"{text[:begin]}•••{text[len(text) - end :] if end else ''}"
