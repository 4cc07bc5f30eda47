"""Double entry: every movement that the state machine allows has a rule, and every rule balances."""

import pytest

from ledger.commissions import LEGAL_MOVES, evolve, move
from ledger.events import EVENT_TYPES
from ledger.postings import MERCHANT_ACCOUNTS, PARTNER_ACCOUNTS, RULES, postings
from tests.unit.test_commissions import ACT, DETAILS, WAYS, arrive, earned


def test_a_rule_moves_between_two_accounts_that_exist():
    """A rule names an event that exists and two different accounts of the chart."""
    for (topic, _, _), (debit, credit) in RULES.items():
        assert topic in EVENT_TYPES
        assert debit != credit
        assert {debit, credit} <= {*PARTNER_ACCOUNTS, *MERCHANT_ACCOUNTS}


@pytest.mark.parametrize("state", WAYS)
def test_the_accounts_of_a_commission_follow_its_state(state):
    """After every legal move the whole amount stands in the account of the new state, and nowhere else."""
    for name in LEGAL_MOVES[state]:
        order, sums = arrive(), {}
        events = [earned()]
        for step in [*WAYS[state], name]:
            made = move(order, step, ACT, **DETAILS.get(step, {}))
            for event in made:
                evolve(order, event)
            events += made
        for event in events:
            posted = postings(event)
            assert sum(posting.amount_minor for posting in posted) == 0
            for posting in posted:
                sums[posting.account] = sums.get(posting.account, 0) + posting.amount_minor
        partner = {account: amount for account, amount in sums.items() if account in PARTNER_ACCOUNTS and amount}
        assert partner == ({} if order.state == "rejected" else {order.state: 1_000}), (state, name)
