"""The connected accounts that were opened for partners at Stripe: one for each, kept sealed, and found by its hash.

That an account is there proves nothing: what Stripe said of it last is kept beside it, and only `active` makes it the
way its partner is paid (`ledger.payout_details`), once, where that is still what somebody wants.
"""

from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

from psycopg import Cursor
from psycopg.rows import DictRow

from ledger.application import Ledger
from ledger.sealing import KeyRing


class Account(NamedTuple):
    """A partner's account; `transfers` is Stripe's word for whether it can be paid, None: nobody asked yet."""

    merchant_id: str
    partner_id: str
    account_id: str
    wanted: bool
    transfers: str | None = None
    blocked_by: str | None = None
    asked_at: datetime | None = None


class StripeAccountBook:
    """The accounts in PostgreSQL; thread-safe.

    Every call raises RetryableError, and CorruptionError where the key that sealed an account is not among ours.
    """

    def __init__(self, ledger: Ledger, keys: KeyRing) -> None:
        self._ledger, self._keys = ledger, keys

    def find(self, merchant_id: str, partner_id: str) -> Account | None:
        """Return the partner's account, None where none was opened."""
        return self._one(f"{_ACCOUNTS} WHERE merchant_id = %s AND partner_id = %s", merchant_id, partner_id)

    def owner(self, account_id: str) -> Account | None:
        """Return the account with whose it is, None where it is not of ours."""
        return self._one(f"{_ACCOUNTS} WHERE account_sha256 = %s", _digest(account_id))

    def keep(self, merchant_id: str, partner_id: str, account_id: str, *, by: str, now: datetime) -> Account:
        """Keep the account that was opened; returns the one that the partner has: the first that was kept."""
        with self._ledger.connection() as conn:
            conn.execute(
                "INSERT INTO people.stripe_accounts (merchant_id, partner_id, account, account_sha256, opened_at,"
                " opened_by, wanted) VALUES (%s, %s, %s, %s, %s, %s, true)"
                " ON CONFLICT (merchant_id, partner_id) DO NOTHING",
                (merchant_id, partner_id, self._keys.seal(account_id.encode()), _digest(account_id), now, by),
            )
        kept = self.find(merchant_id, partner_id)
        assert kept is not None  # noqa: S101 - it was written just now, and is never removed
        return kept

    def want(self, merchant_id: str, partner_id: str) -> None:
        """Note that the partner is to be paid there once that is possible."""
        with self._ledger.connection() as conn:
            conn.execute(_WANT, {"merchant_id": merchant_id, "partner_id": partner_id, "wanted": True})

    def told(self, account: Account, transfers: str, blocked_by: str | None, now: datetime) -> Account:
        """Keep what Stripe said of the account just now, and return it."""
        with self._ledger.connection() as conn:
            conn.execute(
                "UPDATE people.stripe_accounts SET transfers = %s, blocked_by = %s, asked_at = %s"
                " WHERE (merchant_id, partner_id) = (%s, %s)",
                (transfers, blocked_by, now, account.merchant_id, account.partner_id),
            )
        return account._replace(transfers=transfers, blocked_by=blocked_by, asked_at=now)

    def _one(self, query: Any, *values: str) -> Account | None:
        with self._ledger.connection() as conn:
            row = conn.execute(query, values).fetchone()
        if row is None:
            return None
        account_id = self._keys.unseal(bytes(row.pop("account"))).decode()
        return Account(account_id=account_id, **row)


def want(curs: Cursor[DictRow], merchant_id: str, partner_id: str, *, wanted: bool) -> None:
    """Note, in the transaction of a change of payout details, whether the partner's account is still waited for."""
    curs.execute(_WANT, {"merchant_id": merchant_id, "partner_id": partner_id, "wanted": wanted})


def is_wanted(curs: Cursor[DictRow], merchant_id: str, partner_id: str) -> bool:
    """Return whether the partner's account is waited for, as of the caller's transaction."""
    query = "SELECT FROM people.stripe_accounts WHERE (merchant_id, partner_id) = (%s, %s) AND wanted FOR UPDATE"
    return curs.execute(query, (merchant_id, partner_id)).fetchone() is not None


def _digest(account_id: str) -> str:
    return sha256(account_id.encode()).hexdigest()


_ACCOUNTS = (
    "SELECT merchant_id, partner_id, account, wanted, transfers, blocked_by, asked_at FROM people.stripe_accounts"
)
_WANT = (
    "UPDATE people.stripe_accounts SET wanted = %(wanted)s"
    " WHERE merchant_id = %(merchant_id)s AND partner_id = %(partner_id)s"
)
