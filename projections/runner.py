"""Feeds the read models: woken by NOTIFY, applies the log in batches until it has caught up, and waits again."""

from contextlib import ExitStack
from threading import Event
from time import monotonic
from typing import Any

import psycopg
import stamina
import structlog
from psycopg import Connection

from projections.batches import Workspace
from projections.rebuild import rebuild
from projections.schema import LIVE, LOCK_APPLY, MODELS, ensure
from schemas.errors import CorruptionError, RetryableError

EVENTS_CHANNEL = "events"
READ_MODELS_CHANNEL = "read_models"

# Large enough that what a batch costs is shared by many, small enough that nobody waits long for the next position.
BATCH_EVENTS = 10_000

# A log this far ahead of empty read models is faster rebuilt than followed.
REBUILD_FROM_EVENTS = 200_000

# A server that lets us in and throws us out again is not asked all the time.
_PAUSE_S = 0.5
# How long somebody who asks an idle projector to stop has to wait.
_STOP_S = 0.25

AWAY = (psycopg.OperationalError, psycopg.InterfaceError)

log = structlog.get_logger(__name__)


class _StoppedError(Exception):
    """The projector was asked to stop while the database was away."""


class Projector:
    """Keeps the read models at the head of the log. Any number may run: one applies at a time, the others wait.

    `poll_s` is how long a lost notification can go unnoticed.
    """

    def __init__(self, database_url: str, *, batch_events: int = BATCH_EVENTS, poll_s: float = 1.0) -> None:
        self.position = 0
        self._database_url = database_url
        self._batch_events = batch_events
        self._poll_s = poll_s
        self._stopping = Event()

    def stop(self) -> None:
        """Ask `run` to return after the batch in hand; may be called from another thread or a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Follow the log until `stop`. Goes on by itself when the database was away.

        Raises CorruptionError where the log contradicts itself; nothing is applied then.
        """
        while not self._stopping.is_set():
            try:
                self._follow()
            except _StoppedError:
                return
            except AWAY as error:
                log.warning("the projector lost the database", error=str(error).strip())
                self._stopping.wait(_PAUSE_S)
            except RetryableError as error:
                log.warning("the projector waits", why=str(error))
                self._stopping.wait(_PAUSE_S)

    def catch_up(self) -> int:
        """Apply what the log holds now, once; return the position. Raises psycopg.OperationalError, CorruptionError."""
        with self._session() as conn:
            self._bring_up_to_date(conn)
            workspace = Workspace(conn)
            while advance(conn, workspace, self._batch_events) is not None:
                pass
            return tracked(conn)

    def _follow(self) -> None:
        with ExitStack() as stack:
            conn = stack.enter_context(self._connected())
            listener = stack.enter_context(psycopg.connect(self._database_url, autocommit=True))
            listener.execute(f"LISTEN {EVENTS_CHANNEL}")
            self._bring_up_to_date(conn)
            workspace = Workspace(conn)
            self.position = tracked(conn)
            log.info("the projector follows the log", position=self.position)
            while not self._stopping.is_set():
                reached = advance(conn, workspace, self._batch_events)
                if reached is None:
                    self._wait(listener)
                else:
                    self.position = reached

    def _wait(self, listener: Connection[Any]) -> None:
        """Return when the log has grown, at the next poll, or when asked to stop."""
        polled_at = monotonic() + self._poll_s
        while not self._stopping.is_set() and (left_s := polled_at - monotonic()) > 0:
            if list(listener.notifies(timeout=min(left_s, _STOP_S), stop_after=1)):
                return

    def _connected(self) -> Connection[Any]:
        """Return a session, trying again for as long as the database is away."""
        for attempt in stamina.retry_context(on=AWAY, attempts=None, timeout=None, wait_max=2.0, wait_jitter=0.5):
            with attempt:
                if self._stopping.is_set():
                    raise _StoppedError
                return self._session()
        raise AssertionError("unreachable: attempts are not limited")

    def _session(self) -> Connection[Any]:
        conn = psycopg.connect(self._database_url, autocommit=True, application_name="projector")
        # A commit lost in a crash is applied again: the position is lost with it.
        conn.execute("SET synchronous_commit TO off")
        conn.execute("SET jit TO off")
        return conn

    def _bring_up_to_date(self, conn: Connection[Any]) -> None:
        """Create the read models where there are none; rebuild those that are out of date, or hopelessly behind."""
        stale = ensure(conn)
        position, head = conn.execute(_WHERE).fetchone() or (0, 0)
        if position == 0 and (head or 0) >= REBUILD_FROM_EVENTS:
            stale = [model.name for model in MODELS]
        if stale:
            log.info("rebuilding read models", models=stale, why="other SQL or rules" if position else "new")
            rebuild(self._database_url, stale)
        conn.execute(f"SET search_path TO {LIVE}")


def tracked(conn: Connection[Any]) -> int:
    """Return the position that all read models have reached."""
    row = conn.execute("SELECT position FROM read.tracked").fetchone()
    return int(row[0]) if row else 0


def advance(conn: Connection[Any], workspace: Workspace, batch_events: int) -> int | None:
    """Apply the next events, at most `batch_events`, to every read model in one transaction.

    Returns the position reached, None where there was nothing to apply. Ids are in the order of commits, for writers
    hold a lock on the log: what is behind the tracked position is all there is. Raises CorruptionError,
    psycopg.OperationalError.
    """
    position = 0
    try:
        with conn.transaction():
            conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_APPLY,), prepare=True)
            position, head = conn.execute(_WHERE, prepare=True).fetchone() or (0, None)
            if head is None or head <= position:
                return None
            upto: int = min(head, position + batch_events)
            workspace.apply(position, upto)
            conn.execute(_ADVANCE, {"position": upto, "channel": READ_MODELS_CHANNEL}, prepare=True)
            return upto
    except (psycopg.IntegrityError, psycopg.DataError) as error:
        raise CorruptionError(f"the read models refuse the log behind position {position}: {error}") from error


_WHERE = "SELECT position, (SELECT max(notification_id) FROM ledger.events) FROM read.tracked"
_ADVANCE = """WITH advanced AS (UPDATE tracking SET position = %(position)s)
    SELECT pg_notify(%(channel)s, %(position)s::text)"""
