"""Keys that are remembered between reads: no look-up while nothing happens, and none is good a moment too long."""

from datetime import UTC, datetime, timedelta

import pytest

from ledger import keys
from ledger.access import Actor
from tests.support.keys import key_of
from tests.support.waiting import until
from web import keys as web_keys
from web.api.calls import ARRIVALS


@pytest.fixture
async def looked_up(api, monkeypatch):
    """Return the times at which a key was looked up, once the process listens to the log."""
    times = []
    find_key = web_keys.find_key

    async def counted(pool, authorization, now):
        times.append(now)
        return await find_key(pool, authorization, now)

    monkeypatch.setattr(web_keys, "find_key", counted)
    await api.client.app[ARRIVALS].begin()
    await until(api.client.app[ARRIVALS].hears, "the process listening")
    return times


async def test_a_key_is_looked_up_once_while_nothing_happens(api, looked_up):
    """Reads that follow one another ask for their key once; after an event in the log, or a minute, once more."""
    for _ in range(5):
        assert (await api.get("/program")).status == 200
    assert len(looked_up) == 1
    heard = api.client.app[ARRIVALS].count
    key_of(api.ledger, "globex")
    await until(lambda: api.client.app[ARRIVALS].count > heard, "the event being heard of")
    await api.get("/program")
    assert len(looked_up) == 2
    api.now += timedelta(minutes=1, seconds=1)
    await api.get("/program")
    await api.get("/program")
    assert len(looked_up) == 3


async def test_a_key_that_another_process_revoked_is_dead_once_that_is_heard_of(api, looked_up):
    """A remembered key lives no longer than until the log tells of the change."""
    assert (await api.get("/program")).status == 200
    heard = api.client.app[ARRIVALS].count
    key_id = api.keys["acme"].split("_")[1]
    keys.revoke(api.ledger, merchant_id="acme", key_id=key_id, now=datetime.now(UTC), by=Actor("test"))
    await until(lambda: api.client.app[ARRIVALS].count > heard, "the revocation being heard of")
    assert (await api.get("/program")).status == 401


async def test_what_this_process_changes_counts_at_once(api, looked_up):
    """A key that was revoked through this very process is dead for the next request."""
    other = key_of(api.ledger, "acme")
    headers = {"Authorization": f"Bearer {other}"}
    assert (await api.get("/key", of=None, headers=headers)).status == 200
    assert (await api.get("/key", of=None, headers=headers)).status == 200
    assert (await api.ask("DELETE", f"/keys/{other.split('_')[1]}")).status == 204
    assert (await api.get("/key", of=None, headers=headers)).status == 401


async def test_an_expired_key_is_not_remembered_beyond_its_end(api, looked_up):
    """The instant at which a key expires counts, whether it is remembered or not."""
    soon = key_of(api.ledger, "acme", now=api.now, expires_at=api.now + timedelta(seconds=30))
    headers = {"Authorization": f"Bearer {soon}"}
    assert (await api.get("/key", of=None, headers=headers)).status == 200
    api.now += timedelta(seconds=30)
    assert (await api.get("/key", of=None, headers=headers)).status == 401


async def test_a_wrong_key_is_never_remembered(api, looked_up):
    """Whoever guesses is looked up each time, and told the same each time."""
    right = api.keys["acme"]
    headers = {"Authorization": f"Bearer {right[:-1]}{'y' if right.endswith('x') else 'x'}"}
    answers = [await api.get("/key", of=None, headers=headers) for _ in range(3)]
    assert ([answer.status for answer in answers], len(looked_up)) == ([401] * 3, 3)
