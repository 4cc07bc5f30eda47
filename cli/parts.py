"""The parts of the embedded stack, and who watches over them: what ends by itself is started again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import orjson

from cli import leash
from cli.embedded import EmbeddedError

FIRST_DELAY_S = 0.5
DELAY_MAX_S = 30.0
# Whoever ran this long starts with a clean slate.
FORGIVEN_AFTER_S = 60.0
_LOG_BYTES_MAX = 10 << 20
_TOLD = {"warning", "error", "critical"}


class Part(Protocol):
    """Something that runs as long as we do."""

    name: str

    @property
    def alive(self) -> bool:
        """Whether it runs."""

    def start(self) -> None:
        """Start it, also again after it ended by itself. Raises EmbeddedError."""

    def ended(self) -> str:
        """Return in a few words how it ended."""


class Server:
    """A server of the embedded stack as a part."""

    def __init__(self, name: str, server: "Startable", again: Callable[[], None] | None = None) -> None:
        self.name, self._server, self._again = name, server, again

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._server.alive

    def start(self) -> None:
        """Start it; what a dead one left behind is cleared first."""
        self._server.kill()
        self._server.start()
        if self._again is not None:
            self._again()

    def ended(self) -> str:
        """Return that it ended: its log says why."""
        return "ended"


class Startable(Protocol):
    """What the two embedded servers have in common."""

    @property
    def alive(self) -> bool:
        """Whether it runs."""

    def start(self) -> None:
        """Start it."""

    def kill(self) -> None:
        """End it as kill -9 does."""


class Child:
    """A command of ours as a process of its own, on a leash, with its log in a file."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], data: Path) -> None:
        self.name = name
        self.log = data / "logs" / f"{name}.log"
        self._command = [sys.executable, "-m", "cli.main", *arguments, *leash.mark(data)]
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id, 0 where it never ran."""
        return self._process.pid if self._process else 0

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; nothing happens when it runs."""
        if self.alive:
            return
        self._close_leash()
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES_MAX:
            self.log.replace(self.log.with_suffix(".log.1"))
        output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            # A session of its own: Ctrl-C is for us alone, and we stop our children in their order.
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                self._command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=self._environment,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise EmbeddedError(f"cannot start {self.name}: {error.strerror}") from error
        finally:
            os.close(output)

    def ended(self) -> str:
        """Return with which exit code or signal it ended."""
        code = self._process.returncode if self._process else None
        return (
            f"was killed by {signal.Signals(-code).name}"
            if code is not None and code < 0
            else f"ended with code {code}"
        )

    def terminate(self) -> None:
        """Ask it to stop."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """End it as kill -9 does."""
        if self._process is not None:
            self._process.kill()

    def wait(self, timeout_s: float) -> bool:
        """Return whether it ended within the time."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        self._close_leash()
        return True

    def _close_leash(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()


class Watch:
    """Starts again what ended, with a delay that doubles each time; `tell` gets a sentence about it."""

    def __init__(self, tell: Callable[[str, str], None], on_started: Callable[[], None]) -> None:
        self._tell, self._on_started = tell, on_started
        self._parts: list[Part] = []
        self._delay: dict[str, float] = {}
        self._since: dict[str, float] = {}
        self._due: dict[str, float] = {}

    def add(self, part: Part) -> None:
        """Watch over a part that was started."""
        self._parts.append(part)
        self._since[part.name] = time.monotonic()

    def look(self) -> None:
        """Look at every part once, and start those whose time has come."""
        for part in self._parts:
            if not part.alive:
                self._revive(part)

    def _revive(self, part: Part) -> None:
        name, at = part.name, time.monotonic()
        if name not in self._due:
            delay = FIRST_DELAY_S if at - self._since[name] > FORGIVEN_AFTER_S else self._delay.get(name, FIRST_DELAY_S)
            self._delay[name] = min(delay * 2, DELAY_MAX_S)
            self._due[name] = at + delay
            self._tell(name, f"{part.ended()}; it is started again in {delay:g} s")
        elif at >= self._due[name]:
            self._due.pop(name)
            self._since[name] = at
            try:
                part.start()
            except EmbeddedError as error:
                self._tell(name, str(error))
                return
            self._tell(name, "runs again")
            self._on_started()


class Tail:
    """What a child adds to its log: warnings, errors, that they are over, and what is no log line at all (a crash)."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._offset = log.stat().st_size if log.exists() else 0
        self._troubled: set[str] = set()

    def news(self) -> list[str]:
        """Return what is worth telling of the whole lines that were added since the last time."""
        try:
            with self._log.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._offset:
                    self._offset = 0  # a new log
                file.seek(self._offset)
                added = file.read()
        except FileNotFoundError:
            return []
        whole = added[: added.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [told for line in whole.splitlines() if (told := self._worth_telling(line))]

    def _worth_telling(self, line: bytes) -> str:
        try:
            said = orjson.loads(line)
        except orjson.JSONDecodeError:
            said = None
        if not isinstance(said, dict):
            return line.decode(errors="replace").strip()
        condition, level = said.get("condition"), said.get("level")
        if level not in _TOLD:
            # That a condition is fine is news only where it was told that it was not.
            over = condition in self._troubled
            self._troubled.discard(condition)
            return str(said.get("event", "")) if over else ""
        if condition is not None:
            self._troubled.add(condition)
        details = ", ".join(f"{name}={said[name]}" for name in ("reason", "error") if name in said)
        words = f"{level}: {said.get('event', '')}" + (f" ({details})" if details else "")
        return " ".join(words.split())
