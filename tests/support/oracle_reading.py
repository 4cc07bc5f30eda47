"""How the oracle reads an order event: by itself, from the words of `order-events.md`, without the service's parser.

A message with exactly one fault of a kind that it knows is refused with the code; anything odder raises UntaughtError.
Part of the oracle: it shares no code with the service.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

EXPONENTS = {"USD": 2, "EUR": 2, "GBP": 2, "JPY": 0, "KWD": 3}
NO_CURRENCIES = frozenset({"ZZZ", "DOLLARS", "usd"})
MINOR_MAX = 10**15
BYTES_MAX = 65_536
DEPTH_MAX = 8
TYPES = ("order.placed", "order.refunded", "order.cancelled", "order.disputed", "order.dispute_won")

_SLUG = re.compile(r"[a-z0-9-]{1,64}")
_NUMBER = re.compile(r"(-?)([0-9]{1,16})(?:\.([0-9]+))?")
_LIKE_A_NUMBER = re.compile(r"[-+0-9.eE_ ]+")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)?")
_ODD = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class UntaughtError(Exception):
    """The oracle was asked about something that nobody taught it: teach it, or take it out of the test."""


class Refusal(Exception):  # noqa: N818 - not an error of the oracle: an answer of the model
    """The message is refused for good, with this code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Placed(NamedTuple):
    """An order as the storefront told it; amounts in minor units, the code normalised."""

    merchant_id: str
    order_id: str
    occurred_at: datetime
    currency: str
    total: int
    tax: int
    shipping: int
    discount: int
    coupon_code: str | None
    customer_id: str | None
    customer_email: str | None
    items: tuple

    def content(self) -> tuple:
        """Return what makes a second telling the same order: all but the customer's address and the items' order."""
        return self._replace(customer_email=None, items=tuple(sorted(self.items, key=repr)))


class Fact(NamedTuple):
    """What happened to an order later: `refunded`, `cancelled`, `disputed` or `dispute_won`."""

    merchant_id: str
    order_id: str
    kind: str
    event_id: str
    occurred_at: datetime
    refund_id: str = ""
    currency: str = ""
    amount: int = 0


class _Float(str):
    """A JSON number with a point or an exponent: never money."""

    __slots__ = ()


def read(raw: bytes | None) -> Placed | Fact:
    """Return the order event in the bytes; raises Refusal with its code, or UntaughtError."""
    told = _decode(raw)
    if "specversion" in told:
        raise UntaughtError("a CloudEvents envelope")
    if "type" not in told:
        raise Refusal("missing")
    kind = told["type"]
    if not isinstance(kind, str):
        raise UntaughtError(f"the type {kind!r}")
    if kind not in TYPES:
        raise Refusal("unknown_type")
    fields = _Fields(told)
    event = _placed(fields) if kind == "order.placed" else _fact(fields, kind.removeprefix("order."))
    if len(fields.faults) > 1:
        raise UntaughtError(f"a message with several faults: {fields.faults}")
    if fields.faults:
        raise Refusal(fields.faults[0])
    return event


def _decode(raw: bytes | None) -> dict[str, Any]:
    if not raw:
        raise Refusal("empty")
    if len(raw) > BYTES_MAX:
        raise Refusal("too_large")
    try:
        told = _JSON.decode(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise Refusal("not_utf8") from None
    except json.JSONDecodeError:
        if not raw.strip():
            raise UntaughtError("nothing but space") from None
        raise Refusal("not_json") from None
    except (RecursionError, ValueError) as error:
        raise UntaughtError(f"JSON that Python's own reader gives up on: {error!r}") from None
    if told is None:
        raise UntaughtError("a JSON null")
    if not isinstance(told, dict):
        raise Refusal("not_an_object")
    # Few messages have enough brackets to be deep, and only those are looked through.
    if raw.count(b"{") + raw.count(b"[") > DEPTH_MAX and _depth(told) > DEPTH_MAX:
        raise UntaughtError("JSON that is nested deeply")
    return told


def _depth(told: Any) -> int:
    inner = told.values() if isinstance(told, dict) else told if isinstance(told, list) else ()
    return 1 + max(map(_depth, inner), default=0)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) != len(pairs):
        raise Refusal("duplicate_key")
    return told


