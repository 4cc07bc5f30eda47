"""The schema of the read models: created where it is missing, never migrated. What is out of date is rebuilt."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from psycopg import Connection, sql

from ledger.postings import RULES
from projections import statements, wall

LIVE = "read"

# Who applies a batch holds the first: a second projector waits. Who swaps schemas holds the second as well, and whoever
# reads for several statements shares it. Who rebuilds holds the third. Any numbers will do that nobody else uses.
LOCK_APPLY = 7_203_411_906
LOCK_SWAP = 7_203_411_907
LOCK_REBUILD = 7_203_411_908


class ReadModel(NamedTuple):
    """A read model: the name of its files, and its tables."""

    name: str
    tables: tuple[str, ...]


# In the order in which a batch is applied: customers look up the orders that commissions has just opened.
MODELS = (
    ReadModel("programs", ("programs", "program_versions")),
    ReadModel("partners", ("partners", "partner_rates", "coupons", "coupon_rates")),
    ReadModel("assignments", ("assignments",)),
    ReadModel("commissions", ("commissions",)),
    ReadModel("balances", ("balances", "program_balances")),
    ReadModel("revenue", ("revenue",)),
    ReadModel("conversions", ("conversions",)),
    ReadModel("days", ("program_days",)),
    ReadModel("customers", ("customers",)),
)


def named(names: Sequence[str] | None) -> tuple[ReadModel, ...]:
    """Return the read models of these names, all for None. Raises ValueError, listing them, for a name that is none."""
    known = {model.name for model in MODELS}
    unknown = sorted(set(names or ()) - known)
    if unknown:
        raise ValueError(f"no read model {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
    return tuple(model for model in MODELS if names is None or model.name in names)


def fingerprint(model: ReadModel) -> str:
    """Return a hash of what the model's rows depend on besides the log: its SQL, the facts' SQL, the posting rules.

    And of who sees them: tables that were made before the wall are made anew behind it.
    """
    rules = repr(sorted(RULES.items(), key=repr))
    parts = (statements.text("facts"), statements.text(model.name), rules, wall.DEFINITION)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def create(conn: Connection, schema: str, models: Sequence[ReadModel], position: int = 0) -> None:
    """Create the schema with the models' tables, without secondary indexes, as of the position; in a transaction.

    Raises psycopg.errors.UndefinedObject where the database was not migrated: the reader's role is missing.
    """
    conn.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    conn.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(schema)))
    for name in ("facts", *(model.name for model in models)):
        conn.execute(statements.section(name, "table"))
    wall.build(conn, schema)
    rules = [(topic, before or "", after or "", *accounts) for (topic, before, after), accounts in RULES.items()]
    with conn.cursor() as cursor:
        cursor.executemany("INSERT INTO posting_rules VALUES (%s, %s, %s, %s, %s)", rules)
        cursor.executemany(
            "INSERT INTO tracking (model, position, fingerprint) VALUES (%s, %s, %s)",
            [(model.name, position, fingerprint(model)) for model in models],
        )


def ensure(conn: Connection) -> list[str]:
    """Create the read models where they are missing. Returns the names of those whose shape or rules are out of date.

    `conn` is in autocommit mode. Safe to call from several processes at once.
    """
    with conn.transaction():
        conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_APPLY,))
        row = conn.execute("SELECT to_regclass('read.tracking') IS NOT NULL").fetchone()
        if row is None or not row[0]:
            create(conn, LIVE, MODELS)
            for model in MODELS:
                for statement in statements.indexes(model.name):
                    conn.execute(statement.encode())
            return []
    return stale(conn)


def stale(conn: Connection) -> list[str]:
    """Return the names of the read models that were built by other SQL or posting rules than those of this version."""
    rows = conn.execute("SELECT model, fingerprint FROM read.tracking").fetchall()
    known: dict[str, str] = dict(rows)
    return [model.name for model in MODELS if known.get(model.name) != fingerprint(model)]
