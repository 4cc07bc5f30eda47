"""The rows of payout runs, beside their streams: what lists of runs read, written in the transaction of the events.

And how workers find the runs that have something left: one that moved is due, until somebody has carried it on.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg import Cursor
from psycopg.rows import DictRow

from ledger.application import Ledger
from ledger.events import Event, Recorded
from ledger.payout_events import PayoutRunApproved, PayoutRunCancelled, PayoutRunPrepared
from schemas.errors import LedgerError


def write_runs(curs: Cursor[DictRow], recorded: Sequence[Recorded]) -> None:
    """Write what these events say of runs; whatever else they are about is left out."""
    for each in recorded:
        write = _WRITERS.get(type(each.event))
        if write is not None:
            write(curs, each.event)


def _prepared(curs: Cursor[DictRow], event: Any) -> None:
    # Where it exists, the stream's version refuses the event, and with it all of this.
    curs.execute(
        "INSERT INTO ledger.payout_runs (merchant_id, run_id, state, needs_approval, cut_off_at, partners_in,"
        " partners_out, prepared_at, cause, due_at) VALUES (%s, %s, 'prepared', %s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (
            event.merchant_id, event.run_id, event.needs_approval, event.cut_off_at, event.partners_in,
            event.partners_out, event.recorded_at, event.cause, event.recorded_at,
        ),
    )  # fmt: skip


def _approved(curs: Cursor[DictRow], event: Any) -> None:
    curs.execute(
        "UPDATE ledger.payout_runs SET state = 'approved', approved_at = %s, approved_cause = %s, due_at = %s,"
        " version = version + 1 WHERE (merchant_id, run_id) = (%s, %s)",
        (event.recorded_at, event.cause, event.recorded_at, event.merchant_id, event.run_id),
    )


def _cancelled(curs: Cursor[DictRow], event: Any) -> None:
    curs.execute(
        "UPDATE ledger.payout_runs SET state = 'cancelled', cancelled_because = %s, due_at = %s,"
        " version = version + 1 WHERE (merchant_id, run_id) = (%s, %s)",
        (event.reason, event.recorded_at, event.merchant_id, event.run_id),
    )


_WRITERS: dict[type[Event], Callable[[Cursor[DictRow], Any], None]] = {
    PayoutRunPrepared: _prepared,
    PayoutRunApproved: _approved,
    PayoutRunCancelled: _cancelled,
}


class RunCancelledError(LedgerError):
    """The run was called off: nothing more of it is requested."""


def hold_run(curs: Cursor[DictRow], merchant_id: str, run_id: str) -> None:
    """Keep the run from being called off until the end of the transaction. Raises RunCancelledError where it was."""
    curs.execute(
        "SELECT state FROM ledger.payout_runs WHERE (merchant_id, run_id) = (%s, %s) FOR SHARE", (merchant_id, run_id)
    )
    row = curs.fetchone()
    if row is not None and row["state"] == "cancelled":
        raise RunCancelledError(f"payout run {run_id} was cancelled")


# --- what is left to be done ------------------------------------------------------------------------------------------


class DueRun(NamedTuple):
    """A run that has something left, taken by a worker. `position` is that of its list in the log."""

    merchant_id: str
    run_id: str
    version: int
    position: int


def take_run(ledger: Ledger, now: datetime, lease: timedelta) -> DueRun | None:
    """Take the run that has waited longest, for as long as the lease; None where none waits. Raises RetryableError."""
    with ledger.connection() as conn:
        row = conn.execute(_TAKE, (now + lease, now), prepare=True).fetchone()
    return None if row is None else DueRun(**row)


def run_again_at(ledger: Ledger, run: DueRun, at: datetime | None) -> None:
    """Look at the run again then (None: there is nothing left), unless it was moved since. Raises RetryableError."""
    with ledger.connection() as conn:
        conn.execute(
            "UPDATE ledger.payout_runs SET due_at = %s WHERE (merchant_id, run_id, version) = (%s, %s, %s)",
            (at, run.merchant_id, run.run_id, run.version),
        )


_TAKE = """
UPDATE ledger.payout_runs AS run SET due_at = %s
WHERE (merchant_id, run_id) = (
    SELECT merchant_id, run_id FROM ledger.payout_runs WHERE due_at <= %s
    ORDER BY due_at, merchant_id, run_id LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING merchant_id, run_id, version, (
    SELECT notification_id FROM ledger.events
    WHERE originator_id = 'payout-run/' || run.merchant_id || '/' || run.run_id AND originator_version = 1
) AS position"""
