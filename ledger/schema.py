"""The database's schema: migrations in plain SQL, run by alembic."""

from pathlib import Path

import psycopg

# Two processes that migrate at once must not meet: any constant will do, as long as nobody else uses it.
_LOCK = 7_203_411_905


def migrate(database_url: str) -> None:
    """Bring the schemas `ledger`, `people` and `access` up to date; does nothing where they are. Raises psycopg.Error.

    `database_url` is a PostgreSQL URI or conninfo string. The schema `read` is not migrated: it is rebuilt.
    """
    # Only whoever migrates waits for these to load: they take longer than most commands.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from sqlalchemy import create_engine  # noqa: PLC0415
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(database_url), poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS ledger")
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def run_sql_file(migration: str) -> None:
    """Run the SQL file that stands beside the migration's Python file."""
    from alembic import op  # noqa: PLC0415 - as above

    sql = Path(migration).with_suffix(".sql").read_text(encoding="utf-8")
    # The driver's own cursor: no parameters, so several statements may go in one call and a per cent sign is just one.
    cursor = op.get_bind().connection.cursor()
    cursor.execute(sql)
    cursor.close()
