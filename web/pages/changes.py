"""How a figure has changed since the days before: which way, and by how much."""

from decimal import Decimal
from typing import Literal, NamedTuple

from schemas.money import Money

Way = Literal["up", "down", "same", "none"]

# As it is shown: to a tenth of a per cent.
_SHOWN = Decimal("0.001")


class Change(NamedTuple):
    """Which way a figure went (`none`: it was not there before), and by which fraction of what it was before.

    `by` is not negative, and None where it was zero before.
    """

    way: Way
    by: Decimal | None = None


def change(now: Money | Decimal | int | None, before: Money | Decimal | int | None) -> Change:
    """Return the change of a figure; None is one that there is not (an average of nothing)."""
    if now is None or before is None:
        return Change("none")
    is_, was = _decimal(now), _decimal(before)
    if is_ == was:
        return Change("same")
    way: Way = "up" if is_ > was else "down"
    if not was:
        return Change(way)
    by = abs((is_ - was) / was)
    return Change(way, by) if by.quantize(_SHOWN) else Change("same")


def _decimal(value: Money | Decimal | int) -> Decimal:
    return Decimal(value.amount) if isinstance(value, Money) else Decimal(value)
