"""One order's commission: the worked examples, and the moves."""

from datetime import UTC, date, datetime

import pytest

from ledger.batch import Batch, Message, Source
from ledger.commissions import LEGAL_MOVES, Act, evolve, fold, move
from ledger.events import CommissionClawedBack, CommissionEarned, Rate
from ledger.postings import postings
from schemas.errors import IllegalMoveError, RejectedError
from schemas.order_events import parse
from tests.support.cases import PARTNER_ID, cases
from tests.support.registration import HASH_KEY, directory_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ACT = Act(NOW, NOW, NOW.date(), "test")
SOURCE = Source("test", "orders", 0)


def read(raw):
    """Return what intake hands on: the event, or why it cannot be read."""
    try:
        return parse(raw)
    except RejectedError as error:
        return error


def run(case):
    """Run a worked example through the decisions; return what was found under the names of its expectations."""
    directory, events, results, steps = directory_of([case.merchant]), [], [], []
    for position, step in enumerate(case.steps):
        known = {events[0].originator_id: events} if events else {}
        order = fold(recorded.event for recorded in events)
        before = order.amount_minor + order.clawed_back_minor
        if step.move:
            for event in move(order, step.move, ACT, **({"reference": "tx-1"} if step.move == "pay" else {})):
                events.append(events[-1]._replace(originator_version=order.version + 1, event=event))
            continue
        batch = Batch(directory, SOURCE, step.now, HASH_KEY, known)
        results.append(batch.take(Message(position, step.raw), read(step.raw)))
        events = [*events, *batch.events]
        order = fold(recorded.event for recorded in events)
        steps.append(order.amount_minor + order.clawed_back_minor - before)
    order = fold(recorded.event for recorded in events)
    payable = sum(
        posting.amount_minor
        for recorded in events
        for posting in postings(recorded.event)
        if posting.partner_id == PARTNER_ID and posting.account in ("approved", "clawed_back")
    )
    return {
        "commission_minor": order.amount_minor,
        "steps_minor": steps,
        "state": order.state,
        "clawback_minor": order.clawed_back_minor,
        "payable_minor": payable,
        "duplicates": [result.outcome for result in results].count("duplicate"),
        "dead_letter": next((result.error.code for result in results if result.error), None),
    }


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_worked_example(case):
    """A worked example comes out of the decisions as the merchant was promised."""
    assert case.differences(run(case)) == []


def earned(**changes):
    """Return a pending commission of 10.00 on an order of 100.00."""
    told = {
        "merchant_id": "acme", "occurred_at": NOW, "recorded_at": NOW, "cause": "test", "order_id": "1",
        "occurred_on": date(2026, 11, 22), "partner_id": "jane", "coupon_code": "JANE10", "currency": "USD",
        "total_minor": 10_000, "amount_minor": 1_000, "to_state": "pending", "rate": Rate(type="percentage", bps=1_000),
        "base": "total", "base_minor": 10_000, "fixed_on_partial_refund": "keep", "terms_version": 1,
    }  # fmt: skip
    return CommissionEarned(**told | changes)


DETAILS = {
    "hold": {"reason": "look"}, "reject": {"reason": "fraud"}, "reopen": {"reason": "mistake"},
    "reserve": {"payout_id": "po-1"}, "unreserve": {"payout_id": "po-1"}, "pay": {"reference": "tx-1"},
    "mark_unpaid": {"reason": "returned"},
}  # fmt: skip

WAYS = {
    "pending": [],
    "approved": ["approve"],
    "held": ["hold"],
    "in_payout": ["approve", "reserve"],
    "paid": ["approve", "pay"],
    "rejected": ["reject"],
}


def arrive(*moves):
    """Return a commission that has made the moves."""
    order = fold([earned()])
    for name in moves:
        for event in move(order, name, ACT, **DETAILS.get(name, {})):
            evolve(order, event)
    return order


@pytest.mark.parametrize("state", WAYS)
@pytest.mark.parametrize("name", DETAILS | {"approve": {}, "release": {}})
def test_a_move_is_made_where_it_is_legal_and_refused_with_the_legal_ones_elsewhere(state, name):
    """In each state exactly the legal moves are made; any other is refused with the state and what is legal in it."""
    order = arrive(*WAYS[state])
    assert order.state == state
    if name in LEGAL_MOVES[state]:
        assert move(order, name, ACT, **DETAILS.get(name, {}))[0].from_state == state
        return
    with pytest.raises(IllegalMoveError) as refused:
        move(order, name, ACT, **DETAILS.get(name, {}))
    assert (refused.value.state, refused.value.legal) == (state, tuple(sorted(LEGAL_MOVES[state])))


@pytest.mark.parametrize(
    ("way", "state"),
    [
        (["approve", "hold", "release"], "approved"),
        (["hold", "release"], "pending"),
        (["hold", "reject", "reopen", "release"], "pending"),
        (["approve", "hold", "reject", "reopen"], "held"),
        (["approve", "reject", "reopen"], "approved"),
    ],
)
def test_what_is_released_or_reopened_goes_back_to_where_it_was(way, state):
    """A release or a reopening undoes exactly the hold or the rejection before it, however they are nested."""
    assert arrive(*way).state == state


def test_money_that_comes_back_is_owed_without_what_was_clawed_back_meanwhile():
    """A payment that is taken back folds its clawbacks into the commission: nothing stands beside it any more."""
    order = arrive("approve", "pay")
    clawback = {
        "merchant_id": "acme", "order_id": "1", "occurred_at": NOW, "occurred_on": NOW.date(), "recorded_at": NOW,
        "cause": "t", "partner_id": "jane", "currency": "USD", "amount_minor": -400, "from_state": "paid",
        "to_state": "paid", "kind": "refund", "event_id": "e", "refund_id": "r", "refund_minor": 4_000,
        "revenue_minor": -4_000,
    }  # fmt: skip
    evolve(order, CommissionClawedBack(**clawback))
    for event in move(order, "mark_unpaid", ACT, reason="returned"):
        evolve(order, event)
    assert (order.state, order.amount_minor, order.clawed_back_minor) == ("approved", 600, 0)
