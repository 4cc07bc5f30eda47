"""Beside the lists of partners: how many have each standing, and one partner's rates over time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, LiteralString

from psycopg.rows import dict_row

from projections.read import Reads
from projections.rows import Page

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PartnerRate:
    """A rate from an instant on; `until` is when the next one begins, None: there is none."""

    position: int
    effective_at: datetime
    type: str
    bps: int
    amount_minor: int
    until: datetime | None


async def standings(reads: Reads, merchant_id: str) -> tuple[int, dict[str, int]]:
    """Return the position, and how many of the merchant's partners have each standing that any has."""
    position, rows = await _ask(reads, merchant_id, _STANDINGS, {})
    return position, {row["standing"]: row["partners"] for row in rows}


async def rates(
    reads: Reads, merchant_id: str, partner_id: str, *, before: tuple[datetime, int] | None, limit: int
) -> Page[PartnerRate, tuple[datetime, int]]:
    """Return the partner's rates, those from the latest instant on first."""
    before_at, number = before or (_NEVER, 0)
    params = {"partner_id": partner_id, "before_at": before_at, "before": number, "rows": limit + 1}
    position, rows = await _ask(reads, merchant_id, _RATES, params)
    found = [PartnerRate(**row) for row in rows[:limit]]
    return Page(found, position, (found[-1].effective_at, found[-1].position) if len(rows) > limit else None)


async def _ask(
    reads: Reads, merchant_id: str, query: LiteralString, params: Mapping[str, Any]
) -> tuple[int, list[dict[str, Any]]]:
    async with reads.moment(merchant_id) as conn, conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute("SELECT position FROM read.tracked")
        tracked = await cursor.fetchone()
        await cursor.execute(query, {"merchant_id": merchant_id} | dict(params))
        return (tracked or {"position": 0})["position"], await cursor.fetchall()


_STANDINGS: LiteralString = """
SELECT standing, count(*) AS partners FROM read.partners WHERE merchant_id = %(merchant_id)s GROUP BY standing"""
_RATES: LiteralString = """
SELECT
    rate.position, rate.effective_at, rate.type, rate.bps, rate.amount_minor,
    (
        SELECT min(later.effective_at) FROM read.partner_rates AS later
        WHERE
            later.merchant_id = rate.merchant_id AND later.partner_id = rate.partner_id
            AND (later.effective_at, later.position) > (rate.effective_at, rate.position)
    ) AS until
FROM read.partner_rates AS rate
WHERE
    rate.merchant_id = %(merchant_id)s AND rate.partner_id = %(partner_id)s
    AND (rate.effective_at, rate.position) < (%(before_at)s, %(before)s)
ORDER BY rate.effective_at DESC, rate.position DESC LIMIT %(rows)s"""
