"""Async queries for the web: each is one statement, so that rows and the position they reflect are of one moment."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, LiteralString, NamedTuple, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from projections import figures, lists
from projections.rows import (
    Balance,
    Commission,
    Customer,
    CustomerRevenue,
    DeadLetter,
    Found,
    Metrics,
    Page,
    Partition,
    Partner,
    Program,
)

Row = TypeVar("Row")
Pool = AsyncConnectionPool[AsyncConnection[Any]]

_EPOCH = date(1970, 1, 1)
_POSITION_BITS = 40
_FIRST, _LAST = -(2**62), 2**62


_AS_OF: LiteralString = "SELECT tracked.position AS tracked, found.* FROM read.tracked LEFT JOIN LATERAL ("


class Lag(NamedTuple):
    """Where the read models are, and where the log is."""

    position: int
    head: int


class Reads:
    """The questions that the web asks; takes a pool, best one whose connections are in autocommit mode.

    Everything is asked for one merchant: what is another's is as if it did not exist. Raises psycopg.Error.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def _ask(self, query: LiteralString, params: Mapping[str, Any]) -> tuple[int, list[dict[str, Any]]]:
        """Return the position and the query's rows; the query's first column is never null."""
        # One outer row and no join clause: only a nested loop can do that, and it keeps the order of the rows.
        whole = _AS_OF + query + ") AS found ON true"
        async with self._pool.connection() as conn, conn.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(whole, params)
            rows = await cursor.fetchall()
        position = rows[0]["tracked"]
        for row in rows:
            del row["tracked"]
        if len(rows) == 1 and next(iter(rows[0].values())) is None:
            return position, []
        return position, rows

    async def lag(self) -> Lag:
        """Return the position of the read models and of the newest event."""
        async with self._pool.connection() as conn:
            cursor = await conn.execute(
                "SELECT position, coalesce((SELECT max(notification_id) FROM ledger.events), 0) FROM read.tracked"
            )
            row = await cursor.fetchone()
        return Lag(*row) if row else Lag(0, 0)

    async def position(self) -> int:
        """Return the position that all read models have reached."""
        async with self._pool.connection() as conn:
            row = await (await conn.execute("SELECT position FROM read.tracked")).fetchone()
        return int(row[0]) if row else 0

    # --- commissions ---

    async def commissions(
        self,
        merchant_id: str,
        *,
        partner_id: str | None = None,
        state: str | None = None,
        customer_id: str | None = None,
        from_on: date | None = None,
        to_on: date | None = None,
        currency: str | None = None,
        payout_id: str | None = None,
        after: int | None = None,
        limit: int = 50,
    ) -> Page[Commission, int]:
        """Return commissions, newest orders first; `from_on` and `to_on` are days of the order, both included."""
        params = {
            "merchant_id": merchant_id, "partner_id": partner_id, "state": state, "customer_id": customer_id,
            "currency": currency, "payout_id": payout_id, "rows": limit + 1, "states": list(lists.STATES),
            "first": _FIRST if from_on is None else place(from_on),
            "last": min(_LAST if to_on is None else place(to_on, after=True), _LAST if after is None else after),
        }  # fmt: skip
        position, rows = await self._ask(
            lists.commissions([name for name in lists.FILTERS if params[name] is not None]), params
        )
        return _page(rows, position, limit, lambda row: Commission(**row), lambda commission: commission.place)

    async def commission(self, merchant_id: str, order_id: str) -> Found[Commission]:
        """Return the commission of one order."""
        position, rows = await self._ask(
            "SELECT * FROM read.commissions WHERE merchant_id = %(merchant_id)s AND order_id = %(order_id)s",
            {"merchant_id": merchant_id, "order_id": order_id},
        )
        return Found(Commission(**rows[0]) if rows else None, position)

    async def due_commissions(self, now: datetime, limit: int) -> list[tuple[str, str]]:
        """Return (merchant_id, order_id) of pending commissions that are due, of all merchants, longest due first."""
        async with self._pool.connection() as conn:
            cursor = await conn.execute(
                "SELECT merchant_id, order_id FROM read.commissions"
                " WHERE state = 'pending' AND due_at <= %s ORDER BY due_at LIMIT %s",
                (now, limit),
            )
            return await cursor.fetchall()

    # --- balances ---

    async def balances(
        self,
        merchant_id: str,
        *,
        partner_id: str | None = None,
        currency: str | None = None,
        after: tuple[str, str] | None = None,
        limit: int = 50,
    ) -> Page[Balance, tuple[str, str]]:
        """Return balances in order of (partner_id, currency), which is also the key of the next page."""
        query: LiteralString = "SELECT * FROM read.balances WHERE merchant_id = %(merchant_id)s"
        if partner_id is not None:
            query += " AND partner_id = %(partner_id)s"
        if currency is not None:
            query += " AND currency = %(currency)s"
        if after is not None:
            query += " AND (partner_id, currency) > (%(after_partner)s, %(after_currency)s)"
        query += " ORDER BY partner_id, currency LIMIT %(rows)s"
        after_partner, after_currency = after or ("", "")
        params = {
            "merchant_id": merchant_id, "partner_id": partner_id, "currency": currency, "rows": limit + 1,
            "after_partner": after_partner, "after_currency": after_currency,
        }  # fmt: skip
        position, rows = await self._ask(query, params)
        return _page(
            rows, position, limit, lambda row: Balance(**row), lambda balance: (balance.partner_id, balance.currency)
        )

    # --- partners and programs ---

    async def partners(
        self, merchant_id: str, *, now: datetime, standing: str | None = None, after: int | None = None, limit: int = 50
    ) -> Page[Partner, int]:
        """Return partners in the order in which they registered, each with the rate in force at `now`."""
        query: LiteralString = _PARTNERS + " AND partner.first_position > %(after)s"
        if standing is not None:
            query += " AND partner.standing = %(standing)s"
        query += " ORDER BY partner.first_position LIMIT %(rows)s"
        params = {"merchant_id": merchant_id, "now": now, "standing": standing, "after": after or 0, "rows": limit + 1}
        position, rows = await self._ask(query, params)
        return _page(rows, position, limit, lambda row: Partner(**row), lambda partner: partner.first_position)

    async def partner(self, merchant_id: str, partner_id: str, *, now: datetime) -> Found[Partner]:
        """Return one partner with the rate in force at `now`."""
        query: LiteralString = _PARTNERS + " AND partner.partner_id = %(partner_id)s"
        position, rows = await self._ask(query, {"merchant_id": merchant_id, "partner_id": partner_id, "now": now})
        return Found(Partner(**rows[0]) if rows else None, position)

    async def program(self, merchant_id: str) -> Found[Program]:
        """Return the merchant's program with the terms told last."""
        position, rows = await self._ask(
            "SELECT merchant_id, name, currency, time_zone, terms FROM read.programs"
            " WHERE merchant_id = %(merchant_id)s",
            {"merchant_id": merchant_id},
        )
        return Found(Program(**rows[0]) if rows else None, position)

    # --- customers ---

    async def customers(
        self, merchant_id: str, *, partner_id: str | None = None, after: str | None = None, limit: int = 50
    ) -> Page[Customer, str]:
        """Return customers in order of their id; with `partner_id` those whom the partner brought."""
        query = _CUSTOMERS_OF_PARTNER if partner_id is not None else _CUSTOMERS
        params = {"merchant_id": merchant_id, "partner_id": partner_id, "after": after or "", "rows": limit + 1}
        position, rows = await self._ask(query, params)
        return _page(rows, position, limit, _customer, lambda customer: customer.customer_id)

    async def customer(self, merchant_id: str, customer_id: str) -> Found[Customer]:
        """Return one customer; the orders are `commissions(customer_id=...)`."""
        position, rows = await self._ask(_CUSTOMER, {"merchant_id": merchant_id, "customer_id": customer_id})
        return Found(_customer(rows[0]) if rows else None, position)

    # --- metrics ---

    async def metrics(
        self,
        merchant_id: str,
        *,
        currency: str,
        from_on: date,
        to_on: date,
        interval: str,
        partner_id: str | None = None,
    ) -> Metrics:
        """Return the figures of each day, ISO week or month (`interval`) from `from_on` to `to_on`, both included.

        The first and last stretch are cut at those days. Raises ValueError for another interval, or for days in the
        wrong order.
        """
        stretches = figures.stretches(from_on, to_on, interval)
        params = {
            "merchant_id": merchant_id, "currency": currency, "from_on": from_on, "to_on": to_on, "interval": interval,
            "partner_id": partner_id,
        }  # fmt: skip
        position, rows = await self._ask(figures.query(of_partner=partner_id is not None), params)
        return figures.metrics(stretches, rows, position)

    # --- intake and dead letters ---

    async def intake(self) -> list[Partition]:
        """Return every partition of every source: these counts are of the log itself, not of a read model."""
        async with self._pool.connection() as conn, conn.cursor(row_factory=dict_row) as cursor:
            await cursor.execute("SELECT * FROM ledger.positions ORDER BY source, topic, partition")
            return [Partition(**row) for row in await cursor.fetchall()]

    async def dead_letters(
        self, merchant_id: str | None, *, status: str | None = None, after: int | None = None, limit: int = 50
    ) -> Page[DeadLetter, int]:
        """Return dead letters, newest first. A merchant of None asks as the operator: of all merchants, and of none."""
        query: LiteralString = _DEAD_LETTERS + "sequence < %(after)s"
        if merchant_id is not None:
            query += " AND merchant_id = %(merchant_id)s"
        if status is not None:
            query += " AND status = %(status)s"
        query += " ORDER BY sequence DESC LIMIT %(rows)s"
        params = {
            "merchant_id": merchant_id,
            "status": status,
            "after": _LAST if after is None else after,
            "rows": limit + 1,
        }
        position, rows = await self._ask(query, params)
        return _page(rows, position, limit, lambda row: DeadLetter(**row), lambda letter: letter.sequence)

    async def dead_letter(self, merchant_id: str | None, dead_letter_id: str) -> Found[DeadLetter]:
        """Return one dead letter of the merchant; a merchant of None asks as the operator."""
        query: LiteralString = _DEAD_LETTERS + "dead_letter_id = %(id)s"
        if merchant_id is not None:
            query += " AND merchant_id = %(merchant_id)s"
        position, rows = await self._ask(query, {"merchant_id": merchant_id, "id": dead_letter_id})
        return Found(DeadLetter(**rows[0]) if rows else None, position)


