"""Whose an order is, at what rate, and for how long its customer earns: whatever is told, the oracle says the same."""

import json
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.test_decisions import Memory, in_batches
from tests.support import oracle as model
from tests.support.checker import differences
from tests.support.oracle import Message
from tests.support.oracle_program import BEGINNING, Merchant, Partner, Rate, held_by
from tests.support.registration import directory_of

SPRING, SUMMER = datetime(2026, 3, 31, 23, 30, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
TEN, TWENTY = Rate(BEGINNING, "percentage", "10"), Rate(BEGINNING, "percentage", "20")
JANE = Partner("jane", (TEN, Rate(SUMMER, "percentage", "12.5")), email="jane@x.example")
JOE = Partner("joe", (TWENTY,), ((BEGINNING, "approved"), (SUMMER, "paused")))
GONE = Partner("gone", (TEN,), ((BEGINNING, "approved"), (SUMMER, "banned")))
BACK = Partner("back", (TEN,), ((BEGINNING, "approved"), (SPRING, "banned"), (SUMMER, "approved")))

orders = st.lists(
    st.tuples(
        st.sampled_from(("c-1", "c-2", None)),
        st.sampled_from(("JANE", "OWN", "MOVED", "GONE", "BACK", "NOBODY", None)),
        st.integers(0, 330),
        st.sampled_from(("placed", "placed", "placed", "refunded", "cancelled", "disputed", "dispute_won")),
        st.integers(0, 12),
    ),
    max_size=40,
)


def program(orders_max, months_max, approval):
    """Return a program with codes that have rates of their own or change hands, and customers who were given away."""
    return Merchant(
        "acme", "USD", (JANE, JOE, GONE, BACK),
        {
            "JANE": held_by("jane"), "GONE": held_by("gone"), "OWN": held_by("jane"), "BACK": held_by("back"),
            "MOVED": ((BEGINNING, "jane"), (SPRING, None), (SUMMER, "joe")),
        },
        approval=approval, time_zone="Europe/Berlin",
        code_rates={"OWN": (Rate(BEGINNING, "fixed", "5"), Rate(SUMMER, "own", ""))},
        customers={"c-1": ((SPRING, "joe"), (SUMMER, "jane")), "c-2": ((SUMMER, "gone"),)},
        max_orders_per_customer=orders_max, max_months_per_customer=months_max,
    )  # fmt: skip


def message(number, told):
    """Return one message: an order, or something that happens to one of the orders before."""
    customer, code, days, kind, back = told
    at = datetime(2026, 1, 31, 22, 59, 59, tzinfo=UTC) + timedelta(days=days, seconds=number % 3)
    event = {"type": f"order.{kind}", "event_id": f"e-{number}", "merchant_id": "acme", "occurred_at": at.isoformat()}
    if kind == "placed":
        event |= {"order_id": f"o-{number}", "currency": "USD", "total": "100.00"}
        event |= {"customer": {"id": customer}} if customer else {}
        event |= {"coupon_code": code} if code else {}
    else:
        event["order_id"] = f"o-{max(0, number - back)}"
        event |= (
            {"currency": "USD", "refund_id": f"r-{number}", "amount": f"{30 + back}.00"} if kind == "refunded" else {}
        )
    return Message("orders", 0, number, json.dumps(event).encode())


@given(
    orders=orders,
    orders_max=st.sampled_from((None, 1, 3)),
    months_max=st.sampled_from((None, 1, 4)),
    approval=st.sampled_from(("manual", "immediate", "after_days")),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=100, deadline=None)
def test_codes_customers_and_limits_end_as_the_oracle_says(orders, orders_max, months_max, approval, seed):
    """Codes with rates, codes that moved, customers who were given away, limits and bans, in batches of any size."""
    merchant = program(orders_max, months_max, approval)
    messages = [message(number, told) for number, told in enumerate(orders)]
    memory, oracle = Memory(directory_of([merchant])), model.Oracle([merchant])
    for batch in in_batches(messages, Random(seed)):
        memory.take(batch)
        oracle.take_all(batch)
    assert differences(oracle.books(), memory.found()) == []
