"""The event store: the `eventsourcing` library's recorder for PostgreSQL, made safe for long batches.

Three traps of the library are closed here (each was measured; docs/decisions/0008):
its insert runs in psycopg's pipeline mode, which never returns once a save is about a megabyte large; its database
functions leave out the table lock, so that tailing readers miss events; and its retry would repeat a save whose commit
was only lost on the way back. Saves here are plain statements in one transaction, long ones a binary COPY, and a
failure is told, not repeated.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

import psycopg
from eventsourcing.persistence import IntegrityError, Mapper, MapperDeserialisationError, PersistenceError, StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg import Cursor
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Loader
from psycopg.rows import DictRow

from ledger.events import Event, Recorded, decode, encode, topic_of
from schemas.errors import CorruptionError, LedgerError, RetryableError

Beside = Callable[[Cursor[DictRow]], None]
"""Work that belongs into the transaction of the events: positions, dead letters, people."""

AfterInsert = Callable[[Cursor[DictRow], int | None], None]
"""Work that needs to know the position (notification id) of the last event, None where there was none."""

# From about this many rows on, COPY is cheaper than one INSERT with arrays.
_COPY_FROM_ROWS = 50

_COPY = "COPY ledger.events (originator_id, originator_version, topic, state) FROM STDIN (FORMAT BINARY)"
_INSERT = (
    "INSERT INTO ledger.events (originator_id, originator_version, topic, state)"
    " SELECT id, version, topic, state::jsonb"
    " FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::text[]) AS t(id, version, topic, state)"
)


# What decides about orders, and is no order itself: merchants, partners, coupon codes, customers. In the words of the
# index `events_directory`.
IN_DIRECTORY: LiteralString = (
    "NOT starts_with(originator_id, 'order/') AND NOT starts_with(originator_id, 'notice/')"
    " AND NOT starts_with(originator_id, 'payout')"
)

# The position of the newest such event. Written so that the index `events_directory` alone can serve it:
# with any other form, a plan made while the log was young walks through its orders, under the lock of the log.
DIRECTORY_HEAD: LiteralString = (
    f"SELECT notification_id AS head FROM ledger.events WHERE {IN_DIRECTORY}"  # noqa: S608 - parts of our own
    " ORDER BY notification_id + 0 DESC LIMIT 1"
)


class _StateLoader(Loader):
    """Hands jsonb over as the bytes of its text, which is what the library and `ledger.events.decode` take."""

    def load(self, data: Buffer) -> bytes:
        """Return the JSON text."""
        return bytes(data)


# For the connections of the recorder, and only those: everybody else gets objects, as the driver makes them.
ADAPTERS = AdaptersMap(psycopg.adapters)
ADAPTERS.register_loader("jsonb", _StateLoader)
# What binary COPY puts before the text of a jsonb.
_JSONB_VERSION = b"\x01"


class VersionConflictError(RetryableError):
    """Somebody else wrote that version of a stream first: read again, decide again."""


class PositionTakenError(LedgerError):
    """The position is not where the caller believed it to be: another worker has the partition."""


class RequestRepeatedError(LedgerError):
    """The idempotency key was used by a request that committed first."""


class Row(NamedTuple):
    """An event as it stands in the log; what the library calls a stored event, at a third of the price."""

    originator_id: UUID | str
    originator_version: int
    topic: str
    state: bytes


def row_of(recorded: Recorded) -> Row:
    """Return the row of an event in its place."""
    stream, version, event = recorded
    return Row(stream, version, type(event).__name__, encode(event))


class EventMapper(Mapper[str]):
    """Stores events under their class name as JSON; see `ledger.events`."""

    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        """Return the library's form of a `Recorded` event."""
        return StoredEvent(*row_of(domain_event))

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        """Return the `Recorded` event of a row. Raises MapperDeserialisationError where the row is not ours."""
        try:
            event = decode(stored_event.topic, stored_event.state)
        except Exception as error:
            place = f"{stored_event.originator_id} version {stored_event.originator_version}"
            raise MapperDeserialisationError(f"{place} is not a {stored_event.topic}: {error}") from error
        return Recorded(str(stored_event.originator_id), stored_event.originator_version, event)


