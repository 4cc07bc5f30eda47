"""A clock that several processes share: it goes faster than the real one, and can be put forward."""

from __future__ import annotations

import mmap
import struct
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

# When it began by the real clock, what it showed then, how fast it goes, by how much it was put forward; in seconds.
_FORMAT = struct.Struct("dddd")


class FastClock:
    """The clock in a file; every process opens it for itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("r+b") as file:
            self._held = mmap.mmap(file.fileno(), _FORMAT.size)

    @classmethod
    def begin(cls, path: Path, first: datetime, speed: float) -> FastClock:
        """Return a new clock that shows `first` now."""
        path.write_bytes(_FORMAT.pack(time.time(), first.timestamp(), speed, 0.0))
        return cls(path)

    def now(self) -> datetime:
        """Return the time."""
        begun, first, speed, forward = _FORMAT.unpack(self._held[:])
        return datetime.fromtimestamp(first + (time.time() - begun) * speed + forward, UTC)

    def forward(self, by: timedelta) -> None:
        """Put it forward, for everybody at once."""
        begun, first, speed, forward = _FORMAT.unpack(self._held[:])
        self._held[:] = _FORMAT.pack(begun, first, speed, forward + by.total_seconds())
