"""Rows of a partner file: registered, found to be there already, or refused with the fields at fault."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import Field

from ledger import merchants, partners, people
from ledger.application import Ledger
from ledger.events import (
    PartnerApproved,
    PartnerBanned,
    PartnerPaused,
    PartnerReinstated,
    PartnerRejected,
    Rate,
    Stream,
)
from ledger.hashes import partner_id
from ledger.tags import folded_tags
from schemas import errors, sheets
from schemas.api import CouponCode, NewPartner, Standing
from schemas.coupons import canonical_coupon
from schemas.errors import ConflictError, RejectedError
from schemas.rows import Row, RowResult, fields_of
from web.api.bodies import validated
from web.api.rates import to_ledger, value_of

CAUSE = "cli/import-partners"
REQUIRED_COLUMNS = ("name", "email", "rate_type", "rate_value")
# The columns of an export, under the names that an import has for them.
ALIASES = {"rate.type": "rate_type", "rate.value": "rate_value"}

# Several texts in one cell, with `|` between them.
_LISTS = ("coupon_codes", "tags")
_RATE = {"rate_type": "type", "rate_value": "value"}
# What an export says of a partner beside: made anew, or not ours to take over.
_TOLD_ANEW = frozenset(
    {"id", "dashboard_url", "dashboard_access", "moves", "dashboard_link_expires_at", "registered_at"}
)

# How a partner comes to a standing with which none can be registered: registered as this, and then moved.
_MOVES: dict[str, tuple[str, str]] = {
    "paused": ("approved", "pause"),
    "rejected": ("applied", "reject"),
    "banned": ("applied", "ban"),
}
_MOVED = (PartnerApproved, PartnerBanned, PartnerPaused, PartnerReinstated, PartnerRejected)


class PartnerRow(NewPartner):
    """A partner as a row tells it: also one that is paused, rejected or banned, and one with several codes."""

    status: Standing = "approved"  # type: ignore[assignment]
    coupon_codes: list[CouponCode] = Field(default_factory=list)

    @property
    def codes(self) -> list[str]:
        """All codes of the partner, each once, as they are compared."""
        told = [self.coupon_code, *self.coupon_codes] if self.coupon_code else self.coupon_codes
        return list(dict.fromkeys(canonical_coupon(code) for code in told))


COLUMNS = frozenset({*PartnerRow.model_fields, *_RATE, *_TOLD_ANEW})
"""What a row may say; whatever else is there is left out, and told to be."""


class PartnerImport:
    """Takes rows into one merchant's program. Raises NotFoundError where there is no such merchant.

    A rehearsal decides like an import and writes nothing.
    """

    def __init__(self, ledger: Ledger, merchant_id: str, kind: str, cause: str, *, rehearsal: bool = False) -> None:
        self.event_position: int | None = None
        self._ledger, self._merchant_id, self._kind, self._cause = ledger, merchant_id, kind, cause
        self._currency = merchants.find(ledger, merchant_id).currency
        self._rehearsed: _Rehearsed | None = _Rehearsed() if rehearsal else None

    def take(self, rows: Sequence[Row], now: datetime) -> list[RowResult]:
        """Return for each row `registered`, `duplicate`, or `refused` with its faults. Raises RetryableError."""
        return [self._take(row, now) for row in rows]

    def _take(self, row: Row, now: datetime) -> RowResult:
        flat = self._kind == "csv" or "rate" not in (row.fields or {})
        try:
            told = validated(PartnerRow, _nested(fields_of(row, self._kind)), root="$")
            rate = to_ledger(told.rate, self._currency)
            known = partner_id(self._ledger.hash_key, self._merchant_id, told.email)
            return RowResult(row.line, self._register(known, told, rate, now), known)
        except RejectedError as error:
            faults = error.faults or (errors.Fault("$", error.code, error.message),)
            return RowResult(row.line, "refused", None, tuple(_shown(fault, flat=flat) for fault in faults))

    def _register(self, known: str, told: PartnerRow, rate: Rate, now: datetime) -> str:
        recorded = self._ledger.stream(Stream.partner(self._merchant_id, known))
        if recorded:
            self._compare(partners.find(self._ledger, self._merchant_id, known), told, rate)
            # An import may have broken off in the middle of this row.
            self._complete(known, told, now, moved=any(isinstance(each.event, _MOVED) for each in recorded))
            return "duplicate"
        self._check_codes(told)
        if self._rehearsed is not None:
            folded_tags(told.tags)
            return self._rehearsed.take(known, told)
        registered = partners.register(
            self._ledger, merchant_id=self._merchant_id, name=told.name, email=told.email, rate=rate,
            coupon_code=told.codes[0] if told.codes else None, standing=_MOVES.get(told.status, (told.status,))[0],
            tags=told.tags, now=now, cause=self._cause,
        )  # fmt: skip
        self.event_position = registered.position
        self._complete(known, told, now, moved=False)
        return "registered"

    def _complete(self, known: str, told: PartnerRow, now: datetime, *, moved: bool) -> None:
        """Give the partner its other codes, and the standing with which it could not be registered."""
        if self._rehearsed is not None:
            return
        about: dict[str, Any] = {
            "merchant_id": self._merchant_id, "partner_id": known, "now": now, "cause": self._cause
        }  # fmt: skip
        for code in told.codes[1:]:
            self._reached(partners.assign_coupon(self._ledger, code=code, **about).position)
        if told.status in _MOVES and not moved:
            move, reason = _MOVES[told.status][1], f"imported as {told.status}"
            self._reached(partners.move(self._ledger, move, reason=reason, **about).position)

    def _reached(self, position: int | None) -> None:
        self.event_position = position or self.event_position

    def _compare(self, known: partners.Partner, told: PartnerRow, rate: Rate) -> None:
        """Raise what the row tells otherwise than the books; the standing may have moved on, and is not looked at."""
        if known.rate != rate:
            shown = f"{known.rate.type} {value_of(known.rate, self._currency)}"
            raise _differs("$.rate.value", f"is registered already, with the rate {shown}")
        if people.name_of(self._ledger, self._merchant_id, known.partner_id) not in (told.name, None):
            raise _differs("$.name", "is registered already, under another name")
        for number, code in enumerate(told.codes):
            recorded = self._ledger.stream(Stream.coupon(self._merchant_id, code))
            # Only the first code comes with the registration; another one that nobody ever had is still to be given.
            given = partners.holder(self._ledger, self._merchant_id, code) == known.partner_id
            if not given and (recorded or not number):
                raise _differs(_path_of_codes(told), f"is registered already, and does not have the code {code!r}")

    def _check_codes(self, told: PartnerRow) -> None:
        """Refuse the row before anything of it is written; whoever is faster after that is told by the ledger."""
        for code in told.codes:
            if partners.holder(self._ledger, self._merchant_id, code) is not None:
                raise _taken(told, code)


class _Rehearsed:
    """The partners that a rehearsal has seen so far: the rows behind must agree with them."""

    def __init__(self) -> None:
        self._told: dict[str, PartnerRow] = {}
        self._holders: dict[str, str] = {}

    def take(self, known: str, told: PartnerRow) -> str:
        earlier = self._told.get(known)
        if earlier is not None:
            if (earlier.name, earlier.rate, set(earlier.codes)) != (told.name, told.rate, set(told.codes)):
                raise _differs("$", "is told otherwise further up in the file")
            return "duplicate"
        for code in told.codes:
            if code in self._holders:
                raise _taken(told, code)
        self._told[known] = told
        self._holders |= dict.fromkeys(told.codes, known)
        return "registered"


def _nested(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the row in the shape that the API takes; what it does not know is left out."""
    told = {name: value for name, value in fields.items() if name in PartnerRow.model_fields}
    rate = {_RATE[name]: value for name, value in fields.items() if name in _RATE}
    for name in _LISTS:
        if isinstance(told.get(name), str):
            told[name] = sheets.unlisted(told[name])
    return told | ({"rate": rate} if rate else {})


def _shown(fault: errors.Fault, *, flat: bool) -> errors.Fault:
    """Return the fault at the row's own column (the API's `rate.type` is `rate_type`), in words for people."""
    path = fault.path.replace("$.rate.", "$.rate_") if flat else fault.path
    if fault.code != "malformed":
        return fault._replace(path=path)
    words = "is not an e-mail address" if path == "$.email" else "is blank or has characters that it may not have"
    return fault._replace(path=path, message=words)


def _path_of_codes(told: PartnerRow) -> str:
    return "$.coupon_code" if told.coupon_code else "$.coupon_codes"


def _taken(told: PartnerRow, code: str) -> RejectedError:
    return ConflictError.at(_path_of_codes(told), "coupon_taken", f"the coupon code {code!r} is taken")


def _differs(path: str, message: str) -> RejectedError:
    return ConflictError.at(path, "partner_differs", message)
