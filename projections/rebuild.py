"""Builds read models anew beside the live ones, in big steps, and swaps them in one transaction."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

import psycopg
import stamina
import structlog
from psycopg import Connection, sql

from projections import batches, schema, statements
from projections.schema import LIVE, LOCK_APPLY, LOCK_REBUILD, LOCK_SWAP, MODELS, ReadModel
from schemas.errors import RetryableError

NEXT = "read_next"
OLD = "read_old"
COMMISSIONS = "commissions"

# Measured: smaller steps pay more often for the rows that several of them touch, larger ones gain nothing and take disk and memory.
CHUNK_EVENTS = 250_000

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

    Readers and the projector go on meanwhile. A crash at any moment leaves the live ones as they are, and what it left behind is
    dropped by the next rebuild. Raises ValueError for a name that is none, RetryableError while another rebuild runs, psycopg.Error.
    """
    models = schema.named(names)
    with ExitStack() as stack:
        conn = stack.enter_context(_session(database_url))
        ahead = stack.enter_context(_session(database_url))
        schema.ensure(conn)
        row = conn.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_REBUILD,)).fetchone()
        if row is None or not row[0]:
            raise RetryableError("another rebuild is running")
        building = _Building(conn, ahead, models, chunk_events, progress or (lambda _done, _total: None))
        building.begin()
        building.load()
        building.complete()
        building.index()
        # What came in meanwhile, so that little is left for the moment when the projector has to wait.
        building.load()
        position = building.swap()
    return Rebuilt(tuple(model.name for model in models), position)


