"""How a commission came to be what it is: the arithmetic of its order, and of every refund since; pure."""

from collections.abc import Iterable
from decimal import ROUND_DOWN, Decimal
from fractions import Fraction
from typing import NamedTuple

from ledger.commissions import Order, evolve, owed_minor, remaining_minor
from ledger.events import CommissionCorrected, CommissionEarned, Event, OrderTaken
from schemas.money import exponent

_DIGITS_MORE = 4


class Step(NamedTuple):
    """What is owed by the order's rule once the event of this version has happened.

    `exact_minor` is what the rule gives before it is rounded, `owed_minor` after, both of what remains of the order;
    `change_minor` is what the event changed. `kind` is `order` or that of the correction.
    """

    version: int
    kind: str
    remaining_minor: int
    exact_minor: Fraction
    owed_minor: int
    change_minor: int


def steps(events: Iterable[Event]) -> list[Step]:
    """Return a step for the order and for every refund, cancellation and dispute of the stream, in order.

    None for an entry made by hand. What is owed in the last one is the commission with its clawbacks.
    """
    order, found = Order(), []
    for event in events:
        evolve(order, event)
        taken = order.taken
        if taken is None:
            continue
        if isinstance(event, OrderTaken):
            found.append(_step(order, taken, "order", event.amount_minor))
        elif isinstance(event, CommissionCorrected) and event.kind != "returned":
            found.append(_step(order, taken, event.kind, event.amount_minor))
    return found


def _step(order: Order, taken: OrderTaken, kind: str, change_minor: int) -> Step:
    remaining = remaining_minor(order)
    return Step(order.version, kind, remaining, _exact(taken, remaining), owed_minor(taken, remaining), change_minor)


def _exact(taken: OrderTaken, remaining: int) -> Fraction:
    """Return what `ledger.commissions.commission_minor` rounds."""
    if not isinstance(taken, CommissionEarned) or remaining <= 0 or taken.total_minor <= 0:
        return Fraction(0)
    share = Fraction(remaining, taken.total_minor)
    if taken.rate.type == "percentage":
        return taken.base_minor * share * Fraction(taken.rate.bps, 10_000)
    return Fraction(taken.rate.amount_minor) * (1 if taken.fixed_on_partial_refund == "keep" else share)


def shown_exact(exact_minor: Fraction, currency: str) -> str:
    """Return the amount as a decimal, cut off after four decimals more than usual: so it still rounds as it does."""
    digits = exponent(currency)
    cut = exact_minor.numerator * 10**_DIGITS_MORE // exact_minor.denominator
    value = (Decimal(cut) / 10 ** (_DIGITS_MORE + digits)).quantize(
        Decimal(1).scaleb(-_DIGITS_MORE - digits), ROUND_DOWN
    )
    whole, _, decimals = f"{value:f}".partition(".")
    kept = decimals[:digits] + decimals[digits:].rstrip("0")
    return f"{whole}.{kept}" if kept else whole
