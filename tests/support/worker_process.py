"""The worker as a process of its own, started as an operator starts it, for tests that kill, stop and freeze it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from cli.embedded.process import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
HASH_KEY = b"a key for tests that is long enough"


class WorkerProcess(ServerProcess):
    """One worker, with its signals and what it logged. PostgreSQL knows its sessions by `name`."""

    name = ""

    @property
    def returncode(self) -> int | None:
        """How the worker ended (-9: killed), None while it runs."""
        return self._server.poll()

    def told(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of its log that tell of this event."""
        return [line for line in _lines(self.output()) if line["event"] == event]

    def missed(self, condition: str) -> int:
        """Return how often it said that the condition (`broker`, `database`, ...) was not fine."""
        return sum(line.get("condition") == condition and line["level"] == "warning" for line in _lines(self.output()))


class Workers:
    """Starts workers of one group on one database and one topic, and ends all of them on leaving.

    The group notices a dead member within `session_timeout_s`; `log` has a line of JSON per event of each worker.
    """

    def __init__(
        self,
        folder: Path,
        database_url: str,
        bootstrap: str,
        topic: str,
        app_id: str,
        *,
        session_timeout_s: float = 2.0,
    ) -> None:
        self._folder = folder
        self._number = itertools.count(1)
        self.started: list[WorkerProcess] = []
        self._env = {
            "DATABASE_URL": database_url,
            "LEDGER_HASH_KEY": HASH_KEY.decode(),
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
            "ORDERS_TOPIC": topic,
            "KAFKA_APP_ID": app_id,
            "KAFKA_SESSION_TIMEOUT_MS": str(int(session_timeout_s * 1000)),
            "KAFKA_HEARTBEAT_INTERVAL_MS": "300",
            "KAFKA_REBALANCE_TIMEOUT_MS": "1000",
            "LOG_LEVEL": os.environ.get("WORKERS_LOG_LEVEL", "info"),
        }

    def start(self) -> WorkerProcess:
        """Start one more worker; returns at once, before it is ready."""
        name = f"worker-{next(self._number)}"
        worker = WorkerProcess(
            [sys.executable, "-m", "cli.main", "worker"],
            log=self._folder / f"{name}.log",
            stop_signal=signal.SIGTERM,
            cwd=ROOT,
            env=self._env | {"PGAPPNAME": name},
        )
        worker.name = name
        self.started.append(worker)
        return worker

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.started:
            worker.kill()

    def errors(self) -> list[str]:
        """Return what any worker logged as an error: a fault that is survived is a warning."""
        return [
            f"{worker.pid}: {line}"
            for worker in self.started
            for line in _lines(worker.output())
            if line.get("level") not in {"debug", "info", "warning"}
        ]


def _lines(output: str) -> Iterator[dict[str, Any]]:
    """Yield each line of a log; what is not a line of ours (a traceback, a library) is one without a level."""
    for line in output.splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            told = line
        yield told if isinstance(told, dict) else {"event": line}
