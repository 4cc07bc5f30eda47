"""What happened to one order, event by event."""

from typing import NamedTuple

from ledger.application import Ledger
from ledger.events import Event, Stream, decode


class HistoryEntry(NamedTuple):
    """One event of a stream: its version there, its position in the log, and itself."""

    version: int
    position: int
    event: Event


def of_order(ledger: Ledger, merchant_id: str, order_id: str) -> list[HistoryEntry]:
    """Return the events of the order's stream, oldest first; empty where there is none."""
    with ledger.connection() as conn:
        rows = conn.execute(
            "SELECT originator_version, notification_id, topic, state FROM ledger.events"
            " WHERE originator_id = %s ORDER BY originator_version",
            (Stream.order(merchant_id, order_id),),
        ).fetchall()
    return [
        HistoryEntry(row["originator_version"], row["notification_id"], decode(row["topic"], row["state"]))
        for row in rows
    ]
