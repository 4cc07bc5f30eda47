"""Why an order event is refused: every field at fault, in the order of the contract.

Only ever run on what the quick path refused, so it is free to look at everything again, one field at a time.
"""

import re
from collections.abc import Callable, Container, Iterator
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from schemas.coupons import canonical_coupon
from schemas.errors import Fault, RejectedError
from schemas.instants import instant_of, malformed_instant
from schemas.json_text import step
from schemas.money import exponent
from schemas.order_amounts import check_decimal, exact_minor, quantity_of
from schemas.order_messages import ANY_MESSAGE, ITEMS_MAX, VALIDATORS

_ORDER = (
    *("type", "event_id", "merchant_id", "order_id", "occurred_at", "currency", "total", "tax", "shipping", "discount"),
    *("coupon_code", "customer", "items", "refund_id", "amount", "reason", "metadata"),
)
_RANK = {name: rank for rank, name in enumerate(_ORDER)}
_AMOUNTS = {"order.placed": ("total", "tax", "shipping", "discount"), "order.refunded": ("amount",)}
_OPTIONAL_AMOUNTS = frozenset({"tax", "shipping", "discount"})

_CODES = {
    "missing": ("missing", "is required"),
    "string_type": ("not_a_string", "must be a string"),
    "string_unicode": ("lone_surrogate", "holds half a surrogate pair, which is no character"),
    "dict_type": ("not_an_object", "must be a JSON object"),
    "list_type": ("not_an_array", "must be an array"),
}


def refusal(obj: dict[str, Any], at: str) -> RejectedError:
    """Return the rejection that names every fault of the object, paths under `at`, in the order of the contract."""
    kind = obj.get("type")
    known = kind if isinstance(kind, str) and kind in VALIDATORS else None
    found = {fault.path: fault for fault in _shape_faults(obj, known)}
    for fault in _value_faults(obj, known, found):
        found.setdefault(fault.path, fault)
    faults = sorted(found.values(), key=_rank)
    if not faults:
        return RejectedError.at(at, "invalid", "is not an order event")
    faults = [fault._replace(path=at + fault.path[1:]) for fault in faults]
    return RejectedError(faults[0].code, faults[0].message, faults)


def _rank(fault: Fault) -> int:
    """Return the place of the fault's field in the contract; the sort is stable within a field."""
    return _RANK[re.split(r"[.\[]", fault.path, maxsplit=2)[1]]


def _shape_faults(obj: dict[str, Any], kind: str | None) -> Iterator[Fault]:
    """Yield what pydantic finds wrong with the shape; of an unknown type, the fields that every message has."""
    if kind is None:
        yield _type_fault(obj)
    try:
        (VALIDATORS[kind] if kind else ANY_MESSAGE).validate_python(obj)
    except ValidationError as error:
        for details in error.errors(include_url=False, include_context=True):
            yield _translated(details)


def _type_fault(obj: dict[str, Any]) -> Fault:
    if "type" not in obj:
        return Fault("$.type", "missing", "is required")
    if not isinstance(obj["type"], str):
        return Fault("$.type", "not_a_string", "must be a string")
    return Fault("$.type", "unknown_type", f"must be one of {', '.join(VALIDATORS)}")


def _translated(details: ErrorDetails) -> Fault:
    """Return pydantic's finding in our words. Values are never quoted: a reason outlives an erased person."""
    kind, keys = details["type"], [key for key in details["loc"] if key != "[key]"]
    path = "$"
    for key in keys:
        path = step(path, key)
    if kind in _CODES:
        return Fault(path, *_CODES[kind])
    limits = details.get("ctx", {})
    if kind == "string_too_short":
        return Fault(path, "too_short", f"needs at least {limits['min_length']} character(s)")
    if kind == "string_too_long":
        return Fault(path, "too_long", f"at most {limits['max_length']} characters are allowed")
    if kind == "too_long":
        code = "too_many_items" if keys == ["items"] else "too_many_metadata"
        return Fault(path, code, f"at most {limits['max_length']} are allowed")
    if kind == "string_pattern_mismatch":
        return _pattern_fault(path, keys, details["input"])
    return Fault(path, "wrong_type", details["msg"])


def _pattern_fault(path: str, keys: list[str | int], value: Any) -> Fault:
    if keys == ["merchant_id"]:
        return Fault(path, "bad_slug", "must be 1 to 64 of a-z, 0-9 and -")
    if keys == ["currency"]:
        return Fault(path, "unknown_currency", "must be an ISO 4217 code: three capital letters")
    if keys == ["occurred_at"]:
        return malformed_instant(value, path).faults[0]
    return Fault(path, "control_character", "must not hold control characters")


def _value_faults(obj: dict[str, Any], kind: str | None, misshapen: Container[str]) -> Iterator[Fault]:
    """Yield what is wrong with values of the right shape: instants, currencies, money, coupon codes, quantities."""
    if "occurred_at" in obj and "$.occurred_at" not in misshapen:
        yield from _faults_of(instant_of, obj["occurred_at"], "$.occurred_at")
    currency = obj.get("currency")
    if kind in _AMOUNTS and isinstance(currency, str) and "$.currency" not in misshapen:
        yield from _faults_of(exponent, currency)
    for name in _AMOUNTS.get(str(kind), ()):
        if name in obj and not (obj[name] is None and name in _OPTIONAL_AMOUNTS):
            yield from _amount_faults(obj[name], currency, f"$.{name}", positive=name == "amount")
    if kind == "order.placed":
        code = obj.get("coupon_code")
        if isinstance(code, str) and not canonical_coupon(code):
            yield Fault("$.coupon_code", "blank", "must not be blank; leave the field out where there is no coupon")
        yield from _item_faults(obj.get("items"), currency)


def _item_faults(items: Any, currency: Any) -> Iterator[Fault]:
    for index, item in enumerate(items[:ITEMS_MAX] if isinstance(items, list) else ()):
        if isinstance(item, dict):
            yield from _faults_of(quantity_of, item.get("quantity"), f"$.items[{index}].quantity")
            if item.get("total") is not None:
                yield from _amount_faults(item["total"], currency, f"$.items[{index}].total", negative=True)


def _amount_faults(
    value: Any, currency: Any, path: str, *, negative: bool = False, positive: bool = False
) -> Iterator[Fault]:
    faults = [*_faults_of(lambda: check_decimal(value, path, negative=negative))]
    if not faults and _is_currency(currency):
        faults = [*_faults_of(lambda: exact_minor(value, currency, path, negative=negative))]
        if not faults and positive and exact_minor(value, currency, path) == 0:
            faults = [Fault(path, "not_positive", "must be more than zero")]
    yield from faults


def _is_currency(currency: Any) -> bool:
    return isinstance(currency, str) and not [*_faults_of(exponent, currency)]


def _faults_of(check: Callable[..., object], *arguments: Any) -> tuple[Fault, ...]:
    """Return the faults for which a check rejects its arguments."""
    try:
        check(*arguments)
    except RejectedError as error:
        return error.faults
    return ()
