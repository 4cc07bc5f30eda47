"""Builds read models anew beside the live ones, in big steps, and swaps them in one transaction.

Two sessions share the work: each takes every other step of the log apart and adds what only adds; what builds on
earlier steps waits for its turn. Sums are kept until the end and applied once, and so is all else that is cheaper once:
the key of commissions, what became of orders in later steps, indexes, customers.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from itertools import pairwise
from queue import SimpleQueue
from threading import Condition
from typing import Any, NamedTuple

import psycopg
import stamina
import structlog
from psycopg import Connection, sql

from projections import batches, schema, statements
from projections.schema import LIVE, LOCK_APPLY, LOCK_REBUILD, LOCK_SWAP, MODELS, ReadModel
from projections.statements import Kind
from schemas.errors import RetryableError

NEXT = "read_next"
OLD = "read_old"

# Measured: smaller steps pay more often for what each costs, larger ones gain nothing and leave a session without work.
CHUNK_EVENTS = 50_000

_SESSIONS = 2

Progress = Callable[[int, int], None]
"""Called with the events done and the events in all."""

log = structlog.get_logger(__name__)


class Rebuilt(NamedTuple):
    """Which read models are new, and the position that they have."""

    models: tuple[str, ...]
    position: int


def rebuild(
    database_url: str,
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
    *,
    chunk_events: int = CHUNK_EVENTS,
) -> Rebuilt:
    """Build the named read models (all for None) from the log, and put them in the place of the live ones.

    Readers and the projector go on meanwhile. A crash at any moment leaves the live ones as they are; what it left
    behind is dropped by the next rebuild. Raises ValueError for a name that is none, RetryableError while another
    rebuild runs, psycopg.Error.
    """
    models = schema.named(names)
    with ExitStack() as stack:
        sessions = [stack.enter_context(_session(database_url)) for _ in range(_SESSIONS)]
        schema.ensure(sessions[0])
        row = sessions[0].execute("SELECT pg_try_advisory_lock(%s)", (LOCK_REBUILD,)).fetchone()
        if row is None or not row[0]:
            raise RetryableError("another rebuild is running")
        building = _Building(sessions, models, chunk_events, progress or (lambda _done, _total: None))
        building.begin()
        building.load()
        building.complete()
        # What came in meanwhile, so that little is left for the moment when the projector has to wait.
        building.load()
        position = building.swap()
        # Not only when the server notices that the connection is gone: the next rebuild may be on its way.
        sessions[0].execute("SELECT pg_advisory_unlock(%s)", (LOCK_REBUILD,))
    return Rebuilt(tuple(model.name for model in models), position)


class _Turns:
    """Lets steps that are worked on at the same time end in their order."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._ended = 0
        self._failed = False

    def wait_for(self, number: int) -> None:
        """Return when all steps before `number` have ended. Raises RuntimeError when one of them failed."""
        with self._changed:
            self._changed.wait_for(lambda: self._failed or self._ended >= number)
            if self._failed:
                raise RuntimeError("another step of the rebuild failed")

    def end(self, number: int) -> None:
        """Tell that the step has ended."""
        with self._changed:
            self._ended = number + 1
            self._changed.notify_all()

    def fail(self) -> None:
        """Tell that a step failed: nobody needs to wait any more."""
        with self._changed:
            self._failed = True
            self._changed.notify_all()


