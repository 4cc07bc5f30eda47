"""Rates between their two shapes: decimals at the boundary, basis points and minor units in the ledger."""

import re
from decimal import Decimal

from ledger import events
from schemas.api import Rate
from schemas.errors import RejectedError
from schemas.money import to_decimal_string, to_minor

_PER_CENT = re.compile(r"([0-9]{1,16})(?:\.([0-9]{1,2}))?", re.ASCII)
_BPS_MAX = 10_000


def to_ledger(rate: Rate, currency: str) -> events.Rate:
    """Return the rate as the ledger keeps it; fixed ones are in the program's currency.

    Raises RejectedError at `$.rate.value`: `too_many_decimals`, `out_of_range`.
    """
    path = "$.rate.value"
    if rate.type == "fixed":
        return events.Rate(type="fixed", amount_minor=to_minor(rate.value, currency, path))
    matched = _PER_CENT.fullmatch(rate.value)
    if matched is None:
        raise RejectedError.at(path, "too_many_decimals", "a percentage has at most two decimals")
    bps = int(matched[1] + (matched[2] or "").ljust(2, "0"))
    if bps > _BPS_MAX:
        raise RejectedError.at(path, "out_of_range", "a percentage is at most 100")
    return events.Rate(type="percentage", bps=bps)


def of_ledger(rate: events.Rate, currency: str) -> Rate:
    """Return the rate as it is shown: `10`, `12.5`, or the fixed amount."""
    return Rate(type=rate.type, value=value_of(rate, currency))


def value_of(rate: events.Rate, currency: str) -> str:
    """Return the rate's figure without its unit."""
    if rate.type == "fixed":
        return to_decimal_string(rate.amount_minor, currency)
    return f"{(Decimal(rate.bps) / 100).normalize():f}"
