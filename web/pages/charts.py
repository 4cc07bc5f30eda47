"""What charts are drawn from: a row for each stretch of time, with a value of each series."""

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import NamedTuple, Protocol, TypeVar

from babel import Locale
from babel.dates import format_date, format_interval, format_skeleton

from schemas.money import Money


class Stretch(Protocol):
    """A stretch of time, from its first to its last day; the API's `Point` is one."""

    @property
    def from_(self) -> date:
        """Its first day."""

    @property
    def to(self) -> date:
        """Its last day, which belongs to it."""


class ChartRow(NamedTuple):
    """The values of all series on one stretch of time, None: there is none; `href` leads to what is behind them."""

    on: date
    label: str
    values: Sequence[Money | int | None]
    href: str | None = None


P = TypeVar("P", bound=Stretch)


def rows_of(
    points: Iterable[P],
    values: Callable[[P], Sequence[Money | int | None]],
    *,
    interval: str,
    locale: Locale,
    href: Callable[[P], str] | None = None,
) -> list[ChartRow]:
    """Return a row for each point of a series: `values` are what the chart's series have there, in their order."""
    return [
        ChartRow(
            on=point.from_,
            label=label(point.from_, point.to, interval, locale),
            values=values(point),
            href=href(point) if href else None,
        )
        for point in points
    ]


def label(first: date, last: date, interval: str, locale: Locale) -> str:
    """Return how a stretch is called: its day, its days, or its month where it is a whole one."""
    if first == last:
        return str(format_date(first, "medium", locale=locale))
    if interval == "month" and first.day == 1 and last.month != _day_after(last).month:
        return str(format_skeleton("yMMMM", first, locale=locale))
    return str(format_interval(first, last, "yMMMd", locale=locale))


def _day_after(day: date) -> date:
    return date.fromordinal(day.toordinal() + 1)
