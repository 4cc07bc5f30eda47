"""Signals that ask us to stop, waited for without missing one."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """How often we were asked to stop. The second time means: at once."""

    def __init__(self) -> None:
        self.times = 0
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until we are asked to stop; returns whether we were, also before."""
        if not self.times:
            select.select([self._read], [], [], seconds)
        return bool(self.times)

    def ask(self) -> None:
        """Ask to stop; safe in a signal handler, which may run in the middle of anything."""
        self.times += 1
        os.write(self._write, b".")

    def close(self) -> None:
        """Let go of the pipe."""
        os.close(self._read)
        os.close(self._write)


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Yield what Ctrl-C, SIGTERM and a closed terminal turn into while inside."""
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.ask()

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop.close()
