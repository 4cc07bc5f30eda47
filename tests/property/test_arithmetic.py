"""The arithmetic that stories show is that of the books, for whatever storefronts send."""

from decimal import ROUND_HALF_UP, Decimal
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.arithmetic import shown_exact, steps
from ledger.commissions import fold
from schemas.money import exponent, to_decimal_string
from tests.property.test_decisions import DIRECTORY, PROGRAM, Memory, in_batches
from tests.support.storefront import Storefront, lay_out


@given(seed=st.integers(0, 2**32), count=st.integers(1, 200))
@settings(max_examples=30, deadline=None)
def test_every_step_leads_to_what_is_owed(seed, count):
    """Changes add up to what is owed after each step, and in the end to the commission with its clawbacks."""
    storefront = Storefront(seed, PROGRAM)
    memory = Memory(DIRECTORY)
    for batch in in_batches(lay_out([*storefront.take(count), *storefront.rest()], 1), Random(seed)):
        memory.take(batch)
    for stream in memory.streams.values():
        events = [recorded.event for recorded in stream]
        order, told = fold(events), steps(events)
        assert bool(told) is (order.taken is not None)
        if order.taken is None:
            continue
        currency, owed = order.taken.currency, 0
        smallest = Decimal(1).scaleb(-exponent(currency))
        for step in told:
            owed += step.change_minor
            assert step.owed_minor == owed
            shown = Decimal(shown_exact(step.exact_minor, currency)).quantize(smallest, ROUND_HALF_UP)
            assert shown == Decimal(to_decimal_string(step.owed_minor, currency))
        assert owed == order.amount_minor + order.clawed_back_minor
