"""Compares every read model with an independent fold of the log, and the log with its rules; names what differs."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from psycopg import Connection, sql

from ledger.batch import Source
from ledger.events import decode
from projections import assignments, balances, conversions, days, folding, partners, payouts, programs, revenue
from projections.assignments import Assignments
from projections.balances import Balances
from projections.conversions import Conversions
from projections.folding import Difference, Differences, Share, Span
from projections.partners import Partners
from projections.programs import Programs
from projections.revenue import Revenue
from projections.schema import LOCK_SWAP

# Below this a second process costs more than it saves.
_ALONE_EVENTS = 100_000
# About this many orders are held in memory at a time, per process.
_SPAN_EVENTS = 50_000
# Where to cut is read off a sample of the log: so many of its rows a span.
_SAMPLED = 200
_PROGRESS_S = 0.2
# What hashtextextended can answer.
_HASHES = range(-(2**63), 2**63)

Progress = Callable[[int, int], None]
"""Called with the events done and the events in all."""


class Verified(NamedTuple):
    """What was compared, and the first difference of each read model; of `log` and `intake` too. None: all is well.

    `counts` tells how many differences there are of each.
    """

    position: int
    events: int
    differences: list[Difference]
    counts: dict[str, int]


def verify(database_url: str, progress: Progress | None = None, *, processes: int | None = None) -> Verified:
    """Compare the read models with the log, both as of one moment and one position; nothing is changed.

    Uses as many processes as there are cores unless told otherwise. Raises psycopg.Error.
    """
    with _moment(database_url) as (conn, snapshot):
        position, head = _one(
            conn, "SELECT position, (SELECT max(notification_id) FROM ledger.events) FROM read.tracked"
        )
        log = _Log(database_url, snapshot, position or 0)
        work = log.cut(conn, head or 0)
        workers = 1 if log.position < _ALONE_EVENTS else processes or os.cpu_count() or 1
        share = _fold(log, work, workers, progress or (lambda _done, _total: None))
        _compare_sums(conn, share)
        share.events += _compare_directory(conn, share, log.position)
        _compare_intake(conn, share, log.position)
        payouts.compare(conn, share.differences, share.held)
    found = share.differences
    return Verified(log.position, share.events, list(found.values()), dict(found.counts))


@contextmanager
def _moment(database_url: str) -> Iterator[tuple[Connection[Any], str]]:
    """Yield a connection that sees one moment, and the name under which others can see it too."""
    with psycopg.connect(database_url, autocommit=True, application_name="verify") as conn:
        # A rebuild must not put other tables under the names that we read.
        conn.execute("SELECT pg_advisory_lock_shared(%s)", (LOCK_SWAP,))
        conn.execute("SET TimeZone TO 'UTC'")
        conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield conn, _one(conn, "SELECT pg_export_snapshot()")[0]


def _one(conn: Connection[Any], query: str) -> tuple[Any, ...]:
    row = conn.execute(query).fetchone()
    return tuple(row) if row else (None, None)


class _Log(NamedTuple):
    """The log at one moment, up to a position; small enough to be handed to other processes."""

    database_url: str
    snapshot: str
    position: int

    def cut(self, conn: Connection[Any], head: int) -> list[Span]:
        """Return the spans that make up all orders, none much larger than _SPAN_EVENTS."""
        share = min(100.0, 100.0 * _SAMPLED / _SPAN_EVENTS) if head > _SPAN_EVENTS else 0.0
        sampled: dict[str, list[str]] = {}
        if share:
            query = sql.SQL(
                "SELECT originator_id FROM ledger.events TABLESAMPLE SYSTEM ({}) REPEATABLE (1)"
                " WHERE starts_with(originator_id, 'order/')"
            ).format(sql.Literal(share))
            for (name,) in conn.execute(query):
                _, merchant_id, order_id = name.split("/", 2)
                sampled.setdefault(merchant_id, []).append(order_id)
        merchants = _merchants(conn)
        return [
            span for merchant_id in merchants for span in _spans(merchant_id, sampled.get(merchant_id, []), _SAMPLED)
        ]

    @contextmanager
    def seen(self) -> Iterator[Connection[Any]]:
        """Yield a connection that sees the same moment."""
        with psycopg.connect(self.database_url, autocommit=True, application_name="verify") as conn:
            conn.execute("SET TimeZone TO 'UTC'")
            conn.execute("SET jit TO off")
            conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            conn.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(self.snapshot)))
            yield conn


def _spans(merchant_id: str, sample: Sequence[str], every: int) -> list[Span]:
    """Cut a merchant's ids at every so many of the sample, by bytes (which is the order of code points in UTF-8)."""
    cuts = sorted(set(sorted(sample)[every::every]))
    return [Span(merchant_id, low, high) for low, high in zip(["", *cuts], [*cuts, None], strict=True)]


