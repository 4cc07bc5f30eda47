"""A server that lives as long as we do and no longer.

Started apart from our terminal, so that Ctrl-C is ours; stopped when we stop, also when we are killed -9.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from schemas.errors import LedgerError

LOOPBACK = "127.0.0.1"
POLL_S = 0.02

# Reads until our end of the pipe is gone. We may be killed -9, and PR_SET_PDEATHSIG is no way out: it fires when the
# *thread* that started the server ends, it is lost on entering a user namespace, and macOS has no such thing.
_GUARD = """
read -r _
kill -"$1" "$2" 2>/dev/null
waited=0
while kill -0 "$2" 2>/dev/null; do
  [ "$waited" -lt 60 ] || kill -KILL "$2"
  waited=$((waited + 1))
  sleep 0.5
done
[ -z "$3" ] || rmdir "$3" 2>/dev/null
"""


class EmbeddedError(LedgerError):
    """The embedded stack cannot run here. The message is one line that says why, and what to do."""


class FolderLock:
    """One process at a time in a folder. The kernel lets go of it when the holder dies, however it dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock; raises EmbeddedError that names the process which holds it."""
        if self._fd is not None:
            return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode().strip() or "?"
            os.close(descriptor)
            raise EmbeddedError(f"{self._path.parent} is already in use by process {holder}") from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._fd = descriptor

    def release(self) -> None:
        """Let go of the lock. The file stays: removing it would let two processes lock two files of one name."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class ServerProcess:
    """One running server: its signals, its log, and the guard that ends it when we are gone.

    Raises EmbeddedError when the program cannot be started at all.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        stop_signal: signal.Signals,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        user: int | None = None,
        group: int | None = None,
        scratch: Path | None = None,
    ) -> None:
        self._log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            # A session of its own: Ctrl-C is for us, and we stop the servers after those who use them.
            self._server = subprocess.Popen(  # noqa: S603 - the program is ours, from the wheel
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **(env or {})},
                start_new_session=True,
                user=user,
                group=group,
                extra_groups=None if user is None else [],
            )
        except OSError as error:
            raise EmbeddedError(f"cannot run {argv[0]}: {error.strerror}") from error
        finally:
            os.close(output)
        self._stop_signal = stop_signal
        self._guard: tuple[subprocess.Popen[bytes], int] | None = _guard(self._server.pid, stop_signal, scratch)

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._server.pid

    @property
    def alive(self) -> bool:
        """Whether the server runs (frozen counts as running)."""
        return self._server.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server; nothing happens when it is gone."""
        self._server.send_signal(number)

    def stop(self, number: signal.Signals | None = None, *, timeout_s: float = 60) -> None:
        """Ask the server to end and wait for it; killed when it does not end in time."""
        self.send(number or self._stop_signal)
        self.send(signal.SIGCONT)  # a frozen server takes the other signal only now
        try:
            self._server.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._release_guard()

    def kill(self) -> None:
        """End the server as kill -9 does, and wait until it is gone."""
        self.stop(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop the server's clock (SIGSTOP): it keeps its connections and answers nothing."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self.send(signal.SIGCONT)

    def output(self) -> str:
        """Return what the server has written to its log since it was started."""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def last_words(self) -> str:
        """Return the last line of the log that says something, for an error message of one line."""
        lines = [line.strip() for line in self.output().splitlines() if line.strip()]
        telling = [line for line in lines if "FATAL" in line or "ERROR" in line or "rror:" in line]
        return (telling or lines or ["no output"])[-1]

    def _release_guard(self) -> None:
        if self._guard is None:
            return
        # The guard goes first: with the pipe closed before it, it would signal a process id that is free again.
        guard, leash = self._guard
        guard.kill()
        guard.wait()
        os.close(leash)
        self._guard = None


def _guard(pid: int, stop_signal: signal.Signals, scratch: Path | None) -> tuple[subprocess.Popen[bytes], int]:
    """Return the guard of `pid` and our end of its pipe."""
    leash_end, leash = os.pipe()
    try:
        guard = subprocess.Popen(  # noqa: S603 - a constant script, its arguments are not parsed as code
            ["/bin/sh", "-c", _GUARD, "guard", str(stop_signal.value), str(pid), str(scratch or "")],
            stdin=leash_end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    finally:
        os.close(leash_end)
    return guard, leash


def command_of(pid: int) -> str:
    """Return the command line of a process, empty when there is none.

    A process id in a file may be another's by now: its command line tells.
    """
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    if Path("/proc/self").exists():
        return ""
    ps = ["/bin/ps", "-o", "command=", "-p", str(pid)]
    return subprocess.run(ps, capture_output=True, text=True, check=False).stdout  # noqa: S603 - macOS has no /proc


def end_orphan(pid: int, mark: str, number: signal.Signals, *, timeout_s: float = 60) -> None:
    """End a server that outlived its owner: only if its command line still has `mark`. Waits until it is gone."""
    deadline = time.monotonic() + timeout_s
    sent = False
    while mark in command_of(pid):
        with contextlib.suppress(ProcessLookupError):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            elif not sent:
                os.kill(pid, number)
                sent = True
        time.sleep(POLL_S)


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def require_free(port: int, what: str) -> None:
    """Raise EmbeddedError when somebody listens on the port: else we would greet a stranger's server as ours."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise EmbeddedError(f"port {port} ({what}) is not free: {error.strerror}") from error


def wait_for_port(process: ServerProcess, port: int, *, timeout_s: float) -> None:
    """Return when the server accepts connections on the port; raises EmbeddedError when it ends or takes too long."""
    for _ in until(process, timeout_s):
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
            return


def until(process: ServerProcess, timeout_s: float) -> Iterator[None]:
    """Yield every few milliseconds until the caller is content.

    Raises EmbeddedError when the server ends or the time is up.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not process.alive:
            raise EmbeddedError(f"it ended: {process.last_words()}")
        yield
        time.sleep(POLL_S)
    raise EmbeddedError(f"not ready after {timeout_s:.0f} s: {process.last_words()}")
