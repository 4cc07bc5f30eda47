"""API keys for tests, made as the command line makes them."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from ledger import keys
from ledger.access import ADMIN, Actor
from ledger.application import Ledger


def key_of(ledger: Ledger, merchant_id: str, scopes: Collection[str] = (ADMIN,), **details: Any) -> str:
    """Return a new key of the merchant."""
    told = {"name": "test", "now": datetime.now(UTC), "by": Actor("test")} | details
    return keys.create(ledger, merchant_id=merchant_id, scopes=scopes, **told).token.get_secret_value()
