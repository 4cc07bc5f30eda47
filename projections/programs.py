"""Programs, told once more in Python, for `verify`."""

from typing import Any

import msgspec

from ledger.events import Event, MerchantRegistered, TermsChanged

COLUMNS = ("terms_position", "terms_at", "name", "currency", "time_zone", "terms")
KEY = ("merchant_id",)
VERSION_COLUMNS = ("position", "effective_at", "recorded_at", "cause", "terms")
VERSION_KEY = ("merchant_id", "version")

_AT = 1


class Programs(dict[tuple[str], list[Any]]):
    """The programs that the events taken so far make; `versions` has the rows of all their terms."""

    def __init__(self) -> None:
        super().__init__()
        self.versions: dict[tuple[str, int], list[Any]] = {}

    def take(self, event: Event, position: int) -> None:
        """Take one event of a merchant's stream; others are none of this."""
        if isinstance(event, (MerchantRegistered, TermsChanged)):
            told = msgspec.to_builtins(event.terms)
            row = [position, event.occurred_at, event.recorded_at, event.cause, told]
            self.versions[event.merchant_id, event.terms.version] = row
        if isinstance(event, MerchantRegistered):
            terms = msgspec.to_builtins(event.terms)
            self[(event.merchant_id,)] = [
                position,
                event.occurred_at,
                event.name,
                event.currency,
                event.time_zone,
                terms,
            ]
        elif isinstance(event, TermsChanged):
            row = self[(event.merchant_id,)]
            if row[_AT] <= event.occurred_at:
                row[0], row[_AT], row[-1] = position, event.occurred_at, msgspec.to_builtins(event.terms)
