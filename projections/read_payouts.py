"""Payout runs and payouts, asked of the rows that are written beside their streams, behind the wall.

They are as new as the log; the position that comes with them is the log's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, LiteralString, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from projections.read import Reads
from projections.rows import Found, Page

Place = tuple[str, str]


@dataclass(slots=True)
class Run:
    """A payout run. Causes say who acted; `waiting` is how many of its payouts are still to be requested."""

    run_id: str
    state: str
    needs_approval: bool
    cut_off_at: datetime
    partners_in: int
    partners_out: int
    prepared_at: datetime
    cause: str
    approved_at: datetime | None
    approved_cause: str | None
    cancelled_because: str | None
    lines: Sequence["LineSum"] = ()
    payouts: Mapping[str, int] | None = None
    waiting: int = 0


class LineSum(NamedTuple):
    """The lines of a run that are in, or out for the same reason, in one currency."""

    included: bool
    reason: str
    currency: str
    partners: int
    commissions: int
    amount_minor: int


class Line(NamedTuple):
    """A partner in a run's list; `requested`: the payout is on the books."""

    partner_id: str
    currency: str
    amount_minor: int
    commissions: int
    included: bool
    reason: str
    rail: str | None
    payout_id: str
    requested: bool


@dataclass(slots=True)
class Payout:
    """A payout as it stands; `cause` is that of its run: who made it."""

    payout_id: str
    run_id: str
    partner_id: str
    currency: str
    amount_minor: int
    rail: str
    state: str
    version: int
    attempt: int
    reference: str | None
    transaction_id: str | None
    returned_minor: int
    reason: str | None
    commissions: int
    needs_approval: bool
    requested_at: datetime
    updated_at: datetime
    processed_at: datetime | None
    cause: str


class Freeze(NamedTuple):
    """Why nothing is sent to a partner, and since when."""

    reason: str
    frozen_at: datetime


class FreezeChange(NamedTuple):
    """A time that somebody froze a partner, or let it be paid again."""

    frozen: bool
    reason: str
    cause: str
    changed_at: datetime


class Owing(NamedTuple):
    """What is payable to a partner, and the position of the last event that made it so."""

    approved_minor: int
    clawed_back_minor: int
    last_position: int


class PayoutFilter(NamedTuple):
    """Which payouts; what is None does not narrow the list down. Days are the program's, both included."""

    partner_id: str | None = None
    state: str | None = None
    currency: str | None = None
    run_id: str | None = None
    rail: str | None = None
    from_on: date | None = None
    to_on: date | None = None
    transaction_id: str | None = None


class LineFilter(NamedTuple):
    """Which lines of a run; what is None does not narrow the list down."""

    included: bool | None = None
    reason: str | None = None
    currency: str | None = None
    partner_id: str | None = None


async def runs(
    reads: Reads, merchant_id: str, *, after: tuple[datetime, str] | None, limit: int
) -> Page[Run, tuple[str, str]]:
    """Return the merchant's runs, the newest first, each with its sums. Raises psycopg.Error."""
    query = _RUNS
    if after is not None:
        query += " AND (prepared_at, run_id) < (%(after_at)s, %(after_id)s)"
    query += " ORDER BY prepared_at DESC, run_id DESC LIMIT %(rows)s"
    at, id_ = after or (None, None)
    async with reads.moment(merchant_id) as conn:
        rows = await _rows(conn, query, {"m": merchant_id, "after_at": at, "after_id": id_, "rows": limit + 1})
        found = [Run(**row) for row in rows[:limit]]
        await _sum_up(conn, merchant_id, found)
        last = (found[-1].prepared_at.isoformat(), found[-1].run_id) if len(rows) > limit else None
        return Page(found, await _head(conn), last)


async def run(reads: Reads, merchant_id: str, run_id: str) -> Found[Run]:
    """Return one run with its sums. Raises psycopg.Error."""
    async with reads.moment(merchant_id) as conn:
        rows = await _rows(conn, _RUNS + " AND run_id = %(id)s", {"m": merchant_id, "id": run_id})
        found = [Run(**row) for row in rows]
        await _sum_up(conn, merchant_id, found)
        return Found(found[0] if found else None, await _head(conn))


