"""How partners are paid, and what a bank is given: personal data, sealed."""

from ledger.schema import run_sql_file

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
