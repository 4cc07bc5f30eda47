"""Intake: every message accounted for, per topic and partition, and the orders that were no partner's."""

import asyncio
from collections import Counter
from typing import NamedTuple

from schemas.api import LIMIT_MAX
from schemas.api_answers import IgnoredOrders, Outcomes, Partition
from web.api.intake import list_ignored, show_intake
from web.pages.charts import ChartRow, label
from web.pages.doors import user_door
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.visits import Visit

intake_pages = PageTable(user_door)

_API, _IMPORT = "api", "import"
_IMPORTS_SHOWN = 20
_DAYS_SHOWN = 31
OUTCOMES = tuple(Outcomes.model_fields)


class Counted(NamedTuple):
    """A partition with the sum of its outcomes; it adds up where that is what was consumed."""

    told: Partition
    sum: int

    @property
    def adds_up(self) -> bool:
        """Whether every message is accounted for."""
        return self.sum == self.told.consumed


class Group(NamedTuple):
    """The partitions of one kind of source, with their sums; `more` are not shown."""

    kind: str
    partitions: list[Counted]
    consumed: int
    outcomes: Counter[str]
    more: int

    @property
    def adds_up(self) -> bool:
        """Whether every message of all of them is accounted for."""
        return self.outcomes.total() == self.consumed


@intake_pages.get("/intake")
async def show(visit: Visit) -> Shown:
    """Show how far everything was read, and what became of it."""
    intake, ignored = await asyncio.gather(visit.ask(show_intake), visit.ask(list_ignored, {"limit": LIMIT_MAX}))
    model = {
        "groups": groups(intake.data), "outcomes": OUTCOMES, "ignored": ignored.data[:_DAYS_SHOWN],
        "days": _days(visit, ignored.data),
    }  # fmt: skip
    return Shown("intake.html", model)


def groups(partitions: list[Partition]) -> list[Group]:
    """Return the partitions by where their messages came from: topics of the broker, this API, files."""
    by_kind: dict[str, list[Counted]] = {"topics": [], _API: [], _IMPORT: []}
    for each in partitions:
        counted = Counted(each, sum(getattr(each.outcomes, name) for name in OUTCOMES))
        by_kind[each.source if each.source in by_kind else "topics"].append(counted)
    by_kind[_IMPORT].sort(key=lambda each: each.told.updated_at, reverse=True)
    return [_group(kind, found) for kind, found in by_kind.items() if found]


def _group(kind: str, found: list[Counted]) -> Group:
    outcomes: Counter[str] = Counter()
    for each in found:
        outcomes.update({name: getattr(each.told.outcomes, name) for name in OUTCOMES})
    shown = found[:_IMPORTS_SHOWN] if kind == _IMPORT else found
    return Group(kind, shown, sum(each.told.consumed for each in found), outcomes, len(found) - len(shown))


def _days(visit: Visit, ignored: list[IgnoredOrders]) -> list[ChartRow]:
    """Return the ignored orders of each day, of all currencies, the oldest first."""
    orders: Counter[str] = Counter()
    on = {}
    for each in ignored:
        orders[each.day.isoformat()] += each.orders
        on[each.day.isoformat()] = each.day
    return [ChartRow(on[day], label(on[day], on[day], "day", visit.locale), [orders[day]]) for day in sorted(orders)]
