"""Live pages: told when their own books moved, never of anybody else's, and only while somebody is logged in."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg
import pytest

from ledger.sessions import digest
from projections.read_live import _NEWEST
from tests.support import visitors
from tests.support.api import JOE
from tests.support.read_models import execute
from tests.support.waiting import until
from web import live as hub
from web.pages import live as pages

WAIT_S = 10.0
# Long enough for what must not come: the looks are 0.3 s apart.
QUIET_S = 0.8


@dataclass
class Told:
    """What one page heard so far, read in the background."""

    status: int = 0
    headers: dict = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    ended: bool = False

    def ids(self, name: str = "books") -> list[int]:
        """Return the positions of the events of this name."""
        blocks = "\n".join(self.lines).split("\n\n")
        fields = [
            dict(line.split(": ", 1) for line in block.split("\n") if line and line[0] != ":") for block in blocks
        ]
        return [int(each["id"]) for each in fields if each.get("event") == name]


@asynccontextmanager
async def listening(visitor, address="/live", **headers):
    """Yield what is told to a visitor, once it is told anything or the stream is refused."""
    cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    told = Told()

    async def read(answer):
        try:
            async for line in answer.content:
                told.lines.append(line.decode().rstrip("\n"))
        finally:
            told.ended = True

    # Or the visitor is told of what the test began with.
    await visitor.api.project()
    async with visitor.api.client.get(address, headers={"Cookie": cookie} | headers) as answer:
        told.status, told.headers = answer.status, dict(answer.headers)
        reading = asyncio.create_task(read(answer))
        if answer.status == 200:
            await until(lambda: told.ids("here"), "a stream's beginning", timeout_s=WAIT_S)
        try:
            yield told
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def heard(told, count=1):
    """Wait until so many events came."""
    await until(lambda: len(told.ids()) >= count, f"{count} events", timeout_s=WAIT_S)


async def test_told_when_the_books_moved(api, owner):
    """A page is told within two seconds of an order, and by then the read models have it."""
    await api.partner()
    async with listening(owner) as told:
        order = api.order()
        await api.post("/orders", [order])
        loop = asyncio.get_running_loop()
        posted_at = loop.time()
        await heard(told)
        assert loop.time() - posted_at < 2
        assert (await api.get("/commissions")).json["data"][0]["order_id"] == order["order_id"]
        head = execute(api.database_url, "SELECT position FROM read.tracked")[0][0]
        assert told.ids()[-1] <= head
        assert told.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert told.headers["Cache-Control"] == "no-store"


async def test_not_told_of_others(api, owner):
    """A page is told nothing of what moved for another merchant, and a partner nothing of another partner's."""
    jane = await api.partner()
    await api.partner(**JOE)
    await api.partner(of="zenith")
    await api.project()
    partner = await visitors.partner(api, jane["id"])
    async with listening(owner) as merchants, listening(partner, "/live/partner") as partners:
        await api.post("/orders", [api.order()], of="zenith")
        await api.project()
        await asyncio.sleep(QUIET_S)
        assert merchants.ids() == partners.ids() == []
        await api.post("/orders", [api.order(coupon_code=JOE["coupon_code"])])
        await heard(merchants)
        await asyncio.sleep(QUIET_S)
        assert partners.ids() == []
        await api.post("/orders", [api.order()])
        await heard(partners)


async def test_what_was_missed_is_told_at_once(api, owner):
    """A page that comes back, or was made before the books moved, is told so; one that missed nothing is not."""
    await api.partner()
    before = await api.project()
    await api.post("/orders", [api.order()])
    after = await api.project()
    async with listening(owner, f"/live?after={before}") as told:
        await heard(told)
        assert told.ids() == [after]
        async with listening(owner, **{"Last-Event-ID": str(before)}) as again:
            await heard(again)
        async with listening(owner, f"/live?after={before}", **{"Last-Event-ID": str(after)}) as nothing:
            await asyncio.sleep(QUIET_S)
            assert nothing.ids() == []
        for unknown in ("-1", "x", "9" * 18, "1e3", "9" * 40):
            async with listening(owner, f"/live?after={unknown}") as nothing:
                assert nothing.ids("here") == [after]


async def test_a_partner_is_told_what_was_missed_of_their_own(api):
    """A partner who comes back is told of their own orders that came meanwhile, and not of others'."""
    jane = await api.partner()
    await api.partner(**JOE)
    partner = await visitors.partner(api, jane["id"])
    before = await api.project()
    await api.post("/orders", [api.order(coupon_code=JOE["coupon_code"])])
    await api.project()
    async with listening(partner, f"/live/partner?after={before}") as told:
        await asyncio.sleep(QUIET_S)
        assert told.ids() == []
    await api.post("/orders", [api.order()])
    await api.project()
    async with listening(partner, f"/live/partner?after={before}") as told:
        await heard(told)


