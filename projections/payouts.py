"""Payouts and their runs, told once more from the log, for `verify`: against their rows, and against what they hold."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from psycopg import Connection, sql

from ledger.events import Event, decode
from ledger.payout_events import (
    PayoutContradicted,
    PayoutEvent,
    PayoutProcessed,
    PayoutRequested,
    PayoutReturned,
    PayoutRunApproved,
    PayoutRunCancelled,
    PayoutRunPrepared,
    PayoutSubmissionStarted,
)
from projections import folding
from projections.folding import Differences, Held

PAYOUT_COLUMNS = (
    "run_id", "partner_id", "currency", "amount_minor", "rail", "state", "is_open", "version", "attempt",
    "returned_minor", "needs_approval", "requested_at", "processed_at",
)  # fmt: skip
RUN_COLUMNS = ("state", "needs_approval", "cut_off_at", "partners_in", "partners_out", "prepared_at", "cause")

_AT_REST = ("processed", "failed", "returned", "cancelled")
# As `ledger.payouts.payout_id` makes them: only these are sure to be payouts of ours.
_OURS = re.compile(r"po_[0-9a-f]{16}")


class Standing:
    """A payout that the events of one stream, taken in order, make."""

    def __init__(self) -> None:
        self.requested: PayoutRequested | None = None
        self.state, self.version, self.attempt, self.returned_minor = "", 0, 0, 0
        self.processed_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether it still holds its commissions."""
        return self.state not in _AT_REST

    def take(self, event: PayoutEvent) -> None:
        """Take the stream's next event."""
        self.version += 1
        if not isinstance(event, PayoutContradicted):
            self.state = event.to_state
        if isinstance(event, PayoutRequested):
            self.requested = event
        elif isinstance(event, PayoutSubmissionStarted):
            self.attempt = event.attempt
        elif isinstance(event, PayoutProcessed):
            self.processed_at = event.recorded_at
        elif isinstance(event, PayoutReturned):
            self.returned_minor += event.returned_minor

    def row(self) -> list[Any]:
        """Return the values of PAYOUT_COLUMNS."""
        opened = self.requested
        assert opened is not None  # noqa: S101 - a stream begins with it
        return [
            opened.run_id, opened.partner_id, opened.currency, opened.amount_minor, opened.rail, self.state,
            self.is_open, self.version, self.attempt, self.returned_minor, opened.needs_approval, opened.recorded_at,
            self.processed_at,
        ]  # fmt: skip


def compare(conn: Connection[Any], differences: Differences, held: Held) -> int:
    """Compare rows of payouts, runs and lines with the log, and what each payout holds with its orders' streams.

    All as new as the log: `held` has all of it. Returns how many events told of it.
    """
    payouts, runs, events = _fold(conn)
    _compare_rows(conn, differences, "payouts", ("merchant_id", "payout_id"), PAYOUT_COLUMNS, {
        key: standing.row() for key, standing in payouts.items()
    })  # fmt: skip
    _compare_rows(conn, differences, "payout_runs", ("merchant_id", "run_id"), RUN_COLUMNS, runs)
    for key, standing in payouts.items():
        _compare_held(differences, held, key, standing)
    for merchant_id, payout_id, what in sorted(held):
        known = (merchant_id, payout_id) in payouts
        if what == "reservations" and not known and _OURS.fullmatch(payout_id):
            differences.add("payouts", (merchant_id, payout_id), "the payout", "there", "none, but it holds orders")
    _compare_lines(conn, differences)
    return events


