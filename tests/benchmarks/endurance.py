"""What must not change with size: the worker's memory over a long backlog, the intake rate on a long log."""

import subprocess
import threading
from pathlib import Path
from typing import Any

import psycopg

from tests.benchmarks.reads import fill
from tests.benchmarks.stack import Stack, quiet, rate, wait_for

_HEAD = "SELECT coalesce(sum(consumed), 0) FROM ledger.positions WHERE source <> 'fill'"
_SAMPLE_S = 0.5
_COPIED = 20_000


def memory(stack: Stack, count: int) -> tuple[dict[str, Any], str]:
    """Return the worker's resident memory over a backlog of `count` messages, and the database that it filled.

    `growth` is the most of the second half of the way over the most of the first.
    """
    url, topic = stack.database(), stack.topic(0, count)
    samples: list[tuple[int, float]] = []
    done = threading.Event()
    with psycopg.connect(url, autocommit=True) as conn, stack.worker(url, topic) as worker:
        watcher = threading.Thread(target=_watch, args=(url, worker, samples, done))
        watcher.start()
        seen = wait_for(conn, _HEAD, count)
        done.set()
        watcher.join()
    early = max(mib for consumed, mib in samples if consumed <= count / 2)
    late = max(mib for consumed, mib in samples if consumed > count / 2)
    table = {
        "messages": count, "intake_per_s": round(rate(seen)), "early_mib": round(early), "late_mib": round(late),
        "growth": round(late / early, 3),
    }  # fmt: skip
    return table, url


def _watch(url: str, worker: subprocess.Popen[bytes], samples: list[tuple[int, float]], done: threading.Event) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        while not done.wait(_SAMPLE_S):
            row = conn.execute(_HEAD).fetchone()
            samples.append((int(row[0]) if row else 0, _resident_mib(worker.pid)))


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def growth(stack: Stack, small: int, large: int, count: int) -> dict[str, Any]:
    """Return the intake rate on a log of `small` and of `large` events, over `count` messages each, and the ratio.

    The log is made longer by copying its events under other order ids in SQL: the same rows that intake would have
    written.
    """
    url = stack.database()
    rates = []
    for events in (small, large):
        _lengthen(url, events)
        first = 10_000_000 + len(rates) * count
        topic = stack.topic(first, count)
        with psycopg.connect(url, autocommit=True) as conn, stack.worker(url, topic):
            before = _consumed(conn)
            seen = [(at, number - before) for at, number in wait_for(conn, _HEAD, before + count)]
            rates.append(rate(seen))
    return {
        "small": small, "large": large, "messages": count, "at_small_per_s": round(rates[0]),
        "at_large_per_s": round(rates[1]), "ratio": round(rates[1] / rates[0], 3),
    }  # fmt: skip


def _consumed(conn: psycopg.Connection[Any]) -> int:
    row = conn.execute(_HEAD).fetchone()
    return int(row[0]) if row else 0


def _lengthen(url: str, events: int) -> None:
    """Make the log as long as that, by copies of its first orders under other ids; the read models stay behind."""
    with psycopg.connect(url, autocommit=True) as conn:
        row = conn.execute("SELECT count(*) FROM ledger.events WHERE starts_with(originator_id, 'order/')").fetchone()
        have = int(row[0]) if row else 0
        if not have:
            fill(url, _COPIED)
            have = _COPIED
        for number in range(have // _COPIED, events // _COPIED):
            conn.execute(
                "INSERT INTO ledger.events (originator_id, originator_version, topic, state)"
                " SELECT 'order/bench/' || copied.id, 1, topic, state || jsonb_build_object('order_id', copied.id)"
                " FROM ledger.events,"
                " lpad((%s * 20000 + substr(originator_id, 13)::bigint)::text, 8, '0') AS copied (id)"
                " WHERE originator_id BETWEEN 'order/bench/00000000' AND 'order/bench/00019999'"
                " ORDER BY notification_id",
                (number,),
            )
        conn.execute("VACUUM ANALYZE ledger.events")
        quiet(conn)
