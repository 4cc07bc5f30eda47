"""How a merchant's payouts agree with their providers: asked of the ledger's own tables, behind the wall."""

from datetime import datetime
from typing import Any, LiteralString, NamedTuple

from psycopg.rows import dict_row

from ledger.payout_findings import KEPT_COLUMNS, Counts, Kept, kept_of
from projections.read import Reads
from projections.rows import Page

OPEN_MAX = 200

Place = tuple[datetime, str]
"""When a finding was first seen, and its id."""


class LastRun(NamedTuple):
    """The last comparison of a rail; `counts` are of one merchant."""

    rail: str
    complete: bool
    since: datetime
    until: datetime
    finished_at: datetime
    counts: Counts


class Standing(NamedTuple):
    """The last comparison of each rail that was compared, the open findings, newest first, and how many there are."""

    runs: list[LastRun]
    open: list[Kept]
    open_count: int


async def standing(reads: Reads, merchant_id: str) -> Standing:
    """Return how the merchant's payouts agree; at most OPEN_MAX findings."""
    asked = {"merchant_id": merchant_id, "rows": OPEN_MAX}
    async with reads.moment(merchant_id) as conn, conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_RUNS, asked)
        runs = [_run(row) for row in await cursor.fetchall()]
        await cursor.execute(_FINDINGS + " AND resolved_at IS NULL" + _NEWEST, asked)
        found = [kept_of(row) for row in await cursor.fetchall()]
        await cursor.execute(_COUNT, asked)
        row = await cursor.fetchone()
    return Standing(runs, found, row["count"] if row else 0)


async def findings(
    reads: Reads, merchant_id: str, *, status: str | None, before: Place | None, limit: int
) -> Page[Kept, Place]:
    """Return the merchant's findings, newest first. The position is that of the log."""
    query = _FINDINGS
    if status is not None:
        query += " AND resolved_at IS NULL" if status == "open" else " AND resolved_at IS NOT NULL"
    if before is not None:
        query += " AND (first_seen_at, finding_id) < (%(at)s, %(id)s)"
    at, id_ = before or (None, None)
    asked = {"merchant_id": merchant_id, "rows": limit + 1, "at": at, "id": id_}
    async with reads.moment(merchant_id) as conn, conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute("SELECT coalesce(max(notification_id), 0) AS head FROM ledger.events")
        head = await cursor.fetchone()
        await cursor.execute(query + _NEWEST, asked)
        rows = await cursor.fetchall()
    found = [kept_of(row) for row in rows[:limit]]
    after = (found[-1].first_seen_at, found[-1].finding_id) if len(rows) > limit else None
    return Page(found, (head or {"head": 0})["head"], after)


def _run(row: dict[str, Any]) -> LastRun:
    counts = Counts(*(row[name] or 0 for name in Counts._fields))
    return LastRun(row["rail"], row["complete"], row["since_at"], row["until_at"], row["finished_at"], counts)


_RUNS: LiteralString = """
SELECT
    run.rail, run.complete, run.since_at, run.until_at, run.finished_at, counts.matched, counts.ours_only,
    counts.theirs_only, counts.differing, counts.several
FROM (
    SELECT DISTINCT ON (rail) rail, complete, since_at, until_at, finished_at FROM ledger.payout_reconciliations
    ORDER BY rail, began_at DESC
) AS run
LEFT JOIN ledger.payout_reconciliation_counts AS counts
    ON counts.rail = run.rail AND counts.merchant_id = %(merchant_id)s
ORDER BY run.rail"""
_OWN: LiteralString = " FROM ledger.payout_findings WHERE merchant_id = %(merchant_id)s"
_FINDINGS: LiteralString = "SELECT " + KEPT_COLUMNS + _OWN
_NEWEST: LiteralString = " ORDER BY first_seen_at DESC, finding_id DESC LIMIT %(rows)s"
_COUNT: LiteralString = "SELECT count(*) AS count" + _OWN + " AND resolved_at IS NULL"
