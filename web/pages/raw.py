"""Messages as they arrived, shown so that nothing in them can act, hide or pretend: text, JSON by lines, bytes."""

import json
import unicodedata
from collections.abc import Iterator
from typing import Any, NamedTuple

from schemas.json_text import step

_LINES_MAX = 1_000
_BYTES_MAX = 4_096
_BYTES_A_LINE = 16
_PRINTABLE = range(0x20, 0x7F)
# What text may do to the page: break lines. All other controls, and what turns the direction of writing, are named.
_KEPT = "\n\t"
_ACTING = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


class Line(NamedTuple):
    """A line of a message, and whether it is (part of) the field at fault."""

    text: str
    marked: bool


def visible(text: str) -> str:
    """Return the text with every character that cannot be seen by its number: `⟨U+202E⟩`."""
    return "".join(
        f"⟨U+{ord(each):04X}⟩" if unicodedata.category(each) in _ACTING and each not in _KEPT else each for each in text
    )


def lines_of(text: str, path: str) -> list[Line] | None:
    """Return the JSON line by line with the value at the path marked; None: it is no JSON, or has too many lines.

    Numbers stand as they were written, and a key that is there twice stands there twice.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_Pairs, parse_int=_Literal, parse_float=_Literal, parse_constant=_Literal
        )
        found = []
        for line in _lines(value, "$", path, "", "", marked=False):
            found.append(line)
            if len(found) > _LINES_MAX:
                return None
    except (ValueError, RecursionError):
        return None
    return found


def bytes_of(raw: bytes) -> str:
    """Return the first bytes as a dump: where they stand, in hexadecimal, and as ASCII."""
    begin = raw[:_BYTES_MAX]
    return "\n".join(_dumped(at, begin[at : at + _BYTES_A_LINE]) for at in range(0, len(begin), _BYTES_A_LINE))


class _Pairs(list[tuple[str, Any]]):
    """The members of an object, as they were written."""


class _Literal(str):
    """A number, as it was written."""

    __slots__ = ()


def _lines(value: Any, here: str, path: str, before: str, after: str, *, marked: bool) -> Iterator[Line]:
    """Yield the lines of a value; `before` and `after` are what stands around it on its first and last line."""
    marked = marked or (here == path and path != "$")
    indent = before[: len(before) - len(before.lstrip())] + "  "
    if isinstance(value, _Pairs) and value:
        yield Line(f"{before}{{", marked)
        for number, (key, member) in enumerate(value, 1):
            comma = "" if number == len(value) else ","
            name = visible(json.dumps(key, ensure_ascii=False))
            yield from _lines(member, step(here, key), path, f"{indent}{name}: ", comma, marked=marked)
        yield Line(f"{indent[:-2]}}}{after}", marked)
    elif isinstance(value, list) and value:
        yield Line(f"{before}[", marked)
        for number, member in enumerate(value):
            comma = "" if number == len(value) - 1 else ","
            yield from _lines(member, step(here, number), path, indent, comma, marked=marked)
        yield Line(f"{indent[:-2]}]{after}", marked)
    else:
        yield Line(f"{before}{_scalar(value)}{after}", marked)


def _scalar(value: Any) -> str:
    if isinstance(value, _Literal):
        return visible(str(value))
    if isinstance(value, list):
        return "{}" if isinstance(value, _Pairs) else "[]"
    return visible(json.dumps(value, ensure_ascii=False))


def _dumped(at: int, piece: bytes) -> str:
    hexadecimal = piece.hex(" ").ljust(_BYTES_A_LINE * 3 - 1)
    return f"{at:08x}  {hexadecimal}  {''.join(chr(each) if each in _PRINTABLE else '.' for each in piece)}"