async def lines(
    reads: Reads, merchant_id: str, run_id: str, asked: LineFilter, *, after: Place | None, limit: int
) -> Page[Line, Place] | None:
    """Return lines of the run in order of (partner, currency), None where there is no such run. Raises psycopg.Error.

    That is also the key of the next page.
    """
    query = _LINES
    for name, value in asked._asdict().items():
        if value is not None:
            query += _OF_LINES[name]
    if after is not None:
        query += " AND (partner_id, currency) > (%(after_partner)s, %(after_currency)s)"
    query += " ORDER BY partner_id, currency LIMIT %(rows)s"
    partner, currency = after or ("", "")
    params = asked._asdict() | {
        "m": merchant_id, "id": run_id, "after_partner": partner, "after_currency": currency, "rows": limit + 1,
    }  # fmt: skip
    async with reads.moment(merchant_id) as conn:
        if not await _rows(conn, _RUNS + " AND run_id = %(id)s", {"m": merchant_id, "id": run_id}):
            return None
        rows = await _rows(conn, query, params)
        found = [Line(**row) for row in rows[:limit]]
        last = (found[-1].partner_id, found[-1].currency) if len(rows) > limit else None
        return Page(found, await _head(conn), last)


async def payouts(
    reads: Reads, merchant_id: str, asked: PayoutFilter, *, after: tuple[datetime, str] | None, limit: int
) -> Page[Payout, tuple[str, str]]:
    """Return payouts, those that were requested last first. Raises psycopg.Error."""
    query = _PAYOUTS
    for name, value in asked._asdict().items():
        if value is not None:
            query += _OF_PAYOUTS[name]
    if after is not None:
        query += " AND (payout.requested_at, payout.payout_id) < (%(after_at)s, %(after_id)s)"
    query += " ORDER BY payout.requested_at DESC, payout.payout_id DESC LIMIT %(rows)s"
    at, id_ = after or (None, None)
    params = asked._asdict() | {"m": merchant_id, "after_at": at, "after_id": id_, "rows": limit + 1}
    async with reads.moment(merchant_id) as conn:
        rows = await _rows(conn, query, params)
        found = [Payout(**row) for row in rows[:limit]]
        last = (found[-1].requested_at.isoformat(), found[-1].payout_id) if len(rows) > limit else None
        return Page(found, await _head(conn), last)


async def payout(reads: Reads, merchant_id: str, payout_id: str) -> Found[Payout]:
    """Return one payout. Raises psycopg.Error."""
    async with reads.moment(merchant_id) as conn:
        rows = await _rows(conn, _PAYOUTS + " AND payout.payout_id = %(id)s", {"m": merchant_id, "id": payout_id})
        return Found(Payout(**rows[0]) if rows else None, await _head(conn))


async def freeze(reads: Reads, merchant_id: str, partner_id: str) -> Found[Freeze]:
    """Return why nothing is sent to the partner; no row where nothing is in the way. Raises psycopg.Error."""
    async with reads.moment(merchant_id) as conn:
        rows = await _rows(conn, _FREEZE, {"m": merchant_id, "partner_id": partner_id})
        return Found(Freeze(**rows[0]) if rows else None, await _head(conn))


async def freeze_changes(reads: Reads, merchant_id: str, partner_id: str, limit: int) -> list[FreezeChange]:
    """Return the last times that the partner was frozen or released, the newest first. Raises psycopg.Error."""
    async with reads.moment(merchant_id) as conn:
        rows = await _rows(conn, _FREEZE_CHANGES, {"m": merchant_id, "partner_id": partner_id, "rows": limit})
        return [FreezeChange(**row) for row in rows]


async def owing(reads: Reads, merchant_id: str, partner_id: str, currency: str) -> Found[Owing]:
    """Return what the read models show as payable to the partner in the currency. Raises psycopg.Error."""
    async with reads.moment(merchant_id) as conn:
        rows = await _rows(conn, _OWING, {"m": merchant_id, "partner_id": partner_id, "currency": currency})
        (tracked,) = await _rows(conn, "SELECT position FROM read.tracked", {})
        return Found(Owing(**rows[0]) if rows else None, tracked["position"])


# --- parts ------------------------------------------------------------------------------------------------------------


async def _rows(conn: AsyncConnection[Any], query: LiteralString, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, params)
        return await cursor.fetchall()


async def _head(conn: AsyncConnection[Any]) -> int:
    (row,) = await _rows(conn, _HEAD, {})
    return int(row["head"])


async def _sum_up(conn: AsyncConnection[Any], merchant_id: str, found: Sequence[Run]) -> None:
    """Fill in the sums of these runs."""
    by_id = {each.run_id: each for each in found}
    asked = {"m": merchant_id, "ids": list(by_id)}
    sums: dict[str, list[LineSum]] = {}
    for row in await _rows(conn, _LINE_SUMS, asked):
        each = by_id[row.pop("run_id")]
        waiting = row.pop("waiting")
        each.waiting += waiting if each.state != "cancelled" else 0
        sums.setdefault(each.run_id, []).append(LineSum(**row))
    states: dict[str, dict[str, int]] = {}
    for row in await _rows(conn, _STATES, asked):
        states.setdefault(row["run_id"], {})[row["state"]] = row["payouts"]
    for id_, each in by_id.items():
        each.lines, each.payouts = sums.get(id_, ()), states.get(id_, {})