def _merchants(conn: Connection[Any]) -> list[str]:
    """Return every merchant of whom the log or a read model has an order, skipping from one to the next."""
    found: set[str] = set()
    low = "order/"
    while row := conn.execute(
        'SELECT min(originator_id COLLATE "C") FROM ledger.events'
        ' WHERE originator_id >= %s COLLATE "C" AND originator_id < \'order0\' COLLATE "C"',
        (low,),
    ).fetchone():
        if row[0] is None:
            break
        merchant_id = row[0].split("/", 2)[1]
        found.add(merchant_id)
        low = f"order/{merchant_id}0"
    for table in ("commissions", "customers"):
        last = ""
        query = sql.SQL("SELECT min(merchant_id) FROM {} WHERE merchant_id > %s").format(sql.Identifier("read", table))
        while (row := conn.execute(query, (last,)).fetchone()) and row[0] is not None:
            last = row[0]
            found.add(last)
    return sorted(found)


# --- folding, alone or by several processes ---

_done: Any = None


def _begin(counter: Any) -> None:
    global _done  # noqa: PLW0603 - what a process of the pool is given when it begins
    _done = counter


def _report(events: int) -> None:
    with _done.get_lock():
        _done.value += events


def _fold_share(log: _Log, work: list[Span], piece: range, report: Callable[[int], None] = _report) -> Share:
    """Fold the spans' orders, and the customers whose hash is in the piece."""
    share = Share(log.position, report)
    with log.seen() as conn:
        for span in work:
            share.fold(conn, span)
        share.fold_customers(conn, piece.start, piece.stop - 1)
    del share._report  # noqa: SLF001 - it stays in its process
    return share


def _fold(log: _Log, work: list[Span], workers: int, progress: Progress) -> Share:
    done = 0

    def report(events: int) -> None:
        nonlocal done
        done += events
        progress(min(done, log.position), log.position)

    if workers == 1:
        whole = _fold_share(log, work, _HASHES, report)
    else:
        whole = _fold_in_processes(log, work, workers, progress)
    progress(log.position, log.position)
    return whole


