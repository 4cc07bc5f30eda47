"""SQL migrations; see `ledger.schema`."""