async def test_told_seldom_of_much(api, owner, monkeypatch):
    """However many orders come, a page is told once in a while, and at last of the newest."""
    assert pages.EVENT_EVERY_S >= 1
    monkeypatch.setattr(pages, "EVENT_EVERY_S", 0.5)
    monkeypatch.setattr(hub, "_LOOK_EVERY_S", 0.01)
    await api.partner()
    async with listening(owner) as told:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while len(told.ids()) < 2:
            await api.post("/orders", [api.order()])
        position = await api.project()
        await until(lambda: told.ids()[-1:] == [position], "the newest position", timeout_s=WAIT_S)
        assert len(told.ids()) <= (loop.time() - began) / 0.5 + 1


@pytest.mark.parametrize("address", ["/live", "/live/partner"])
async def test_only_for_those_who_are_logged_in(api, owner, address):
    """Without a session, and with the other kind of session, there is no stream."""
    jane = await api.partner()
    partner = await visitors.partner(api, jane["id"])
    stranger = visitors.Visitor(api, dict.fromkeys((*owner.cookies, *partner.cookies), "A" * 43))
    for visitor in (visitors.Visitor(api), stranger, partner if address == "/live" else owner):
        async with listening(visitor, address) as told:
            assert told.status == 401
    async with api.client.head(address) as answer:
        assert answer.status == 405


async def test_ends_with_the_session(api, owner, monkeypatch):
    """A stream ends soon after its session did."""
    monkeypatch.setattr(pages, "SESSION_CHECK_S", 0.1)
    async with listening(owner) as told, listening(await visitors.user(api)) as other:
        (token,) = owner.cookies.values()
        execute(api.database_url, "DELETE FROM access.sessions WHERE session_sha256 = %s", digest(token))
        await until(lambda: told.ended, "the end of the stream", timeout_s=WAIT_S)
        assert not other.ended


async def test_ends_with_the_age_of_the_session(api, owner, monkeypatch):
    """A stream does not outlive the time for which a session is good."""
    monkeypatch.setattr(pages, "SESSION_CHECK_S", 0.1)
    async with listening(owner) as told:
        api.now += timedelta(days=31)
        await until(lambda: told.ended, "the end of the stream", timeout_s=WAIT_S)


async def test_the_oldest_of_too_many_goes(api, owner):
    """One session has a few streams; a newer one takes the place of the oldest, which is told so."""
    async with listening(owner) as oldest, asyncio.TaskGroup() as group:
        done = asyncio.Event()

        async def hold():
            async with listening(owner) as told:
                await done.wait()
                assert not told.ended

        held = [group.create_task(hold()) for _ in range(hub.STREAMS_OF_SESSION_MAX)]
        await until(lambda: oldest.ended, "the end of the oldest", timeout_s=WAIT_S)
        assert oldest.ids("crowded")
        assert not any(task.done() for task in held)
        done.set()


async def test_so_many_in_all(api, owner, monkeypatch):
    """Beyond the limit of all streams a page is told to come back later."""
    monkeypatch.setattr(api.client.app[pages.LIVE], "_streams_max", 1)
    async with listening(owner), listening(await visitors.user(api)) as refused:
        assert refused.status == 503
        assert refused.headers["Retry-After"]


async def test_streams_are_forgotten(api, owner, monkeypatch):
    """Whoever goes away leaves nothing behind: no place that is taken, nobody who is looked for."""
    monkeypatch.setattr(pages, "BEAT_S", 0.1)
    live = api.client.app[pages.LIVE]
    async with listening(owner):
        assert (live.count, len(live._watches)) == (1, 1)
    await until(lambda: not live.count, "the end of the stream", timeout_s=WAIT_S)
    assert (live._watches, dict(live._streams)) == ({}, {})


async def test_a_beat_keeps_the_connection(api, owner, monkeypatch):
    """While nothing happens a comment goes out now and then, so that nothing between takes the connection for dead."""
    monkeypatch.setattr(pages, "BEAT_S", 0.05)
    async with listening(owner) as told:
        await until(lambda: told.lines.count(": still here") > 1, "two comments", timeout_s=WAIT_S)
        assert told.ids() == []


async def test_a_stop_does_not_wait_for_streams(api, owner):
    """When the process stops its streams end at once."""
    async with listening(owner) as told:
        await asyncio.wait_for(api.client.app[pages.LIVE].close(), 2)
        await until(lambda: told.ended, "the end of the stream", timeout_s=2)


async def test_goes_on_when_the_database_was_away(api, owner):
    """A stream lives through the loss of the connections behind it, and tells of what came meanwhile."""
    await api.partner()
    await api.project()
    async with listening(owner) as told:
        listeners = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN read_models'"
        assert execute(api.database_url, listeners + " AND datname = current_database()") == [(True,)]
        await api.post("/orders", [api.order()])
        await heard(told)


def test_looking_costs_no_walk_through_the_log(database_url):
    """Whether something moved is found by an index, at any length of the log."""
    asked = {"after": 5, "upto": 9, "partner_id": None}
    with psycopg.connect(database_url) as conn:
        conn.execute("SET enable_seqscan TO off")
        conn.execute("SET ledger.merchant_id TO 'acme'")
        plan = conn.execute("EXPLAIN " + _NEWEST, asked).fetchall()
    assert "Index Scan Backward using events_feed" in str(plan)
    assert "Sort" not in str(plan)
