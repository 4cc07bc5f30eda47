"""The read side: Kafka to every read model, rebuild, and verify."""

import subprocess
import sys
import tempfile
import time
from typing import Any

import psycopg

from projections.rebuild import rebuild
from tests.benchmarks.plain import plain
from tests.benchmarks.stack import Stack, quiet, rate, wait_for

# An order is visible when the read models have reached the event of it: orders behind the tracked position.
_VISIBLE = (
    "SELECT greatest(position - (SELECT count(*) FROM ledger.events"
    " WHERE NOT starts_with(originator_id, 'order/')), 0) FROM read.tracked"
)


def visible(stack: Stack, count: int) -> dict[str, Any]:
    """Return how many messages a second become visible in every read model, beside the plain application."""
    url, topic = stack.database(), stack.topic(0, count)
    with psycopg.connect(url, autocommit=True) as conn, stack.projector(url), stack.worker(url, topic):
        per_second = rate(wait_for(conn, _VISIBLE, count))
    plain_per_s = plain(stack.broker.bootstrap, stack.postgres.database("bench_plain"), topic)
    return {
        "messages": count, "visible_per_s": round(per_second), "plain_per_s": round(plain_per_s),
        "ratio": round(per_second / plain_per_s, 1),
    }  # fmt: skip


def rebuild_and_verify(url: str, intake_per_s: float, one_worker_per_s: float) -> dict[str, Any]:
    """Return the rates of a rebuild of all read models and of a verify, in events a second, beside the intake rates."""
    with psycopg.connect(url, autocommit=True) as conn:
        events = conn.execute("SELECT count(*) FROM ledger.events").fetchone()[0]  # type: ignore[index]
        conn.execute("VACUUM ANALYZE ledger.events")
        quiet(conn)
    begun = time.perf_counter()
    rebuild(url)
    rebuild_s = time.perf_counter() - begun
    verify_s = _verify(url)
    rebuild_per_s, verify_per_s = events / rebuild_s, events / verify_s
    return {
        "events": events, "intake_per_s": round(intake_per_s),
        "rebuild_per_s": round(rebuild_per_s), "rebuild_ratio": round(rebuild_per_s / intake_per_s, 2),
        "verify_per_s": round(verify_per_s), "verify_ratio": round(verify_per_s / intake_per_s, 2),
        "rebuild_ratio_one_worker": round(rebuild_per_s / one_worker_per_s, 2),
        "verify_ratio_one_worker": round(verify_per_s / one_worker_per_s, 2),
    }  # fmt: skip


def _verify(url: str) -> float:
    # In a process of its own, as an operator runs it: this one's memory and threads are nobody's business there.
    with tempfile.NamedTemporaryFile("w", suffix=".py") as program:
        program.write(_VERIFY)
        program.flush()
        done = subprocess.run([sys.executable, program.name, url], capture_output=True, text=True, check=True)
    return float(done.stdout)


_VERIFY = """
import sys, time
from projections.verify import verify

if __name__ == "__main__":
    begun = time.perf_counter()
    found = verify(sys.argv[1])
    assert not found.differences, found
    print(time.perf_counter() - begun)
"""
