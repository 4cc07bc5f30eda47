"""Where payouts are kept: their streams, and beside them the rows by which the worker finds its work.

`PayoutStore` is what `ledger.payout_books` needs of any store; this one is PostgreSQL, with the events and all rows of
a change in one transaction.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

import orjson
from psycopg import Connection, Cursor
from psycopg.rows import DictRow, tuple_row

from ledger.application import Ledger
from ledger.events import Recorded, decode
from ledger.payout_commissions import Held
from ledger.payout_events import PayoutRequested
from ledger.payout_letters import write_letters
from ledger.payout_run_rows import hold_run, write_runs
from ledger.payouts import AT_REST, Payout
from ledger.requests import Request
from schemas.errors import ConflictError, LedgerError

Name = tuple[str, str]
"""Merchant id and payout id."""

HintName = tuple[str, str]
"""The provider, and its id of what it sent."""


class PayoutOpenError(LedgerError):
    """These partners have an open payout of the currency already: `payout_ids` are those that were refused."""

    def __init__(self, payout_ids: Sequence[str]) -> None:
        super().__init__(f"there is an open payout already: {', '.join(payout_ids)}")
        self.payout_ids = tuple(payout_ids)


class HintHandledError(LedgerError):
    """What the provider sent was handled before."""


class Line(NamedTuple):
    """A partner in a run's frozen list: in or out (`included`), why, and what it comes to in minor units."""

    partner_id: str
    currency: str
    amount_minor: int
    commissions: int
    included: bool
    reason: str
    rail: str | None
    payout_id: str


class Change(NamedTuple):
    """One payout after new events, and what belongs beside them.

    `due_at` is when the worker looks at it again; `body` and `payee` are sealed; `frozen` is why its partner's payouts
    stop; `confirmed` the method and transaction of a person.
    """

    payout: Payout
    events: Sequence[Recorded]
    due_at: datetime | None = None
    payee: bytes | None = None
    body: bytes | None = None
    hint: HintName | None = None
    frozen: str | None = None
    confirmed: tuple[str, str] | None = None


class Hint(NamedTuple):
    """Something that a provider sent: look at this payout, or at the one with this reference."""

    provider: str
    event_id: str
    payout_id: str | None
    reference: str | None


class PayoutStore(Protocol):
    """What keeps payouts. Each call is one transaction."""

    def streams(self, names: Sequence[str]) -> Mapping[str, Sequence[Recorded]]:
        """Return the events of each stream that exists, in order."""

    def reservations(self, names: Sequence[Name]) -> Mapping[Name, Sequence[Held]]:
        """Return what each payout reserved, in order."""

    def commit(
        self,
        changes: Sequence[Change],
        *,
        now: datetime,
        others: Sequence[Recorded] = (),
        lines: tuple[str, str, Sequence[Line]] | None = None,
        request: Request | None = None,
        result: Any = None,
    ) -> int | None:
        """Append all events and write all rows, or nothing; returns the position of the last event.

        `others` are events of no payout (a run's), `lines` (merchant, run, lines) what the run froze. Raises
        VersionConflictError, PayoutOpenError, RunCancelledError, HintHandledError, ConflictError `transaction_used`,
        RetryableError.
        """

    def due(self, now: datetime, lease: timedelta, limit: int) -> Sequence[Name]:
        """Take the payouts whose time has come, for as long as the lease; the oldest first."""

    def postpone(self, name: Name, version: int, due_at: datetime | None) -> None:
        """Look at the payout again at that time, if it is at that version of its stream still.

        Whoever is late would otherwise put off, or forget, what a later state is due for.
        """

    def payee(self, name: Name) -> bytes | None:
        """Return who is paid, sealed; None where it was blanked, or never kept."""

    def body(self, name: Name, attempt: int) -> bytes | None:
        """Return what the attempt sends, sealed; None where it was blanked."""

    def frozen(self, merchant_id: str, partner_ids: Sequence[str]) -> Mapping[str, str]:
        """Return those of the partners whose payouts are frozen, and why."""

    def unfreeze(self, merchant_id: str, partner_id: str) -> bool:
        """Let the partner be paid again; returns whether that was not so."""

    def keep_hint(self, hint: Hint, now: datetime) -> bool:
        """Keep what a provider sent; returns whether it is new."""

    def hints(self, now: datetime, lease: timedelta, limit: int) -> Sequence[tuple[Hint, Name | None]]:
        """Take the hints whose time has come, each with the payout that it is about, None where there is none."""

    def drop_hint(self, hint: HintName, now: datetime) -> None:
        """Note that there is nothing (more) to do about the hint."""

    def opened(self, merchant_id: str) -> frozenset[tuple[str, str]]:
        """Return who (partner id, currency) has an open payout."""

    def lines(self, merchant_id: str, run_id: str, *, waiting: bool, limit: int | None = None) -> Sequence[Line]:
        """Return the lines of a run in order of partner; `waiting`: those in it that are not requested yet."""

    def of_run(self, merchant_id: str, run_id: str, states: Sequence[str], limit: int | None = None) -> Sequence[Name]:
        """Return the run's payouts that are in one of the states."""


