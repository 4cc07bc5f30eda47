"""Applies a batch of the log to the read models, in SQL, inside the caller's transaction."""

from collections.abc import Collection, Sequence
from typing import Any

from psycopg import Connection, sql

from projections import statements
from projections.schema import MODELS, ReadModel
from projections.statements import Kind

# Up to this many events, a batch is small: its cost is that of running statements, not of what they do.
SMALL_EVENTS = 500
# After so many small batches the rows that they left behind in the temporary tables are worth a truncation.
_SMALL_BATCHES = 100


def decoding(after: int, upto: int) -> sql.Composed:
    """Return the query for the facts of the events in (after, upto]."""
    return sql.SQL(statements.section("facts", "decode")).format(after=sql.Literal(after), upto=sql.Literal(upto))


class Workspace:
    """The temporary tables of a session that applies batches one after the other."""

    def __init__(self, conn: Connection[Any]) -> None:
        self._conn = conn
        self._batches = 0
        for name in ("facts", "sums", "moves"):
            conn.execute(statements.section("facts", name).encode())
        # Plans of small batches are kept. One that was made while a table was small must not read it whole once it has
        # grown.
        for scan in _UNSEEN:
            conn.execute(f"SET {scan} TO off".encode())

    def apply(self, after: int, upto: int) -> None:
        """Apply the events of (after, upto] to all read models, inside the caller's transaction."""
        small = upto - after <= SMALL_EVENTS
        self._clear(thoroughly=not small or self._batches % _SMALL_BATCHES == 0)
        self._batches = self._batches + 1 if small else 0
        topics = self._conn.execute(_DECODE, {"after": after, "upto": upto}, prepare=small).fetchall()
        if small:
            # One flight instead of a dozen there and back again.
            with self._conn.pipeline():
                apply(self._conn, MODELS, [topic for (topic,) in topics], prepare=True)
        else:
            self._conn.execute("; ".join(f"SET LOCAL {scan} TO on" for scan in _UNSEEN).encode())
            apply(self._conn, MODELS, [topic for (topic,) in topics], prepare=False)

    def _clear(self, *, thoroughly: bool) -> None:
        # To truncate takes longer than a small batch; to delete leaves dead rows behind.
        self._conn.execute(_TRUNCATE if thoroughly else _DELETE)


_UNSEEN = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin")
_TRUNCATE = "TRUNCATE facts, sums, moves"
_DELETE = "WITH facts AS (DELETE FROM facts), sums AS (DELETE FROM sums) DELETE FROM moves"
_DECODE = sql.SQL("WITH taken AS (INSERT INTO facts {} RETURNING topic) SELECT DISTINCT topic FROM taken").format(
    sql.SQL(statements.section("facts", "decode")).format(after=sql.Placeholder("after"), upto=sql.Placeholder("upto"))
)


def apply(
    conn: Connection[Any],
    models: Sequence[ReadModel],
    topics: Collection[str],
    kinds: Collection[Kind] = tuple(Kind),
    *,
    prepare: bool = False,
) -> None:
    """Apply the facts to the models. Statements that are about none of the batch's topics are left out."""
    for name in ("facts", *(model.name for model in models)):
        for statement in statements.applying(name):
            if statement.kind in kinds and (statement.topics is None or not statement.topics.isdisjoint(topics)):
                conn.execute(statement.sql.encode(), prepare=prepare)
