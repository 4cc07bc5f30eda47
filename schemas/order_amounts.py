"""Amounts and quantities as storefronts send them: exact, or refused. A JSON number with a fraction is never money."""

import re
from decimal import Decimal
from functools import lru_cache
from typing import Any

import jiter

from schemas.errors import RejectedError
from schemas.money import MINOR_MAX, to_minor

QUANTITY_MAX = 1_000_000_000

# Prices repeat: of 69,659 real purchases 88 % cost what an earlier one did. Remembering 16,384 amounts takes a
# microsecond off a placed order with tax and shipping (7.2 to 6.1); only short texts are kept, so memory is bounded.
_REMEMBERED_MAX = 16_384
_REMEMBERED_CHARACTERS_MAX = 16

_DECIMAL = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?", re.ASCII)
_WHOLE_DIGITS_MAX = len(str(MINOR_MAX))
_FRACTION_DIGITS_MAX = 6  # more than any currency has

# 28 characters are what Decimal keeps exactly; a quantity with more is a mistake.
_QUANTITY = re.compile(r"(?=.{1,28}\Z)-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,4})?", re.ASCII)


def minor_of(value: str | int, currency: str, *, negative: bool = False) -> int:
    """Return the amount in minor units of the currency: `to_minor` for untyped input, and quick where prices repeat.

    Raises RejectedError as `exact_minor` does, at `$`.
    """
    if type(value) is str and len(value) <= _REMEMBERED_CHARACTERS_MAX:
        return _remembered_minor(value, currency, negative)
    return exact_minor(value, currency, "$", negative=negative)


@lru_cache(maxsize=_REMEMBERED_MAX)
def _remembered_minor(value: str, currency: str, negative: bool) -> int:  # noqa: FBT001 - a cache's key has no names
    # Straight to the common case: what is refused here is looked at again by `exact_minor`, for the better reason.
    return to_minor(value, currency, "$", negative=negative)


def exact_minor(value: Any, currency: str, path: str, *, negative: bool = False) -> int:
    """Return the amount in minor units of the currency, whatever JSON value it was sent as.

    Raises RejectedError at `path`: `not_a_decimal`, `too_many_decimals`, `negative` (unless allowed), `out_of_range`.
    """
    check_decimal(value, path, negative=negative)
    return to_minor(value, currency, path, negative=negative)


def check_decimal(value: Any, path: str, *, negative: bool = False) -> None:
    """Raise RejectedError where the value is no amount in any currency: all that can be said without the currency."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RejectedError.at(path, "not_a_decimal", f"{_kind(value)}; send money as a string or an integer")
    if isinstance(value, int):
        # Before anything prints it: Python refuses to turn an integer of thousands of digits into text.
        if abs(value) > MINOR_MAX:
            raise RejectedError.at(path, "out_of_range", f"more than {MINOR_MAX} minor units")
        value = str(value)
    matched = _DECIMAL.fullmatch(value)
    if matched is None:
        raise RejectedError.at(path, "not_a_decimal", f'{value[:40]!r} is not a decimal number such as "12.50"')
    sign, whole, fraction = matched[1], matched[2], matched[3] or ""
    if sign and not negative and (whole + fraction).strip("0"):
        raise RejectedError.at(path, "negative", "must not be negative")
    if len(whole) > _WHOLE_DIGITS_MAX:
        raise RejectedError.at(path, "out_of_range", f"more than {MINOR_MAX} minor units")
    if len(fraction) > _FRACTION_DIGITS_MAX:
        raise RejectedError.at(path, "too_many_decimals", f"{len(fraction)} decimals, more than any currency has")


def quantity_of(value: Any, path: str) -> str | None:
    """Return a quantity in canonical form (`1`, `"1"` and `1.0` are all `"1"`), None where it is absent.

    Not money, so a JSON number with a fraction is welcome. Raises RejectedError `not_a_number`, `out_of_range`.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float | jiter.LosslessFloat):
        raise RejectedError.at(path, "not_a_number", f"{_kind(value)}; send a number")
    if not isinstance(value, int):
        text = str(value)
        if _QUANTITY.fullmatch(text) is None:
            raise RejectedError.at(path, "not_a_number", "is not a decimal number of at most 28 characters")
        value = Decimal(text)
    if not 0 <= value <= QUANTITY_MAX:
        raise RejectedError.at(path, "out_of_range", f"must be from 0 to {QUANTITY_MAX}")
    whole = int(value)
    return str(whole) if whole == value else str(value.normalize())


def _kind(value: Any) -> str:
    """Return what the value is, in JSON's words."""
    kinds = {bool: "a boolean", type(None): "null", str: "a string", dict: "an object", list: "an array"}
    return kinds.get(type(value), "a JSON number with a fraction or an exponent")
