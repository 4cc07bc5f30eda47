"""`make bench`: every figure of docs/benchmarks.md, in one run on one machine; a table, and JSON in `bench-results/`.

`--only NAME ...` runs some of them, `--scale 0.1` makes every size a tenth (the ratios of a short run are rough).
"""

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.endurance import growth, memory
from tests.benchmarks.intake import intake
from tests.benchmarks.latency import latency
from tests.benchmarks.pages import pages
from tests.benchmarks.payouts import run_of_payouts
from tests.benchmarks.readmodels import rebuild_and_verify, visible
from tests.benchmarks.reads import fill, reads
from tests.benchmarks.stack import Stack, running

NAMES = ("intake", "visible", "rebuild", "latency", "memory", "reads", "pages", "payouts", "growth")

# What issue and design ask for: the figure, the bound, and which side of it is good.
WANTED = {
    ("intake", "ratio"): (">=", 0.3),
    ("visible", "ratio"): (">=", 12),
    ("rebuild", "rebuild_ratio"): (">=", 5),
    ("rebuild", "verify_ratio"): (">=", 3),
    ("rebuild", "rebuild_ratio_one_worker"): (">=", 5),
    ("rebuild", "verify_ratio_one_worker"): (">=", 3),
    ("latency", "ratio_p99"): ("<=", 4),
    ("memory", "growth"): ("<=", 1.1),
    ("reads", "balances_ratio_p99"): ("<=", 1.5),
    ("reads", "balances_of_partner_ratio_p99"): ("<=", 1.5),
    ("reads", "commissions_ratio_p99"): ("<=", 1.5),
    ("reads", "commissions_of_partner_ratio_p99"): ("<=", 1.5),
    ("reads", "balances_ratio_p50"): ("<=", 1.5),
    ("reads", "commissions_ratio_p50"): ("<=", 1.5),
    ("reads", "metrics_ratio_p50"): ("<=", 1.5),
    ("pages", "overview_ratio_p99"): ("<=", 2),
    ("pages", "dashboard_ratio_p99"): ("<=", 2),
    ("pages", "overview_weight_kb"): ("<=", 300),
    ("pages", "dashboard_weight_kb"): ("<=", 300),
    ("payouts", "request_ratio"): ("<=", 3),
    ("payouts", "settlement_ratio"): ("<=", 3),
    ("growth", "ratio"): (">=", 0.9),
}


class Bench:
    """The measurements, each building on what those before it found and filled."""

    def __init__(self, stack: Stack, scale: float) -> None:
        self._stack, self._scale = stack, scale
        self._intake_per_s = self._one_worker_per_s = 0.0
        self._large = ""

    def run(self, name: str) -> dict[str, Any]:
        """Return the figures of one measurement."""
        self._stack.rest(keep=self._large)
        measure: Callable[[], dict[str, Any]] = getattr(self, f"_{name}")
        return measure()

    def _size(self, number: int) -> int:
        return max(int(number * self._scale), 20_000)

    def _intake(self) -> dict[str, Any]:
        # The median of three: one run of a few seconds on two cores that four processes share says little.
        tables = sorted((intake(self._stack, self._size(200_000)) for _ in range(3)), key=lambda table: table["ratio"])
        self._intake_per_s, self._one_worker_per_s = tables[1]["intake_per_s"], tables[1]["one_worker_per_s"]
        return tables[1] | {"ratios": [table["ratio"] for table in tables]}

    def _visible(self) -> dict[str, Any]:
        return visible(self._stack, self._size(200_000))

    def _rebuild(self) -> dict[str, Any]:
        return rebuild_and_verify(self._filled(), self._peak(), self._one_worker_per_s)

    def _latency(self) -> dict[str, Any]:
        return latency(self._stack, self._peak())

    def _memory(self) -> dict[str, Any]:
        table, self._large = memory(self._stack, self._size(1_000_000))
        return table

    def _reads(self) -> dict[str, Any]:
        requests = max(int(1_500 * self._scale), 200)
        return reads(self._stack, 10_000, self._size(1_000_000), self._filled(), requests)

    def _pages(self) -> dict[str, Any]:
        requests = max(int(1_000 * self._scale), 200)
        return pages(self._stack, 10_000, self._size(1_000_000), self._filled(), requests)

    def _payouts(self) -> dict[str, Any]:
        commissions = self._size(1_000_000)
        return run_of_payouts(self._stack, commissions // 100, commissions)

    def _growth(self) -> dict[str, Any]:
        return growth(self._stack, self._size(100_000), self._size(3_000_000), self._size(100_000))

    def _peak(self) -> float:
        if not self._intake_per_s:
            self._intake()
        return self._intake_per_s

    def _filled(self) -> str:
        if not self._large:
            self._large = self._stack.database()
        fill(self._large, self._size(1_000_000))
        return self._large


def main() -> None:
    """Run, print and store the measurements."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    told = parser.parse_args()
    console, results = Console(width=110), {}
    with running() as stack:
        bench = Bench(stack, told.scale)
        for name in (name for name in NAMES if name in told.only):
            begun = time.perf_counter()
            results[name] = {key: value for key, value in bench.run(name).items() if key not in ("database", "topic")}
            console.print(f"{name}, in {time.perf_counter() - begun:.0f} s: {results[name]}")
    facts = _facts(told.scale)
    console.print(_table(results, facts))
    told.out.mkdir(exist_ok=True)
    path = told.out / f"{facts['at'][:19].replace(':', '')}-{facts['commit']}.json"
    path.write_text(json.dumps({"facts": facts, "results": results}, indent=1))
    console.print(f"written to {path}")


def _facts(scale: float) -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "at": datetime.now(UTC).isoformat(), "commit": commit.stdout.strip() or "unknown", "scale": scale,
        "cores": os.cpu_count(), "python": platform.python_version(), "machine": platform.machine(),
    }  # fmt: skip


def _table(results: dict[str, dict[str, Any]], facts: dict[str, Any]) -> Table:
    table = Table(
        title=f"commit {facts['commit']}, {facts['cores']} cores, Python {facts['python']}, scale {facts['scale']}"
    )
    for column in ("measurement", "figure", "value", "wanted", ""):
        table.add_column(column)
    for name, figures in results.items():
        for figure, value in figures.items():
            side, bound = WANTED.get((name, figure), ("", None))
            good = bound is None or (value >= bound if side == ">=" else value <= bound)
            verdict = "" if bound is None else "met" if good else "MISSED"
            table.add_row(name, figure, str(value), f"{side} {bound}" if bound is not None else "", verdict)
    return table


if __name__ == "__main__":
    main()
