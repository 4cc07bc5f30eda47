"""A ban and its end leave everything as if neither had been, but for what somebody decided in between."""

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import bans
from ledger.commissions import DUPLICATE, LEGAL_MOVES, Act, evolve, fold, move, take_fact
from ledger.events import RefundParked
from ledger.postings import postings
from schemas.errors import RejectedError
from tests.unit.test_commissions import NOW as AT
from tests.unit.test_commissions import earned

BAN = "partner/acme/jane@2"
DETAILS = {
    "hold": {"reason": "r"}, "reject": {"reason": "r"}, "reopen": {"reason": "r"}, "reserve": {"payout_id": "p"},
    "unreserve": {"payout_id": "p"}, "pay": {"reference": "b"}, "mark_unpaid": {"reason": "r"},
}  # fmt: skip

facts = st.tuples(st.sampled_from(("refund", "cancellation", "dispute", "dispute_won")), st.integers(1, 10_000))
moves = st.tuples(st.just("move"), st.integers(0, 5))


class Stream:
    """One order's stream, and what happens to it."""

    def __init__(self):
        self.events = [earned(amount_minor=1_000)]
        self.order = fold(self.events)
        self.number = 0

    def add(self, decided):
        """Append what was decided."""
        for event in decided:
            assert sum(posting.amount_minor for posting in postings(event)) == 0
            evolve(self.order, event)
            self.events.append(event)

    def act(self):
        """Return who moves it, each time a little later."""
        self.number += 1
        at = AT + timedelta(minutes=self.number)
        return Act(at, at, at.date(), f"t@{self.number}")

    def happen(self, what, figure):
        """Let a storefront tell a fact, or somebody make one of the moves that are legal."""
        if what == "move":
            legal = LEGAL_MOVES[self.order.state]
            if legal:
                name = legal[figure % len(legal)]
                self.add(move(self.order, name, self.act(), **DETAILS.get(name, {})))
            return
        self.number += 1
        fact = RefundParked(
            merchant_id="acme", order_id="1", occurred_at=AT + timedelta(seconds=figure), occurred_on=AT.date(),
            recorded_at=AT, cause=f"t@{self.number}", kind=what, event_id=f"e{self.number}",
            **({"refund_id": f"r{self.number}", "currency": "USD", "refund_minor": figure} if what == "refund" else {}),
        )  # fmt: skip
        try:
            decided = take_fact(self.order, fact)
        except RejectedError:
            return
        if decided != DUPLICATE:
            self.add(decided)

    def stands(self):
        """Return what anybody can see of it."""
        order = self.order
        return order.state, order.amount_minor, order.clawed_back_minor, order.payout_id


@given(
    before=st.lists(moves | facts, max_size=6),
    during=st.lists(facts, max_size=4),
    after=st.lists(moves | facts, max_size=5),
)
@settings(max_examples=100, deadline=None)
def test_a_ban_that_has_ended_leaves_no_trace(before, during, after):
    """Any history, a ban, any facts, its end: from there on everything is as if there had been no ban."""
    banned, free = Stream(), Stream()
    for step in before:
        banned.happen(*step)
        free.happen(*step)
    banned.add(bans.take(banned.order, banned.events, BAN, banned.act()))
    assert banned.order.state not in bans.OPEN_STATES
    for step in during:
        was = banned.order.state
        banned.happen(*step)
        free.happen(*step)
        if was == "reversed":
            banned.add(bans.take(banned.order, banned.events, BAN, banned.act()))
        assert banned.order.state not in bans.OPEN_STATES
    copy = fold(banned.events)
    banned.add(bans.give_back(copy, banned.events, banned.act()))
    assert copy == fold(banned.events)
    assert banned.stands() == free.stands()
    banned.number = free.number = 1_000
    for step in after:
        banned.happen(*step)
        free.happen(*step)
    assert banned.stands() == free.stands()


def test_where_nothing_remained_before_the_ban_nothing_is_reversed_after_it():
    """Found by the test above: rejected, cancelled and reopened by hand it is pending with nothing, and stays so."""
    banned = Stream()
    for step in (("move", 2), ("cancellation", 1), ("move", 0)):
        banned.happen(*step)
    stands = banned.stands()
    assert stands == ("pending", 0, 0, None)
    banned.add(bans.take(banned.order, banned.events, BAN, banned.act()))
    banned.add(bans.give_back(fold(banned.events), banned.events, banned.act()))
    assert banned.stands() == stands


@given(before=st.lists(moves | facts, max_size=6), during=st.lists(moves | facts, min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_the_end_of_a_ban_touches_nothing_that_somebody_decided(before, during):
    """What was rejected or reopened by hand since the ban (or rejected before it) is where that hand put it."""
    stream = Stream()
    for step in before:
        stream.happen(*step)
    stream.add(bans.take(stream.order, stream.events, BAN, stream.act()))
    taken = stream.events[-1]
    for step in during:
        stream.happen(*step)
    assert bans.take(stream.order, stream.events, BAN, stream.act()) == [] or getattr(taken, "ban", None) is None
    stands, state = stream.stands(), stream.order.state
    by_hand = [event for event in stream.events if type(event).__name__ == "CommissionRejected"]
    stream.add(bans.give_back(fold(stream.events), stream.events, stream.act()))
    if state != "rejected" or by_hand[-1].ban is None:
        assert stream.stands() == stands
    else:
        assert stream.order.state != "rejected"


@given(st.lists(st.sampled_from(("ban", "end")), max_size=6), st.booleans())
def test_bans_that_follow_each_other_end_as_the_last_one(words, held):
    """However often somebody is banned and reinstated, the last word counts, and each ban takes a commission once."""
    stream = Stream()
    if held:
        stream.happen("move", 1)
    first = stream.stands()
    for number, word in enumerate(words):
        ban = f"{BAN}{number}"
        if word == "ban":
            stream.add(bans.take(stream.order, stream.events, ban, stream.act()))
            assert bans.take(stream.order, stream.events, ban, stream.act()) == []
        else:
            stream.add(bans.give_back(fold(stream.events), stream.events, stream.act()))
    assert stream.stands() == (first if not words or words[-1] == "end" else ("rejected", *first[1:]))