class LedgerRecorder(PostgresApplicationRecorder):
    """Appends events and what belongs to them in one transaction, without pipeline mode, in commit order."""

    def __init__(self, datastore: PostgresDatastore, *, events_table_name: str = "events") -> None:
        super().__init__(datastore, events_table_name=events_table_name)

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int] | None:
        """Append the events as the library hands them over, and return their notification ids, in order."""
        return self.append([Row(e.originator_id, e.originator_version, e.topic, e.state) for e in stored_events])

    def append(
        self, rows: Sequence[Row], *, beside: Beside | None = None, after: AfterInsert | None = None
    ) -> Sequence[int]:
        """Append the rows and run `beside` before and `after` behind them, all in one transaction.

        Returns the notification ids, in order. Raises eventsourcing's PersistenceError; see `translated`.
        """
        with self.datastore.get_connection() as conn, conn.transaction(), conn.cursor() as curs:
            if beside is not None:
                beside(curs)
            ids = self._insert(curs, rows) if rows else range(0)
            if after is not None:
                after(curs, ids[-1] if ids else None)
        return ids

    def _insert(self, curs: Cursor[DictRow], rows: Sequence[Row]) -> range:
        # The lock makes the order of ids the order of commits: without it a reader that follows the ids passes over a
        # gap that is filled later. It is taken last and held until the commit, for the write only.
        self._lock_table(curs)
        self._notify_channel(curs)
        if len(rows) < _COPY_FROM_ROWS:
            ids, versions, topics, states = zip(*rows, strict=True)
            curs.execute(_INSERT, [list(ids), list(versions), list(topics), [state.decode() for state in states]])
        else:
            with curs.copy(_COPY) as copy:
                # Bytes as they are: the driver's jsonb would encode them once more.
                copy.set_types(["text", "int8", "text", "bytea"])
                for stream, version, topic, state in rows:
                    copy.write_row((stream, version, topic, _JSONB_VERSION + state))
        curs.execute("SELECT currval('ledger.events_notification_id_seq') AS last")
        found = curs.fetchone()
        assert found is not None  # noqa: S101 - currval always answers
        # Nobody else draws from the sequence while the lock is held, so the ids have no gap.
        return range(found["last"] - len(rows) + 1, found["last"] + 1)


def append_notice(curs: Cursor[DictRow], stream: str, event: Event) -> None:
    """Append an event behind what stands in its stream, in the caller's transaction, which should end soon after.

    For what is decided outside of the log and only told there; the lock of the log is held from here on.
    """
    curs.execute("LOCK TABLE ledger.events IN EXCLUSIVE MODE")
    curs.execute("NOTIFY events")
    curs.execute(
        "INSERT INTO ledger.events (originator_id, originator_version, topic, state)"
        " SELECT %(stream)s, coalesce(max(originator_version), 0) + 1, %(topic)s, %(state)s::jsonb"
        " FROM ledger.events WHERE originator_id = %(stream)s",
        {"stream": stream, "topic": topic_of(event), "state": encode(event).decode()},
    )


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's and the library's errors into ours, once, here (DESIGN section 10).

    A violated constraint is told by its name, never guessed. Everything that a database being busy, restarted or away
    can cause is a RetryableError; what is left is a fault in our own statements and goes up as it is.
    """
    try:
        yield
    except IntegrityError as error:
        raise _integrity(error.__cause__) from error
    except psycopg.IntegrityError as error:
        raise _integrity(error) from error
    except (PersistenceError, psycopg.OperationalError, psycopg.InterfaceError) as error:
        cause = error.__cause__ if isinstance(error, PersistenceError) else error
        if isinstance(cause, (psycopg.OperationalError, psycopg.InterfaceError)):
            raise RetryableError(
                f"the database does not answer: {str(cause).strip() or type(cause).__name__}"
            ) from error
        raise


def _integrity(cause: BaseException | None) -> LedgerError:
    diag = cause.diag if isinstance(cause, psycopg.Error) else None
    constraint = diag.constraint_name if diag else None
    if constraint == "events_pkey":
        return VersionConflictError("somebody else wrote this version of the stream first")
    if constraint == "requests_pkey":
        return RequestRepeatedError("a request with this idempotency key committed first")
    if constraint == "positions_pkey":
        return PositionTakenError("another worker began this partition first")
    return CorruptionError(f"a rule of the database was violated: {constraint}: {cause}")
