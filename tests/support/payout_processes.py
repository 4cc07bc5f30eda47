"""Workers that pay, and the providers that they pay by, as processes of their own: to be killed and frozen by dozens.

A worker is forked from a process that has everything imported, so that the next one is there within a tenth of a
second. It does about payouts what `commission-ledger worker` does, with a clock that the test holds.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiohttp

from cli.embedded.process import ServerProcess
from tests.support.fast_clock import FastClock
from tests.support.waiting import until
from tests.support.worker_process import ROOT

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.support.payout_worker"])


class Orders(NamedTuple):
    """What a worker is started with: where its books are, what `PayoutSettings` says, its clock, where it logs."""

    database_url: str
    settings: Mapping[str, Any]
    clock: Path
    log: Path
    wrong: str = ""


class PayoutWorkerProcess:
    """One worker."""

    def __init__(self, orders: Orders) -> None:
        self.log = orders.log
        self._process = _CONTEXT.Process(target=_work, args=(orders,), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.is_alive()

    def kill(self) -> int | None:
        """End it by kill -9; return how it ended."""
        self.send(signal.SIGKILL)
        self._process.join(20)
        return self._process.exitcode

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)


class PayoutWorkers:
    """Starts workers, and ends all of them on leaving."""

    def __init__(self, folder: Path, database_url: str, settings: Mapping[str, Any], clock: FastClock) -> None:
        self._folder, self._orders = folder, Orders(database_url, settings, clock.path, folder)
        self.started: list[PayoutWorkerProcess] = []

    @property
    def running(self) -> list[PayoutWorkerProcess]:
        """Those that run."""
        return [worker for worker in self.started if worker.alive]

    def start(self, wrong: str = "") -> PayoutWorkerProcess:
        """Start one more; `wrong` names what is wrong with it on purpose."""
        log = self._folder / f"payout-worker-{len(self.started) + 1}.log"
        worker = PayoutWorkerProcess(self._orders._replace(log=log, wrong=wrong))
        self.started.append(worker)
        return worker

    def kill_all(self) -> None:
        """End all of them."""
        for worker in self.running:
            worker.kill()

    def lines(self) -> Iterator[str]:
        """Return every line that any of them wrote."""
        for worker in self.started:
            if worker.log.exists():
                yield from worker.log.read_text().splitlines()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_all()


def _work(orders: Orders) -> None:
    from tests.support.payout_worker import work

    work(orders)


class Doubles:
    """`python -m tests.support.doubles` as a process, which survives whoever is killed; to be entered."""

    def __init__(self, folder: Path, clock: FastClock, seed: int) -> None:
        self._env_file = folder / "doubles.env"
        self._process = ServerProcess(
            [
                sys.executable, "-m", "tests.support.doubles", "--stripe-port", "0", "--paypal-port", "0",
                "--control-port", "0", "--clock", str(clock.path), "--env-file", str(self._env_file),
                "--seed", str(seed),
            ],
            log=folder / "doubles.log", stop_signal=signal.SIGTERM, cwd=ROOT,
        )  # fmt: skip
        self.environment: dict[str, str] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self.environment = await until(self._told, "the doubles being there")
        self._session = aiohttp.ClientSession(self.environment["DOUBLES_CONTROL"])
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
        await asyncio.to_thread(self._process.kill)

    def _told(self) -> dict[str, str]:
        assert self._process.alive, self._process.last_words()
        text = self._env_file.read_text() if self._env_file.exists() else ""
        pairs = [shlex.split(line)[1].split("=", 1) for line in text.splitlines() if line.startswith("export ")]
        return dict(pairs) if "DOUBLES_CONTROL" in text else {}

    async def get(self, path: str) -> Any:
        """Return what the control says."""
        return await self._ask("GET", path, None)

    async def post(self, path: str, **told: Any) -> Any:
        """Have the control do something; return its answer."""
        return await self._ask("POST", path, told)

    async def _ask(self, method: str, path: str, told: Any) -> Any:
        assert self._session is not None
        async with self._session.request(method, path, data=None if told is None else json.dumps(told)) as answer:
            text = await answer.text()
            assert answer.status == 200, text
            return json.loads(text)

    async def counted(self, *words: str) -> int:
        """Return how often both providers together counted what begins with any of the words."""
        counts = await self.get("/counts")
        return sum(number for each in counts.values() for word, number in each.items() if word.startswith(words))
