"""What ties a child to the `up` that started it: its stdin is a pipe from there; when that ends, so does the child."""

import os
import signal
import sys
import threading
from pathlib import Path

# Longer than any of our processes takes to stop, so that this is only for one that hangs.
_GRACE_S = 30.0


def mark(data: Path) -> list[str]:
    """Return the arguments by which a process of `up` on that folder is told from any other."""
    return ["--child-of", str(data)]


def wear(data: Path | None) -> None:
    """Stop this process when the `up` that started it is gone, however it went; nothing for None (nobody did)."""
    if data is not None:
        threading.Thread(target=_watch, name="leash", daemon=True).start()


def _watch() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    # Nobody is left to ask again.
    threading.Event().wait(_GRACE_S)
    os._exit(1)