def _fold_in_processes(log: _Log, work: list[Span], workers: int, progress: Progress) -> Share:
    # Not forked: a copy of our connections and threads would be no good to it.
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    cuts = [*range(_HASHES.start, _HASHES.stop, 2**64 // workers)][:workers]
    pieces = [range(low, high) for low, high in zip(cuts, [*cuts[1:], _HASHES.stop], strict=True)]
    shares = [(work[number::workers], piece) for number, piece in enumerate(pieces)]
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(counter,)) as pool:
        running: set[Future[Share]] = {pool.submit(_fold_share, log, *share) for share in shares}
        ended: set[Future[Share]] = set()
        while running:
            now_ended, running = wait(running, timeout=_PROGRESS_S)
            ended |= now_ended
            progress(min(counter.value, log.position), log.position)
    whole, *others = [future.result() for future in ended]
    for other in others:
        _add(whole, other)
    return whole


def _add(whole: Share, other: Share) -> None:
    whole.events += other.events
    whole.differences.merge(other.differences)
    for kind, sums in other.sums.items():
        mine = whole.sums.get(kind)
        whole.sums[kind] = sums if mine is None else [a + b for a, b in zip(mine, sums, strict=True)]
    whole.counts.update(other.counts)
    whole.held.update(other.held)


# --- comparing ---


def _table(
    conn: Connection[Any], table: str, key: Sequence[str], columns: Sequence[str]
) -> Iterator[tuple[tuple[Any, ...], list[Any]]]:
    query = sql.SQL("SELECT {} FROM {}").format(
        sql.SQL(", ").join(map(sql.Identifier, (*key, *columns))), sql.Identifier("read", table)
    )
    for row in folding.stream(conn, query):
        yield row[: len(key)], list(row[len(key) :])


def _compare(
    conn: Connection[Any], differences: Differences, model: str, table: str, key: Sequence[str], columns: Sequence[str],
    expected: dict[Any, list[Any]], *, zero: bool = False,
) -> None:  # fmt: skip
    """Compare a table with the expected rows, which are used up; with `zero` a row of zeros is as good as none."""
    for row_key, found in _table(conn, table, key, columns):
        wanted = expected.pop(row_key, None)
        if wanted != found and not (zero and wanted is None and not any(found)):
            differences.compare(model, columns, row_key, wanted, found)
    for row_key in sorted(expected, key=str):
        if not (zero and not any(expected[row_key])):
            differences.compare(model, columns, row_key, expected[row_key], None)


def _compare_sums(conn: Connection[Any], share: Share) -> None:
    owed, earned, counted = Balances(), Revenue(), Conversions()
    for (merchant_id, partner_id, currency, day, *kind), sums in share.sums.items():
        orders, amount_minor, revenue_minor, total_minor, payout_minor = sums
        move: Any = tuple(kind)
        owed.take((merchant_id, partner_id, currency), move, amount_minor)
        earned.take(
            (merchant_id, partner_id, currency, day), move, amount_minor, revenue_minor, total_minor, payout_minor
        )
        counted.take((merchant_id, partner_id, currency, day), move, orders)
    found, of_programs = share.differences, (balances.PROGRAM_KEY, balances.COLUMNS, owed.of_programs())
    _compare(conn, found, "days", "program_days", days.KEY, days.COLUMNS, days.days(earned, counted), zero=True)
    _compare(conn, found, "balances", "program_balances", *of_programs, zero=True)
    _compare(conn, found, "balances", "balances", balances.KEY, balances.COLUMNS, owed, zero=True)
    _compare(conn, found, "revenue", "revenue", revenue.KEY, revenue.COLUMNS, earned, zero=True)
    _compare(conn, found, "conversions", "conversions", conversions.KEY, conversions.COLUMNS, counted, zero=True)


def _compare_directory(conn: Connection[Any], share: Share, position: int) -> int:
    """Compare programs, partners, rates, codes and assignments of customers; returns how many events told of them."""
    known, opened, assigned = Partners(), Programs(), Assignments()
    stream, last, events = "", 0, 0
    rows = conn.execute(
        "SELECT originator_id, originator_version, topic, state::text, notification_id FROM ledger.events"
        " WHERE NOT starts_with(originator_id, 'order/') AND notification_id <= %s"
        ' ORDER BY originator_id COLLATE "C", originator_version',
        (position,),
    )
    for name, version, topic, state, at in rows:
        last = last + 1 if name == stream else 1
        stream = name
        if version != last:
            share.differences.add("log", (name,), "version", last, version)
            last = version
        event = decode(topic, state)
        known.take(event, at)
        opened.take(event, at)
        assigned.take(event, at)
        events += 1
    found = share.differences
    _compare(conn, found, "programs", "programs", programs.KEY, programs.COLUMNS, opened)
    _compare(conn, found, "partners", "partners", partners.KEY, partners.COLUMNS, known.rows())
    _compare(conn, found, "partners", "partner_rates", partners.RATE_KEY, partners.RATE_COLUMNS, known.rates)
    _compare(conn, found, "partners", "coupons", partners.COUPON_KEY, partners.COUPON_COLUMNS, known.coupons)
    rates, versions = (partners.COUPON_RATE_KEY, partners.COUPON_RATE_COLUMNS), programs.VERSION_COLUMNS
    _compare(conn, found, "partners", "coupon_rates", *rates, known.coupon_rates)
    _compare(conn, found, "programs", "program_versions", programs.VERSION_KEY, versions, opened.versions)
    _compare(conn, found, "assignments", "assignments", assignments.KEY, assignments.COLUMNS, assigned)
    return events


def _compare_intake(conn: Connection[Any], share: Share, position: int) -> None:
    """Compare the counts of each partition with the events that its messages caused, and with the dead letters.

    The counts are as new as the log: what the read models have not seen yet is counted here.
    """
    counts, differences = share.counts, share.differences
    for topic, state in conn.execute(
        "SELECT topic, state::text FROM ledger.events WHERE notification_id > %s", (position,)
    ):
        event = decode(topic, state)
        folding.count_outcome(counts, topic, event)
        # Payouts are as new as the log, too.
        folding.hold(share.held, topic, event)
    for *place, letters in conn.execute(
        "SELECT source, topic, partition, count(*) FROM ledger.dead_letters WHERE status <> 'retried' GROUP BY 1, 2, 3"
    ):
        counts[_place(*place), "dead_lettered"] = letters
    ignored = 0
    outcomes = ("earned", "adjusted", "skipped", "dead_lettered")
    for *place, consumed, earned, adjusted, skipped, dead, nobodys, duplicate in conn.execute(
        "SELECT source, topic, partition, consumed, earned, adjusted, skipped, dead_lettered, ignored, duplicate"
        " FROM ledger.positions"
    ):
        ignored += nobodys
        expected = [counts.pop((_place(*place), outcome), 0) for outcome in outcomes]
        found = [earned, adjusted, skipped, dead]
        differences.compare("intake", outcomes, place, expected, found)
        differences.compare("intake", ("consumed",), place, [sum(found) + nobodys + duplicate], [consumed])
    for (name, outcome), count in counts.items():
        if count and _is_place(name):
            differences.add("intake", (name,), outcome, count, "no such partition")
    (orders,) = _one(conn, "SELECT coalesce(sum(orders), 0)::bigint FROM ledger.ignored_totals")
    differences.compare("intake", ("ignored",), ("all partitions",), [orders], [ignored])


def _place(source: str, topic: str, partition: int) -> str:
    return Source(source, topic, partition).cause(0).rpartition("@")[0]


def _is_place(place: str) -> bool:
    """Return whether a cause is a message's: others have no partition."""
    return place.count("/") >= 2 and place.rpartition("/")[2].isdigit()  # noqa: PLR2004 - source, topic and partition
