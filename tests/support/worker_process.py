"""The worker as a process of its own, started as an operator starts it, for tests that kill, stop and freeze it."""

from __future__ import annotations

import itertools
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cli.embedded.process import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
HASH_KEY = b"a key for tests that is long enough"


class Workers:
    """Starts workers of one group on one database and one topic, and ends all of them on leaving.

    The group notices a dead member within `session_timeout_s`; `log` has a line of JSON per event of each worker.
    """

    def __init__(
        self, folder: Path, database_url: str, bootstrap: str, topic: str, app_id: str, *, session_timeout_s: float = 2.0
    ) -> None:
        self._folder = folder
        self._number = itertools.count(1)
        self._running: list[ServerProcess] = []
        self._env = {
            "DATABASE_URL": database_url,
            "LEDGER_HASH_KEY": HASH_KEY.decode(),
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
            "ORDERS_TOPIC": topic,
            "KAFKA_APP_ID": app_id,
            "KAFKA_SESSION_TIMEOUT_MS": str(int(session_timeout_s * 1000)),
            "KAFKA_HEARTBEAT_INTERVAL_MS": "300",
            "KAFKA_REBALANCE_TIMEOUT_MS": "1000",
        }

    def start(self) -> ServerProcess:
        """Start one more worker; returns at once, before it is ready."""
        worker = ServerProcess(
            [sys.executable, "-m", "cli.main", "worker"],
            log=self._folder / f"worker-{next(self._number)}.log",
            stop_signal=signal.SIGTERM,
            cwd=ROOT,
            env=self._env,
        )
        self._running.append(worker)
        return worker

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._running:
            worker.kill()

    def errors(self) -> list[str]:
        """Return what any worker logged as an error: a fault that is survived is a warning."""
        return [f"{line['event']} {line}" for worker in self._running for line in _errors(worker.output())]


def _errors(output: str) -> Iterator[dict[str, Any]]:
    for line in output.splitlines():
        if line.startswith("{"):
            told = json.loads(line)
            if told.get("level") in {"error", "critical", "exception"}:
                yield told
        elif line.strip():
            # Not a line of our log: a traceback, or a library that found another way out.
            yield {"event": line, "level": "error"}
