"""The projector: whatever the batches, the read models are what the log says, at one position, and soon."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from projections import runner, schema
from projections.batches import Workspace
from projections.rebuild import rebuild
from projections.runner import Projector, advance
from projections.verify import verify
from schemas.errors import CorruptionError
from tests.support import random_log
from tests.support.read_models import dump, execute, fill, fill_more, ledger


@contextmanager
def following(url: str, **options) -> Iterator[Projector]:
    """Run a projector in a thread for as long as we are inside."""
    projector = Projector(url, **options)
    thread = threading.Thread(target=projector.run)
    thread.start()
    try:
        yield projector
    finally:
        projector.stop()
        thread.join(30)
        assert not thread.is_alive()


@contextmanager
def announcements(url: str) -> Iterator[psycopg.Connection]:
    """Yield a connection that hears of each position that the read models reach."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("LISTEN read_models")
        yield conn


def wait_for(conn: psycopg.Connection, position: int, timeout_s: float = 60) -> None:
    """Return once the read models have announced the position."""
    row = conn.execute("SELECT position FROM read.tracked").fetchone()
    if row[0] >= position:
        return
    for heard in conn.notifies(timeout=timeout_s):
        if int(heard.payload) >= position:
            return
    pytest.fail(f"position {position} was not announced")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_batches_of_any_size_end_in_the_same_read_models(database_url, server_url, seed):
    """What the read models say depends on the log, not on how it was cut into batches; and the fold agrees."""
    position = fill(database_url, seed, orders=400)
    told = []
    for batch_events in (3, 97, 100_000):
        execute(database_url, "DROP SCHEMA read CASCADE")
        assert Projector(database_url, batch_events=batch_events).catch_up() == position
        told.append(dump(database_url))
        assert verify(database_url).differences == []
    assert told[0] == told[1] == told[2]
    assert len(told[0]["commissions"]) > 100


def test_a_new_event_is_announced_without_being_asked_for(database_url):
    """An idle projector hears of an event, applies it and tells its position: nobody waits for a poll."""
    position = fill(database_url, orders=1)
    with announcements(database_url) as conn, following(database_url, poll_s=30):
        wait_for(conn, position)
        wait_for(conn, fill_more(database_url, 2), timeout_s=20)


def test_two_projectors_share_the_work_without_doing_it_twice(database_url):
    """Two projectors at once apply every event once."""
    position = fill(database_url, orders=400)
    with (
        announcements(database_url) as conn,
        following(database_url, batch_events=50),
        following(database_url, batch_events=37),
    ):
        wait_for(conn, position)
    assert verify(database_url).differences == []