def _no_constant(_: str) -> None:
    raise Refusal("not_json")


_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_Float, parse_constant=_no_constant)


def _placed(fields: _Fields) -> Placed:
    fields.text("event_id", 128)
    currency = fields.currency()
    customer = fields.customer()
    code = fields.text("coupon_code", 64, required=False)
    if code and not (code.isascii() and code.strip()):
        raise UntaughtError(f"the coupon code {code!r}")
    fields.metadata()
    return Placed(
        merchant_id=fields.slug(),
        order_id=fields.text("order_id", 128) or "",
        occurred_at=fields.instant(),
        currency=currency,
        total=fields.amount("total", currency),
        tax=fields.amount("tax", currency, required=False),
        shipping=fields.amount("shipping", currency, required=False),
        discount=fields.amount("discount", currency, required=False),
        coupon_code=None if code is None else code.strip().upper(),
        customer_id=customer.get("id"),
        customer_email=customer.get("email"),
        items=fields.items(currency),
    )


def _fact(fields: _Fields, kind: str) -> Fact:
    fields.metadata()
    if kind != "dispute_won":
        fields.text("reason", 200, required=False, shortest=0)
    event_id, order_id = fields.text("event_id", 128) or "", fields.text("order_id", 128) or ""
    fact = Fact(fields.slug(), order_id, kind, event_id, fields.instant())
    if kind != "refunded":
        return fact
    currency = fields.currency()
    return fact._replace(
        currency=currency,
        refund_id=fields.text("refund_id", 128) or "",
        amount=fields.amount("amount", currency, positive=True),
    )