class SqlPayoutStore:
    """The payouts in PostgreSQL."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def streams(self, names: Sequence[str]) -> Mapping[str, Sequence[Recorded]]:
        """Return the events of each stream that exists, in order."""
        return self._ledger.streams(names) if names else {}

    def reservations(self, names: Sequence[Name]) -> Mapping[Name, Sequence[Held]]:
        """Return what each payout reserved, in order."""
        found: dict[Name, list[Held]] = {name: [] for name in names}
        # Of tens of thousands of rows, a dictionary for each would cost a fifth of all.
        with self._ledger.connection() as conn, conn.cursor(row_factory=tuple_row) as curs:
            curs.execute(_RESERVATIONS, (_json([{"m": m, "p": p} for m, p in names]),), prepare=True)
            for merchant_id, payout_id, stream, version, topic, state, head in curs:
                held = Held(Recorded(stream, version, decode(topic, state)), head)
                found[merchant_id, payout_id].append(held)
        return found

    def commit(
        self,
        changes: Sequence[Change],
        *,
        now: datetime,
        others: Sequence[Recorded] = (),
        lines: tuple[str, str, Sequence[Line]] | None = None,
        request: Request | None = None,
        result: Any = None,
    ) -> int | None:
        """Append all events and write all rows, or nothing; see `PayoutStore.commit`."""

        def beside(curs: Cursor[DictRow]) -> None:
            write_runs(curs, others)
            write_letters(curs, events, now)
            if lines is not None:
                _write_lines(curs, *lines)
            if changes:
                _write_changes(curs, sorted(changes, key=lambda change: change.payout.opened.payout_id), now)

        events = [*others, *(event for change in changes for event in change.events)]
        return self._ledger.record(events, beside=beside, request=request, result=result)

    def due(self, now: datetime, lease: timedelta, limit: int) -> Sequence[Name]:
        """Take the payouts whose time has come, for as long as the lease; the oldest first."""
        with self._ledger.connection() as conn:
            rows = conn.execute(
                "UPDATE ledger.payouts SET due_at = %s WHERE payout_id IN (SELECT payout_id FROM ledger.payouts"
                " WHERE due_at <= %s ORDER BY due_at, payout_id LIMIT %s FOR UPDATE SKIP LOCKED)"
                " RETURNING merchant_id, payout_id",
                (now + lease, now, limit),
            ).fetchall()
        return [(row["merchant_id"], row["payout_id"]) for row in rows]

    def postpone(self, name: Name, version: int, due_at: datetime | None) -> None:
        """Look at the payout again at that time, if it is at that version of its stream still."""
        with self._ledger.connection() as conn:
            conn.execute(
                "UPDATE ledger.payouts SET due_at = %s WHERE (merchant_id, payout_id, version) = (%s, %s, %s)",
                (due_at, *name, version),
            )

    def payee(self, name: Name) -> bytes | None:
        """Return who is paid, sealed; None where it was blanked, or never kept."""
        return self._one(
            "SELECT payee AS found FROM people.payout_payees WHERE (merchant_id, payout_id) = (%s, %s)", *name
        )

    def body(self, name: Name, attempt: int) -> bytes | None:
        """Return what the attempt sends, sealed; None where it was blanked."""
        return self._one(
            "SELECT body AS found FROM people.payout_attempts WHERE (merchant_id, payout_id, attempt) = (%s, %s, %s)",
            *name,
            attempt,
        )

    def frozen(self, merchant_id: str, partner_ids: Sequence[str]) -> Mapping[str, str]:
        """Return those of the partners whose payouts are frozen, and why."""
        with self._ledger.connection() as conn:
            rows = conn.execute(
                "SELECT partner_id, reason FROM ledger.payout_freezes WHERE merchant_id = %s AND partner_id = ANY(%s)",
                (merchant_id, list(partner_ids)),
            ).fetchall()
        return {row["partner_id"]: row["reason"] for row in rows}

    def unfreeze(self, merchant_id: str, partner_id: str) -> bool:
        """Let the partner be paid again; returns whether that was not so."""
        with self._ledger.connection() as conn:
            return bool(
                conn.execute(
                    "DELETE FROM ledger.payout_freezes WHERE (merchant_id, partner_id) = (%s, %s)",
                    (merchant_id, partner_id),
                ).rowcount
            )

    def keep_hint(self, hint: Hint, now: datetime) -> bool:
        """Keep what a provider sent; returns whether it is new."""
        with self._ledger.connection() as conn:
            return keep_hint(conn, hint, now)

    def hints(self, now: datetime, lease: timedelta, limit: int) -> Sequence[tuple[Hint, Name | None]]:
        """Take the hints whose time has come, each with the payout that it is about, None where there is none."""
        with self._ledger.connection() as conn:
            rows = conn.execute(_HINTS, (now + lease, now, now - _HINT_WAITS_FOR, limit)).fetchall()
        return [(Hint(*(row[name] for name in Hint._fields)), _name_of(row)) for row in rows]

    def drop_hint(self, hint: HintName, now: datetime) -> None:
        """Note that there is nothing (more) to do about the hint."""
        with self._ledger.connection() as conn:
            conn.execute(_HANDLE_HINT, (now, *hint))

    def opened(self, merchant_id: str) -> frozenset[tuple[str, str]]:
        """Return who (partner id, currency) has an open payout."""
        with self._ledger.connection() as conn:
            rows = conn.execute(
                "SELECT partner_id, currency FROM ledger.payouts WHERE merchant_id = %s AND is_open", (merchant_id,)
            ).fetchall()
        return frozenset((row["partner_id"], row["currency"]) for row in rows)

    def lines(self, merchant_id: str, run_id: str, *, waiting: bool, limit: int | None = None) -> Sequence[Line]:
        """Return the lines of a run in order of partner; `waiting`: those in it that are not requested yet."""
        with self._ledger.connection() as conn:
            rows = conn.execute(
                f"SELECT {', '.join(Line._fields)} FROM ledger.payout_lines"  # noqa: S608 - our own words
                " WHERE merchant_id = %s AND run_id = %s AND (NOT %s OR (included AND NOT requested))"
                " ORDER BY partner_id, currency LIMIT %s",
                (merchant_id, run_id, waiting, limit),
            ).fetchall()
        return [Line(**row) for row in rows]

    def of_run(self, merchant_id: str, run_id: str, states: Sequence[str], limit: int | None = None) -> Sequence[Name]:
        """Return the run's payouts that are in one of the states."""
        with self._ledger.connection() as conn:
            rows = conn.execute(
                "SELECT payout_id FROM ledger.payouts WHERE merchant_id = %s AND run_id = %s AND state = ANY(%s)"
                " ORDER BY payout_id LIMIT %s",
                (merchant_id, run_id, list(states), limit),
            ).fetchall()
        return [(merchant_id, row["payout_id"]) for row in rows]

    def _one(self, query: Any, *values: Any) -> bytes | None:
        with self._ledger.connection() as conn:
            row = conn.execute(query, values).fetchone()
        return None if row is None or row["found"] is None else bytes(row["found"])