def test_no_event_is_missed_while_several_write(database_url):
    """A reader that follows the ids sees every event, however many write at the same time."""
    fill(database_url, orders=2)
    with announcements(database_url) as conn, following(database_url, batch_events=20):
        writers = [threading.Thread(target=fill_more, args=(database_url, seed)) for seed in range(10, 18)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(60)
        ((head,),) = execute(database_url, "SELECT max(notification_id) FROM ledger.events")
        wait_for(conn, head)
    done = verify(database_url)
    ((events,),) = execute(database_url, "SELECT count(*) FROM ledger.events")
    assert (done.differences, done.events) == ([], events)


def test_a_reader_sees_all_read_models_at_one_position(database_url):
    """In any one statement the balances add up to the commissions: they never show different positions."""
    position = fill(database_url, orders=400)
    owed = """
        SELECT
            (SELECT sum(pending_minor + approved_minor + held_minor + in_payout_minor + paid_minor + clawed_back_minor)
             FROM read.balances),
            (SELECT sum(amount_minor) FILTER (WHERE state <> 'rejected') + sum(clawed_back_minor) FROM read.commissions)
    """
    with announcements(database_url) as conn, following(database_url, batch_events=23):
        seen = set()
        while execute(database_url, "SELECT position FROM read.tracked")[0][0] < position:
            ((balances, commissions),) = execute(database_url, owed)
            assert balances == commissions
            seen.add(balances)
        wait_for(conn, position)
    assert len(seen) > 1


def test_the_projector_goes_on_after_the_database_was_gone(own_postgres):
    """PostgreSQL stopped at once and started again: the projector goes on by itself, and nothing is lost or doubled."""
    from tests.support.postgres import prepare_template

    url = own_postgres.database("books")
    prepare_template(url)
    position = fill(url, orders=200)
    with following(url, batch_events=10) as projector:
        with announcements(url) as conn:
            wait_for(conn, position // 2)
        own_postgres.stop("immediate")
        own_postgres.start()
        more = fill_more(url, 5)
        with announcements(url) as conn:
            wait_for(conn, more)
        assert projector.position <= more
    assert verify(url).differences == []


def test_a_projector_can_be_stopped_while_the_database_is_away(tmp_path):
    """Whoever stops a projector that has never found its database does not wait for it."""
    with following(f"postgresql://nobody@/none?host={tmp_path}") as projector:
        assert projector.position == 0


def test_read_models_of_other_sql_are_rebuilt_at_the_start(database_url):
    """A read model whose SQL or posting rules have changed is built anew; what was in it does not matter."""
    fill(database_url, orders=60)
    Projector(database_url).catch_up()
    told = dump(database_url)
    execute(database_url, "UPDATE read.tracking SET fingerprint = 'old' WHERE model IN ('balances', 'customers')")
    execute(database_url, "UPDATE read.customers SET orders = 99")
    execute(database_url, "DELETE FROM read.balances")
    Projector(database_url).catch_up()
    assert dump(database_url) == told


def test_a_long_log_is_rebuilt_rather_than_followed(database_url, monkeypatch):
    """Empty read models beside a long log are built at once."""
    position = fill(database_url, orders=60)
    monkeypatch.setattr(runner, "REBUILD_FROM_EVENTS", position)
    monkeypatch.setattr(runner, "advance", lambda *_: None)
    assert Projector(database_url).catch_up() == position
    assert verify(database_url).differences == []


def test_a_log_that_contradicts_itself_stops_the_projector(database_url):
    """An order that is opened twice is an error that says so; nothing of its batch is applied."""
    with ledger(database_url) as opened:
        events = random_log.log(1, 20)
        random_log.append(opened, events)
        Projector(database_url).catch_up()
        before = dump(database_url)
        opened_order = next(e for e in events if type(e.event).__name__ == "CommissionEarned")
        opened.record([opened_order._replace(originator_id="order/shop/twice")])
    with pytest.raises(CorruptionError, match="commissions_pkey"):
        Projector(database_url).catch_up()
    assert dump(database_url) == before


def test_creating_the_read_models_twice_at_once_is_safe(database_url):
    """Several processes that start on an empty database make one schema."""
    execute(database_url, "DROP SCHEMA read CASCADE")

    def create() -> None:
        with psycopg.connect(database_url, autocommit=True) as conn:
            assert schema.ensure(conn) == []

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert execute(database_url, "SELECT count(*) FROM read.tracking") == [(len(schema.MODELS),)]


def test_a_projector_that_has_to_rebuild_waits_for_whoever_rebuilds(database_url):
    """While somebody else rebuilds, a projector whose read models are out of date tries again until it may."""
    fill(database_url, orders=20)
    Projector(database_url).catch_up()
    told = dump(database_url)
    execute(database_url, "UPDATE read.tracking SET fingerprint = 'old'")
    rebuilding = psycopg.connect(database_url, autocommit=True)
    rebuilding.execute("SELECT pg_advisory_lock(%s)", (schema.LOCK_REBUILD,))
    with psycopg.connect(database_url, autocommit=True) as conn, following(database_url):
        # It was refused once when its sessions have come and gone.
        while not conn.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rebuild'").fetchone()[
            0
        ]:
            pass
        rebuilding.close()
        while conn.execute("SELECT count(*) FROM read.tracking WHERE fingerprint = 'old'").fetchone()[0]:
            pass
    assert dump(database_url) == told


def test_an_empty_log_makes_empty_read_models(database_url):
    """On a new database there is nothing to apply, to rebuild or to find fault with."""
    assert Projector(database_url).catch_up() == 0
    assert rebuild(database_url).position == 0
    done = verify(database_url)
    assert (done.position, done.events, done.differences) == (0, 0, [])


def test_nothing_new_is_nothing_to_do(database_url):
    """A projector at the head of the log leaves everything as it is."""
    fill(database_url, orders=5)
    Projector(database_url).catch_up()
    with psycopg.connect(database_url, autocommit=True) as conn:
        assert advance(conn, Workspace(conn), 10) is None
