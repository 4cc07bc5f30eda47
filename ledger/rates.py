"""Rates in figures that people read."""

from decimal import Decimal

from ledger.events import Rate
from schemas.money import to_decimal_string


def value_of(rate: Rate, currency: str) -> str:
    """Return the rate's figure without its unit: `10`, `12.5`, or the fixed amount in the program's currency."""
    if rate.type == "fixed":
        return to_decimal_string(rate.amount_minor, currency)
    return f"{(Decimal(rate.bps) / 100).normalize():f}"