def place(day: date, *, after: bool = False) -> int:
    """Return a place in lists before all orders of the day, or with `after` behind them all (`commissions.place`)."""
    return ((day - _EPOCH).days + after) << _POSITION_BITS


def _page(
    rows: list[dict[str, Any]],
    position: int,
    limit: int,
    of: Callable[[dict[str, Any]], Row],
    key: Callable[[Row], Any],
) -> Page[Row, Any]:
    """One row more than was asked for tells whether there is another page."""
    found = [of(row) for row in rows[:limit]]
    return Page(found, position, key(found[-1]) if len(rows) > limit else None)


_PARTNERS: LiteralString = """
SELECT
    partner.first_position, partner.partner_id, partner.standing, partner.registered_at, partner.changed_at,
    rate.type AS rate_type, rate.bps AS rate_bps, rate.amount_minor AS rate_minor,
    ARRAY(
        SELECT coupon.code FROM read.coupons AS coupon
        WHERE
            coupon.merchant_id = partner.merchant_id AND coupon.partner_id = partner.partner_id
            AND coupon.revoked_at IS NULL
        ORDER BY coupon.position
    ) AS coupon_codes,
    person.name, person.email
FROM read.partners AS partner
CROSS JOIN LATERAL (
    -- The last one that has begun; before the first has begun, the first: it reaches back for ever.
    SELECT * FROM read.partner_rates
    WHERE partner_rates.merchant_id = partner.merchant_id AND partner_rates.partner_id = partner.partner_id
    ORDER BY
        effective_at <= %(now)s DESC,
        CASE WHEN effective_at <= %(now)s THEN effective_at END DESC,
        CASE WHEN effective_at <= %(now)s THEN position END DESC,
        effective_at, position
    LIMIT 1
) AS rate
LEFT JOIN people.partners AS person
    ON person.merchant_id = partner.merchant_id AND person.partner_id = partner.partner_id
WHERE partner.merchant_id = %(merchant_id)s"""

