"""What a payout run asks of the read models: what is owed to whom, and of which commissions.

The answer may be behind the log: what is reserved is appended at the version that is told here, so whatever changed
since is found out, and decided again.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString

import orjson
from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

from ledger.application import Ledger
from ledger.payout_commissions import Standing
from ledger.payout_runs import Owed, Owner

# What another payout has is not touched; a clawback is netted off wherever its order stands otherwise.
_OWED: LiteralString = """
SELECT
    partner_id,
    currency,
    coalesce(sum(amount_minor) FILTER (WHERE state = 'approved'), 0)::bigint AS approved_minor,
    coalesce(sum(clawed_back_minor), 0)::bigint AS clawed_back_minor,
    count(*) AS commissions
FROM read.commissions
WHERE
    merchant_id = %(merchant_id)s
    AND state <> 'in_payout'
    AND ((state = 'approved' AND approved_at <= %(cut_off_at)s AND amount_minor <> 0) OR clawed_back_minor <> 0)
    AND (%(currency)s::text IS NULL OR currency = %(currency)s)
    {of_partners}
GROUP BY partner_id, currency
ORDER BY partner_id, currency"""

# Of a few partners, their own commissions are looked up by their index.
_OF_PARTNERS: LiteralString = """AND partner_id = ANY(%(partner_ids)s) AND by_partner = ANY(ARRAY(
        SELECT hashtextextended(%(merchant_id)s || '/' || told.partner_id, 0)
        FROM unnest(%(partner_ids)s::text[]) AS told (partner_id)
    ))"""

_COMMISSIONS = """
SELECT
    commission.partner_id, commission.currency, commission.order_id, commission.version, commission.state,
    commission.amount_minor, commission.clawed_back_minor
FROM json_to_recordset(%(owners)s) AS asked (p text, c text)
INNER JOIN read.commissions AS commission
    ON commission.by_partner = hashtextextended(%(merchant_id)s || '/' || asked.p, 0)
    AND commission.merchant_id = %(merchant_id)s
    AND commission.partner_id = asked.p
    AND commission.currency = asked.c
WHERE
    commission.state <> 'in_payout'
    AND (
        (commission.state = 'approved' AND commission.approved_at <= %(cut_off_at)s AND commission.amount_minor <> 0)
        OR commission.clawed_back_minor <> 0
    )"""

_ON_HOLD = """
SELECT partner_id FROM read.partners WHERE merchant_id = %s AND standing IN ('paused', 'banned', 'rejected')"""


class SqlPayables:
    """What payouts ask of the read models, on connections of the ledger; thread-safe.

    Every call raises RetryableError where the database does not answer.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def position(self) -> int:
        """Return the position that the read models have reached."""
        with self._ledger.connection() as conn:
            row = conn.execute("SELECT position FROM read.tracked").fetchone()
        return int(row["position"]) if row else 0

    def owed(
        self,
        merchant_id: str,
        cut_off_at: datetime,
        *,
        currency: str | None = None,
        partner_ids: Sequence[str] | None = None,
    ) -> list[Owed]:
        """Return what each partner is owed in each currency, of what was approved by the cut-off."""
        with self._ledger.connection() as conn, conn.cursor(row_factory=tuple_row) as cursor:
            return owed(cursor, merchant_id, cut_off_at, currency=currency, partner_ids=partner_ids)

    def on_hold(self, merchant_id: str) -> frozenset[str]:
        """Return the partners who are not paid now: paused, banned, rejected."""
        with self._ledger.connection() as conn:
            return frozenset(row["partner_id"] for row in conn.execute(_ON_HOLD, (merchant_id,)))

    def commissions_of(
        self, merchant_id: str, owners: Sequence[Owner], cut_off_at: datetime
    ) -> Mapping[Owner, Sequence[Standing]]:
        """Return the commissions that a payout of each of these would take."""
        with self._ledger.connection() as conn, conn.cursor(row_factory=tuple_row) as cursor:
            return commissions_of(cursor, merchant_id, owners, cut_off_at)


def owed(
    conn: Connection[Any] | Cursor[Any],
    merchant_id: str,
    cut_off_at: datetime,
    *,
    currency: str | None = None,
    partner_ids: Sequence[str] | None = None,
) -> list[Owed]:
    """Return what each partner is owed in each currency, of what was approved by the cut-off. Raises psycopg.Error."""
    asked = {
        "merchant_id": merchant_id, "cut_off_at": cut_off_at, "currency": currency,
        "partner_ids": None if partner_ids is None else list(partner_ids),
    }  # fmt: skip
    query = _OWED.replace("{of_partners}", "" if partner_ids is None else _OF_PARTNERS)
    return [Owed(*row) for row in conn.execute(query, asked)]


def commissions_of(
    conn: Connection[Any] | Cursor[Any], merchant_id: str, owners: Sequence[Owner], cut_off_at: datetime
) -> Mapping[Owner, Sequence[Standing]]:
    """Return the commissions that a payout of each of these would take. Raises psycopg.Error."""
    found: dict[Owner, list[Standing]] = {owner: [] for owner in owners}
    told = orjson.dumps([{"p": partner_id, "c": currency} for partner_id, currency in owners]).decode()
    rows = conn.execute(_COMMISSIONS, {"owners": told, "merchant_id": merchant_id, "cut_off_at": cut_off_at})
    for partner_id, currency, *row in rows:
        found[partner_id, currency].append(Standing(*row))
    return found
