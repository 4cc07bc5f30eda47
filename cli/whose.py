"""Whose books a command is about: the merchant that is named, or the only one that there is."""

from cli.connection import Books
from cli.failures import UsageError
from ledger import merchants
from ledger.application import Ledger
from ledger.events import Stream

_MERCHANT = Stream.merchant("")
# Two are as many as it takes to know that the only one is not the only one.
_MERCHANTS = (
    "SELECT DISTINCT originator_id FROM ledger.events WHERE originator_id > 'merchant/' AND originator_id < 'merchant0'"
    " LIMIT 2"
)


def merchant_of(found: Books, ledger: Ledger, named: str | None) -> str:
    """Return the id of the merchant that is named, else of the only one. Raises UsageError, NotFoundError."""
    return merchants.find(ledger, named or _only_merchant(found)).merchant_id


def _only_merchant(found: Books) -> str:
    with found.connect() as connection:
        rows = connection.execute(_MERCHANTS).fetchall()
    if len(rows) != 1:
        raise UsageError("whose? Name the merchant: --merchant SLUG")
    return str(rows[0][0]).removeprefix(_MERCHANT)
