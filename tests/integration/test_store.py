"""The event store on real PostgreSQL: long saves, commit order, and errors that say which rule was violated."""

import threading
from datetime import UTC, datetime

import pytest

from ledger.application import Ledger, following
from ledger.events import PartnerApproved, Recorded
from ledger.requests import Request
from ledger.store import DIRECTORY_HEAD, RequestRepeatedError, VersionConflictError
from schemas.errors import RetryableError
from tests.support.registration import HASH_KEY

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
def ledger(database_url):
    """Yield a ledger on a database of its own."""
    ledger = Ledger(database_url, hash_key=HASH_KEY)
    yield ledger
    ledger.close()


def event(number=0):
    """Return any small event."""
    return PartnerApproved(merchant_id="acme", partner_id=f"p{number}", occurred_at=NOW, recorded_at=NOW, cause="test")


def until_it_answers(command):
    """Run the command again for as long as the database is said not to answer, a few times at most."""
    for attempt in range(10):
        try:
            return command()
        except RetryableError:
            assert attempt < 9
    return None


@pytest.mark.timeout(30)
@pytest.mark.parametrize("count", [1, 49, 50, 5_000, 20_000])
def test_a_save_of_any_length_returns(ledger, count):
    """A long save returns (the library's own hangs from about a megabyte on) and tells the last position."""
    events = [Recorded(f"partner/acme/p{number}", 1, event(number)) for number in range(count)]
    assert ledger.record(events) == count == ledger.head()
    assert ledger.stream(f"partner/acme/p{count - 1}")[0].event == event(count - 1)


def test_the_positions_of_a_save_are_in_the_order_of_its_events(ledger):
    """Short saves (INSERT) and long ones (COPY) number their events in the order in which they were given."""
    for size in (7, 200):
        events = [Recorded(f"partner/{size}/p{number}", 1, event(number)) for number in range(size)]
        ledger.record(events)
    with ledger.connection() as conn:
        rows = conn.execute("SELECT originator_id, notification_id FROM ledger.events ORDER BY 2").fetchall()
    told = [f"partner/7/p{n}" for n in range(7)] + [f"partner/200/p{n}" for n in range(200)]
    assert [row["originator_id"] for row in rows] == told
    assert [row["notification_id"] for row in rows] == list(range(1, 208))


def test_a_version_that_is_taken_is_a_version_conflict_and_nothing_is_written(ledger):
    """Two events for one version: the second save is refused as a whole, by its own name."""
    ledger.record(following("partner/acme/p0", 0, [event()]))
    with pytest.raises(VersionConflictError):
        ledger.record([*following("partner/acme/p1", 0, [event(1)]), *following("partner/acme/p0", 0, [event()])])
    assert ledger.stream("partner/acme/p1") == []


def test_an_idempotency_key_that_is_taken_is_not_mistaken_for_a_version_conflict(ledger):
    """A repeated key is told as a repeated request, and its events are not written."""
    request = Request("acme", "key-1", b"sha", lambda result: (201, result))
    ledger.record(following("partner/acme/p0", 0, [event()]), request=request, result=b"{}")
    with pytest.raises(RequestRepeatedError):
        ledger.record(following("partner/acme/p1", 0, [event(1)]), request=request, result=b"{}")
    assert ledger.stream("partner/acme/p1") == []
    assert ledger.answered_before("acme", "key-1") == (b"sha", 201, b"{}", 1)


def test_a_reader_that_follows_the_positions_misses_no_event(ledger, database_url):
    """Three writers and a tailing reader: every event is seen, in order, although transactions overlap."""
    per_writer, writers = 150, 3
    start = threading.Barrier(writers + 1)

    def write(name):
        writer = Ledger(database_url, hash_key=HASH_KEY)
        start.wait()
        for number in range(per_writer):
            stream = f"partner/{name}/p{number}"
            # Long and short saves in turn, so that both ways of inserting race with each other.
            size = 60 if number % 10 == 0 else 1
            writer.record([Recorded(f"{stream}-{n}", 1, event(n)) for n in range(size)])
        writer.close()

    threads = [threading.Thread(target=write, args=(name,)) for name in range(writers)]
    for thread in threads:
        thread.start()
    start.wait()
    expected = writers * (per_writer + per_writer // 10 * 59)
    seen, position = 0, 0
    overlapped = 0
    while seen < expected:
        alive = any(thread.is_alive() for thread in threads)
        notifications = ledger.recorder.select_notifications(position, 1_000, inclusive_of_start=False)
        overlapped += bool(notifications and alive)
        seen += len(notifications)
        position = notifications[-1].id if notifications else position
        if not alive and not notifications:
            break
    for thread in threads:
        thread.join()
    assert seen == expected
    assert overlapped > 0, "the reader never read while somebody wrote: the race did not happen"


def test_a_database_that_is_away_is_an_error_to_try_again_after(own_postgres):
    """A stopped server is a RetryableError in plain words, and the same ledger works again when it is back."""
    from ledger.schema import migrate

    migrate(own_postgres.url)
    ledger = Ledger(own_postgres.url, hash_key=HASH_KEY)
    ledger.record(following("partner/acme/p0", 0, [event()]))
    own_postgres.stop("immediate")
    with pytest.raises(RetryableError, match="does not answer"):
        ledger.record(following("partner/acme/p1", 0, [event(1)]))
    own_postgres.start()
    until_it_answers(lambda: ledger.record(following("partner/acme/p2", 0, [event(2)])))
    assert ledger.head() >= 2
    ledger.close()


def test_a_ledger_can_be_made_while_the_database_is_away(own_postgres):
    """A process that starts before its database is built all the same, and works when the database is there."""
    from ledger.schema import migrate

    migrate(own_postgres.url)
    own_postgres.stop()
    ledger = Ledger(own_postgres.url, hash_key=HASH_KEY)
    with pytest.raises(RetryableError):
        ledger.head()
    own_postgres.start()
    until_it_answers(lambda: ledger.record(following("partner/acme/p0", 0, [event()])))
    assert ledger.head() == 1
    ledger.close()


def test_the_directory_is_never_looked_for_among_the_orders(ledger):
    """Whatever the planner believes of a young table, asking for new partners walks through no order events."""
    orders = [Recorded(f"order/acme/{number}", 1, event(number)) for number in range(20_000)]
    with ledger.connection() as conn:
        conn.execute("ALTER TABLE ledger.events SET (autovacuum_enabled = false)")
    ledger.record([Recorded(f"partner/acme/p{number}", 1, event(number)) for number in range(300)])
    ledger.record(orders)
    with ledger.connection() as conn:
        row = conn.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {DIRECTORY_HEAD}").fetchone()
    plan = row["QUERY PLAN"][0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 20, plan
