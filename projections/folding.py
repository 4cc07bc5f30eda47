"""The log told once more in Python, a share of its streams at a time, beside what the read models say of them."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from psycopg import Connection, sql
from psycopg.abc import Query

from ledger.events import (
    CommissionCorrected,
    CommissionEntered,
    CommissionMoved,
    Event,
    OrderTaken,
    ParkedRefundRejected,
    Stream,
    decode,
)
from projections import commissions, customers
from projections.commissions import Standing
from projections.customers import Bought

_REPORT_EVERY = 5_000
_FETCHED_ROWS = 2_000


Kind = tuple[str, str, str, date, str, str | None, str]
"""Merchant, partner, currency, day, topic, from_state, to_state."""

Held = Counter[tuple[str, str, str]]
"""By merchant, payout and what: `reserved_minor`, `reservations`, and what is still `in_payout_minor`."""

Counts = Counter[tuple[str, str]]
"""Messages by the place of their partition (the cause without its position) and their outcome."""


class Difference(NamedTuple):
    """Where a read model (or the log itself) is not what the fold says: one value of one row."""

    model: str
    key: str
    column: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.model} {self.key}: {self.column} should be {self.expected}, is {self.found}"


class Span(NamedTuple):
    """The orders of one merchant from `low` to before `high` (None: no end), by the bytes of their ids."""

    merchant_id: str
    low: str
    high: str | None


class Differences(dict[str, Difference]):
    """The first difference of each model, and how many there are."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def add(self, model: str, key: Sequence[Any], column: str, expected: Any, found: Any) -> None:
        """Note a difference."""
        self.counts[model] += 1
        if model not in self:
            self[model] = Difference(model, "/".join(map(str, key)), column, _told(expected), _told(found))

    def compare(
        self,
        model: str,
        columns: Sequence[str],
        key: Sequence[Any],
        expected: Sequence[Any] | None,
        found: Sequence[Any] | None,
    ) -> None:
        """Note the first column in which the two rows differ; None is a row that is not there."""
        if expected is None or found is None:
            if expected is not found:
                self.add(
                    model, key, "the row", "none" if expected is None else "there", "none" if found is None else "there"
                )
            return
        for column, wanted, value in zip(columns, expected, found, strict=True):
            if wanted != value:
                self.add(model, key, column, wanted, value)
                return

    def merge(self, other: "Differences") -> None:
        """Take in those that another process found."""
        for model, difference in other.items():
            self.setdefault(model, difference)
        self.counts.update(other.counts)


