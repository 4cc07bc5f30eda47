"""Money by hand, for all inputs: entries, moves, marks and refunds in any sequence end in balances that add up."""

from collections import Counter
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.commissions import DUPLICATE, Act, evolve, fold, legal_by_hand, move_by_hand, take_fact
from ledger.events import RefundParked
from ledger.postings import PARTNER_ACCOUNTS, postings
from schemas.errors import RejectedError
from tests.unit.test_commissions import earned
from tests.unit.test_entries import HAND, entered

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ACT = Act(NOW, NOW, NOW.date(), "test")
ACCOUNT = {"rejected": None, "reversed": None}


def refund(order_id, number, minor):
    """Return a refund of the order."""
    return RefundParked(
        merchant_id="acme", order_id=order_id, occurred_at=NOW, occurred_on=NOW.date(), recorded_at=NOW,
        cause=f"t@{number}", kind="refund", event_id=f"e{number}", refund_id=f"r{number}", currency="USD",
        refund_minor=minor,
    )  # fmt: skip


begun = st.one_of(
    st.integers(-(10**6), 10**6).filter(bool).map(lambda minor: entered(amount_minor=minor)),
    st.just(earned()),
)


@given(data=st.data(), openings=st.lists(begun, min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_balances_are_what_stands_of_each_commission(data, openings):
    """Every event balances, and each account is the sum of the commissions that stand in it, with clawbacks beside."""
    orders, accounts = [], Counter()

    def book(order, events):
        for event in events:
            posted = postings(event)
            assert sum(posting.amount_minor for posting in posted) == 0
            accounts.update({posting.account: posting.amount_minor for posting in posted})
            evolve(order, event)

    for number, opening in enumerate(openings):
        order = fold([])
        book(order, [opening])
        orders.append((str(number), order))
    for number in range(data.draw(st.integers(0, 12))):
        order_id, order = data.draw(st.sampled_from(orders))
        legal = legal_by_hand(order)
        if legal and data.draw(st.booleans()):
            name = data.draw(st.sampled_from(legal))
            book(order, move_by_hand(order, name, ACT, **HAND[name]))
            continue
        try:
            told = take_fact(order, refund(order_id, number, data.draw(st.integers(1, 6_000))))
        except RejectedError:
            continue
        assert told != DUPLICATE
        book(order, told)
    expected = Counter()
    for _, order in orders:
        expected[ACCOUNT.get(order.state, order.state)] += order.amount_minor
        expected["clawed_back"] += order.clawed_back_minor
    found = {name: accounts[name] for name in PARTNER_ACCOUNTS}
    assert found == {name: expected[name] for name in PARTNER_ACCOUNTS}
    assert accounts["expense"] == -sum(found.values())


def take(order, told):
    """Take a refund into the order, unless it is refused."""
    try:
        events = take_fact(order, told)
    except RejectedError:
        return
    for event in events:
        evolve(order, event)


def by_hand(order, name):
    """Make a move by hand."""
    for event in move_by_hand(order, name, ACT, **HAND[name]):
        evolve(order, event)


@given(rounds=st.lists(st.lists(st.integers(1, 4_000), max_size=3), max_size=3))
@settings(max_examples=100, deadline=None)
def test_marked_unpaid_it_owes_what_the_refunds_left(rounds):
    """Paid by hand, refunded meanwhile and marked unpaid, again and again, it owes exactly what it would unpaid."""
    paid, unpaid = fold([earned()]), fold([earned()])
    by_hand(paid, "approve")
    by_hand(unpaid, "approve")
    for number, cuts in enumerate(rounds):
        if paid.state == "reversed":
            break
        by_hand(paid, "mark-paid")
        for place, minor in enumerate(cuts):
            for order in (paid, unpaid):
                take(order, refund("1", f"{number}-{place}", minor))
        by_hand(paid, "mark-unpaid")
        assert (paid.state, paid.amount_minor, paid.clawed_back_minor) == (unpaid.state, unpaid.amount_minor, 0)