# A customer who bought in several currencies has as many rows; the first order of all decides who brought the customer.
_CUSTOMER_ROW: LiteralString = """
SELECT
    customer.customer_id,
    (array_agg(customer.partner_id ORDER BY customer.first_order_at, customer.first_position))[1] AS partner_id,
    min(customer.first_order_at) AS first_order_at,
    max(customer.last_order_at) AS last_order_at,
    array_agg(customer.currency ORDER BY customer.currency) AS currencies,
    array_agg(customer.orders ORDER BY customer.currency) AS orders,
    array_agg(customer.gross_minor ORDER BY customer.currency) AS gross_minor,
    array_agg(customer.refunded_minor ORDER BY customer.currency) AS refunded_minor,
    (array_agg(person.name))[1] AS name,
    (array_agg(person.email))[1] AS email
FROM read.customers AS customer
LEFT JOIN people.customers AS person
    ON person.merchant_id = customer.merchant_id AND person.customer_id = customer.customer_id
WHERE customer.merchant_id = %(merchant_id)s """
_CUSTOMER: LiteralString = _CUSTOMER_ROW + "AND customer.customer_id = %(customer_id)s GROUP BY customer.customer_id"
_CUSTOMERS: LiteralString = (
    _CUSTOMER_ROW
    + "AND customer.customer_id > %(after)s GROUP BY customer.customer_id ORDER BY customer.customer_id LIMIT %(rows)s"
)
_CUSTOMERS_OF_PARTNER: LiteralString = (
    "SELECT whole.* FROM (SELECT DISTINCT customer_id FROM read.customers"  # noqa: S608 - parts of our own
    " WHERE merchant_id = %(merchant_id)s AND partner_id = %(partner_id)s AND customer_id > %(after)s) AS brought,"
    " LATERAL ("
    + _CUSTOMER_ROW
    + "AND customer.customer_id = brought.customer_id GROUP BY customer.customer_id) AS whole"
    " WHERE whole.partner_id = %(partner_id)s ORDER BY brought.customer_id LIMIT %(rows)s"
)

_DEAD_LETTERS: LiteralString = (
    "SELECT sequence, dead_letter_id, merchant_id, source, topic, partition, position, key, raw, code, path, reason,"
    " received_at, status, resolved_at, resolution FROM ledger.dead_letters WHERE "
)


def _customer(row: dict[str, Any]) -> Customer:
    columns = (row.pop("currencies"), row.pop("orders"), row.pop("gross_minor"), row.pop("refunded_minor"))
    return Customer(revenue=[CustomerRevenue(*values) for values in zip(*columns, strict=True)], **row)
