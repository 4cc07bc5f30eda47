"""Cursors of lists: opaque to callers, checked when they come back."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from schemas.errors import RejectedError


def to_cursor(*place: str | int) -> str:
    """Return the cursor of a place in a list."""
    return urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).rstrip(b"=").decode()


def cursor_of(place: str | int | tuple[str | int, ...] | None) -> str | None:
    """Return the cursor of a read's next key, None where there is no next page."""
    if place is None:
        return None
    return to_cursor(*place) if isinstance(place, tuple) else to_cursor(place)


def from_cursor(cursor: str | None, *kinds: type) -> tuple[Any, ...] | None:
    """Return the place, whose parts are of these kinds; None for no cursor. Raises RejectedError `bad_cursor`."""
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        place = json.loads(urlsafe_b64decode(padded))
    except (ValueError, RecursionError):
        raise _bad() from None
    if not _fits(place, kinds):
        raise _bad()
    return tuple(place)


def instant_of_cursor(told: str) -> datetime:
    """Return the instant in a cursor, as `isoformat` wrote it. Raises RejectedError `bad_cursor`."""
    try:
        instant = datetime.fromisoformat(told)
    except ValueError:
        raise _bad() from None
    if instant.utcoffset() is None:
        raise _bad()
    return instant


def day_of_cursor(told: int) -> date:
    """Return the day in a cursor, as `toordinal` counted it. Raises RejectedError `bad_cursor`."""
    try:
        return date.fromordinal(told)
    except (ValueError, OverflowError):
        raise _bad() from None


def _fits(place: Any, kinds: Sequence[type]) -> bool:
    if not isinstance(place, list) or len(place) != len(kinds):
        return False
    return all(type(part) is kind and _storable(part) for part, kind in zip(place, kinds, strict=True))


def _storable(part: Any) -> bool:
    """Whether PostgreSQL can hold it; a forged cursor may hold anything that JSON can."""
    if isinstance(part, int):
        return abs(part) < 2**63
    return isinstance(part, str) and "\x00" not in part and not any("\ud800" <= each <= "\udfff" for each in part)


def _bad() -> RejectedError:
    return RejectedError.at(
        "query.cursor", "bad_cursor", "not a cursor of this list; use `next_cursor` as it was given"
    )
