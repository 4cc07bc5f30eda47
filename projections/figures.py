"""The figures of GET /metrics: revenue, commissions and conversions over stretches of days."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from operator import itemgetter
from typing import Any, LiteralString

from projections.rows import Figures, Metrics

_DAY = timedelta(days=1)
_SUMMED = (
    "gross_minor", "refunded_minor", "earned_minor", "paid_minor", "payouts_paid_minor", "payouts_returned_minor",
    "conversions", "skipped", "entered", "reversed", "rejected",
)  # fmt: skip
_summed_of = itemgetter(*_SUMMED)

_OURS: LiteralString = "merchant_id = %(merchant_id)s AND currency = %(currency)s"
_THEIRS: LiteralString = f"{_OURS} AND partner_id = %(partner_id)s"
# Of a whole program there is a row a day, so that its figures cost the same however many partners it has.
_PROGRAM_DAYS: LiteralString = f"""
        SELECT
            day, gross_minor, refunded_minor, earned_minor, paid_minor, payouts_paid_minor, payouts_returned_minor,
            conversions, skipped, entered, reversed, rejected
        FROM read.program_days WHERE {_OURS} AND day >= %(from_on)s
"""  # noqa: S608 - parts of our own
_PROGRAM_OWED: LiteralString = f"read.program_balances WHERE {_OURS}"
_PARTNER_DAYS: LiteralString = f"""
        SELECT
            day, gross_minor, refunded_minor,
            earned_minor + adjusted_minor + clawed_back_minor - rejected_minor AS earned_minor, paid_minor,
            payouts_paid_minor, payouts_returned_minor,
            0 AS conversions, 0 AS skipped, 0 AS entered, 0 AS reversed, 0 AS rejected
        FROM read.revenue WHERE {_THEIRS} AND day >= %(from_on)s
        UNION ALL
        SELECT day, 0, 0, 0, 0, 0, 0, conversions, skipped, entered, reversed, rejected
        FROM read.conversions WHERE {_THEIRS} AND day >= %(from_on)s
"""  # noqa: S608 - parts of our own
_PARTNER_OWED: LiteralString = f"read.balances WHERE {_THEIRS}"


def stretches(from_on: date, to_on: date, interval: str) -> list[tuple[date, date]]:
    """Return the first and last day of each day, ISO week (from Monday) or month between the two days, cut at them.

    Raises ValueError for another interval, or days in the wrong order.
    """
    if interval not in ("day", "week", "month"):
        raise ValueError(f"no interval {interval!r}: day, week or month")
    if to_on < from_on:
        raise ValueError("the last day is before the first")
    return list(_stretches(from_on, to_on, interval))


def _stretches(from_on: date, to_on: date, interval: str) -> Iterator[tuple[date, date]]:
    first = from_on
    while first <= to_on:
        last = min(_end(first, interval), to_on)
        yield first, last
        first = last + _DAY


def _end(day: date, interval: str) -> date:
    if interval == "day":
        return day
    if interval == "week":
        return day + timedelta(days=6 - day.weekday())
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1) - _DAY


def query(*, of_partner: bool) -> LiteralString:
    """Return the query: a row per stretch with figures, one for all days behind the last, one for what is owed now."""
    days, owed = (_PARTNER_DAYS, _PARTNER_OWED) if of_partner else (_PROGRAM_DAYS, _PROGRAM_OWED)
    return f"""
    SELECT
        'figures' AS kind,
        CASE WHEN day <= %(to_on)s THEN greatest(date_trunc(%(interval)s, day::timestamp)::date, %(from_on)s::date) END
            AS first_on,
        sum(gross_minor)::bigint AS gross_minor, sum(refunded_minor)::bigint AS refunded_minor,
        sum(earned_minor)::bigint AS earned_minor, sum(paid_minor)::bigint AS paid_minor,
        sum(payouts_paid_minor)::bigint AS payouts_paid_minor,
        sum(payouts_returned_minor)::bigint AS payouts_returned_minor,
        sum(conversions)::bigint AS conversions, sum(skipped)::bigint AS skipped, sum(entered)::bigint AS entered,
        sum(reversed)::bigint AS reversed, sum(rejected)::bigint AS rejected
    FROM ({days}) AS days
    GROUP BY first_on
    UNION ALL
    SELECT
        'owed', NULL, NULL, NULL,
        coalesce(sum(pending_minor + approved_minor + held_minor + in_payout_minor + clawed_back_minor), 0)::bigint,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM {owed}"""  # noqa: S608 - parts of our own


def metrics(days: Sequence[tuple[date, date]], rows: Sequence[dict[str, Any]], position: int) -> Metrics:
    """Return the metrics of the stretches from the query's rows.

    What was owed at the end of each is found backwards, from what is owed now: what was paid since is added, what was
    earned since is taken off.
    """
    nothing = dict.fromkeys(_SUMMED, 0)
    owed = sum(row["earned_minor"] for row in rows if row["kind"] == "owed")
    found = {
        row["first_on"]: dict(zip(_SUMMED, _summed_of(row), strict=True)) for row in rows if row["kind"] == "figures"
    }
    later = found.pop(None, nothing)
    owed -= later["earned_minor"] - later["paid_minor"]
    series = []
    for first_on, last_on in reversed(days):
        sums = found.get(first_on, nothing)
        series.append(Figures(first_on=first_on, last_on=last_on, outstanding_minor=owed, **sums))
        owed -= sums["earned_minor"] - sums["paid_minor"]
    series.reverse()
    columns = zip(*(stretch.values() for stretch in found.values()), strict=True)
    sums = dict(zip(_SUMMED, map(sum, columns), strict=True)) if found else nothing
    totals = Figures(first_on=days[0][0], last_on=days[-1][1], outstanding_minor=series[-1].outstanding_minor, **sums)
    return Metrics(totals, series, position)
