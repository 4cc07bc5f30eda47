"""The second wall between merchants: a role that sees the rows of one merchant, whatever the query forgot to ask for.

The web's reads run as this role. PostgreSQL shows it the rows of the merchant that is set for the transaction, and none
where none is set (docs/decisions/0014). Whoever owns the tables (projector, rebuild, verify, migrations) sees them all.
"""

from typing import Any, LiteralString

from psycopg import AsyncConnection, Connection, sql

READER = "ledger_reader"

# Parameter `merchant_id`. For the rest of the transaction: a connection that goes back to its pool takes nothing along.
SET_MERCHANT: LiteralString = "set_config('ledger.merchant_id', %(merchant_id)s, true)"

# The migration writes the same for the tables that are not disposable. In a sub-select, so that the planner cannot know
# it: as it plans, nobody is set yet, and it would take the rows of nobody for few and read all of the table for them
# (measured: 531 ms instead of 0.3 for a page of 30,000 commissions).
# And in a CASE, so that the planner does not take it for one more filter beside the query's own: it would expect far
# fewer rows than there are, and rather sort them all than take the first of them in order.
_SET: LiteralString = "(SELECT current_setting('ledger.merchant_id', true))"
_OWN: LiteralString = f"CASE WHEN merchant_id = {_SET} THEN true ELSE false END"
DEFINITION: LiteralString = f"CREATE POLICY own_rows ON {{}} FOR SELECT TO {READER} USING ({_OWN})"

_TABLES_OF_MERCHANTS = """
SELECT attrelid::regclass::text FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p') AND attname = 'merchant_id' AND NOT attisdropped
ORDER BY 1
"""


def build(conn: Connection[Any], schema: str) -> None:
    """Let the reader read the schema's tables: of those that belong to merchants, the rows of one."""
    name, reader = sql.Identifier(schema), sql.Identifier(READER)
    conn.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(name, reader))
    conn.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}").format(name, reader))
    for (table,) in conn.execute(_TABLES_OF_MERCHANTS, (schema,)).fetchall():
        # As PostgreSQL itself wrote it: quoted where it must be.
        conn.execute(sql.SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(sql.SQL(table)))
        conn.execute(sql.SQL(DEFINITION).format(sql.SQL(table)))


async def stand_behind(conn: AsyncConnection[Any]) -> None:
    """Make a new connection the reader's, for as long as it lives; for a pool's `configure`.

    Raises psycopg.errors.InsufficientPrivilege where the database's user may not become the reader.
    """
    await conn.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(READER)))