_HEAD: LiteralString = "SELECT coalesce(max(notification_id), 0) AS head FROM ledger.events"
_RUNS: LiteralString = """
SELECT
    run_id, state, needs_approval, cut_off_at, partners_in, partners_out, prepared_at, cause, approved_at,
    approved_cause, cancelled_because
FROM ledger.payout_runs WHERE merchant_id = %(m)s"""
_LINE_SUMS: LiteralString = """
SELECT
    run_id, included, reason, currency, count(*) AS partners, sum(commissions)::bigint AS commissions,
    sum(amount_minor)::bigint AS amount_minor, count(*) FILTER (WHERE included AND NOT requested) AS waiting
FROM ledger.payout_lines WHERE merchant_id = %(m)s AND run_id = ANY(%(ids)s)
GROUP BY run_id, included, reason, currency
ORDER BY included DESC, reason, currency"""
_STATES: LiteralString = """
SELECT run_id, state, count(*) AS payouts FROM ledger.payouts WHERE merchant_id = %(m)s AND run_id = ANY(%(ids)s)
GROUP BY run_id, state ORDER BY state"""
_LINES: LiteralString = """
SELECT partner_id, currency, amount_minor, commissions, included, reason, rail, payout_id, requested
FROM ledger.payout_lines WHERE merchant_id = %(m)s AND run_id = %(id)s"""
_OF_LINES: dict[str, LiteralString] = {
    "included": " AND included = %(included)s",
    "reason": " AND reason = %(reason)s",
    "currency": " AND currency = %(currency)s",
    "partner_id": " AND partner_id = %(partner_id)s",
}
# A payout without a run cannot be; but an inner join would hide it.
_PAYOUTS: LiteralString = """
SELECT
    payout.payout_id, payout.run_id, payout.partner_id, payout.currency, payout.amount_minor, payout.rail, payout.state,
    payout.version, payout.attempt, payout.reference, payout.transaction_id, payout.returned_minor, payout.reason,
    payout.commissions, payout.needs_approval, payout.requested_at, payout.updated_at, payout.processed_at,
    coalesce(run.cause, '') AS cause
FROM ledger.payouts AS payout
LEFT JOIN ledger.payout_runs AS run ON run.merchant_id = payout.merchant_id AND run.run_id = payout.run_id
WHERE payout.merchant_id = %(m)s"""
_ZONE: LiteralString = "(SELECT time_zone FROM read.programs WHERE merchant_id = %(m)s)"
_OF_PAYOUTS: dict[str, LiteralString] = {
    "partner_id": " AND payout.partner_id = %(partner_id)s",
    "state": " AND payout.state = %(state)s",
    "currency": " AND payout.currency = %(currency)s",
    "run_id": " AND payout.run_id = %(run_id)s",
    "rail": " AND payout.rail = %(rail)s",
    "from_on": f" AND payout.requested_at >= %(from_on)s::timestamp AT TIME ZONE {_ZONE}",
    "to_on": f" AND payout.requested_at < (%(to_on)s::date + 1)::timestamp AT TIME ZONE {_ZONE}",
    "transaction_id": " AND (payout.transaction_id = %(transaction_id)s OR payout.reference = %(transaction_id)s)",
}
_FREEZE: LiteralString = (
    "SELECT reason, frozen_at FROM ledger.payout_freezes WHERE merchant_id = %(m)s AND partner_id = %(partner_id)s"
)
_FREEZE_CHANGES: LiteralString = """
SELECT frozen, reason, cause, changed_at FROM ledger.payout_freeze_changes
WHERE merchant_id = %(m)s AND partner_id = %(partner_id)s ORDER BY sequence DESC LIMIT %(rows)s"""
_OWING: LiteralString = """
SELECT
    approved_minor, clawed_back_minor, (
        SELECT max(last_position) FROM read.commissions
        WHERE
            by_partner = hashtextextended(%(m)s::text || '/' || %(partner_id)s::text, 0)
            AND CASE WHEN merchant_id = %(m)s AND partner_id = %(partner_id)s THEN true ELSE false END
            AND currency = %(currency)s
    ) AS last_position
FROM read.balances WHERE merchant_id = %(m)s AND partner_id = %(partner_id)s AND currency = %(currency)s"""
