"""The approval timer end to end: the leader asks what is due, any worker books it, and asking again does no harm."""

from collections import Counter

import pytest

from ledger.application import Ledger
from ledger.events import CommissionApproved
from tests.support.books import lying_in, streams, until_consumed
from tests.support.order_messages import placed
from tests.support.publishing import publish
from tests.support.registration import HASH_KEY, register
from tests.support.running_worker import ready, running, worker_settings
from tests.support.storefront import sample_program
from tests.support.waiting import until

COUNT = 60
# Of the sample program, koi approves 14 days after the order; these were placed long before today.
ORDERS = [
    placed(f"k-{n}", merchant_id="koi", currency="JPY", total="5000", occurred_at="2026-01-01T00:00:00Z")
    for n in range(COUNT)
]
NAMES = [("koi", f"k-{n}") for n in range(COUNT)]


@pytest.fixture
def books(database_url):
    """Return the address of a database whose books know the sample program."""
    ledger = Ledger(database_url, hash_key=HASH_KEY)
    register(ledger, sample_program())
    ledger.close()
    return database_url


def approved(database_url):
    """Return how often each order was approved, by order id."""
    events = (event for events in streams(database_url) for event in events)
    return Counter(event.order_id for event in events if isinstance(event, CommissionApproved))


async def test_due_commissions_are_approved_once_however_often_they_are_asked_for(books, broker, topic):
    """Two workers with a read side that lags, and so tells the same orders again and again, approve each order once."""
    asked = []

    async def due(now, limit):
        asked.append(now)
        return NAMES[:limit]

    settings = worker_settings(broker.bootstrap, topic, approval_interval_s=0.2, approval_chunk=25)
    await publish(broker.bootstrap, topic, ORDERS)
    async with running(books, settings, due=due), running(books, settings, due=due):
        await until_consumed(books, COUNT)
        await until(lambda: len(approved(books)) == COUNT, "all orders being approved")
        asked_before = len(asked)
        await until(lambda: len(asked) > asked_before + 5, "the timer asking again")
    assert set(approved(books).values()) == {1}
    # However often the timer asked: what is under way is not published again, so the queue does not grow.
    chunks = await lying_in(broker.bootstrap, f"{settings.app_id}-approvals")
    leaders = 2  # at most: the leader may change while the second worker joins
    assert 3 <= len(chunks) <= 3 * leaders


async def test_a_read_side_that_fails_is_told_and_asked_again(books, broker, topic):
    """While nobody can tell what is due the worker says so, goes on booking orders, and approves when it is told."""
    answers = [OSError("the read side is away")]

    async def due(now, limit):
        if answers:
            raise answers[0]
        return NAMES[:limit]

    settings = worker_settings(broker.bootstrap, topic, approval_interval_s=0.2)
    await publish(broker.bootstrap, topic, ORDERS)
    async with running(books, settings, due=due) as health:
        reason = await until(lambda: health.report()["checks"].get("approvals"), "the timer failing")
        assert "the read side is away" in reason
        await until_consumed(books, COUNT)
        answers.clear()
        await until(lambda: len(approved(books)) == COUNT, "all orders being approved")
        await ready(health)
