"""Instants as storefronts send them: RFC 3339 with an offset, kept in UTC."""

import re
from datetime import UTC, datetime
from typing import Any

from schemas.errors import RejectedError

OCCURRED_MIN = datetime(1970, 1, 1, tzinfo=UTC)
OCCURRED_MAX = datetime(2199, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)

# The grammar of RFC 3339 section 5.6, with its lower-case `t` and `z`. The space that a note there allows instead of
# `T` is refused: JSON Schema's `date-time` has none. So is a leap second: Python's clock has none.
RFC_3339 = (
    r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
_WITHOUT_OFFSET = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?)?", re.ASCII)


def instant_of(text: str, path: str = "$.occurred_at") -> datetime:
    """Return the instant in UTC, microseconds kept, finer cut off; the text must match RFC_3339.

    Raises RejectedError `not_a_timestamp` (30 February) and `timestamp_out_of_range` (only 1970 to 2199 are kept).
    """
    try:
        instant = datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise RejectedError.at(path, "not_a_timestamp", f"there is no such instant: {error}") from None
    # Compared before it is converted: the first and the last day of the calendar overflow on conversion.
    if not OCCURRED_MIN <= instant <= OCCURRED_MAX:
        raise RejectedError.at(path, "timestamp_out_of_range", "must be from 1970-01-01 to 2199-12-31 (UTC)")
    return instant if instant.tzinfo is UTC else instant.astimezone(UTC)


def malformed_instant(value: Any, path: str) -> RejectedError:
    """Return why a value that does not match RFC_3339 is refused."""
    if isinstance(value, str) and _WITHOUT_OFFSET.fullmatch(value):
        return RejectedError.at(path, "timestamp_without_offset", "needs an offset: 2026-11-22T10:00:00Z or +01:00")
    return RejectedError.at(path, "not_a_timestamp", "must be RFC 3339 with an offset: 2026-11-22T10:00:00Z")
