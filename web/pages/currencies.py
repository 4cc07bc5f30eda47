"""The order in which amounts of several currencies are shown."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from web.pages.visits import Visit


class InCurrency(Protocol):
    """What is said of one currency."""

    @property
    def currency(self) -> str:
        """Which one."""


Row = TypeVar("Row", bound=InCurrency)


def own_first(visit: Visit, rows: Iterable[Row]) -> list[Row]:
    """Return the rows with the program's own currency first, the others by their codes."""
    return sorted(rows, key=lambda row: (row.currency != visit.program.currency, row.currency))