class Share:
    """What one process folds: whole orders, compared at once; sums, to be added to those of the other shares."""

    def __init__(self, position: int, report: Callable[[int], None]) -> None:
        self.differences = Differences()
        # Of each kind of event per partner, currency and day: how many, and their sums of amount, revenue, total and
        # what of the amount payouts moved.
        self.sums: dict[Kind, list[int]] = {}
        self.counts: Counts = Counter()
        self.held: Held = Counter()
        self.events = 0
        self._position = position
        self._report = report

    def fold(self, conn: Connection[Any], span: Span) -> None:
        """Fold the streams of the span's orders and compare each with its commission."""
        rows = {row[0]: row[1:] for row in _commission_rows(conn, span)}
        stream, standing = "", Standing()
        prefix = len(Stream.order(span.merchant_id, ""))
        for name, version, topic, state, position in _events(conn, span, self._position):
            if name != stream:
                if stream:
                    self._close(span.merchant_id, stream[prefix:], standing, rows)
                stream, standing = name, Standing()
            event = decode(topic, state)
            standing.take(event, position)
            if version != standing.version:
                self.differences.add("log", (name,), "version", standing.version, version)
                standing.version = version
            self.take(topic, event)
            if not self.events % _REPORT_EVERY:
                self._report(_REPORT_EVERY)
        if stream:
            self._close(span.merchant_id, stream[prefix:], standing, rows)
        for order_id, row in rows.items():
            self.differences.compare("commissions", commissions.COLUMNS, (span.merchant_id, order_id), None, row)

    def take(self, topic: str, event: Event) -> None:
        """Take one event of an order into the sums."""
        self.events += 1
        outcome = _OUTCOMES.get(topic)
        if outcome is not None:
            outcome(self.counts, event)
        hold(self.held, topic, event)
        if isinstance(event, (CommissionMoved, CommissionEntered)):
            revenue_minor, total_minor = getattr(event, "revenue_minor", 0), 0
        elif isinstance(event, OrderTaken):
            revenue_minor, total_minor = 0, event.total_minor
        else:
            return
        kind = (
            event.merchant_id, event.partner_id, event.currency, event.occurred_on,
            topic, event.from_state, event.to_state,
        )  # fmt: skip
        sums = self.sums.get(kind)
        if sums is None:
            sums = self.sums[kind] = [0, 0, 0, 0, 0]
        sums[0] += 1
        sums[1] += event.amount_minor
        sums[2] += revenue_minor
        sums[3] += total_minor
        if getattr(event, "payout_id", None) is not None:
            sums[4] += event.amount_minor

    def fold_customers(self, conn: Connection[Any], low: int, high: int) -> None:
        """Fold the commissions of the customers whose hash is in [low, high] and compare them with the customers.

        Both come in the order of the hash, so that one customer is in memory at a time.
        """
        kept = groupby(stream(conn, _customers(low, high), "kept"), itemgetter(0))
        waiting = next(kept, None)
        for number, orders in groupby(stream(conn, _orders_of_customers(low, high), "orders"), itemgetter(0)):
            while waiting is not None and waiting[0] < number:
                self._compare_customers({}, waiting[1])
                waiting = next(kept, None)
            bought: dict[tuple[str, str, str], Bought] = defaultdict(Bought)
            for _, merchant_id, customer_id, currency, *order in orders:
                bought[merchant_id, customer_id, currency].take(*order)
            if waiting is not None and waiting[0] == number:
                self._compare_customers(bought, waiting[1])
                waiting = next(kept, None)
            else:
                self._compare_customers(bought, ())
        while waiting is not None:
            self._compare_customers({}, waiting[1])
            waiting = next(kept, None)

    def _compare_customers(
        self, bought: Mapping[tuple[str, str, str], Bought], kept: Iterable[tuple[Any, ...]]
    ) -> None:
        found = {row[1:4]: row[4:] for row in kept}
        for key, sums in bought.items():
            expected, row = sums.row(), found.pop(key, None)
            if expected != row:
                self.differences.compare("customers", customers.COLUMNS, key, expected, row)
        for key, row in found.items():
            self.differences.compare("customers", customers.COLUMNS, key, None, row)

    def _close(self, merchant_id: str, order_id: str, standing: Standing, rows: dict[str, tuple[Any, ...]]) -> None:
        if standing.fault is not None:
            self.differences.add("log", (merchant_id, order_id), "events", "a legal history", standing.fault)
        taken = standing.taken
        if taken is not None and (taken.merchant_id, taken.order_id) != (merchant_id, order_id):
            self.differences.add(
                "log", (merchant_id, order_id), "order_id", order_id, f"{taken.merchant_id}/{taken.order_id}"
            )
        expected, found = standing.row(), rows.pop(order_id, None)
        if expected != found:
            self.differences.compare("commissions", commissions.COLUMNS, (merchant_id, order_id), expected, found)


def hold(held: Held, topic: str, event: Any) -> None:
    """Take an event of an order into what payouts hold; most are about none."""
    sign = _HOLDS.get(topic)
    if sign is None or event.payout_id is None:
        return
    name = (event.merchant_id, event.payout_id)
    held[*name, "in_payout_minor"] += sign * event.amount_minor
    if sign > 0:
        held[*name, "reserved_minor"] += event.amount_minor
        held[*name, "reservations"] += 1


# What comes into a payout, and what leaves it again.
_HOLDS = {
    "CommissionReserved": 1, "ClawbackNetted": 1,
    "CommissionPaid": -1, "CommissionUnreserved": -1, "ClawbackSettled": -1, "ClawbackUnnetted": -1,
}  # fmt: skip


def count_outcome(counts: Counts, topic: str, event: Event) -> None:
    """Count the event for the partition whose message caused it, as intake has counted that message."""
    if topic in _OUTCOMES:
        _OUTCOMES[topic](counts, event)


def _earned(counts: Counts, event: Event) -> None:
    counts[event.cause.rpartition("@")[0], "earned"] += 1


