"""Money: integers of minor units with the ISO 4217 exponent, the currency always beside them (DESIGN section 7)."""

import re
from functools import cache, lru_cache

from iso4217 import Currency
from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import RejectedError

# 10**15 minor units are ten million million dollars: more than any order, and far inside PostgreSQL's bigint, so that
# sums of millions of them still fit.
MINOR_MAX = 10**15

# A page of a list is made of hundreds of amounts, most of which are zero or were on the page before: to make them was a
# quarter of the time of a read. Some 300 bytes each.
_AMOUNTS_KEPT = 16_384

_DECIMAL = re.compile(r"(-?)([0-9]{1,16})(?:\.([0-9]{1,6}))?", re.ASCII)


@cache
def exponent(currency: str) -> int:
    """Return how many decimals the currency has (JPY 0, USD 2, KWD 3).

    Raises RejectedError `unknown_currency` for anything that is not a current ISO 4217 code with a minor unit (gold,
    XXX).
    """
    try:
        digits = Currency(currency).exponent
    except ValueError:
        digits = None
    if digits is None:
        raise RejectedError.at("$.currency", "unknown_currency", f"{currency!r} is not an ISO 4217 currency")
    return digits


def to_minor(value: str | int, currency: str, path: str, *, negative: bool = False) -> int:
    """Return the amount in minor units of the currency: `("100.00", "USD")` is 10000, `(100, "USD")` is 10000 too.

    Raises RejectedError at `path`: `not_a_decimal`, `too_many_decimals`, `negative` (unless allowed), `out_of_range`
    (more than MINOR_MAX), `unknown_currency`.
    """
    digits = exponent(currency)
    matched = _DECIMAL.fullmatch(str(value))
    if matched is None:
        raise RejectedError.at(path, "not_a_decimal", f'{str(value)[:40]!r} is not a decimal number such as "12.50"')
    sign, whole, fraction = matched[1], matched[2], matched[3] or ""
    if len(fraction) > digits:
        raise RejectedError.at(path, "too_many_decimals", f"{currency} has {digits} decimals, not {len(fraction)}")
    minor = int(whole + fraction.ljust(digits, "0"))
    if minor > MINOR_MAX:
        raise RejectedError.at(path, "out_of_range", f"more than {MINOR_MAX} minor units")
    if sign and minor and not negative:
        raise RejectedError.at(path, "negative", "must not be negative")
    return -minor if sign else minor


def to_decimal_string(minor: int, currency: str) -> str:
    """Return the amount with exactly the currency's decimals: `(1000, "USD")` is `"10.00"`."""
    digits = exponent(currency)
    text = str(abs(minor)).rjust(digits + 1, "0")
    amount = f"{text[:-digits]}.{text[-digits:]}" if digits else text
    return f"-{amount}" if minor < 0 else amount


class Money(BaseModel):
    """An amount as it crosses a boundary: a decimal string with exactly the currency's decimals."""

    model_config = ConfigDict(frozen=True)

    amount: str = Field(examples=["10.00"], pattern=r"^-?[0-9]+(\.[0-9]+)?$")
    currency: str = Field(examples=["USD"], pattern=r"^[A-Z]{3}$")

    @staticmethod
    @lru_cache(_AMOUNTS_KEPT)
    def of(minor: int, currency: str) -> "Money":
        """Return the money that `minor` units of the currency are; the same object for the same money, often."""
        return Money(amount=to_decimal_string(minor, currency), currency=currency)

    def to_minor(self, path: str = "$", *, negative: bool = False) -> int:
        """Return the minor units; raises RejectedError as `to_minor` does."""
        return to_minor(self.amount, self.currency, f"{path}.amount", negative=negative)
