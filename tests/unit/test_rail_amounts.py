"""What a run knows of the amounts that a rail can send is what the rail itself refuses when it writes the body."""

import pytest

from consumers.rails import Instruction, Payee
from consumers.rails.amounts import is_sent
from consumers.rails.bank import BankRail
from consumers.rails.paypal import PayPalRail
from consumers.rails.stripe import StripeRail
from schemas.errors import RejectedError

RAILS = {
    "stripe": (StripeRail, Payee("acct_1A2b3C")),
    "paypal": (PayPalRail, Payee("ada@example.com")),
    "bank": (BankRail, Payee("DE89370400440532013000", "Ada")),
}
CURRENCIES = ("EUR", "USD", "JPY", "KWD", "HUF", "TWD", "ISK", "UGX", "BHD", "CLP", "INR")
AMOUNTS = (1, 50, 100, 1_234, 10_000, 10**11, 10**14)


@pytest.mark.parametrize("name", RAILS)
def test_a_run_knows_what_a_rail_refuses(name) -> None:
    """For every currency and amount, a rail's body can be written exactly where the run says that it is sent."""
    rail_class, payee = RAILS[name]
    rail = object.__new__(rail_class)
    differing = []
    for currency in CURRENCIES:
        for amount_minor in AMOUNTS:
            told = Instruction("acme", "po_1", "p_1", 1, "payout-po_1-1", amount_minor, currency, payee)
            try:
                rail.compose(told)
                composed = True
            except RejectedError:
                composed = False
            if composed is not is_sent(name, amount_minor, currency):
                differing.append((currency, amount_minor, composed))
    assert differing == []
    assert {is_sent(name, 10_000, currency) for currency in CURRENCIES} == {True, False}


def test_whatever_is_paid_by_hand_is_sent() -> None:
    """A person can pay any amount of any currency."""
    assert is_sent("manual", 1, "XAF")