class _Building:
    """A rebuild on its way: one connection applies a chunk while the other takes the next one apart."""

    def __init__(
        self,
        conn: Connection[Any],
        ahead: Connection[Any],
        models: tuple[ReadModel, ...],
        chunk: int,
        progress: Progress,
    ) -> None:
        self._conn = conn
        self._ahead = ahead
        self._models = models
        self._chunk = chunk
        self._progress = progress
        self._whole = len(models) == len(MODELS)
        self._position = 0
        # Customers can be told from commissions at once, where those are new too.
        self._later = [
            m for m in models if statements.section(m.name, "whole") and COMMISSIONS in [n.name for n in models]
        ]

    def begin(self) -> None:
        """Drop what a crashed rebuild left behind, and create empty tables."""
        for leftover in (NEXT, OLD):
            self._conn.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(leftover)))
        with self._conn.transaction():
            schema.create(self._conn, NEXT, self._models)
        # Customers look up orders: in the new table where there is one, else in the live one, which has come as far.
        path = [NEXT] if self._whole else [NEXT, LIVE]
        for conn in (self._conn, self._ahead):
            conn.execute(sql.SQL("SET search_path TO {}").format(sql.SQL(", ").join(map(sql.Identifier, path))))
        batches.open_workspace(self._conn, batch=False)

    def load(self) -> None:
        """Apply the log up to where it is now. Models that join others which stay go no further than those."""
        total = self._target()
        bounds = [*range(self._position, total, self._chunk), total]
        with ThreadPoolExecutor(1) as executor:
            chunks = list(zip(bounds, bounds[1:], strict=False))
            waiting = executor.submit(self._take_apart, self._ahead, *chunks[0]) if chunks else None
            for number, (_, upto) in enumerate(chunks, 1):
                table = waiting.result() if waiting else ""
                waiting = (
                    executor.submit(self._take_apart, self._ahead, *chunks[number]) if number < len(chunks) else None
                )
                with self._conn.transaction():
                    self._apply(table, upto)
                self._progress(upto, total)

    def complete(self) -> None:
        """Fill the models that are told from others at once; from here on they take part in every step."""
        for model in self._later:
            self._conn.execute(statements.section(model.name, "whole"))
        self._later = []

    def index(self) -> None:
        """Build the secondary indexes, which costs far less once than row by row, and let the planner know the tables."""
        for model in self._models:
            with self._conn.transaction():
                schema.index(self._conn, NEXT, model)
                for table in model.tables:
                    self._conn.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))

    def swap(self) -> int:
        """Apply the rest and exchange the schemas in one transaction; returns the position.

        Renaming a schema takes no lock on its tables, so no reader waits; the old tables are dropped when their last reader is done.
        """
        for attempt in stamina.retry_context(on=psycopg.errors.LockNotAvailable, timeout=None, wait_max=2.0):
            with attempt, self._conn.transaction():
                self._exchange()
        try:
            self._conn.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(OLD)))
        except psycopg.errors.LockNotAvailable:
            log.info("the old read models are still being read; the next rebuild drops them")
        return self._position

    def _target(self) -> int:
        query = (
            "SELECT coalesce(max(notification_id), 0) FROM ledger.events"
            if self._whole
            else "SELECT position FROM read.tracked"
        )
        row = self._conn.execute(query).fetchone()
        return int(row[0]) if row else 0

    def _take_apart(self, conn: Connection[Any], after: int, upto: int) -> str:
        """Put the facts of (after, upto] into a table and return its name. CREATE TABLE AS, because its query may run in parallel."""
        table = f"facts_{upto}"
        conn.execute(
            sql.SQL("CREATE UNLOGGED TABLE {} AS {}").format(sql.Identifier(NEXT, table), batches.decoding(after, upto))
        )
        return table

    def _apply(self, table: str, upto: int) -> None:
        conn = self._conn
        conn.execute(sql.SQL("ALTER TABLE {} RENAME TO facts").format(sql.Identifier(NEXT, table)))
        topics = [topic for (topic,) in conn.execute("SELECT DISTINCT topic FROM facts").fetchall()]
        batches.apply(conn, [model for model in self._models if model not in self._later], topics)
        conn.execute("DROP TABLE facts")
        conn.execute(sql.SQL("UPDATE {} SET position = %s").format(sql.Identifier(NEXT, "tracking")), (upto,))
        self._position = upto

    def _exchange(self) -> None:
        conn = self._conn
        conn.execute("SELECT pg_advisory_xact_lock(%s), pg_advisory_xact_lock(%s)", (LOCK_APPLY, LOCK_SWAP))
        target = self._target()
        if target > self._position:
            self._apply(self._take_apart(conn, self._position, target), target)
        conn.execute(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(LIVE), sql.Identifier(OLD)))
        conn.execute(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(NEXT), sql.Identifier(LIVE)))
        for model in MODELS:
            if model not in self._models:
                self._keep(model)

    def _keep(self, model: ReadModel) -> None:
        for table in model.tables:
            move = sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(sql.Identifier(OLD, table), sql.Identifier(LIVE))
            self._conn.execute(move)
        self._conn.execute("INSERT INTO read.tracking SELECT * FROM read_old.tracking WHERE model = %s", (model.name,))


def _session(database_url: str) -> Connection[Any]:
    conn = psycopg.connect(database_url, autocommit=True, application_name="rebuild", prepare_threshold=None)
    for setting in (
        "synchronous_commit TO off",
        "jit TO off",
        "lock_timeout TO '2s'",
        "work_mem TO '128MB'",
        "maintenance_work_mem TO '256MB'",
        # The planner learns enough from a small sample; autovacuum takes a larger one later.
        "default_statistics_target TO 20",
        "max_parallel_workers_per_gather TO 2",
        "max_parallel_maintenance_workers TO 2",
        "parallel_setup_cost TO 0",
        "parallel_tuple_cost TO 0",
        "min_parallel_table_scan_size TO 0",
        "min_parallel_index_scan_size TO 0",
    ):
        conn.execute(f"SET {setting}")
    # Compressing the pages of new indexes took a quarter of the time of building them. Only a superuser may choose.
    with suppress(psycopg.errors.InsufficientPrivilege):
        conn.execute("SET wal_compression TO off")
    return conn
