"""Checks form parameters against the parameter types of the Stripe SDK, as Stripe's own server would."""

from __future__ import annotations

import re
import sys
import types
import typing
from typing import Any, NamedTuple, NotRequired, Required, Union, get_args, get_origin, get_type_hints

import typing_extensions
from stripe._request_options import RequestOptions

_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_LITERALS = (typing.Literal, typing_extensions.Literal)
_MARKS = (NotRequired, Required, typing_extensions.NotRequired, typing_extensions.Required)


class Wrong(NamedTuple):
    """What is wrong with a request: Stripe's code, and the parameter."""

    code: str
    param: str


def nested(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Return form parameters as they are meant: `a[b]=1` is `{"a": {"b": "1"}}`."""
    root: dict[str, Any] = {}
    for name, value in pairs:
        first, *rest = re.findall(r"[^\[\]]+", name)
        place = root
        for step in [first, *rest][:-1]:
            place = place.setdefault(step, {})
        place[[first, *rest][-1]] = value
    return root


def faults_of(told: dict[str, Any], shape: Any, prefix: str = "") -> list[Wrong]:
    """Return what is wrong with the parameters by the SDK's type `shape`, in the order of the type."""
    # Of the SDK's own options, which are not sent, the types need not even be found.
    own = {name: hint for name, hint in shape.__annotations__.items() if name not in RequestOptions.__annotations__}
    known = vars(sys.modules[shape.__module__])
    hints = get_type_hints(types.SimpleNamespace(__annotations__=own), known, include_extras=True)
    found = [Wrong("parameter_unknown", prefix + name) for name in told if name not in hints]
    for name, hint in hints.items():
        if name in told:
            found += _wrong(told[name], hint, prefix + name)
        elif get_origin(hint) not in _MARKS[::2] and name in shape.__required_keys__:
            found.append(Wrong("parameter_missing", prefix + name))
    return found


def _wrong(value: Any, hint: Any, param: str) -> list[Wrong]:
    origin = get_origin(hint)
    if origin in _MARKS:
        return _wrong(value, get_args(hint)[0], param)
    if origin in (Union, types.UnionType):
        tried = [_wrong(value, each, param) for each in get_args(hint)]
        return [] if [] in tried else tried[0]
    if typing_extensions.is_typeddict(hint):
        return faults_of(value, hint, f"{param}.") if isinstance(value, dict) else [Wrong("parameter_invalid", param)]
    if hint in (int, str, bool):
        return _wrong_word(value, hint, param)
    return _wrong_container(value, hint, origin, param)


def _wrong_word(value: Any, hint: Any, param: str) -> list[Wrong]:
    word = value if isinstance(value, str) else ""
    if hint is int:
        return [] if _INTEGER.fullmatch(word) else [Wrong("parameter_invalid_integer", param)]
    if hint is bool:
        return [] if word in ("true", "false") else [Wrong("parameter_invalid", param)]
    return [] if word else [Wrong("parameter_invalid_empty", param)]


def _wrong_container(value: Any, hint: Any, origin: Any, param: str) -> list[Wrong]:
    if origin in _LITERALS:
        return [] if value in get_args(hint) else [Wrong("parameter_invalid", param)]
    if origin is list:
        values = list(value.values()) if isinstance(value, dict) else [value]
        return [wrong for each in values for wrong in _wrong(each, get_args(hint)[0], param)]
    if origin is dict:
        fine = isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
        return [] if fine else [Wrong("parameter_invalid", param)]
    # A class of the SDK: nothing of the kind can come by form.
    return [Wrong("parameter_invalid", param)]
