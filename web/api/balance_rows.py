"""Rows of opening balances: what partners were owed when the books were opened, entered by hand, once each."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import StringConstraints

from ledger import entries, merchants, partners, people
from ledger.application import Ledger
from ledger.entries import Entry
from ledger.events import CommissionEntered, Stream
from ledger.hashes import entry_id
from schemas.api import NO_CONTROL, Body, CurrencyCode, Day, Instant, Name
from schemas.errors import ConflictError, Fault, NotFoundError, RejectedError
from schemas.money import to_minor
from schemas.rows import Row, RowResult, fields_of
from web.api.bodies import validated

CAUSE = "cli/import-balances"
REQUIRED_COLUMNS = ("partner", "currency", "amount", "as_of")
REASON = "opening balance"

_DAY_CHARACTERS = len("2026-11-22")


class BalanceRow(Body):
    """What one partner was owed in one currency as of a day (or an instant); negative: what the partner owes.

    Rows that are alike are one balance that is told twice, unless they have references that differ.
    """

    partner: Name
    currency: CurrencyCode
    amount: Annotated[str, StringConstraints(max_length=25, pattern=r"^-?[0-9]{1,16}(\.[0-9]{1,6})?$")]
    as_of: str
    reference: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_CONTROL)] | None = None


class _AsOfDay(Body):
    as_of: Day


class _AsOfInstant(Body):
    as_of: Instant


COLUMNS = frozenset(BalanceRow.model_fields)
"""What a row may say; whatever else is there is left out, and told to be."""


class BalanceImport:
    """Takes rows into one merchant's books. Raises NotFoundError where there is no such merchant.

    A rehearsal decides like an import and writes nothing.
    """

    def __init__(self, ledger: Ledger, merchant_id: str, kind: str, cause: str, *, rehearsal: bool = False) -> None:
        self.event_position: int | None = None
        self._ledger, self._merchant_id, self._kind, self._cause = ledger, merchant_id, kind, cause
        self._zone = ZoneInfo(merchants.find(ledger, merchant_id).time_zone)
        self._rehearsed: dict[str, tuple[Entry, datetime]] | None = {} if rehearsal else None

    def take(self, rows: Sequence[Row], now: datetime) -> list[RowResult]:
        """Return for each row `entered`, `duplicate`, or `refused` with its faults. Raises RetryableError."""
        return [self._take(row, now) for row in rows]

    def _take(self, row: Row, now: datetime) -> RowResult:
        try:
            fields = {name: value for name, value in fields_of(row, self._kind).items() if name in COLUMNS}
            told = validated(BalanceRow, fields, root="$")
            as_of = self._as_of(told.as_of)
            entry = self._entry(told, as_of)
            return RowResult(row.line, self._enter(entry, as_of, now), entry.entry_id)
        except RejectedError as error:
            faults = error.faults or (Fault("$", error.code, error.message),)
            return RowResult(row.line, "refused", None, tuple(_at_column(fault) for fault in faults))

    def _entry(self, told: BalanceRow, as_of: datetime) -> Entry:
        amount_minor = to_minor(told.amount, told.currency, "$.amount", negative=True)
        partner_id = self._partner_id(told.partner)
        # With a reference of its own a balance is that one, whatever else it says: told otherwise, it is refused.
        content = (partner_id, told.currency, str(amount_minor), as_of.isoformat())
        key = (told.reference,) if told.reference is not None else content
        id_ = entry_id(self._ledger.hash_key, self._merchant_id, REASON, *key)
        return Entry(self._merchant_id, id_, partner_id, amount_minor, told.currency, REASON, told.reference)

    def _partner_id(self, told: str) -> str:
        if "@" not in told:
            return told
        found = people.partner_of(self._ledger, self._merchant_id, told)
        if found is None:
            raise RejectedError.at("$.partner", "unknown_partner", "there is no partner with this e-mail address")
        return found

    def _as_of(self, told: str) -> datetime:
        """Return the instant; a day is its first, in the program's time zone."""
        if len(told) > _DAY_CHARACTERS:
            return validated(_AsOfInstant, {"as_of": told}, root="$").as_of
        day: date = validated(_AsOfDay, {"as_of": told}, root="$").as_of
        return datetime.combine(day, time(), self._zone).astimezone(UTC)

    def _enter(self, entry: Entry, as_of: datetime, now: datetime) -> str:
        known = self._known(entry)
        if known is not None:
            if known != (entry, as_of):
                raise ConflictError.at(
                    "$.reference", "conflicting_duplicate", "was imported before, and said otherwise"
                )
            return "duplicate"
        if self._rehearsed is not None:
            self._decide(entry, as_of, now)
            self._rehearsed[entry.entry_id] = (entry, as_of)
            return "entered"
        moved = entries.enter(self._ledger, entry, occurred_at=as_of, now=now, cause=self._cause)
        self.event_position = moved.position
        return "entered"

    def _decide(self, entry: Entry, as_of: datetime, now: datetime) -> None:
        """Raise what `entries.enter` would raise."""
        try:
            standing = partners.find(self._ledger, self._merchant_id, entry.partner_id).standing
        except NotFoundError:
            raise RejectedError.at(
                "$.partner", "unknown_partner", f"there is no partner {entry.partner_id!r}"
            ) from None
        day = as_of.astimezone(self._zone).date()
        entries.decide(entry, standing, occurred_at=as_of, occurred_on=day, now=now, cause=self._cause)

    def _known(self, entry: Entry) -> tuple[Entry, datetime] | None:
        """Return what was entered under this id before, None where nothing was."""
        if self._rehearsed and entry.entry_id in self._rehearsed:
            return self._rehearsed[entry.entry_id]
        recorded = self._ledger.stream(Stream.order(entry.merchant_id, entry.entry_id))
        first = recorded[0].event if recorded else None
        if not isinstance(first, CommissionEntered):
            return None
        told: dict[str, Any] = {name: getattr(first, name) for name in Entry._fields if name != "entry_id"}
        return Entry(entry_id=entry.entry_id, **told), first.occurred_at


def _at_column(fault: Fault) -> Fault:
    """Return the fault at the file's column, which an entry has under another name."""
    names = {"$.partner_id": "$.partner", "$.occurred_at": "$.as_of"}
    return fault._replace(path=names.get(fault.path, fault.path))
