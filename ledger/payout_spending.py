"""What goes out on each rail on each day, and which rails are switched off: exact for all workers together."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import NamedTuple, Protocol

from psycopg import Connection
from psycopg.rows import DictRow

from ledger.application import Ledger
from ledger.payout_home import AWAY, IS_AWAY

ALL = "all"
"""The name under which every rail is switched off."""


class Beginning(NamedTuple):
    """A payout that is about to be sent."""

    merchant_id: str
    partner_id: str
    payout_id: str
    currency: str
    amount_minor: int


class Limits(NamedTuple):
    """How much may go out, in minor units by currency; a currency that is not named has no limit."""

    payout: Mapping[str, int] = {}
    partner_day: Mapping[str, int] = {}
    day: Mapping[str, int] = {}


class Spent(NamedTuple):
    """What is known of a rail's day: why it is off (None: it is on), and what was begun on it, without repetitions."""

    on: date
    off: str | None
    of_day: Mapping[str, int]
    of_partners: Mapping[tuple[str, str, str], int]
    payouts: frozenset[str]


class Spending(Protocol):
    """What keeps it."""

    def spent(self, rail: str, on: date) -> Spent:
        """Return what was begun on the day (UTC). Raises RetryableError."""

    def begin(self, rail: str, on: date, beginning: Beginning, limits: Limits) -> str | None:
        """Count the payout, once, before it is sent; returns why it may not be sent, None where it may.

        Raises RetryableError.
        """


def refusal(spent: Spent, beginning: Beginning, limits: Limits) -> str | None:
    """Return why the payout may not be sent now, None where it may; what was counted before is within its day's limits.

    Reasons: `off`, `over_payout_limit`, `over_partner_day_limit`, `over_day_limit`.
    """
    amount, currency = beginning.amount_minor, beginning.currency
    if spent.off is not None:
        return "off"
    if amount > limits.payout.get(currency, amount):
        return "over_payout_limit"
    if beginning.payout_id in spent.payouts:
        return None
    of_partner = spent.of_partners.get((beginning.merchant_id, beginning.partner_id, currency), 0)
    if currency in limits.partner_day and of_partner + amount > limits.partner_day[currency]:
        return "over_partner_day_limit"
    if currency in limits.day and spent.of_day.get(currency, 0) + amount > limits.day[currency]:
        return "over_day_limit"
    return None


def counted(spent: Spent, beginning: Beginning) -> Spent:
    """Return the day with the payout counted too, once."""
    if beginning.payout_id in spent.payouts:
        return spent
    amount, currency = beginning.amount_minor, beginning.currency
    owner = (beginning.merchant_id, beginning.partner_id, currency)
    return spent._replace(
        of_day={**spent.of_day, currency: spent.of_day.get(currency, 0) + amount},
        of_partners={**spent.of_partners, owner: spent.of_partners.get(owner, 0) + amount},
        payouts=spent.payouts | {beginning.payout_id},
    )


class SqlSpending:
    """Kept in PostgreSQL; thread-safe."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def spent(self, rail: str, on: date) -> Spent:
        """Return what was begun on the day; see `Spending.spent`."""
        with self._ledger.connection() as conn:
            return _spent(conn, rail, on)

    def begin(self, rail: str, on: date, beginning: Beginning, limits: Limits) -> str | None:
        """Count the payout, once, before it is sent; see `Spending.begin`."""
        with self._ledger.connection() as conn, conn.transaction():
            # Two workers at once must not both take the last of a limit.
            conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('payout_spending/' || %s, 0))", (rail,))
            reason = refusal(_spent_beside(conn, rail, on, beginning), beginning, limits)
            if reason is None:
                conn.execute(
                    "INSERT INTO ledger.payout_spending (rail, begun_on, merchant_id, partner_id, payout_id, currency,"
                    " amount_minor) VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                    (rail, on, *beginning),
                )
        return reason

    def off(self, rail: str) -> str | None:
        """Return why the rail is switched off for all workers, None: it is not. Raises RetryableError."""
        with self._ledger.connection() as conn:
            return why_off(conn, rail)

    def switch_off(self, rail: str, *, reason: str, by: str, now: datetime) -> None:
        """Let nothing more begin on the rail (`all`: on any), in any worker, from now on."""
        with self._ledger.connection() as conn:
            conn.execute(
                "INSERT INTO ledger.payout_switches VALUES (%s, %s, %s, %s) ON CONFLICT (rail) DO UPDATE"
                " SET reason = excluded.reason, switched_by = excluded.switched_by, switched_at = excluded.switched_at",
                (rail, reason, by, now),
            )

    def switch_on(self, rail: str) -> bool:
        """Let payouts begin on the rail again; returns whether it was off."""
        with self._ledger.connection() as conn:
            return bool(conn.execute("DELETE FROM ledger.payout_switches WHERE rail = %s", (rail,)).rowcount)


def _spent(conn: Connection[DictRow], rail: str, on: date) -> Spent:
    of_day: dict[str, int] = {}
    of_partners: dict[tuple[str, str, str], int] = {}
    payouts: set[str] = set()
    for row in conn.execute(
        "SELECT merchant_id, partner_id, currency, sum(amount_minor)::bigint AS amount_minor,"
        " array_agg(payout_id) AS payout_ids FROM ledger.payout_spending WHERE rail = %s AND begun_on = %s"
        " GROUP BY merchant_id, partner_id, currency",
        (rail, on),
    ):
        of_day[row["currency"]] = of_day.get(row["currency"], 0) + row["amount_minor"]
        of_partners[row["merchant_id"], row["partner_id"], row["currency"]] = row["amount_minor"]
        payouts.update(row["payout_ids"])
    return Spent(on, why_off(conn, rail), of_day, of_partners, frozenset(payouts))


def _spent_beside(conn: Connection[DictRow], rail: str, on: date, beginning: Beginning) -> Spent:
    """Return what matters to this one payout: the sums of its currency, and whether it was counted itself."""
    merchant_id, partner_id, payout_id, currency, _ = beginning
    row = conn.execute(
        "SELECT coalesce(sum(amount_minor), 0)::bigint AS of_day, coalesce(sum(amount_minor) FILTER ("
        " WHERE merchant_id = %s AND partner_id = %s), 0)::bigint AS of_partner"
        " FROM ledger.payout_spending WHERE rail = %s AND begun_on = %s AND currency = %s",
        (merchant_id, partner_id, rail, on, currency),
    ).fetchone()
    assert row is not None  # noqa: S101 - sums are always there
    counted = conn.execute(
        "SELECT FROM ledger.payout_spending WHERE rail = %s AND payout_id = %s", (rail, payout_id)
    ).fetchone()
    return Spent(
        on,
        why_off(conn, rail),
        {currency: row["of_day"]},
        {(merchant_id, partner_id, currency): row["of_partner"]},
        frozenset([payout_id] if counted is not None else []),
    )


def why_off(conn: Connection[DictRow], rail: str) -> str | None:
    """Return why nothing may begin on the rail in any process: switched off, or not at home; None where it may."""
    row = conn.execute(
        "SELECT reason FROM ledger.payout_switches WHERE rail IN (%s, %s)"  # noqa: S608 - our own words
        f" UNION ALL SELECT '{AWAY}' WHERE {IS_AWAY} LIMIT 1",
        (rail, ALL),
    ).fetchone()
    return str(row["reason"]) if row else None
