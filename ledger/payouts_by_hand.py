"""The list by which a person pays: every payout by hand that may be paid now, with where its money is to go, in clear.

What the bank's file is to the bank, this is to whoever pays by hand. Who took it, and how much of it, is recorded.
"""

from datetime import datetime
from typing import LiteralString, NamedTuple

import msgspec
from psycopg.rows import DictRow

from ledger.access import Actor, keep_change
from ledger.application import Ledger
from ledger.payout_spending import why_off
from ledger.payouts import BY_HAND
from ledger.sealing import KeyRing
from schemas.errors import ConflictError

TAKEN = "payouts.by_hand_taken"
"""What the access log says of it."""

FILE = "by-hand.csv"


class ToPay(NamedTuple):
    """A payout that a person may pay now. `pay_to` and `name` are what it was requested with, empty once erased."""

    payout_id: str
    partner_id: str
    partner_name: str | None
    amount_minor: int
    currency: str
    name: str
    pay_to: str
    requested_at: datetime


def take(ledger: Ledger, keys: KeyRing, merchant_id: str, *, by: Actor, now: datetime) -> list[ToPay]:
    """Return what the merchant has to pay by hand, the oldest first, and record that it was taken, where there is any.

    Not what waits for an approval, and nothing of partners who are frozen. Raises ConflictError `rail_off` where
    nothing may be paid by hand now (also in a database that was restored: it may have been paid since), CorruptionError
    where a payee cannot be opened, RetryableError. Then nothing was taken.
    """
    with ledger.connection() as conn, conn.transaction(), conn.cursor() as curs:
        reason = why_off(conn, BY_HAND)
        if reason is not None:
            raise ConflictError("rail_off", f"nothing is paid by hand now: {reason}")
        found = [_to_pay(row, keys) for row in curs.execute(_TO_PAY, (merchant_id, BY_HAND))]
        if found:
            keep_change(curs, merchant_id, by, now, TAKEN, FILE, payouts=len(found))
    return found


def _to_pay(row: DictRow, keys: KeyRing) -> ToPay:
    sealed = row.pop("payee")
    pay_to, name, _ = ("", "", "") if sealed is None else msgspec.json.decode(keys.unseal(bytes(sealed)))
    return ToPay(**row, name=name, pay_to=pay_to)


# Those that nobody has to approve first, as `ledger.payouts.Payout.startable` has it.
_TO_PAY: LiteralString = """
SELECT
    payout.payout_id, payout.partner_id, person.name AS partner_name, payout.amount_minor, payout.currency,
    payee.payee, payout.requested_at
FROM ledger.payouts AS payout
LEFT JOIN people.payout_payees AS payee
    ON payee.merchant_id = payout.merchant_id AND payee.payout_id = payout.payout_id
LEFT JOIN people.partners AS person
    ON person.merchant_id = payout.merchant_id AND person.partner_id = payout.partner_id
WHERE
    payout.merchant_id = %s AND payout.rail = %s AND payout.is_open
    AND (payout.state = 'approved' OR (payout.state = 'requested' AND NOT payout.needs_approval))
    AND NOT EXISTS (
        SELECT FROM ledger.payout_freezes AS frozen
        WHERE frozen.merchant_id = payout.merchant_id AND frozen.partner_id = payout.partner_id
    )
ORDER BY payout.requested_at, payout.payout_id"""