def keep_hint(conn: Connection[DictRow], hint: Hint, now: datetime) -> bool:
    """Keep what a provider sent, in the caller's transaction; returns whether it is new."""
    done = conn.execute(
        "INSERT INTO ledger.payout_hints (provider, event_id, payout_id, reference, received_at, due_at)"
        " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (*hint, now, now),
    )
    return bool(done.rowcount)


# A provider tells of a payment before we wrote down its reference; of one that is not ours, nobody ever will. And
# whoever does not answer for so long is asked about open payouts anyway.
_HINT_WAITS_FOR = timedelta(days=1)

# The reservations stand directly before the request, so nobody has to keep a list of them.
_RESERVATIONS = """
SELECT asked.m, asked.p, held.originator_id, held.originator_version, held.topic, held.state, newest.head
FROM json_to_recordset(%s) AS asked (m text, p text)
INNER JOIN ledger.events AS request
    ON request.originator_id = 'payout/' || asked.m || '/' || asked.p AND request.originator_version = 1
-- OFFSET 0, here and below: whatever is believed of the table, these are looked up by their index, payout by payout.
CROSS JOIN LATERAL (
    SELECT notification_id, originator_id, originator_version, topic, state
    FROM ledger.events
    WHERE
        notification_id >= request.notification_id - (request.state ->> 'reservations')::bigint
        AND notification_id < request.notification_id
    ORDER BY notification_id OFFSET 0
) AS held
CROSS JOIN LATERAL (
    SELECT originator_version AS head FROM ledger.events AS other
    WHERE other.originator_id = held.originator_id ORDER BY originator_version DESC LIMIT 1
) AS newest"""
_HINTS = """
UPDATE ledger.payout_hints AS hint SET due_at = %s
FROM (
    SELECT provider, event_id FROM ledger.payout_hints WHERE due_at <= %s AND received_at > %s
    ORDER BY due_at, provider, event_id LIMIT %s FOR UPDATE SKIP LOCKED
) AS taken
WHERE hint.provider = taken.provider AND hint.event_id = taken.event_id
RETURNING hint.provider, hint.event_id, hint.payout_id, hint.reference, (
    SELECT json_build_array(payout.merchant_id, payout.payout_id) FROM ledger.payouts AS payout
    WHERE payout.payout_id = hint.payout_id OR (hint.payout_id IS NULL AND payout.reference = hint.reference) LIMIT 1
) AS name"""
_HANDLE_HINT = (
    "UPDATE ledger.payout_hints SET handled_at = %s, due_at = NULL"
    " WHERE provider = %s AND event_id = %s AND handled_at IS NULL"
)
_COLUMNS = (
    "payout_id text, merchant_id text, run_id text, partner_id text, currency text, amount_minor bigint, rail text,"
    " state text, is_open boolean, version bigint, attempt integer, reference text, returned_minor bigint,"
    " requested_at timestamptz, updated_at timestamptz, due_at timestamptz, needs_approval boolean, commissions bigint,"
    " transaction_id text, reason text, processed_at timestamptz"
)
_OPEN = (
    f"INSERT INTO ledger.payouts SELECT * FROM json_to_recordset(%s) AS t ({_COLUMNS})"  # noqa: S608 - our own words
    " ON CONFLICT DO NOTHING RETURNING payout_id"
)
_MOVE = f"""
UPDATE ledger.payouts AS payout SET
    state = t.state, is_open = t.is_open, version = t.version, attempt = t.attempt, reference = t.reference,
    returned_minor = t.returned_minor, updated_at = t.updated_at, due_at = t.due_at,
    transaction_id = t.transaction_id, reason = t.reason, processed_at = t.processed_at
FROM json_to_recordset(%s) AS t ({_COLUMNS})
WHERE payout.payout_id = t.payout_id AND payout.version <= t.version"""  # noqa: S608 - our own words


