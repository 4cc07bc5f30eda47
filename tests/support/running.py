"""A running `commission-ledger up`: started as a user starts it, read line by line, asked over HTTP and Kafka."""

import json
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from tests.support.commands import PROGRAM, bare
from tests.support.requirements import require

_READY_S = 150
_STOP_S = 40
_BOOKED_S = 60
_LOOK_S = 0.1
_OPENER = build_opener(ProxyHandler({}))


class Up:
    """One `up` on a data folder, on free ports. `ready` is what it said when everything ran."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        self._process = subprocess.Popen(
            [*PROGRAM, "up", "--data", str(data), "--port", "0", "--kafka-port", "0", "--json", *options],
            stdout=subprocess.PIPE, text=True, env=bare(),
        )  # fmt: skip
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.ready = self.expect(lambda told: told["event"] == "ready", _READY_S)

    @property
    def pid(self) -> int:
        """The process of `up` itself."""
        return self._process.pid

    @property
    def children(self) -> dict[str, int]:
        """The processes of ours that run now, by name."""
        return json.loads((self.data / "up.json").read_text())["children"]

    def expect(self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float) -> dict[str, Any]:
        """Return the next line that is wanted; those before it are dropped."""
        deadline = time.monotonic() + timeout_s
        while True:
            told = self._lines.get(timeout=max(0.1, deadline - time.monotonic()))
            assert told is not None, f"`up` ended with code {self._process.wait()}"
            if wanted(told):
                return told

    def expect_each(self, wanted: set[tuple[str, str]], timeout_s: float) -> None:
        """Wait until each of these parts has told these words."""
        left = set(wanted)
        while left:
            told = self.expect(lambda told: (told.get("part"), told.get("told")) in left, timeout_s)
            left.discard((told["part"], told["told"]))

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send the signal and return the exit code."""
        self._process.send_signal(number)
        return self._process.wait(_STOP_S)

    def end(self) -> None:
        """Make sure that nothing is left, whatever the test did."""
        if self._process.poll() is None:
            self.stop(signal.SIGTERM)

    def ask(self, path: str, key: str, body: Any = None) -> Any:
        """Return the API's answer, read as JSON."""
        raw = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        request = Request(f"{self.ready['web_url']}/api/v1{path}", raw, headers)  # noqa: S310 - our own address
        with _OPENER.open(request, timeout=10) as answer:
            return json.load(answer)

    def publish(self, *orders: dict[str, Any]) -> None:
        """Publish with kcat: a storefront is not written in our code."""
        require(shutil.which("kcat"), "kcat")
        lines = "".join(f"{told['merchant_id']}/{told['order_id']}\t{json.dumps(told)}\n" for told in orders)
        kcat = ["kcat", "-P", "-b", self.ready["bootstrap_servers"], "-t", self.ready["topic"], "-K", "\t"]
        subprocess.run(kcat, input=lines, text=True, check=True, timeout=60)

    def pending(self, key: str) -> str:
        """Return what is pending for the only partner, empty before there is a balance."""
        data = self.ask("/balances", key)["data"]
        return data[0]["pending"]["amount"] if data else ""

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as out:
            for line in out:
                self._lines.put(json.loads(line))
        self._lines.put(None)


@contextmanager
def up(data: Path, *options: str) -> Iterator[Up]:
    """Yield a running `up`, and stop it afterwards where the test did not."""
    running = Up(data, *options)
    try:
        yield running
    finally:
        running.end()


def until(found: Callable[[], Any], expected: Any, *, timeout_s: float = _BOOKED_S) -> None:
    """Wait until `found` returns what is expected; it may fail to answer meanwhile."""
    deadline = time.monotonic() + timeout_s
    last: Any = None
    while time.monotonic() < deadline:
        try:
            last = found()
        except (OSError, HTTPError) as error:
            last = error
        if last == expected:
            return
        time.sleep(_LOOK_S)
    raise AssertionError(f"{last!r} is not {expected!r} after {timeout_s} s")
