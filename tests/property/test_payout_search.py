"""Nobody is paid twice: stories of faults, crashes, doubled workers, late webhooks and clocks that jump by a month."""

from collections import Counter

import pytest

from ledger.application import Ledger
from projections.runner import Projector
from projections.verify import verify
from tests.support.payout_provider import BlindResends, RandomKeys, UnknownIsFailed
from tests.support.payout_search import PostgresPayoutStore, Search, search
from tests.support.registration import HASH_KEY

# Found by the search once, each by a mistake of its own.
FOUND = (12, 19, 374, 861, 2_955, 3_586, 4_427, 4_473)


@pytest.fixture(scope="module")
def stories(request):
    """Return every story with what is wrong with it, told once for all tests."""
    told = {}
    for seed in range(request.config.getoption("--seeds")):
        told[seed] = Search(seed)
        told[seed].wrong = told[seed].run()
    return told


@pytest.mark.timeout(1_800)
def test_whatever_fails_nobody_is_paid_twice_and_the_books_are_the_providers(stories):
    """At rest every payout is settled, the books say what the providers did, and commissions were moved once."""
    assert {seed: story.wrong for seed, story in stories.items() if story.wrong} == {}


def test_the_search_goes_where_it_is_dangerous(stories):
    """The stories have sends again, reviews, adoptions, returns, dropped results: else they would prove nothing."""
    topics = Counter(type(event).__name__ for story in stories.values() for event in story.log)
    for topic in (
        "PayoutSubmissionRepeated", "PayoutReviewRequired", "PayoutReturned", "PayoutFailed", "PayoutCancelled",
        "PayoutAttemptAbandoned", "ClawbackSettled", "ClawbackUnnetted", "ClawbackOwedAgain", "CommissionUnreserved",
    ):  # fmt: skip
        assert topics[topic] > len(stories) // 50, topic
    words = Counter(word for story in stories.values() for word in story.words)
    for word in ("too_late", "dropped", "quiet", "unknown", "rejected", "handled_before"):
        assert words[word], word
    assert any(getattr(event, "adopted", False) for story in stories.values() for event in story.log)
    assert "PayoutContradicted" not in topics


@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found_once_stays_right(seed):
    """A story in which the search found something wrong is told for ever."""
    assert search(seed) == []


@pytest.mark.parametrize("rail", [RandomKeys, BlindResends, UnknownIsFailed])
def test_the_search_finds_what_pays_twice(rail):
    """A random key per send, a blind send after the window, an unknown taken for failed: each is caught."""
    caught = [seed for seed in range(100) if search(seed, rail=rail)]
    assert len(caught) >= 3


@pytest.mark.parametrize("seed", range(6))
def test_the_same_on_postgresql(seed, database_url):
    """The stories end as well where the store is the real one, and the read models are what the log says."""
    ledger = Ledger(database_url, hash_key=HASH_KEY)
    try:
        assert search(seed, store=PostgresPayoutStore(ledger)) == []
        Projector(database_url).catch_up()
        assert verify(database_url).differences == []
    finally:
        ledger.close()
