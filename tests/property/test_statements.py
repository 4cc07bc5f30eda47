"""Statements, for all histories: each adds up, begins with what the one before ended with, and ends at the balance."""

import re
from datetime import UTC, date, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.postings import PARTNER_ACCOUNTS
from projections.read_statements import post
from tests.support import random_log
from tests.support.movements import balances_of, moved_by
from web.api.statements import following_month, last_of, month_of, statement_of
from web.pages.partner_visits import masked
from web.sessions import PartnerSession

NOW = datetime(2026, 11, 22, tzinfo=UTC)
OWED = ("pending", "approved", "held", "in_payout", "clawed_back")


def months_of(moved):
    """Return the first days of all months from the first movement to the last."""
    first, last = moved[0].occurred_on.replace(day=1), moved[-1].occurred_on
    while first <= last:
        yield first
        first = following_month(first)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6))
def test_statements_add_up_and_follow_one_another(seed):
    """Opening and movements make the closing of every month, which the next one opens with; the last is the balance."""
    recorded = random_log.log(seed, 60)
    expected = balances_of(recorded)
    for key, moved in moved_by(recorded).items():
        _, partner_id, currency = key
        accounts, closing = dict.fromkeys(PARTNER_ACCOUNTS, 0), 0
        for first in months_of(moved):
            within = [each for each in moved if first <= each.occurred_on <= last_of(first)]
            told = statement_of(partner_id, currency, first, dict(accounts), within)
            opening, lines = told.opening.to_minor(negative=True), told.lines[1:-1]
            assert opening == closing
            for line in lines:
                closing += line.amount.to_minor(negative=True)
                assert line.balance.to_minor(negative=True) == closing
            assert told.closing.to_minor(negative=True) == closing
            assert told.lines[-1].balance == told.closing
            assert told.lines[0].balance == told.opening
            earned, paid = told.earned.to_minor(negative=True), told.paid.to_minor(negative=True)
            assert opening + earned - paid == closing
            standing = told.standing.model_dump()
            assert sum(getattr(told.standing, name).to_minor(negative=True) for name in standing) == closing
            for each in within:
                post(accounts, each.debit, each.credit, each.amount_minor)
        assert accounts == expected[key]
        assert closing == sum(accounts[account] for account in OWED)


@given(st.dates(date(1970, 1, 1), date(2199, 11, 30)))
def test_months_follow_one_another_without_a_gap(day):
    """The day behind a month's last is the next one's first, and a month's name leads back to it."""
    first = day.replace(day=1)
    assert (following_month(first) - last_of(first)).days == 1
    assert first <= day <= last_of(first)
    assert month_of(f"{first:%Y-%m}", day) == first


@given(st.text(max_size=12))
def test_what_is_no_month_is_none(told):
    """Nothing but a year and a month of two digits is a month, and none that has not begun."""
    assert month_of(told, NOW.date()) is None or re.fullmatch(r"(19[7-9]|20[0-2])\d-\d\d", told)


@given(st.text(min_size=1, max_size=128), st.binary(min_size=16, max_size=16))
def test_a_mask_says_nothing_of_a_customer(customer_id, secret):
    """A customer's mask has one form whatever the id is, is the same each time, and another for another partner."""
    jane, kim = (PartnerSession("acme", each, b"", NOW) for each in ("jane", "kim"))
    mask = masked(secret, jane, customer_id)
    assert re.fullmatch(r"[A-Z2-7]{5}", mask)
    assert mask == masked(secret, jane, customer_id)
    assert mask != masked(secret, kim, customer_id)
    assert mask != masked(secret, jane, customer_id + "x")