class _Building:
    """A rebuild on its way."""

    def __init__(
        self, sessions: list[Connection[Any]], models: tuple[ReadModel, ...], chunk_events: int, progress: Progress
    ) -> None:
        self._sessions = sessions
        self._conn = sessions[0]
        self._models = models
        self._chunk_events = chunk_events
        self._progress = progress
        self._whole = len(models) == len(MODELS)
        self._position = 0
        # What has its key built last, with the statements that do it.
        self._keyless = {model: ("", "") for model in models if statements.section(model.name, "merge")}
        # Customers can be told from commissions at once, where those are new too.
        self._later = [model for model in models if self._keyless and statements.section(model.name, "whole")]
        self._kinds = {Kind.EARLY, Kind.IN_ORDER}

    def begin(self) -> None:
        """Drop what a crashed rebuild left behind, and create empty tables."""
        for leftover in (NEXT, OLD):
            self._conn.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(leftover)))
        with self._conn.transaction():
            schema.create(self._conn, NEXT, self._models)
            self._conn.execute(statements.section("facts", "sums").encode())
            self._conn.execute(sql.SQL("CREATE UNLOGGED TABLE {} (LIKE sums)").format(sql.Identifier(NEXT, "sums")))
            self._conn.execute("DROP TABLE pg_temp.sums")
            self._conn.execute(statements.section("facts", "moves").encode())
            self._conn.execute(
                sql.SQL("CREATE UNLOGGED TABLE {} (LIKE moves)").format(sql.Identifier(NEXT, "kept_moves"))
            )
            self._keyless = {model: self._without_key(*model.tables) for model in self._keyless}
        # Customers look up orders: in the new table where there is one, else in the live one, which has come as far.
        path = sql.SQL(", ").join(map(sql.Identifier, [NEXT] if self._whole else [NEXT, LIVE]))
        for conn in self._sessions:
            conn.execute(sql.SQL("SET search_path TO {}").format(path))
            conn.execute(statements.section("facts", "moves").encode())

    def load(self) -> None:
        """Apply the log up to where it is now. Models that join others which stay go no further than those."""
        total = self._target()
        steps = list(pairwise([*range(self._position, total, self._chunk_events), total]))
        turns = _Turns()

        def work(session: int) -> None:
            for number in range(session, len(steps), _SESSIONS):
                try:
                    with self._sessions[session].transaction():
                        self._apply(self._sessions[session], *steps[number], partial(turns.wait_for, number))
                except BaseException:
                    turns.fail()
                    raise
                turns.end(number)
                self._progress(steps[number][1], total)

        with ThreadPoolExecutor(_SESSIONS) as executor:
            ended = [executor.submit(work, session) for session in range(_SESSIONS)]
        failures = [error for future in ended if (error := future.exception()) is not None]
        if failures:
            # The first cause, not the one that only heard of it.
            raise next((error for error in failures if not isinstance(error, RuntimeError)), failures[0])
        self._position = total

    def complete(self) -> None:
        """Do what costs far less once: keys, sums, secondary indexes, models told from others; two at a time."""
        keys = [[key] for key, _ in self._keyless.values()]
        kept = self._conn.execute("SELECT EXISTS (SELECT FROM kept_moves)").fetchone()
        if kept and kept[0]:
            # What was kept needs the key; all else needs what was kept.
            self._share(keys)
            self._share([self._moving(model) for model in self._keyless])
            keys = []
        tasks = [[statements.section(model.name, "whole"), *statements.indexes(model.name)] for model in self._later]
        for model in self._models:
            if model in self._later:
                continue
            summed = [statement.sql for statement in statements.applying(model.name) if statement.kind is Kind.SUMS]
            indexes = statements.indexes(model.name)
            tasks += [[*summed, *indexes]] if summed else [[index] for index in indexes]
        self._share(keys + tasks)
        for _, attach in self._keyless.values():
            self._conn.execute(attach.encode())
        self._conn.execute("TRUNCATE sums, kept_moves")
        for model in self._models:
            for table in model.tables:
                self._conn.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(NEXT, table)))
        # From here on all take part in every step.
        self._later, self._keyless, self._kinds = [], {}, set(Kind)

    def swap(self) -> int:
        """Apply the rest and exchange the schemas in one transaction; returns the position.

        Renaming a schema takes no lock on its tables, so no reader waits. The old tables are dropped when their last
        reader is done.
        """
        retries = stamina.retry_context(on=psycopg.errors.LockNotAvailable, attempts=None, timeout=None, wait_max=2.0)
        for attempt in retries:
            with attempt, self._conn.transaction():
                position = self._exchange()
        try:
            self._conn.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(OLD)))
        except psycopg.errors.LockNotAvailable:
            log.info("the old read models are still being read; the next rebuild drops them")
        return position

    def _target(self) -> int:
        query = (
            "SELECT coalesce(max(notification_id), 0) FROM ledger.events"
            if self._whole
            else "SELECT position FROM read.tracked"
        )
        row = self._conn.execute(query.encode()).fetchone()
        return int(row[0]) if row else 0

    def _apply(self, conn: Connection[Any], after: int, upto: int, turn: Callable[[], None]) -> None:
        """Apply (after, upto] inside the caller's transaction; `turn` returns when all before is committed."""
        # CREATE TABLE AS, because its query may run in parallel where there are more cores than sessions.
        conn.execute(sql.SQL("CREATE TEMPORARY TABLE facts ON COMMIT DROP AS {}").format(batches.decoding(after, upto)))
        topics = [topic for (topic,) in conn.execute("SELECT DISTINCT topic FROM facts").fetchall()]
        conn.execute("TRUNCATE moves")
        models = [model for model in self._models if model not in self._later]
        batches.apply(conn, models, topics, self._kinds & {Kind.EARLY})
        for model in self._keyless:
            conn.execute(statements.section(model.name, "keep").encode())
        turn()
        models = [model for model in models if model not in self._keyless]
        batches.apply(conn, models, topics, self._kinds - {Kind.EARLY})
        if Kind.SUMS in self._kinds:
            conn.execute("DELETE FROM sums")
        conn.execute(sql.SQL("UPDATE {} SET position = %s").format(sql.Identifier(NEXT, "tracking")), (upto,))

    def _share(self, tasks: list[list[str]]) -> None:
        """Run lists of statements in any order, one list in each session at a time."""
        free: SimpleQueue[Connection[Any]] = SimpleQueue()
        for conn in self._sessions:
            free.put(conn)

        def run(task: list[str]) -> None:
            conn = free.get()
            try:
                for statement in task:
                    conn.execute(statement.encode())
            finally:
                free.put(conn)

        with ThreadPoolExecutor(_SESSIONS) as executor:
            list(executor.map(run, tasks))

    def _without_key(self, table: str) -> tuple[str, str]:
        """Drop the table's primary key, which costs a third where it is built last.

        Returns the statements that build it, beside other indexes, and that make it the key.
        """
        row = self._conn.execute(
            "SELECT conname, pg_get_indexdef(conindid) FROM pg_constraint"
            " WHERE contype = 'p' AND conrelid = %s::regclass",
            (f"{NEXT}.{table}",),
        ).fetchone()
        assert row is not None  # noqa: S101 - every table has one
        name, definition = row
        alter = sql.SQL("ALTER TABLE {} ").format(sql.Identifier(NEXT, table))
        self._conn.execute(alter + sql.SQL("DROP CONSTRAINT {}").format(sql.Identifier(name)))
        attach = alter + sql.SQL("ADD PRIMARY KEY USING INDEX {}").format(sql.Identifier(name))
        return definition, attach.as_string()

    @staticmethod
    def _moving(model: ReadModel) -> list[str]:
        """Return what applies the moves that were kept for want of a key."""
        moving = [statement.sql for statement in statements.applying(model.name) if statement.kind is Kind.IN_ORDER]
        return ["TRUNCATE moves", statements.section(model.name, "merge"), *moving]

    def _exchange(self) -> int:
        conn = self._conn
        conn.execute("SELECT pg_advisory_xact_lock(%s), pg_advisory_xact_lock(%s)", (LOCK_APPLY, LOCK_SWAP))
        target = self._target()
        if target > self._position:
            self._apply(conn, self._position, target, lambda: None)
        for table in ("sums", "kept_moves"):
            conn.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(NEXT, table)))
        conn.execute(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(LIVE), sql.Identifier(OLD)))
        conn.execute(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(NEXT), sql.Identifier(LIVE)))
        for model in MODELS:
            if model not in self._models:
                self._keep(model)
        return target

    def _keep(self, model: ReadModel) -> None:
        for table in model.tables:
            move = sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(sql.Identifier(OLD, table), sql.Identifier(LIVE))
            self._conn.execute(move)
        self._conn.execute("INSERT INTO read.tracking SELECT * FROM read_old.tracking WHERE model = %s", (model.name,))


def _session(database_url: str) -> Connection[Any]:
    conn = psycopg.connect(database_url, autocommit=True, application_name="rebuild", prepare_threshold=None)
    spare = max((os.cpu_count() or 1) - _SESSIONS, 0)
    for setting in (
        "synchronous_commit TO off",
        "jit TO off",
        "lock_timeout TO '2s'",
        "work_mem TO '128MB'",
        "maintenance_work_mem TO '256MB'",
        "temp_buffers TO '64MB'",
        # The sessions keep two cores busy already; handing rows from process to process would only add to that.
        f"max_parallel_workers_per_gather TO {spare}",
        f"max_parallel_maintenance_workers TO {spare}",
        "parallel_setup_cost TO 0",
        "parallel_tuple_cost TO 0",
        "min_parallel_table_scan_size TO 0",
        "min_parallel_index_scan_size TO 0",
        # The planner learns enough from a small sample; autovacuum takes a larger one later.
        "default_statistics_target TO 20",
    ):
        conn.execute(f"SET {setting}".encode())
    # Compressing the pages of new indexes took a quarter of the time of building them. Only a superuser may choose.
    with suppress(psycopg.errors.InsufficientPrivilege):
        conn.execute("SET wal_compression TO off")
    return conn
