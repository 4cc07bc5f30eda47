"""How money, numbers and times are shown: by the visitor's locale, in the program's time zone."""

from collections.abc import Sequence
from copy import copy
from datetime import date, datetime
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time, get_datetime_format
from babel.numbers import NumberPattern, format_decimal, format_percent

from schemas.api import Rate
from schemas.money import Money, exponent

LOCALE_DEFAULT = "en_US"
_HEADER_LENGTH_MAX = 200
_ASKED_MAX = 10


@lru_cache(1_000)
def locale_of(accept_language: str) -> Locale:
    """Return the first locale of an `Accept-Language` header that is known, in the caller's order of preference."""
    for name in _preferred(accept_language[:_HEADER_LENGTH_MAX]):
        try:
            return Locale.parse(name, sep="-")
        except (ValueError, UnknownLocaleError):
            continue
    return Locale.parse(LOCALE_DEFAULT)


def _preferred(header: str) -> Sequence[str]:
    asked = []
    for part in header.split(",")[:_ASKED_MAX]:
        name, _, quality = part.strip().partition(";q=")
        try:
            weight = float(quality or 1)
        except ValueError:
            weight = 0.0
        if weight > 0 and name not in ("", "*"):
            asked.append((weight, name))
    return [name for _, name in sorted(asked, key=lambda each: -each[0])]


@cache
def _pattern(locale: Locale, digits: int) -> NumberPattern:
    # Babel takes the decimals of a currency from CLDR, where thirteen currencies have others than in ISO 4217 (RSD has
    # none there): what is shown must be what is owed, so the number of decimals is ours.
    pattern: NumberPattern = copy(locale.currency_formats["standard"])
    pattern.frac_prec = (digits, digits)
    return pattern


def money(value: Money, locale: Locale) -> str:
    """Return the amount with its currency's sign and exactly its decimals: `$1,234.50`, `1.234,50 €`."""
    pattern = _pattern(locale, exponent(value.currency))
    return str(pattern.apply(Decimal(value.amount), locale, currency=value.currency, currency_digits=False))


def number(value: Decimal | int | str, locale: Locale) -> str:
    """Return the number with the locale's separators, and all of its decimals."""
    return str(format_decimal(Decimal(value), locale=locale, decimal_quantization=False))


def percent(value: Decimal, locale: Locale) -> str:
    """Return a fraction (0.125) as a percentage with at most one decimal: `12.5%`."""
    return str(format_percent(value.quantize(Decimal("0.001")), "#,##0.#%", locale=locale))


def rate(value: Rate, currency: str, locale: Locale) -> str:
    """Return what a partner earns of an order: `12.5%`, or the fixed amount in the program's currency."""
    if value.type == "fixed":
        return money(Money(amount=value.value, currency=currency), locale)
    return str(format_percent(Decimal(value.value) / 100, locale=locale, decimal_quantization=False))


def day(value: date, locale: Locale) -> str:
    """Return the day: `Nov 22, 2026`."""
    return str(format_date(value, "medium", locale=locale))


def moment(value: datetime, locale: Locale, zone: ZoneInfo) -> str:
    """Return the instant to the minute, in the time zone: `Nov 22, 2026, 1:05 PM`."""
    together = str(get_datetime_format("medium", locale)).replace("'", "")
    return together.format(format_time(value, "short", tzinfo=zone, locale=locale), day(value.astimezone(zone), locale))


def machine(value: Any) -> str:
    """Return what a `datetime` attribute says: the instant in UTC, or the day."""
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