def _fold(
    conn: Connection[Any],
) -> tuple[dict[tuple[str, str], Standing], dict[tuple[str, str], list[Any]], int]:
    payouts: dict[tuple[str, str], Standing] = {}
    runs: dict[tuple[str, str], list[Any]] = {}
    events = 0
    for event in _events(conn):
        events += 1
        if isinstance(event, PayoutEvent):
            payouts.setdefault((event.merchant_id, event.payout_id), Standing()).take(event)
        elif isinstance(event, PayoutRunPrepared):
            runs[event.merchant_id, event.run_id] = [
                "prepared", event.needs_approval, event.cut_off_at, event.partners_in, event.partners_out,
                event.recorded_at, event.cause,
            ]  # fmt: skip
        elif isinstance(event, (PayoutRunApproved, PayoutRunCancelled)):
            runs[event.merchant_id, event.run_id][0] = _RUN_STATES[type(event)]
    return payouts, runs, events


_RUN_STATES: dict[type[Event], str] = {PayoutRunApproved: "approved", PayoutRunCancelled: "cancelled"}


def _events(conn: Connection[Any]) -> Iterator[Event]:
    # `payout-run/` stands before `payout/`; "0" is the character behind "/".
    query = sql.SQL(
        "SELECT topic, state::text FROM ledger.events"
        " WHERE originator_id >= 'payout-run/' COLLATE \"C\" AND originator_id < 'payout0' COLLATE \"C\""
        ' ORDER BY originator_id COLLATE "C", originator_version'
    )
    for topic, state in folding.stream(conn, query, "payouts"):
        yield decode(topic, state)


def _compare_rows(
    conn: Connection[Any], differences: Differences, table: str, key: tuple[str, str], columns: tuple[str, ...],
    expected: dict[tuple[str, str], list[Any]],
) -> None:  # fmt: skip
    left = dict(expected)
    query = sql.SQL("SELECT {} FROM {}").format(
        sql.SQL(", ").join(map(sql.Identifier, (*key, *columns))), sql.Identifier("ledger", table)
    )
    for merchant_id, id_, *found in folding.stream(conn, query):
        wanted = left.pop((merchant_id, id_), None)
        if wanted != found:
            differences.compare(table, columns, (merchant_id, id_), wanted, found)
    for name in sorted(left):
        differences.compare(table, columns, name, left[name], None)


def _compare_held(differences: Differences, held: Held, key: tuple[str, str], standing: Standing) -> None:
    opened = standing.requested
    assert opened is not None  # noqa: S101 - as above
    columns = ("reserved_minor", "reservations", "in_payout_minor")
    wanted = [opened.amount_minor, opened.reservations, opened.amount_minor if standing.is_open else 0]
    differences.compare("payouts", columns, key, wanted, [held[*key, column] for column in columns])


def _compare_lines(conn: Connection[Any], differences: Differences) -> None:
    """Compare each run's list with its payouts, and its length with what the run says."""
    for merchant_id, run_id, partner_id, currency, line, payout in conn.execute(_LINES):
        differences.add("payout_lines", (merchant_id, run_id, partner_id, currency), "amount_minor", payout, line)
    for merchant_id, run_id, wanted, found in conn.execute(_LENGTHS):
        differences.add("payout_lines", (merchant_id, run_id), "lines", wanted, found)


_LINES = """
SELECT merchant_id, run_id, partner_id, currency, line.amount_minor, payout.amount_minor
FROM (SELECT * FROM ledger.payout_lines WHERE requested AND included) AS line
FULL JOIN ledger.payouts AS payout USING (merchant_id, run_id, partner_id, currency)
WHERE line.amount_minor IS DISTINCT FROM payout.amount_minor OR line.payout_id IS DISTINCT FROM payout.payout_id
ORDER BY 1, 2, 3, 4"""
_LENGTHS = """
SELECT merchant_id, run_id, run.partners_in + run.partners_out, coalesce(lines.counted, 0)
FROM ledger.payout_runs AS run
LEFT JOIN (
    SELECT merchant_id, run_id, count(*) AS counted FROM ledger.payout_lines GROUP BY merchant_id, run_id
) AS lines USING (merchant_id, run_id)
WHERE run.partners_in + run.partners_out <> coalesce(lines.counted, 0)
ORDER BY 1, 2"""
