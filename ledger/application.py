"""The write side's one object: an `eventsourcing` application over PostgreSQL, and nothing that decides."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
from eventsourcing.application import Application
from eventsourcing.persistence import ApplicationRecorder, Mapper, StoredEvent
from eventsourcing.postgres import PostgresDatastore
from psycopg import Connection, Cursor
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow

from ledger.events import Event, Recorded
from ledger.requests import Request, StoredAnswer, answer_request, find
from ledger.store import ADAPTERS, AfterInsert, Beside, EventMapper, LedgerRecorder, row_of, translated

_RECONNECT_S = 2.0

# How often a command or a batch decides anew because somebody else wrote first (a storefront without keys, the API
# beside the topic). Each time somebody got on, so that all ten are lost only where far more write than one stream is
# for; then the caller backs off.
ATTEMPTS = 10


class Ledger(Application[str]):
    """Appends events and reads streams; thread-safe. Decisions are made elsewhere and handed over as events.

    `hash_key` keys the hashes by which self-referral is recognised: another key, and known e-mails are strangers.
    """

    recorder: LedgerRecorder

    def __init__(self, database_url: str, *, hash_key: bytes, pool_size: int = 4) -> None:
        self.hash_key = hash_key
        self._conninfo = conninfo_to_dict(database_url)
        super().__init__(_environment(self._conninfo, pool_size))
        # What the library has no variable for (sslmode, options, ...) goes to the driver as the operator wrote it.
        pool = self.recorder.datastore.pool
        kwargs = pool.kwargs
        assert isinstance(kwargs, dict)  # noqa: S101 - the library makes it one
        kwargs.update(self._conninfo)
        kwargs["context"] = ADAPTERS
        # The pool's pauses between attempts double until this is over, five minutes by default: too long to sit out
        # once the database is back. Whoever asks next begins anew.
        pool.reconnect_timeout = _RECONNECT_S

    def construct_mapper(self) -> Mapper[str]:
        """Return the mapper that stores our structs; called by the library."""
        return EventMapper(self.construct_transcoder())

    def construct_recorder(self) -> ApplicationRecorder:
        """Return the recorder without the library's traps; called by the library."""
        datastore: PostgresDatastore = self.factory.datastore  # type: ignore[attr-defined]
        # The library would connect here, to ask for a composite type that our schema does not have: nothing could then
        # be built while the database is away.
        datastore.register_type_adapters = lambda: None  # type: ignore[method-assign]
        return LedgerRecorder(datastore)

    @contextmanager
    def connection(self) -> Iterator[Connection[DictRow]]:
        """Lend a connection in autocommit mode. Driver errors come out translated."""
        with translated(), self.recorder.datastore.get_connection() as conn:
            yield conn

    def streams(self, names: Sequence[str]) -> dict[str, list[Recorded]]:
        """Return the events of each stream that exists, in order of version, in one round trip."""
        found: dict[str, list[Recorded]] = {}
        with self.connection() as conn:
            rows = conn.execute(
                "SELECT originator_id, originator_version, topic, state FROM ledger.events"
                # The names go as JSON: an array of thousands is slow to build on this side.
                " WHERE originator_id = ANY(ARRAY(SELECT json_array_elements_text(%s)))"
                " ORDER BY originator_id, originator_version",
                (orjson.dumps(list(names)).decode(),),
                prepare=True,
            )
            for row in rows:
                stored = StoredEvent(row["originator_id"], row["originator_version"], row["topic"], row["state"])
                recorded: Recorded = self.mapper.to_domain_event(stored)  # type: ignore[assignment]
                found.setdefault(recorded.originator_id, []).append(recorded)
        return found

    def stream(self, name: str) -> list[Recorded]:
        """Return the events of one stream, empty where there is none."""
        return self.streams([name]).get(name, [])

    def record(
        self,
        events: Sequence[Recorded],
        *,
        beside: Beside | None = None,
        after: AfterInsert | None = None,
        request: Request | None = None,
        result: Any = None,
    ) -> int | None:
        """Append the events in one transaction, with what belongs beside them and the request's answer.

        `beside` runs before the log is locked, `after` under its lock. Returns the position of the last event, None
        where there was none. Raises VersionConflictError, RequestRepeatedError, PositionTakenError, RetryableError,
        CorruptionError.
        """

        def under_lock(curs: Cursor[DictRow], position: int | None) -> None:
            if after is not None:
                after(curs, position)
            if request is not None:
                answer_request(request, result, curs, position)

        with translated():
            # Past `EventStore.put`, which would build three more objects an event only to tell their ids.
            ids = self.recorder.append([row_of(recorded) for recorded in events], beside=beside, after=under_lock)
        return ids[-1] if ids else None

    def answered_before(self, merchant_id: str, idempotency_key: str) -> StoredAnswer | None:
        """Return the answer that the idempotency key was given before, None where it is new."""
        with self.connection() as conn:
            return find(conn, merchant_id, idempotency_key)

    def head(self) -> int:
        """Return the position of the newest event, 0 for an empty log."""
        with self.connection() as conn:
            row = conn.execute("SELECT max(notification_id) AS head FROM ledger.events").fetchone()
        return (row and row["head"]) or 0


def following(stream: str, version: int, events: Sequence[Event]) -> list[Recorded]:
    """Return the events in their places behind `version` of the stream (0: the stream does not exist)."""
    return [Recorded(stream, version + number, event) for number, event in enumerate(events, 1)]


def _environment(conninfo: Mapping[str, Any], pool_size: int) -> dict[str, str]:
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": str(conninfo.get("dbname") or "postgres"),
        "POSTGRES_HOST": str(conninfo.get("host") or ""),
        "POSTGRES_PORT": str(conninfo.get("port") or "5432"),
        "POSTGRES_USER": str(conninfo.get("user") or "postgres"),
        "POSTGRES_PASSWORD": str(conninfo.get("password") or ""),
        "POSTGRES_SCHEMA": "ledger",
        "POSTGRES_POOL_SIZE": "1",
        "POSTGRES_MAX_OVERFLOW": str(pool_size - 1),
        "POSTGRES_CONNECT_TIMEOUT": "5",
        # A process that is frozen in a transaction keeps the lock of the log: this is how long all others wait for it.
        "POSTGRES_IDLE_IN_TRANSACTION_SESSION_TIMEOUT": "10",
        # Its insert function takes no table lock: readers that follow the log would lose events.
        "POSTGRES_ENABLE_DB_FUNCTIONS": "no",
        "ORIGINATOR_ID_TYPE": "text",
        "CREATE_TABLE": "no",
    }
