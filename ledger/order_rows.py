"""Rows of an order file, as the messages that a storefront would have published."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, get_type_hints

import orjson

from ledger.batch import Message
from schemas.order_messages import (
    CancelledMessage,
    DisputedMessage,
    DisputeWonMessage,
    PlacedMessage,
    RefundedMessage,
)
from schemas.rows import Row, encode

# In CSV: what every row needs whatever its type, so that a file of something else is refused at once.
REQUIRED_COLUMNS = ("order_id", "occurred_at")

_CUSTOMER = {"customer_id": "id", "customer_email": "email", "customer_name": "name"}
_METADATA = "metadata."
_MESSAGES = (PlacedMessage, RefundedMessage, CancelledMessage, DisputedMessage, DisputeWonMessage)
_KNOWN = frozenset(name for message in _MESSAGES for name in get_type_hints(message)) | _CUSTOMER.keys()


def messages(rows: Iterable[Row], kind: str, merchant_id: str | None) -> Iterator[Message]:
    """Yield a message per row, at the position of its line.

    What a row leaves out is filled in: the type (`order.placed`), the merchant, and an event id, which is always the
    same for the same row. A row that cannot be read as fields becomes a message as it is, to be refused like any other.
    """
    for row in rows:
        yield Message(row.line, _raw(row, kind, merchant_id))


def is_known(name: str) -> bool:
    """Return whether the books read this column; what they do not read is left out, and told to be."""
    return name in _KNOWN or name.startswith(_METADATA)


def merchant_of(row: Row) -> Any:
    """Return whose order the row says it is, None where it does not say."""
    return row.fields.get("merchant_id") if row.fields else None


def _raw(row: Row, kind: str, merchant_id: str | None) -> bytes:
    if row.fields is None:
        return row.raw
    told = _nested(row.fields) if kind == "csv" else row.fields
    filled = {} if "type" in told else {"type": "order.placed"}
    if "merchant_id" not in told and merchant_id is not None:
        filled["merchant_id"] = merchant_id
    if "event_id" not in told:
        filled["event_id"] = f"row-{hashlib.blake2b(row.raw, digest_size=12).hexdigest()}"
    # Nothing to add: the line goes as it was written, with whatever a second reading of it would lose.
    return row.raw if not filled and kind == "jsonl" else _filled(row, told, filled, kind)


def _filled(row: Row, told: dict[str, Any], filled: dict[str, str], kind: str) -> bytes:
    if kind == "csv":
        return encode(told | filled)
    # In front of the other members, in the line as it was written: its numbers and double names stay what they were.
    known = b"".join(orjson.dumps(name) + b":" + orjson.dumps(value) + b"," for name, value in filled.items())
    inside = row.raw.strip()[1:].lstrip()
    return b"{" + (known[:-1] if inside.startswith(b"}") else known) + inside


def _nested(cells: dict[str, str]) -> dict[str, Any]:
    """Return flat columns as the object they stand for: `customer_id` is `customer.id`, `metadata.x` is that of `x`."""
    told: dict[str, Any] = {}
    for name, cell in cells.items():
        if name in _CUSTOMER:
            told.setdefault("customer", {})[_CUSTOMER[name]] = cell
        elif name.startswith(_METADATA):
            told.setdefault("metadata", {})[name.removeprefix(_METADATA)] = cell
        elif name in ("items", "metadata"):
            told[name] = _parsed(cell)
        else:
            told[name] = cell
    return told


def _parsed(cell: str) -> Any:
    """Return the JSON in a cell; what is none stays text, and is refused as such."""
    try:
        return orjson.loads(cell)
    except orjson.JSONDecodeError:
        return cell
