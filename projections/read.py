"""Async queries for the web: each is one statement, so that rows and the position they reflect are of one moment."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from datetime import date, datetime
from typing import Any, LiteralString, NamedTuple, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import dict_row, tuple_row
from psycopg_pool import AsyncConnectionPool

from projections import access, customer_lists, figures, lists, partner_lists, program_figures, wall
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
    ProgramVersion,
)
from schemas.coupons import canonical_coupon

Row = TypeVar("Row")
Pool = AsyncConnectionPool[AsyncConnection[Any]]

_BALANCE: LiteralString = ", ".join(field.name for field in fields(Balance))
_EPOCH = date(1970, 1, 1)
_POSITION_BITS = 40
_FIRST, _LAST = -(2**62), 2**62


# The merchant is set by the statement itself, for this statement (a connection in autocommit mode has no transaction
# that is longer), before the first row is looked for: nothing that stands in LATERAL runs before what stands before it.
# Were that ever wrong, nothing would be found.
_AS_OF: LiteralString = f"""
SELECT tracked.position AS tracked, found.*
FROM (SELECT position, {wall.SET_MERCHANT} FROM read.tracked) AS tracked
LEFT JOIN LATERAL ("""  # noqa: S608 - parts of our own
_NOW: LiteralString = f"SELECT found.* FROM (SELECT {wall.SET_MERCHANT}) LEFT JOIN LATERAL ("  # noqa: S608 - as above


class Lag(NamedTuple):
    """Where the read models are, and where the log is."""

    position: int
    head: int


class Reads:
    """The questions that the web asks; takes a pool, best one whose connections are in autocommit mode.

    Everything is asked for one merchant: what is another's is as if it did not exist. Each query asks for its
    merchant's rows, and a pool behind the wall (`projections.wall`) gives it no others. Raises psycopg.Error.
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

    async def _rows(
        self,
        query: LiteralString,
        params: Mapping[str, Any],
        of: Callable[..., Row],
        limit: int,
        key: Callable[[Row], Any],
    ) -> Page[Row, Any]:
        """Return a page of rows, each made by `of` of the query's columns in their order; the first is never null.

        Without a dictionary a row in between, which is a tenth of the time that a long page takes.
        """
        whole = _AS_OF + query + ") AS found ON true"
        async with self._pool.connection() as conn, conn.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(whole, params)
            told = await cursor.fetchall()
        found = [of(*row[1:]) for row in told[:limit] if row[1] is not None]
        return Page(found, told[0][0], key(found[-1]) if len(told) > limit else None)

    @asynccontextmanager
    async def moment(self, merchant_id: str | None) -> AsyncIterator[AsyncConnection[Any]]:
        """Lend a connection in a transaction that reads one moment of one merchant, for more than one query."""
        async with self._pool.connection() as conn, conn.transaction():
            await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            await conn.execute("SELECT " + wall.SET_MERCHANT, {"merchant_id": merchant_id})
            yield conn

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
        query = lists.commissions([name for name in lists.FILTERS if params[name] is not None])
        return await self._rows(query, params, Commission, limit, lambda commission: commission.place)

    async def commission(self, merchant_id: str, order_id: str) -> Found[Commission]:
        """Return the commission of one order."""
        position, rows = await self._ask(
            f"SELECT {lists.COLUMNS} FROM read.commissions"  # noqa: S608 - parts of our own
            " WHERE merchant_id = %(merchant_id)s AND order_id = %(order_id)s",
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
        partner_ids: Sequence[str] | None = None,
        currency: str | None = None,
        payable: str | None = None,
        after: tuple[str, str] | None = None,
        limit: int = 50,
    ) -> Page[Balance, tuple[str, str]]:
        """Return balances in order of (partner_id, currency), which is also the key of the next page.

        `payable`: only those that are `positive`, or `negative`.
        """
        query: LiteralString = f"SELECT {_BALANCE} FROM read.balances WHERE merchant_id = %(merchant_id)s"  # noqa: S608 - parts of our own
        if partner_id is not None:
            query += " AND partner_id = %(partner_id)s"
        if partner_ids is not None:
            query += " AND partner_id = ANY(%(partner_ids)s)"
        if currency is not None:
            query += " AND currency = %(currency)s"
        if payable is not None:
            query += lists.PAYABLE[payable]
        if after is not None:
            query += " AND (partner_id, currency) > (%(after_partner)s, %(after_currency)s)"
        query += " ORDER BY partner_id, currency LIMIT %(rows)s"
        after_partner, after_currency = after or ("", "")
        params = {
            "merchant_id": merchant_id, "partner_id": partner_id, "currency": currency, "rows": limit + 1,
            "partner_ids": partner_ids, "after_partner": after_partner, "after_currency": after_currency,
        }  # fmt: skip
        return await self._rows(query, params, Balance, limit, lambda balance: (balance.partner_id, balance.currency))

    # --- partners and programs ---

    async def partners(
        self,
        merchant_id: str,
        *,
        now: datetime,
        standing: str | None = None,
        tag: str | None = None,
        search: str | None = None,
        ids: Sequence[str] | None = None,
        sort: str = "registered",
        after: int | str | None = None,
        limit: int = 50,
    ) -> Page[Partner, int | str]:
        """Return partners in the order of `sort` (a key of `partner_lists.SORTED`), with their rates in force at `now`.

        `tag` in the form of `ledger.tags.fold_tag`; `search` stands in the name, the address or a code, or begins the
        id. The key of the next page is a position, where they are sorted by name an id.
        """
        query: LiteralString = partner_lists.PARTNERS
        if ids is not None:
            query += partner_lists.BY_IDS
        if standing is not None:
            query += partner_lists.BY_STANDING
        if tag is not None:
            query += partner_lists.BY_TAG
        if search is not None:
            query += partner_lists.BY_TEXT
        query += partner_lists.SORTED[sort] + " LIMIT %(rows)s"
        params = {
            "merchant_id": merchant_id, "now": now, "standing": standing, "tag": tag, "search": search, "ids": ids,
            "code": search and canonical_coupon(search), "rows": limit + 1,
            "after": partner_lists.START[sort] if after is None else after,
        }  # fmt: skip
        position, rows = await self._ask(query, params)
        return _page(rows, position, limit, lambda row: Partner(**row), partner_lists.KEYS[sort])

    async def partner(self, merchant_id: str, partner_id: str, *, now: datetime) -> Found[Partner]:
        """Return one partner with the rate in force at `now`."""
        query: LiteralString = partner_lists.PARTNERS + partner_lists.BY_ID
        position, rows = await self._ask(query, {"merchant_id": merchant_id, "partner_id": partner_id, "now": now})
        return Found(Partner(**rows[0]) if rows else None, position)

    async def coupons(
        self, merchant_id: str, partner_id: str, *, now: datetime, after: int | None = None, limit: int = 50
    ) -> Page[partner_lists.Coupon, int]:
        """Return the codes that the partner has or had, each with its rate in force at `now`, the oldest first."""
        params = {
            "merchant_id": merchant_id, "partner_id": partner_id, "now": now, "after": after or 0, "rows": limit + 1
        }  # fmt: skip
        position, rows = await self._ask(partner_lists.COUPONS, params)
        return _page(rows, position, limit, lambda row: partner_lists.Coupon(**row), lambda coupon: coupon.position)

    async def partner_notes(
        self, merchant_id: str, partner_id: str, *, before: int | None = None, limit: int = 50
    ) -> Page[partner_lists.Note, int]:
        """Return the notes about a partner, newest first."""
        params = {
            "merchant_id": merchant_id, "partner_id": partner_id, "rows": limit + 1,
            "before": _LAST if before is None else before,
        }  # fmt: skip
        position, rows = await self._ask(partner_lists.NOTES, params)
        return _page(rows, position, limit, lambda row: partner_lists.Note(**row), lambda note: note.sequence)

    async def swept_commissions(
        self, merchant_id: str, partner_id: str, states: Sequence[str], before: int | None, limit: int
    ) -> tuple[int, list[tuple[str, int]]]:
        """Return the position, and (order_id, place) of the partner's commissions in these states, newest first."""
        params = {
            "merchant_id": merchant_id, "partner_id": partner_id, "states": list(states), "rows": limit,
            "before": _LAST if before is None else before,
        }  # fmt: skip
        position, rows = await self._ask(partner_lists.SWEPT, params)
        return position, [(row["order_id"], row["place"]) for row in rows]

    async def program(self, merchant_id: str) -> Found[Program]:
        """Return the merchant's program with the terms told last."""
        position, rows = await self._ask(
            "SELECT merchant_id, name, currency, time_zone, terms FROM read.programs"
            " WHERE merchant_id = %(merchant_id)s",
            {"merchant_id": merchant_id},
        )
        return Found(Program(**rows[0]) if rows else None, position)

    async def program_versions(
        self, merchant_id: str, *, before: int | None = None, limit: int = 50
    ) -> Page[ProgramVersion, int]:
        """Return the versions of the program's terms, the newest first."""
        position, rows = await self._ask(
            "SELECT version, effective_at, recorded_at, cause, terms FROM read.program_versions"
            " WHERE merchant_id = %(merchant_id)s AND version < %(before)s ORDER BY version DESC LIMIT %(rows)s",
            {"merchant_id": merchant_id, "before": _LAST if before is None else before, "rows": limit + 1},
        )
        return _page(rows, position, limit, lambda row: ProgramVersion(**row), lambda told: told.version)

    # --- customers ---

    async def customers(
        self,
        merchant_id: str,
        *,
        partner_id: str | None = None,
        search: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Page[Customer, str]:
        """Return customers in order of their id; with `partner_id` those who are the partner's now.

        `search` begins the id, or is the whole e-mail address, without case.
        """
        query = customer_lists.query(of_partner=partner_id is not None, searched=search is not None)
        params = {"merchant_id": merchant_id, "partner_id": partner_id, "after": after or "", "rows": limit + 1}
        params |= customer_lists.searched(search)
        position, rows = await self._ask(query, params)
        return _page(rows, position, limit, _customer, lambda customer: customer.customer_id)

    async def customer(self, merchant_id: str, customer_id: str) -> Found[Customer]:
        """Return one customer; the orders are `commissions(customer_id=...)`."""
        position, rows = await self._ask(customer_lists.ONE, {"merchant_id": merchant_id, "customer_id": customer_id})
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

    async def partner_figures(
        self, merchant_id: str, *, currency: str, from_on: date, to_on: date, sort: str = "earned", limit: int = 10
    ) -> tuple[int, list[program_figures.PartnerFigures]]:
        """Return the position, and the partners with figures in these days (both included), the first by `sort`."""
        params = program_figures.asked(merchant_id, currency, (from_on, to_on), limit)
        position, rows = await self._ask(program_figures.partners(sort), params)
        return position, [program_figures.PartnerFigures(**row) for row in rows]

    async def program_balances(self, merchant_id: str) -> tuple[int, list[program_figures.ProgramBalance]]:
        """Return the position, and what all partners are owed and were paid together, a row per currency."""
        position, rows = await self._ask(program_figures.BALANCES, {"merchant_id": merchant_id})
        return position, [program_figures.ProgramBalance(**row) for row in rows]

    async def waiting(self, merchant_id: str, *, limit: int = 5) -> Found[program_figures.Waiting]:
        """Return how much waits for somebody, and the first few partners with a negative balance."""
        params = {"merchant_id": merchant_id, "most": program_figures.COUNTED_MAX, "owing": limit}
        position, rows = await self._ask(program_figures.WAITING, params)
        return Found(program_figures.waiting(rows[0]), position)

    # --- intake and dead letters ---

    async def intake(self, merchant_id: str | None = None) -> list[Partition]:
        """Return the partitions of every source: these counts are of the log itself, not of a read model.

        Kafka's partitions are everybody's; those of the API and of imports are the merchant's. A merchant of None asks
        as the operator: of all merchants.
        """
        query: LiteralString = (
            "SELECT told.*, there.position AS newest, there.seen_at FROM ledger.positions AS told"
            " LEFT JOIN ledger.newest_messages AS there USING (source, topic, partition)"
        )
        if merchant_id is not None:
            query += (
                " WHERE CASE source WHEN 'api' THEN topic = %(merchant_id)s"
                " WHEN 'import' THEN regexp_replace(topic, '-[0-9a-f]+$', '') = %(merchant_id)s ELSE true END"
            )
        query += " ORDER BY source, topic, partition"
        async with self._pool.connection() as conn, conn.cursor(row_factory=dict_row) as cursor:
            # As in `_ask`, but there may be no read models yet.
            await cursor.execute(_NOW + query + ") AS found ON true", {"merchant_id": merchant_id})
            return [Partition(**row) for row in await cursor.fetchall() if row["source"] is not None]

    async def dead_letters(
        self,
        merchant_id: str | None,
        *,
        status: str | None = None,
        code: str | None = None,
        after: int | None = None,
        limit: int = 50,
    ) -> Page[DeadLetter, int]:
        """Return dead letters, newest first. A merchant of None asks as the operator: of all merchants, and of none."""
        query: LiteralString = _DEAD_LETTERS + "sequence < %(after)s"
        if merchant_id is not None:
            query += " AND merchant_id = %(merchant_id)s"
        if status is not None:
            query += " AND status = %(status)s"
        if code is not None:
            query += " AND code = %(code)s"
        query += " ORDER BY sequence DESC LIMIT %(rows)s"
        params = {
            "merchant_id": merchant_id,
            "status": status,
            "code": code,
            "after": _LAST if after is None else after,
            "rows": limit + 1,
        }
        position, rows = await self._ask(query, params)
        return _page(rows, position, limit, lambda row: DeadLetter(**row), lambda letter: letter.sequence)

    async def dead_letter_counts(self, merchant_id: str) -> tuple[int, list[tuple[str, str, int]]]:
        """Return the position, and (status, code, count) of the merchant's dead letters, the most first."""
        position, rows = await self._ask(
            "SELECT status, code, count(*) AS count FROM ledger.dead_letters WHERE merchant_id = %(merchant_id)s"
            " GROUP BY status, code ORDER BY count(*) DESC, code, status",
            {"merchant_id": merchant_id},
        )
        return position, [(row["status"], row["code"], row["count"]) for row in rows]

    async def dead_letter(self, merchant_id: str | None, dead_letter_id: str) -> Found[DeadLetter]:
        """Return one dead letter of the merchant; a merchant of None asks as the operator."""
        query: LiteralString = _DEAD_LETTERS + "dead_letter_id = %(id)s"
        if merchant_id is not None:
            query += " AND merchant_id = %(merchant_id)s"
        position, rows = await self._ask(query, {"merchant_id": merchant_id, "id": dead_letter_id})
        return Found(DeadLetter(**rows[0]) if rows else None, position)

    # --- users and keys ---

    async def users(self, merchant_id: str, *, before: int | None = None, limit: int = 50) -> Page[access.User, int]:
        """Return the merchant's users, newest first."""
        rows, position = await self._newest(access.USERS, merchant_id, before, limit)
        return _page(rows, position, limit, lambda row: access.User(**row), lambda user: user.sequence)

    async def user(self, merchant_id: str, user_id: str) -> Found[access.User]:
        """Return one user of the merchant."""
        params = {"merchant_id": merchant_id, "user_id": user_id}
        position, rows = await self._ask(access.USERS + " AND told.user_id = %(user_id)s", params)
        return Found(access.User(**rows[0]) if rows else None, position)

    async def keys(self, merchant_id: str, *, before: int | None = None, limit: int = 50) -> Page[access.Key, int]:
        """Return the merchant's API keys, newest first, with those that are no good any more."""
        rows, position = await self._newest(access.KEYS, merchant_id, before, limit)
        return _page(rows, position, limit, lambda row: access.Key(**row), lambda key: key.sequence)

    async def access_changes(
        self, merchant_id: str, *, before: int | None = None, limit: int = 50
    ) -> Page[access.Change, int]:
        """Return the changes of the merchant's users and keys, newest first."""
        rows, position = await self._newest(access.CHANGES, merchant_id, before, limit)
        return _page(rows, position, limit, lambda row: access.Change(**row), lambda change: change.sequence)

    async def _newest(
        self, query: LiteralString, merchant_id: str, before: int | None, limit: int
    ) -> tuple[list[dict[str, Any]], int]:
        params = {"merchant_id": merchant_id, "before": _LAST if before is None else before, "rows": limit + 1}
        position, rows = await self._ask(query + access.NEWEST, params)
        return rows, position


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


_DEAD_LETTERS: LiteralString = (
    "SELECT sequence, dead_letter_id, merchant_id, source, topic, partition, position, key, raw, code, path, reason,"
    " received_at, status, resolved_at, resolution FROM ledger.dead_letters WHERE "
)


def _customer(row: dict[str, Any]) -> Customer:
    columns = (row.pop("currencies"), row.pop("orders"), row.pop("gross_minor"), row.pop("refunded_minor"))
    return Customer(revenue=[CustomerRevenue(*values) for values in zip(*columns, strict=True)], **row)