class _Fields:
    """The known fields of one object; a reader that finds a fault notes its code, and nobody looks at its value."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.faults: list[str] = []

    def _required(self, name: str, *, required: bool) -> Any:
        if name not in self.told:
            if required:
                self.faults.append("missing")
            return None
        if self.told[name] is None:
            raise UntaughtError(f"{name} is null")
        return self.told[name]

    def text(self, name: str, longest: int, *, required: bool = True, shortest: int = 1) -> str | None:
        """Return a string of `shortest` to `longest` characters."""
        value = self._required(name, required=required)
        return None if value is None else self._text(value, longest, shortest)

    def _text(self, value: Any, longest: int, shortest: int = 1) -> str:
        if value is None:
            raise UntaughtError("a null for a string")
        if not isinstance(value, str):
            self.faults.append("not_a_string")
            return ""
        if len(value) < shortest:
            self.faults.append("too_short")
        elif len(value) > longest:
            self.faults.append("too_long")
        elif odd := _ODD.search(value):
            if odd[0] >= "\ud800":
                raise UntaughtError("a lone surrogate")
            self.faults.append("control_character")
        return value

    def slug(self) -> str:
        """Return the merchant."""
        value = self._required("merchant_id", required=True)
        if isinstance(value, str) and not _SLUG.fullmatch(value):
            self.faults.append("bad_slug")
        elif value is not None and not isinstance(value, str):
            raise UntaughtError(f"the merchant {value!r}")
        return value or ""

    def instant(self) -> datetime:
        """Return when it happened, in UTC."""
        nobody_looks = datetime.min.replace(tzinfo=UTC)
        value = self._required("occurred_at", required=True)
        if value is None:
            return nobody_looks
        if not isinstance(value, str):
            raise UntaughtError(f"the time {value!r}")
        matched = _INSTANT.fullmatch(value)
        if matched is None:
            if re.match(r"\d{4}-\d\d-\d\d", value):
                raise UntaughtError(f"the time {value!r}")
            self.faults.append("not_a_timestamp")
            return nobody_looks
        if matched[2] is None:
            self.faults.append("timestamp_without_offset")
            return nobody_looks
        try:
            at = datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            raise UntaughtError(f"the time {value!r}") from None
        if not 1970 <= at.year < 2200:
            self.faults.append("timestamp_out_of_range")
        return at

    def currency(self) -> str:
        """Return the currency."""
        value = self._required("currency", required=True)
        if value is None or value in EXPONENTS:
            return value or ""
        if value not in NO_CURRENCIES:
            raise UntaughtError(f"the currency {value!r}")
        self.faults.append("unknown_currency")
        return ""

    def amount(self, name: str, currency: str, *, required: bool = True, positive: bool = False) -> int:
        """Return an amount in minor units; where the currency is at fault, nothing can be said about it."""
        value = self._required(name, required=required)
        return 0 if value is None or not currency else self._amount(value, EXPONENTS[currency], positive=positive)

    def _amount(self, value: Any, digits: int, *, positive: bool = False) -> int:
        if isinstance(value, _Float):
            self.faults.append("not_a_decimal")
            return 0
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise UntaughtError(f"the amount {value!r}")
        matched = _NUMBER.fullmatch(str(value))
        if matched is None:
            if _LIKE_A_NUMBER.fullmatch(str(value)) and value != "":
                raise UntaughtError(f"the amount {value!r}")
            self.faults.append("not_a_decimal")
            return 0
        return self._minor(matched, digits, positive=positive)

    def _minor(self, matched: re.Match[str], digits: int, *, positive: bool) -> int:
        sign, whole, fraction = matched[1], matched[2], matched[3] or ""
        if len(fraction) > digits:
            self.faults.append("too_many_decimals")
            return 0
        minor = int(whole) * 10**digits + int(fraction.ljust(digits, "0") or "0")
        if sign and (positive or minor == 0):
            raise UntaughtError(f"the amount {matched[0]}")
        if sign:
            self.faults.append("negative")
        elif minor > MINOR_MAX:
            self.faults.append("out_of_range")
        elif positive and minor == 0:
            self.faults.append("not_positive")
        return minor

    def customer(self) -> dict[str, str]:
        """Return what is known of the customer."""
        value = self._required("customer", required=False)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise UntaughtError(f"the customer {value!r}")
        if "id" not in value:
            self.faults.append("missing")
        shortest = {"id": 1, "email": 0, "name": 0}
        return {name: self._text(value[name], 128, least) for name, least in shortest.items() if name in value}

    def items(self, currency: str) -> tuple:
        """Return the items, each as (sku, name, quantity, total in minor units)."""
        value = self._required("items", required=False)
        if value is None:
            return ()
        if not isinstance(value, list) or len(value) > 500 or not all(isinstance(item, dict) for item in value):
            raise UntaughtError("items that are no list of at most 500 objects")
        return tuple(self._item(item, currency) for item in value)

    def _item(self, item: dict[str, Any], currency: str) -> tuple:
        quantity = item.get("quantity", 1)
        if type(quantity) is not int or not 0 < quantity < 10**6 or not isinstance(item.get("sku"), str):
            raise UntaughtError(f"the item {item!r}")
        if "total" not in item:
            total = None
        elif not currency:
            total = 0
        elif str(item["total"]).startswith("-"):
            raise UntaughtError(f"the item {item!r}")
        else:
            total = self._amount(item["total"], EXPONENTS[currency])
        name = self._text(item["name"], 200) if "name" in item else None
        return (self._text(item["sku"], 128), name, item.get("quantity"), total)

    def metadata(self) -> None:
        """Look at the metadata, which has no part in the books."""
        value = self._required("metadata", required=False)
        if value is not None and not (
            isinstance(value, dict) and len(value) <= 50 and all(isinstance(text, str) for text in value.values())
        ):
            raise UntaughtError("metadata that is no object of at most 50 strings")
        for text in (*(value or {}), *(value or {}).values()):
            self._text(text, 500, 0)
