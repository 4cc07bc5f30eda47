"""Ranges of days: those that can be chosen, the one that was, and the one before it that it is compared with."""

from calendar import monthrange
from collections.abc import Mapping
from datetime import date, timedelta
from typing import NamedTuple

from schemas.api import Interval
from schemas.errors import RejectedError
from schemas.instants import OCCURRED_MAX, OCCURRED_MIN

PRESETS = ("today", "7-days", "30-days", "90-days", "this-month", "last-month", "this-year", "all")
PRESET_DEFAULT = "30-days"

_DAY = timedelta(days=1)
_LAST_DAYS = {"today": 1, "7-days": 7, "30-days": 30, "90-days": 90}
# A chart of more points than this is a thicket.
_POINTS_MAX = 100
_DAYS_OF: Mapping[Interval, int] = {"day": 1, "week": 7}


class Range(NamedTuple):
    """Some days, the last one included; `preset` is the word that they were chosen by, None for days of one's own."""

    first: date
    last: date
    preset: str | None = None

    @property
    def days(self) -> int:
        """How many days these are."""
        return (self.last - self.first).days + 1

    @property
    def interval(self) -> Interval:
        """By what a chart of these days goes: days, weeks or months."""
        return next((interval for interval, days in _DAYS_OF.items() if self.days <= days * _POINTS_MAX), "month")


def preset(word: str, today: date, since: date | None) -> Range:
    """Return the days that a preset means; `since` is the first day with figures. Raises KeyError for another word."""
    if word in _LAST_DAYS:
        return Range(today - (_LAST_DAYS[word] - 1) * _DAY, today, word)
    if word == "last-month":
        last = today.replace(day=1) - _DAY
        return Range(last.replace(day=1), last, word)
    first = {"this-month": today.replace(day=1), "this-year": today.replace(month=1, day=1), "all": since or today}
    return Range(min(first[word], today), today, word)


def chosen(query: Mapping[str, str], today: date, since: date | None) -> Range:
    """Return the days that an address asks for: by `range`, or by `from` and `to`; else the last thirty.

    Raises RejectedError at the field that is at fault.
    """
    if "from" in query or "to" in query:
        last = _day(query, "to") or today
        first = _day(query, "from") or min(since or last, last)
        if last < first:
            raise RejectedError.at("query.to", "bad_range", "must not be before the first day")
        return Range(first, last)
    word = query.get("range", PRESET_DEFAULT)
    if word not in PRESETS:
        raise RejectedError.at("query.range", "not_one_of", "must be one of " + ", ".join(PRESETS))
    return preset(word, today, since)


def previous(days: Range) -> Range | None:
    """Return the days to compare with, None for all days: before them there is nothing.

    Whole months are compared with as many months before, a month or year so far with the same days of the one before
    (or its end, where that is shorter); any other days with as many days right before them.
    """
    if days.preset == "all":
        return None
    months = _months(days)
    if days.preset == "this-year":
        found = Range(_earlier(days.first, 12), _earlier(days.last, 12))
    elif months:
        found = Range(_earlier(days.first, months), days.first - _DAY)
    elif days.preset == "this-month":
        found = Range(_earlier(days.first, 1), _earlier(days.last, 1))
    else:
        found = Range(days.first - days.days * _DAY, days.first - _DAY)
    return found if found.first >= OCCURRED_MIN.date() else None


def _months(days: Range) -> int:
    """Return how many whole months these days are, 0 where they are none."""
    if days.first.day != 1 or (days.last + _DAY).day != 1:
        return 0
    return (days.last.year - days.first.year) * 12 + days.last.month - days.first.month + 1


def _earlier(day: date, months: int) -> date:
    """Return the same day so many months earlier, or the last of that month where it has no such day."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def _day(query: Mapping[str, str], name: str) -> date | None:
    told = query.get(name)
    if told is None:
        return None
    try:
        day = date.fromisoformat(told)
    except ValueError:
        raise RejectedError.at(f"query.{name}", "not_a_date", "must be a day: YYYY-MM-DD") from None
    if not OCCURRED_MIN.date() <= day <= OCCURRED_MAX.date():
        raise RejectedError.at(f"query.{name}", "out_of_range", "must be from 1970-01-01 to 2199-12-31")
    return day
