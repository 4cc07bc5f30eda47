"""JSON as it arrives from outside: strict, exact, and every refusal says where and why.

Stricter than the RFC asks for, because two readers of the same bytes must never see two different orders: a key that is
there twice is refused (which one counts is up to the parser), numbers keep every digit, NaN and Infinity are not JSON.
"""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import jiter

from schemas.errors import Fault, RejectedError

MESSAGE_BYTES_MAX = 65_536
# More are not told: a small text can be wrong in very many places.
FAULTS_MAX = 100

# Python refuses to read longer integers (a defence against quadratic time), and so does jiter.
_DIGITS_MAX = 4_300

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_SHOWN_KEY_CHARACTERS_MAX = 64


class _Pairs(NamedTuple):
    """An object as it stood in the text: pairs, so that a key that is there twice is there twice."""

    pairs: list[tuple[str, Any]]


class _Huge(NamedTuple):
    """An integer with more digits than can be read."""

    digits: int


def step(path: str, key: str | int) -> str:
    """Return the JSON path one level deeper: `$.total`, `$.items[2]`, `$.metadata["a key"]`; long keys are cut."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if _PLAIN_KEY.fullmatch(key):
        return f"{path}.{key}"
    shown = key if len(key) <= _SHOWN_KEY_CHARACTERS_MAX else f"{key[:_SHOWN_KEY_CHARACTERS_MAX]}…"
    # json.dumps escapes control characters and lone surrogates: a path can be stored and printed anywhere.
    return f"{path}[{json.dumps(shown)}]"


def decode(raw: bytes | None, *, bytes_max: int = MESSAGE_BYTES_MAX) -> Any:
    """Return the decoded JSON value; numbers with a fraction or an exponent come back as `jiter.LosslessFloat`.

    Raises RejectedError `empty` (no bytes, a Kafka tombstone), `too_large`, `not_utf8`, `not_json`, `duplicate_key`,
    `too_deep` (more than 200 levels), `lone_surrogate`, `out_of_range` (an integer of more than 4,300 digits).
    """
    if not raw:
        raise RejectedError.at("$", "empty", "the message has no value")
    if len(raw) > bytes_max:
        raise RejectedError.at("$", "too_large", f"{len(raw)} bytes, at most {bytes_max} are allowed")
    try:
        return jiter.from_json(
            raw, catch_duplicate_keys=True, float_mode="lossless-float", allow_inf_nan=False, cache_mode="keys"
        )
    except ValueError as error:
        raise _refusal(raw, str(error)) from None


def _refusal(raw: bytes, reason: str) -> RejectedError:
    """Return why the bytes are no JSON that can be trusted."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        return RejectedError.at("$", "not_utf8", f"byte {error.start} is not UTF-8")
    if text.startswith("\ufeff"):
        return RejectedError.at("$", "not_json", "starts with a byte order mark; send UTF-8 without it")
    if reason.startswith("recursion limit"):
        return RejectedError.at("$", "too_deep", "nested more than 200 levels deep")
    if reason.startswith(("Detected duplicate key", "number out of range")):
        return _located(text, reason)
    if "hex escape" in reason and _has_lone_surrogate(text):
        return RejectedError.at("$", "lone_surrogate", f"half a surrogate pair is no character: {reason}")
    return RejectedError.at("$", "not_json", reason)


def _has_lone_surrogate(text: str) -> bool:
    """Return whether the text is JSON for a lenient reader, so that the escape's meaning is what is wrong with it."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _located(text: str, reason: str) -> RejectedError:
    """Return the refusal of duplicate keys and endless integers with the path at which they stand."""
    try:
        value = json.loads(text, object_pairs_hook=_Pairs, parse_int=_integer)
    except (ValueError, RecursionError):
        # The text is broken as well, further on: jiter's line and column must do.
        code = "duplicate_key" if "duplicate" in reason else "out_of_range"
        return RejectedError.at("$", code, reason)
    faults = list(islice(_walk(value, "$"), FAULTS_MAX))
    return RejectedError(faults[0].code, faults[0].message, faults)


def _integer(digits: str) -> int | _Huge:
    return _Huge(len(digits)) if len(digits) > _DIGITS_MAX else int(digits)


def _walk(value: Any, path: str) -> Iterator[Fault]:
    """Yield every duplicate key and endless integer in the value, in the order of the text."""
    if isinstance(value, _Huge):
        yield Fault(path, "out_of_range", f"an integer of {value.digits} digits")
    elif isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, inner in value.pairs:
            if key in seen:
                yield Fault(step(path, key), "duplicate_key", "the key is there more than once")
            seen.add(key)
            yield from _walk(inner, step(path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _walk(inner, step(path, index))
