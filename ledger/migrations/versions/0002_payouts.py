"""Payouts: what is to be done, what a run froze, what providers told, how partners are paid, what a bank is given."""

from ledger.schema import run_sql_file

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
