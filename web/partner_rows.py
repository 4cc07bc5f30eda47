"""Rows of a partner file: registered, found to be there already, or refused with the fields at fault."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from cli.tables import Fault, Row
from ledger import merchants, partners
from ledger.application import Ledger
from ledger.events import Rate, Stream
from ledger.hashes import partner_id
from schemas import errors
from schemas.api import NewPartner
from schemas.errors import ConflictError, RejectedError
from web.api.bodies import validated
from web.api.rates import to_ledger, value_of

CAUSE = "cli/import-partners"
REQUIRED_COLUMNS = ("name", "email", "rate_type", "rate_value")

_RATE = {"rate_type": "type", "rate_value": "value"}

NameOf = Callable[[str], str | None]
"""Looks up the name that a partner is known by, None where it is not known (any more)."""


class PartnerImport:
    """Takes rows into one merchant's program. Raises NotFoundError where there is no such merchant."""

    def __init__(self, ledger: Ledger, merchant_id: str, name_of: NameOf, now: Callable[[], datetime]) -> None:
        self._ledger, self._merchant_id, self._name_of, self._now = ledger, merchant_id, name_of, now
        self._currency = merchants.find(ledger, merchant_id).currency

    def take(self, row: Row) -> str | list[Fault]:
        """Return `registered`, `unchanged`, or the faults for which the row is refused."""
        fields = row.fields or {}
        try:
            if row.fields is None:
                raise RejectedError.at("$", "not_an_object", "is not a row of the columns that the file names")
            told = validated(NewPartner, _nested(fields), root="$")
            return self._register(told, to_ledger(told.rate, self._currency))
        except RejectedError as error:
            at = _flat if "rate" not in fields else str
            if not error.faults:
                return [Fault(row.line, error.code, "$", error.message)]
            return [Fault(row.line, fault.code, at(fault.path), _words(fault)) for fault in error.faults]

    def _register(self, told: NewPartner, rate: Rate) -> str:
        try:
            partners.register(
                self._ledger, merchant_id=self._merchant_id, name=told.name, email=told.email, rate=rate,
                coupon_code=told.coupon_code, standing=told.status, now=self._now(), cause=CAUSE,
            )  # fmt: skip
        except ConflictError:
            known = partner_id(self._ledger.hash_key, self._merchant_id, told.email)
            if not self._ledger.stream(Stream.partner(self._merchant_id, known)):
                raise
            self._compare(partners.find(self._ledger, self._merchant_id, known), told, rate)
            return "unchanged"
        return "registered"

    def _compare(self, known: partners.Partner, told: NewPartner, rate: Rate) -> None:
        """Raise what the row tells otherwise than the books; the standing may have moved on, and is not looked at."""
        if known.rate != rate:
            shown = f"{known.rate.type} {value_of(known.rate, self._currency)}"
            raise _differs("$.rate.value", f"is registered already, with the rate {shown}")
        if self._name_of(known.partner_id) not in (told.name, None):
            raise _differs("$.name", "is registered already, under another name")
        code = told.coupon_code
        if code is not None and partners.holder(self._ledger, self._merchant_id, code) != known.partner_id:
            raise _differs("$.coupon_code", "is registered already, and does not have this code")


def _nested(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the row in the shape that the API takes; columns that it does not know are left out."""
    told = {name: value for name, value in fields.items() if name in NewPartner.model_fields}
    rate = {_RATE[name]: value for name, value in fields.items() if name in _RATE}
    return told | ({"rate": rate} if rate else {})


def _words(fault: errors.Fault) -> str:
    """Return the reason in words that a person can do something with: a pattern is for programs."""
    if fault.code != "malformed":
        return fault.message
    return "is not an e-mail address" if fault.path == "$.email" else "is blank or has characters that it may not have"


def _flat(path: str) -> str:
    """Return the path of a column: where the API has `rate.type`, the file has `rate_type`."""
    return path.replace("$.rate.", "$.rate_")


def _differs(path: str, message: str) -> RejectedError:
    return ConflictError.at(path, "partner_differs", message)
