"""`python -m tests.support.doubles` as a developer starts it: Stripe and PayPal on this machine, which pay nobody."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from tests.support.service import ROOT, until

_OPENER = build_opener(ProxyHandler({}))
_ANSWER_S = 10


class Providers:
    """Both doubles, in a process that outlives whoever is killed; `environment` is what our processes are to have."""

    def __init__(self, folder: Path) -> None:
        self._file, self._log = folder / "doubles.env", folder / "doubles.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.environment: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Start them and wait until they listen."""
        ports = [f"--{name}-port=0" for name in ("stripe", "paypal", "control")]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.doubles", *ports, "--env-file", str(self._file)],
                cwd=ROOT, stdout=log, stderr=log,
            )  # fmt: skip
        until(self._told, "doubles that listen")
        return self

    def __exit__(self, *_: object) -> None:
        """End them."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(_ANSWER_S)

    def ask(self, path: str, told: dict[str, Any] | None = None) -> Any:
        """Return what the control answers: to a question, or to what it is told to do."""
        body = None if told is None else json.dumps(told).encode()
        request = Request(self.environment["DOUBLES_CONTROL"] + path, body)  # noqa: S310 - our own address
        with _OPENER.open(request, timeout=_ANSWER_S) as answer:
            return json.load(answer)

    def fill_in(self, link: str) -> str:
        """Enter the details at Stripe, as a partner does, and return where Stripe leads back to."""
        address = urlsplit(link)
        connection = HTTPConnection(address.netloc, timeout=_ANSWER_S)
        try:
            connection.request("POST", address.path)
            return str(connection.getresponse().headers["Location"])
        finally:
            connection.close()

    def paid(self) -> dict[str, dict[str, Any]]:
        """Return the payments that were made and did not come back, by payout. Raises AssertionError for two of one."""
        live = [each for each in self.ask("/paid") if each["live"]]
        found = {each["payout_id"]: each for each in live}
        assert len(found) == len(live), "paid twice"
        return found

    def _told(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        text = self._file.read_text() if self._file.exists() else ""
        lines = (shlex.split(line)[1] for line in text.splitlines() if line.startswith("export "))
        self.environment = dict(line.split("=", 1) for line in lines)
        return "DOUBLES_CONTROL" in self.environment
