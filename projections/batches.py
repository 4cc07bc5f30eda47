"""Applies a batch of the log to the read models, in SQL, inside the caller's transaction."""

from collections.abc import Collection, Sequence
from typing import Any

from psycopg import Connection, sql

from projections import statements
from projections.schema import ReadModel
from projections.statements import Kind


def decoding(after: int, upto: int) -> sql.Composed:
    """Return the query for the facts of the events in (after, upto]."""
    return sql.SQL(statements.section("facts", "decode")).format(after=sql.Literal(after), upto=sql.Literal(upto))


def open_workspace(conn: Connection[Any]) -> None:
    """Create the temporary tables of a session that applies batches one after the other."""
    for name in ("sums", "moves", "batch"):
        conn.execute(statements.section("facts", name).encode())


def decode(conn: Connection[Any], after: int, upto: int) -> dict[str, int]:
    """Put the facts of the events in (after, upto] into the session's batch; returns how many there are of each topic."""
    query = sql.SQL(
        "WITH taken AS (INSERT INTO facts {} RETURNING topic) SELECT topic, count(*) FROM taken GROUP BY topic"
    ).format(decoding(after, upto))
    return dict(conn.execute(query).fetchall())


def apply(
    conn: Connection[Any], models: Sequence[ReadModel], topics: Collection[str], kinds: Collection[Kind] = tuple(Kind)
) -> None:
    """Apply the facts to the models. Statements that are about none of the batch's topics are left out: that costs no plan."""
    for name in ("facts", *(model.name for model in models)):
        for statement in statements.applying(name):
            if statement.kind in kinds and (statement.topics is None or not statement.topics.isdisjoint(topics)):
                conn.execute(statement.sql.encode())