def _name_of(row: DictRow) -> Name | None:
    return None if row["name"] is None else (row["name"][0], row["name"][1])


def _json(rows: Iterable[Mapping[str, Any]]) -> str:
    return orjson.dumps(list(rows)).decode()


def _row(change: Change, now: datetime) -> dict[str, Any]:
    payout = change.payout
    opened = payout.opened
    return {
        "payout_id": opened.payout_id, "merchant_id": opened.merchant_id, "run_id": opened.run_id,
        "partner_id": opened.partner_id, "currency": opened.currency, "amount_minor": opened.amount_minor,
        "rail": opened.rail, "state": payout.state, "is_open": payout.state not in AT_REST, "version": payout.version,
        "attempt": payout.attempt, "reference": payout.reference or payout.transaction_id,
        "returned_minor": payout.returned_minor,
        "requested_at": opened.recorded_at, "updated_at": now, "due_at": change.due_at,
        "needs_approval": opened.needs_approval,
        # Of a new one: all that stands before its request is of its commissions.
        "commissions": len({recorded.originator_id for recorded in change.events}) - 1,
        "transaction_id": payout.paid_under, "reason": payout.reason, "processed_at": payout.processed_at,
    }  # fmt: skip


def _is_new(change: Change) -> bool:
    return bool(change.events) and isinstance(change.events[-1].event, PayoutRequested)


def _write_changes(curs: Cursor[DictRow], changes: Sequence[Change], now: datetime) -> None:
    new = [change for change in changes if _is_new(change)]
    if new:
        _write_new(curs, new, now)
    moved = [_row(change, now) for change in changes if not _is_new(change)]
    if moved:
        curs.execute(_MOVE, (_json(moved),))
    for change in changes:
        for write in _WRITERS:
            write(curs, change, now)


