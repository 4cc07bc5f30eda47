"""The event feed: everything that happened, in order, without a gap."""

import asyncio

from projections.read_feed import EVERYTHING, Stretch, stretch
from schemas.api_feed import Feed, FeedQuery
from schemas.errors import RejectedError
from schemas.feed_types import MEANINGS, matches
from web.api.calls import Call, Reply
from web.api.routes import RouteTable

feed_calls = RouteTable("events")

# Whoever waits looks again this often at most, however busy the log is with others' events.
_LOOK_EVERY_S = 0.25


@feed_calls.get("/events", query=FeedQuery, answer=Feed)
async def list_events(call: Call[None, FeedQuery]) -> Reply:
    """List what happened behind a position, in order.

    Begin with `after=0`, keep `next_after`, ask for that next: nothing is left out, and nothing appears later behind a
    position that was passed. The sum of all `postings` is the balances. With `wait_s` the answer waits for something to
    happen. `X-Ledger-Position` is the end of the log: with `?min_position=` of it another read reflects all of this.
    """
    query = call.query
    types = _types(query.types)
    found = await _look(call, types)
    if query.wait_s and not found.entries and not found.more:
        with call.arrivals.place() as free:
            # Where too many wait, this one is told at once that there is nothing yet.
            found = await _wait(call, types, query.wait_s) if free else found
    body = Feed(data=found.entries, next_after=found.next_after, more=found.more)
    return Reply(body, found.head)


async def _wait(call: Call[None, FeedQuery], types: tuple[str, ...], wait_s: float) -> Stretch:
    """Return the first stretch that holds something, the last one that was looked at where time is over."""
    loop, arrivals = asyncio.get_running_loop(), call.arrivals
    until = loop.time() + wait_s
    await arrivals.begin()
    while True:
        seen, looked_at = arrivals.count, loop.time()
        found = await _look(call, types)
        left_s = until - loop.time()
        if found.entries or found.more or left_s <= 0 or arrivals.closed:
            return found
        await arrivals.beyond(seen, left_s)
        await asyncio.sleep(min(max(looked_at + _LOOK_EVERY_S - loop.time(), 0.0), left_s))


async def _look(call: Call[None, FeedQuery], types: tuple[str, ...]) -> Stretch:
    query = call.query
    return await stretch(call.services.reads, call.merchant_id, after=query.after, limit=query.limit, types=types)


def _types(wanted: str | None) -> tuple[str, ...]:
    if wanted is None:
        return EVERYTHING
    types = tuple(wanted.split(","))
    check_types(types, "query.types")
    return types


def check_types(types: tuple[str, ...], path: str) -> None:
    """Raise RejectedError `unknown_type` for what is neither a type nor a kind of types (`partner.*`, `*`)."""
    for wanted in types:
        if not any(matches(wanted, type_) for type_ in MEANINGS):
            raise RejectedError.at(path, "unknown_type", f"there is no type of events {wanted!r}")
