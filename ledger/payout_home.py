"""Where payouts are at home: in a copy of the database, or one that was restored from a backup, nothing is sent.

A backup knows nothing of what was paid after it was made, and would pay it again. So the database remembers where it
is (cluster, timeline, database), and `ledger.payout_spending` lets nothing begin anywhere else, before somebody has
compared it with the providers and moved it in.
"""

from datetime import datetime, timedelta
from typing import LiteralString, NamedTuple

from ledger.application import Ledger

AWAY = "restored"
"""Why nothing is sent away from home; said like a reason of `ledger.payout_switches`."""

# A restored dump has another cluster or database, one that was rolled forward to a moment, or promoted, another
# timeline. (A copy of the disk itself has neither: docs/operations.md says so.)
PLACE: LiteralString = """(
    SELECT concat_ws(
        '/', control.system_identifier, substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8), own.oid
    )
    FROM pg_control_system() AS control, pg_database AS own WHERE own.datname = current_database()
)"""
IS_AWAY: LiteralString = f"EXISTS (SELECT FROM ledger.payout_home WHERE place <> {PLACE})"
SEEN_EVERY = timedelta(minutes=1)


class Home(NamedTuple):
    """Whether payouts are at home here. `seen_at`: when a worker last was; the backup is about as old as that."""

    is_home: bool
    seen_at: datetime
    moved_in_at: datetime
    moved_in_by: str
    declared: str | None


class PayoutHome:
    """The home of payouts in PostgreSQL; thread-safe. Every call raises RetryableError."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def look(self, now: datetime) -> Home:
        """Return whether payouts are at home here, which a new database becomes by the first look."""
        with self._ledger.connection() as conn:
            row = conn.execute(f"{_HOME}").fetchone()
            if row is None or (row["is_home"] and row["seen_at"] <= now - SEEN_EVERY):
                conn.execute(_SEEN, (now, now, now))
                row = conn.execute(f"{_HOME}").fetchone()
        assert row is not None  # noqa: S101 - it was written just now, and is never removed
        return Home(**row)

    def move_in(self, *, by: str, declared: str, now: datetime) -> Home:
        """Let payouts be at home here from now on, because a person declares how it was compared; returns the home.

        Whether it was compared is for the caller to see to (`consumers.payout_reconciliation.moved_in`).
        """
        with self._ledger.connection() as conn:
            conn.execute(_MOVE_IN, (now, now, by, declared))
        return self.look(now)


_HOME = f"SELECT place = {PLACE} AS is_home, seen_at, moved_in_at, moved_in_by, declared FROM ledger.payout_home"  # noqa: S608 - our own words
_SEEN = f"""
INSERT INTO ledger.payout_home AS home (place, seen_at, moved_in_at, moved_in_by)
VALUES ({PLACE}, %s, %s, 'first start')
ON CONFLICT (is_one) DO UPDATE SET seen_at = %s WHERE home.place = excluded.place"""  # noqa: S608 - as above
_MOVE_IN = f"""
INSERT INTO ledger.payout_home AS home (place, seen_at, moved_in_at, moved_in_by, declared)
VALUES ({PLACE}, %s, %s, %s, %s)
ON CONFLICT (is_one) DO UPDATE SET
    place = excluded.place, seen_at = excluded.seen_at, moved_in_at = excluded.moved_in_at,
    moved_in_by = excluded.moved_in_by, declared = excluded.declared"""  # noqa: S608 - as above
