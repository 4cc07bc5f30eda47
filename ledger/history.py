"""What happened to one order or one partner, event by event."""

from typing import NamedTuple

from ledger.application import Ledger
from ledger.events import Event, Stream, decode
from ledger.feed import FeedRow, entry_of
from ledger.merchants import find
from schemas.api_feed import FeedEntry


class HistoryEntry(NamedTuple):
    """One event of a stream: its version there, its position in the log, and itself."""

    version: int
    position: int
    event: Event


def of_order(ledger: Ledger, merchant_id: str, order_id: str) -> list[HistoryEntry]:
    """Return the events of the order's stream, oldest first; empty where there is none."""
    return _of_stream(ledger, Stream.order(merchant_id, order_id))


def of_partner(ledger: Ledger, merchant_id: str, partner_id: str) -> list[HistoryEntry]:
    """Return the events of the partner's stream, oldest first; empty where there is none."""
    return _of_stream(ledger, Stream.partner(merchant_id, partner_id))


def _of_stream(ledger: Ledger, stream: str) -> list[HistoryEntry]:
    with ledger.connection() as conn:
        rows = conn.execute(
            "SELECT originator_version, notification_id, topic, state FROM ledger.events"
            " WHERE originator_id = %s ORDER BY originator_version",
            (stream,),
        ).fetchall()
    return [
        HistoryEntry(row["originator_version"], row["notification_id"], decode(row["topic"], row["state"]))
        for row in rows
    ]


def told_of_order(ledger: Ledger, merchant_id: str, order_id: str) -> list[FeedEntry]:
    """Return the events of the order's stream as the feed tells them, oldest first; empty where there is none."""
    currency, stream = find(ledger, merchant_id).currency, Stream.order(merchant_id, order_id)
    with ledger.connection() as conn:
        rows = conn.execute(
            "SELECT notification_id AS position, originator_id AS stream, topic, state::text AS state"
            " FROM ledger.events WHERE originator_id = %s ORDER BY originator_version",
            (stream,),
        ).fetchall()
    return [entry_of(FeedRow(**row), merchant_id, currency) for row in rows]
