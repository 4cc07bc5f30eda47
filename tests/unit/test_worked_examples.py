"""The worked examples of commissions, as the oracle sees them; the service runs the same ones in its own tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cases import CASES_FILE, ORDER_ID, PARTNER_ID, Case, cases
from tests.support.oracle import Message, Oracle

SHARED_CASES = Path(__file__).parent.parent.parent.parent / "shared" / "cases" / "commission_cases.json"


def test_the_golden_cases_are_the_shared_ones():
    """The committed examples are those of the project's folder, where that is there."""
    assert not SHARED_CASES.exists() or json.loads(CASES_FILE.read_bytes()) == json.loads(SHARED_CASES.read_bytes())


def run(case: Case) -> dict:
    """Run a case through the oracle; return what was found, under the names of its expectations."""
    oracle = Oracle([case.merchant])
    taken = []
    for offset, step in enumerate(case.steps):
        if step.move:
            oracle.move(case.merchant.merchant_id, ORDER_ID, step.move)
        else:
            taken.append(oracle.take(Message("orders", 0, offset, step.raw)))
    books = oracle.books()
    order = books.orders[case.merchant.merchant_id, ORDER_ID]
    balance = books.balances[case.merchant.merchant_id, PARTNER_ID, case.merchant.currency]
    return {
        "commission_minor": order["commission_minor"],
        "steps_minor": [one.change for one in taken],
        "state": order["state"],
        "clawback_minor": order["clawed_back_minor"],
        "payable_minor": balance["payable"],
        "duplicates": [one.outcome for one in taken].count("duplicate"),
        "dead_letter": next((one.code for one in taken if one.code), None),
    }


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_worked_example(case):
    """A worked example comes out as the merchant was promised."""
    assert case.differences(run(case)) == []


def test_a_case_says_what_it_does_not_meet():
    """A difference from a worked example is a sentence with both figures."""
    case = cases()[0]
    assert case.differences({"commission_minor": 7}) == [
        "percentage of the total: commission_minor is 7, should be 1000"
    ]
