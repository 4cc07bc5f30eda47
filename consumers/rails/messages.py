"""What providers send us by webhook. It is only ever a hint: what it says is not believed, the object is asked for."""

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from ledger.payout_store import Hint
from schemas.errors import RejectedError

T = TypeVar("T")

TOLERANCE = timedelta(minutes=5)
BODY_BYTES_MAX = 256 * 1024
_PAYOUT_ID = re.compile(r"po_[0-9a-f]{16}", re.ASCII)
_ID = re.compile(r"[!-~]{1,128}", re.ASCII)


class Message(NamedTuple):
    """A message of a provider whose signature was right.

    `payment`: look at a payout. `account_id`: ask for the standing of this connected account. Neither: information
    only, which `kind` names.
    """

    provider: str
    event_id: str
    kind: str
    payment: Hint | None = None
    account_id: str | None = None


def refuse(code: str, why: str) -> RejectedError:
    """Return the rejection of a message, which is answered with 400 and tells nothing more."""
    return RejectedError(code, f"the message is refused: {why}")


def check_size(body: bytes) -> None:
    """Raise RejectedError `too_large` where the body is larger than any message of a provider."""
    if len(body) > BODY_BYTES_MAX:
        raise refuse("too_large", f"more than {BODY_BYTES_MAX} bytes")


def check_time(at: datetime, now: datetime, past: timedelta = TOLERANCE) -> None:
    """Raise RejectedError `not_now` where it was signed longer ago than `past`, or in the future."""
    if not -TOLERANCE <= now - at <= past:
        raise refuse("not_now", "it was signed too long ago, or in the future")


def read(body: bytes, told_by: Callable[[dict[str, Any]], T]) -> T:
    """Return what a JSON body tells. Raises RejectedError `unreadable` where it is not the JSON that was agreed."""
    try:
        return told_by(json.loads(body.decode("utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise refuse("unreadable", type(error).__name__) from None


def text(value: Any) -> str:
    """Return the value, which has to be an id: a short word of printable ASCII. Raises TypeError."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise TypeError("not an id")
    return value


def payout_id_of(value: Any) -> str | None:
    """Return the value where it is an id of one of our payouts, None otherwise: it comes from outside."""
    return value if isinstance(value, str) and _PAYOUT_ID.fullmatch(value) else None
