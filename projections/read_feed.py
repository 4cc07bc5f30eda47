"""The feed of one merchant: its events in the log, behind a position, in order, without any gap."""

from collections.abc import Sequence
from typing import NamedTuple

from psycopg.rows import class_row

from ledger.feed import PROGRAM_AND_HEAD, WINDOW, FeedRow, entry_of, topics_of
from projections.read import Reads
from schemas.api_feed import FeedEntry
from schemas.errors import RejectedError
from schemas.feed_types import matches

# How many events are looked at for one answer where only some types are wanted.
_WINDOW_EVENTS = 2_000

EVERYTHING = ("*",)


class Stretch(NamedTuple):
    """A stretch of the feed: its entries, where the next one begins, whether there is more, and the end of the log."""

    entries: list[FeedEntry]
    next_after: int
    more: bool
    head: int


class _Log(NamedTuple):
    head: int
    currency: str | None


async def stretch(
    reads: Reads, merchant_id: str, *, after: int, limit: int, types: Sequence[str] = EVERYTHING
) -> Stretch:
    """Return the merchant's events behind the position `after`, at most `limit`, of these types (or kinds of them).

    Where others are left out there may be none, and more behind. Raises RejectedError `unknown_position` for one that
    the log does not have, psycopg.Error.
    """
    window = limit + 1 if "*" in types else max(limit + 1, _WINDOW_EVENTS)
    async with reads.moment(merchant_id) as conn:
        asked = {"after": after, "topics": topics_of(types), "window": window}
        rows = await (await conn.cursor(row_factory=class_row(FeedRow)).execute(WINDOW, asked)).fetchall()
        log = await (await conn.cursor(row_factory=class_row(_Log)).execute(PROGRAM_AND_HEAD)).fetchone()
    assert log is not None  # noqa: S101 - one row, always
    if after > log.head:
        message = f"the log ends at {log.head}; use the `next_after` of an answer"
        raise RejectedError.at("query.after", "unknown_position", message)
    entries: list[FeedEntry] = []
    for number, row in enumerate(rows, 1):
        if row.state is not None:
            entry = entry_of(row, merchant_id, str(log.currency))
            if any(matches(wanted, entry.type) for wanted in types):  # type: ignore[attr-defined]
                entries.append(entry)
        if len(entries) == limit and number < len(rows):
            return Stretch(entries, row.position, more=True, head=log.head)
    if len(rows) == window:
        return Stretch(entries, rows[-1].position, more=True, head=log.head)
    return Stretch(entries, log.head, more=False, head=log.head)