def _skipped(counts: Counts, event: Event) -> None:
    counts[event.cause.rpartition("@")[0], "skipped"] += 1


def _adjusted(counts: Counts, event: Event) -> None:
    if isinstance(event, CommissionCorrected) and (event.parked or event.kind == "returned"):
        return  # counted when it was parked; or no message at all
    counts[event.cause.rpartition("@")[0], "adjusted"] += 1


def _refused(counts: Counts, event: Event) -> None:
    # Its message was counted as adjusted when it came, and is a dead letter since.
    if isinstance(event, ParkedRefundRejected):
        counts[event.parked_cause.rpartition("@")[0], "adjusted"] -= 1


_OUTCOMES: dict[str, Callable[[Counts, Event], None]] = {
    "CommissionEarned": _earned,
    "CommissionSkipped": _skipped,
    "RefundParked": _adjusted,
    "CommissionAdjusted": _adjusted,
    "CommissionClawedBack": _adjusted,
    "ParkedRefundRejected": _refused,
}


def _told(value: Any) -> str:
    return value if isinstance(value, str) else repr(value) if value is None else str(value)


# --- what the database says ---


def stream(conn: Connection[Any], query: Query, name: str = "rows") -> Iterator[tuple[Any, ...]]:
    """Stream a query's rows, many at a time: four times as fast as COPY, which the driver reads row by row."""
    with conn.cursor(name=name, binary=True) as cursor:
        cursor.execute(query)
        while rows := cursor.fetchmany(_FETCHED_ROWS):
            yield from rows


def _between(column: str, low: str, high: str | None) -> sql.Composed:
    from_low = sql.SQL('{} >= {} COLLATE "C"').format(sql.Identifier(column), sql.Literal(low))
    if high is None:
        return from_low
    return sql.SQL('{} AND {} < {} COLLATE "C"').format(from_low, sql.Identifier(column), sql.Literal(high))


def _events(conn: Connection[Any], span: Span, position: int) -> Iterator[tuple[Any, ...]]:
    low = Stream.order(span.merchant_id, span.low)
    # "0" is the character behind "/": the end of this merchant's streams.
    high = (
        f"{Stream.order(span.merchant_id, '')[:-1]}0"
        if span.high is None
        else Stream.order(span.merchant_id, span.high)
    )
    query = sql.SQL(
        "SELECT originator_id, originator_version, topic, state::text, notification_id FROM ledger.events"
        ' WHERE {} AND notification_id <= {} ORDER BY originator_id COLLATE "C", originator_version'
    ).format(_between("originator_id", low, high), sql.Literal(position))
    return stream(conn, query)


def _commission_rows(conn: Connection[Any], span: Span) -> Iterator[tuple[Any, ...]]:
    columns = sql.SQL(", ").join(map(sql.Identifier, ("order_id", *commissions.COLUMNS)))
    query = sql.SQL("SELECT {} FROM read.commissions WHERE merchant_id = {} AND {}").format(
        columns, sql.Literal(span.merchant_id), _between("order_id", span.low, span.high)
    )
    return stream(conn, query)


# As in the column `by_customer` of commissions, which has an index.
_HASH = "hashtextextended(merchant_id || '/' || customer_id, 0)"


def _orders_of_customers(low: int, high: int) -> sql.Composed:
    return sql.SQL(
        "SELECT by_customer, merchant_id, customer_id, currency,"
        " occurred_at, place, total_minor, remaining_minor, partner_id FROM read.commissions"
        " WHERE state <> 'skipped' AND by_customer BETWEEN {low}::bigint AND {high}::bigint"
        " ORDER BY by_customer, place"
    ).format(low=sql.Literal(str(low)), high=sql.Literal(str(high)))


def _customers(low: int, high: int) -> sql.Composed:
    columns = sql.SQL(", ").join(map(sql.Identifier, (*customers.KEY, *customers.COLUMNS)))
    return sql.SQL(
        "SELECT {hash}, {columns} FROM read.customers"
        " WHERE {hash} BETWEEN {low}::bigint AND {high}::bigint ORDER BY {hash}"
    ).format(hash=sql.SQL(_HASH), columns=columns, low=sql.Literal(str(low)), high=sql.Literal(str(high)))
