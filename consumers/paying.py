"""What pays partners, put together: the books of payouts, the rails, how partners are paid, what the bank is given."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from consumers.rails.chosen import Rails
from ledger.application import Ledger
from ledger.bank_orders import BankOrders
from ledger.merchants import day_of
from ledger.payout_books import PayoutBooks
from ledger.payout_details import PayoutDetails
from ledger.payout_findings import PayoutFindings
from ledger.payout_home import PayoutHome
from ledger.payout_spending import SqlSpending
from ledger.payout_store import SqlPayoutStore
from ledger.sealing import KeyRing
from schemas.payout_settings import PayoutSettings, key_of


@dataclass(frozen=True, kw_only=True)
class Paying:
    """Everything about payouts that a process has; web, worker and commands are given the same."""

    settings: PayoutSettings
    books: PayoutBooks
    details: PayoutDetails
    keys: KeyRing
    orders: BankOrders
    spending: SqlSpending
    rails: Rails
    findings: PayoutFindings
    home: PayoutHome


@asynccontextmanager
async def paying(ledger: Ledger, settings: PayoutSettings) -> AsyncIterator[Paying | None]:
    """Lend what pays partners; None where no key seals how they are paid (PAYOUT_DETAILS_KEYS): nobody is paid then.

    Opens no connection before it is used. Raises RejectedError where the account that pays by bank transfer is none.
    """
    if not settings.payout_details_keys:
        yield None
        return
    keys = KeyRing([key_of(each.get_secret_value()) for each in settings.payout_details_keys])
    spending, orders = SqlSpending(ledger), BankOrders(ledger, keys)
    async with Rails(settings, spending, orders) as rails:
        yield Paying(
            settings=settings,
            books=PayoutBooks(SqlPayoutStore(ledger), partial(day_of, ledger)),
            details=PayoutDetails(ledger, keys, timedelta(hours=settings.payout_details_cool_down_hours)),
            keys=keys,
            orders=orders,
            spending=spending,
            rails=rails,
            findings=PayoutFindings(ledger),
            home=PayoutHome(ledger),
        )
