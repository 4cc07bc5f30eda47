"""Rebuild: read models are disposable. Built anew beside the live ones they are the same, and nobody waits for it."""

import threading

import psycopg
import pytest

from projections import rebuild as rebuilding
from projections.rebuild import rebuild
from projections.runner import Projector
from projections.schema import LOCK_REBUILD, LOCK_SWAP, MODELS
from projections.verify import verify
from schemas.errors import RetryableError
from tests.support.read_models import TABLES, dump, execute, fill, fill_more

NAMES = tuple(model.name for model in MODELS)


@pytest.fixture
def books(database_url):
    """Return a database with a random log, and read models that the projector has brought to its head."""
    fill(database_url, seed=4, orders=250)
    Projector(database_url, batch_events=64).catch_up()
    return database_url


def schemas(url):
    """Return the schemas that a rebuild makes and drops."""
    return [name for (name,) in execute(url, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'read%' ORDER BY 1")]


def indexes(url):
    """Return the definition of every index of the read models."""
    return execute(url, "SELECT indexdef FROM pg_indexes WHERE schemaname = 'read' ORDER BY indexname")


@pytest.mark.parametrize("chunk_events", [1, 33, 1_000_000])
def test_a_rebuild_gives_the_same_read_models(books, chunk_events):
    """Dropped and built from the log, in steps of any size, every row and index is as before."""
    told, indexed = dump(books), indexes(books)
    if chunk_events == 1:
        chunk_events = max(1, told["position"][0][0] // 40)
    done = rebuild(books, chunk_events=chunk_events)
    assert (done.models, done.position) == (NAMES, told["position"][0][0])
    assert (dump(books), indexes(books), schemas(books)) == (told, indexed, ["read"])


@pytest.mark.parametrize("name", NAMES)
def test_one_read_model_can_be_rebuilt_alone(books, name):
    """A chosen read model is repaired; the others, and the position, stay as they are."""
    told = dump(books)
    model = next(model for model in MODELS if model.name == name)
    for table in model.tables:
        execute(books, "TRUNCATE read." + table)
    assert rebuild(books, [name], chunk_events=100).models == (name,)
    assert (dump(books), schemas(books)) == (told, ["read"])


def test_all_read_models_are_rebuilt_from_nothing(books):
    """With every table emptied and the position lost, the log alone brings everything back."""
    told = dump(books)
    execute(books, f"TRUNCATE {', '.join(f'read.{table}' for table in TABLES)}")
    execute(books, "UPDATE read.tracking SET position = 0")
    rebuild(books)
    assert dump(books) == told


def test_an_unknown_read_model_is_refused(books):
    """The error names the one that is none, and those that there are."""
    with pytest.raises(ValueError, match=r"no read model saldo; there are: assignments, balances, commissions"):
        rebuild(books, ["saldo"])


def test_a_second_rebuild_at_once_is_refused(books):
    """Two rebuilds would drop each other's tables: the second is told to come back."""
    with psycopg.connect(books, autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", (LOCK_REBUILD,))
        with pytest.raises(RetryableError, match="another rebuild"):
            rebuild(books)


@pytest.mark.parametrize("step", ["load", "complete", "swap"])
def test_a_crash_half_way_leaves_the_live_read_models_alone(books, step, monkeypatch):
    """Whatever a rebuild had built when it died, readers see what they saw, and the next rebuild starts clean."""
    told = dump(books)

    def die(_self):
        raise ConnectionAbortedError(step)

    with monkeypatch.context() as patched:
        patched.setattr(rebuilding._Building, step, die)
        with pytest.raises(ConnectionAbortedError):
            rebuild(books)
    assert (dump(books), "read_next" in schemas(books)) == (told, True)
    rebuild(books)
    assert (dump(books), schemas(books)) == (told, ["read"])


def test_progress_is_told_in_events_of_all_events(books):
    """The callback hears how many events are done of how many, and the last time all of them."""
    heard = []
    position = rebuild(books, progress=lambda done, total: heard.append((done, total)), chunk_events=300).position
    assert heard == sorted(heard)
    assert len(heard) > 2
    assert heard[-1] == (position, position)


def test_the_projector_goes_on_during_a_rebuild(books):
    """Events that are recorded and applied meanwhile are in the new tables too, and none of them twice."""
    projector = Projector(books, batch_events=16, poll_s=0.1)
    thread = threading.Thread(target=projector.run)
    thread.start()
    try:
        for seed in (20, 21, 22):
            filling = threading.Thread(target=fill_more, args=(books, seed))
            filling.start()
            rebuild(books, chunk_events=200)
            rebuild(books, ["balances", "customers"], chunk_events=200)
            filling.join(60)
    finally:
        projector.stop()
        thread.join(30)
    Projector(books).catch_up()
    assert verify(books).differences == []


def test_a_reader_in_the_middle_of_a_page_is_not_disturbed(books):
    """A transaction that has read before the swap goes on reading; the swap does not wait for it, the old tables do."""
    told = dump(books)
    with psycopg.connect(books) as reader:
        before = reader.execute("SELECT count(*) FROM read.commissions").fetchone()
        rebuild(books)
        assert "read_old" in schemas(books)
        assert reader.execute("SELECT count(*) FROM read.commissions").fetchone() == before
    rebuild(books)
    assert (dump(books), schemas(books)) == (told, ["read"])


def test_the_swap_waits_for_whoever_compares(books):
    """While `verify` reads, no other tables come under its names: the swap happens when it is done."""
    comparing = psycopg.connect(books, autocommit=True)
    comparing.execute("SELECT pg_advisory_lock_shared(%s)", (LOCK_SWAP,))
    ended = threading.Event()
    thread = threading.Thread(target=lambda: (rebuild(books), ended.set()))
    thread.start()
    with psycopg.connect(books, autocommit=True) as conn:
        while not conn.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchone()[
            0
        ]:
            pass
    assert not ended.is_set()
    comparing.close()
    assert ended.wait(30)
    thread.join()
    assert schemas(books) == ["read"]
