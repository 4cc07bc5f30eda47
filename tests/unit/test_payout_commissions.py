"""What a payout does to commissions whose order is refunded, paid elsewhere or returned meanwhile: to the cent."""

from datetime import UTC, datetime

import pytest

from ledger import payout_commissions
from ledger.application import following
from ledger.commissions import Act, fold, move, take_fact
from ledger.events import RefundParked, Stream
from ledger.payout_commissions import Held, Whose, standing_of
from ledger.postings import postings
from tests.support.payout_world import earned

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ACT = Act(NOW, NOW, NOW.date(), "test")


class Stream1:
    """The stream of one order of 100.00, whose commission is 10.00, and the accounts of its partner."""

    name = Stream.order("acme", "o")

    def __init__(self):
        self.recorded = following(self.name, 0, [earned("o", "jane", 10_000, NOW)])
        self.move("approve")

    @property
    def order(self):
        """The order as it stands."""
        return fold(each.event for each in self.recorded)

    def move(self, name, **details):
        """Make a move of one commission."""
        self.recorded += following(self.name, len(self.recorded), move(self.order, name, ACT, **details))

    def refund(self, kind="cancellation", minor=0):
        """Tell a fact."""
        number = len(self.recorded)
        refund = {"refund_id": f"r{number}", "currency": "USD", "refund_minor": minor} if minor else {}
        fact = RefundParked(
            merchant_id="acme", order_id="o", occurred_at=NOW, occurred_on=NOW.date(), recorded_at=NOW,
            cause=f"t{number}", kind=kind, event_id=f"e{number}", **refund,
        )  # fmt: skip
        self.recorded += following(self.name, number, take_fact(self.order, fact))

    def reserve(self, payout_id):
        """Let a payout take what it can, and return what it holds."""
        whose = Whose("acme", "jane", "USD", payout_id)
        taken = list(payout_commissions.reserve(whose, [standing_of("o", self.order)], ACT))
        self.recorded += taken
        return taken

    def end(self, taken, ending):
        """End the payout that holds this."""
        held = [Held(each, len(self.recorded)) for each in taken]
        moved_on = payout_commissions.moved_on(held, ending)
        details = {"pay": {"reference": "tx"}, "give_back": {"reason": "returned"}, "release": {}}[ending]
        self.recorded += payout_commissions.end(held, dict.fromkeys(moved_on, self.recorded), ACT, ending, **details)

    def sums(self):
        """Return what stands in the partner's accounts."""
        sums = {}
        for recorded in self.recorded:
            for posting in postings(recorded.event):
                if posting.partner_id:
                    sums[posting.account] = sums.get(posting.account, 0) + posting.amount_minor
        return {account: amount for account, amount in sums.items() if amount}


@pytest.fixture
def stream():
    """Return an approved commission."""
    return Stream1()


@pytest.mark.parametrize(("ending", "expected"), [("pay", {"paid": 1_000}), ("release", {"approved": 1_000})])
def test_what_was_reserved_is_paid_or_payable_again(stream, ending, expected):
    """Nobody has to read the stream for it; its events are in place."""
    taken = stream.reserve("po_1")
    assert stream.sums() == {"in_payout": 1_000}
    stream.end(taken, ending)
    assert stream.sums() == expected
    assert [each.originator_version for each in stream.recorded] == list(range(1, len(stream.recorded) + 1))


def test_what_was_paid_and_came_back_is_payable_again(stream):
    """And can be paid by the next payout."""
    taken = stream.reserve("po_1")
    stream.end(taken, "pay")
    stream.end(taken, "give_back")
    assert stream.sums() == {"approved": 1_000}
    assert stream.order.payout_id is None


@pytest.mark.parametrize(
    ("ending", "expected"),
    [("pay", {"paid": 1_000, "clawed_back": -300}), ("release", {"approved": 700})],
)
def test_a_refund_while_it_is_in_the_payout_waits_beside_it(stream, ending, expected):
    """Paid: a clawback for the next payout. Released: it is taken off the commission itself."""
    taken = stream.reserve("po_1")
    stream.refund("refund", 3_000)
    stream.end(taken, ending)
    assert stream.sums() == expected


def netted(stream):
    """Pay the order, refund 30.00 of it, and let a second payout net that off; return what both took."""
    first = stream.reserve("po_1")
    stream.end(first, "pay")
    stream.refund("refund", 3_000)
    return first, stream.reserve("po_2")


@pytest.mark.parametrize(
    ("endings", "expected"),
    [
        ((), {"paid": 1_000, "in_payout": -300}),
        (("pay",), {"paid": 700}),
        (("release",), {"paid": 1_000, "clawed_back": -300}),
        (("pay", "give_back"), {"paid": 1_000, "clawed_back": -300}),
    ],
)
def test_a_clawback_is_netted_off_once_and_comes_back_with_the_payout(stream, endings, expected):
    """clawed_back to in_payout to paid, and back where the payout fails or is returned."""
    _, second = netted(stream)
    for ending in endings:
        stream.end(second, ending)
    assert stream.sums() == expected
    assert sum(expected.values()) == 700


def test_a_refund_counts_what_was_netted_off_already(stream):
    """The rest of the order is cancelled: exactly what is left is clawed back."""
    _, second = netted(stream)
    stream.end(second, "pay")
    stream.refund()
    assert stream.sums() == {"paid": 700, "clawed_back": -700}


def test_money_that_comes_back_after_its_clawback_was_netted_elsewhere_is_owed_in_full(stream):
    """The second payout had 3.00 taken off for it, so that all 10.00 are owed; of a cancelled order just those 3.00."""
    first, second = netted(stream)
    stream.end(second, "pay")
    stream.end(first, "give_back")
    assert stream.sums() == {"approved": 1_000, "paid": -300}
    stream.refund()
    assert stream.sums() == {"approved": 300, "paid": -300}
    assert stream.order.state == "approved"


def test_a_clawback_that_is_released_while_its_order_is_payable_is_netted_by_the_next_payout(stream):
    """First came back, second failed: one payout takes the commission and nets off the clawback together."""
    first, second = netted(stream)
    stream.end(first, "give_back")
    stream.end(second, "release")
    assert stream.sums() == {"approved": 1_000, "clawed_back": -300}
    third = stream.reserve("po_3")
    assert payout_commissions.total_minor(third) == 700
    assert stream.sums() == {"in_payout": 700}
    stream.end(third, "release")
    assert sum(stream.sums().values()) == 700
    stream.end(stream.reserve("po_4"), "pay")
    assert stream.sums() == {"paid": 700}


def test_a_clawback_won_back_is_paid_by_the_next_payout(stream):
    """What was netted off and settled is owed again when the dispute is won."""
    stream.end(stream.reserve("po_1"), "pay")
    stream.refund("dispute")
    stream.end(stream.reserve("po_2"), "pay")
    assert stream.sums() == {}
    stream.refund("dispute_won")
    assert stream.sums() == {"clawed_back": 1_000}
    assert payout_commissions.total_minor(stream.reserve("po_3")) == 1_000