def _write_new(curs: Cursor[DictRow], changes: Sequence[Change], now: datetime) -> None:
    for name in sorted({(change.payout.opened.merchant_id, change.payout.opened.run_id) for change in changes}):
        hold_run(curs, *name)
    rows = curs.execute(_OPEN, (_json(_row(change, now) for change in changes),)).fetchall()
    known = {row["payout_id"] for row in rows}
    refused = [change.payout.opened.payout_id for change in changes if change.payout.opened.payout_id not in known]
    if refused:
        raise PayoutOpenError(refused)
    opened = [change.payout.opened for change in changes]
    curs.execute(
        "INSERT INTO people.payout_payees (merchant_id, payout_id, partner_id, payee)"
        " SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bytea[]) ON CONFLICT DO NOTHING",
        [
            [each.merchant_id for each in opened], [each.payout_id for each in opened],
            [each.partner_id for each in opened], [change.payee for change in changes],
        ],
    )  # fmt: skip
    curs.execute(
        "UPDATE ledger.payout_lines AS line SET requested = true, amount_minor = t.amount_minor"  # noqa: S608 - as above
        f" FROM json_to_recordset(%s) AS t ({_COLUMNS})"
        " WHERE line.merchant_id = t.merchant_id AND line.run_id = t.run_id AND line.partner_id = t.partner_id"
        " AND line.currency = t.currency",
        (_json(_row(change, now) for change in changes),),
    )


def _write_body(curs: Cursor[DictRow], change: Change, _: datetime) -> None:
    if change.body is not None:
        opened = change.payout.opened
        curs.execute(
            "INSERT INTO people.payout_attempts VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (opened.merchant_id, opened.payout_id, change.payout.attempt, change.body),
        )


def _write_freeze(curs: Cursor[DictRow], change: Change, now: datetime) -> None:
    if change.frozen is not None:
        opened = change.payout.opened
        curs.execute(
            "WITH frozen AS (INSERT INTO ledger.payout_freezes VALUES (%(m)s, %(p)s, %(reason)s, %(now)s)"
            " ON CONFLICT DO NOTHING RETURNING 1)"
            " INSERT INTO ledger.payout_freeze_changes (merchant_id, partner_id, frozen, reason, cause, changed_at)"
            " SELECT %(m)s, %(p)s, true, %(reason)s, %(cause)s, %(now)s FROM frozen",
            {
                "m": opened.merchant_id, "p": opened.partner_id, "reason": change.frozen, "now": now,
                "cause": f"payouts/{opened.payout_id}",
            },
        )  # fmt: skip


def _write_confirmation(curs: Cursor[DictRow], change: Change, _: datetime) -> None:
    if change.confirmed is not None:
        opened = change.payout.opened
        curs.execute(
            "INSERT INTO ledger.payout_confirmations VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (opened.merchant_id, *change.confirmed, opened.payout_id),
        )
        if not curs.rowcount:
            raise ConflictError("transaction_used", f"{' '.join(change.confirmed)} has paid another payout")


def _write_hint(curs: Cursor[DictRow], change: Change, now: datetime) -> None:
    if change.hint is not None:
        curs.execute(_HANDLE_HINT, (now, *change.hint))
        if not curs.rowcount:
            raise HintHandledError(f"{' '.join(change.hint)} was handled before")


_WRITERS: tuple[Callable[[Cursor[DictRow], Change, datetime], None], ...] = (
    _write_body,
    _write_freeze,
    _write_confirmation,
    _write_hint,
)


def _write_lines(curs: Cursor[DictRow], merchant_id: str, run_id: str, lines: Sequence[Line]) -> None:
    rows = [line._asdict() for line in sorted(lines)]
    curs.execute(
        f"INSERT INTO ledger.payout_lines AS line (merchant_id, run_id, {', '.join(Line._fields)})"  # noqa: S608 - our own words
        " SELECT %s, %s, * FROM json_to_recordset(%s) AS t (partner_id text, currency text, amount_minor bigint,"
        " commissions bigint, included boolean, reason text, rail text, payout_id text)"
        " ON CONFLICT (merchant_id, run_id, partner_id, currency) DO UPDATE"
        " SET included = excluded.included, reason = excluded.reason, amount_minor = excluded.amount_minor,"
        " commissions = excluded.commissions",
        (merchant_id, run_id, _json(rows)),
    )
