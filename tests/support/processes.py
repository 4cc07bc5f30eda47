"""What can be seen of another process from outside."""

import socket
import struct
import time
from pathlib import Path

from cli.embedded.process import command_of

_LISTEN = "0A"


def ended(what: int | Path, *, timeout_s: float) -> bool:
    """Return whether the process (by its id) or the file is gone, waiting for it: strangers are not told of an end."""
    deadline = time.monotonic() + timeout_s
    while command_of(what) if isinstance(what, int) else what.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def listening_addresses(pid: int) -> set[str]:
    """Return every TCP address that the process listens on, as `127.0.0.1:9092` or `[::1]:9092` (Linux)."""
    inodes = {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    found = set()
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = row.split()
            if state == _LISTEN and f"socket:[{rest[5]}]" in inodes:
                found.add(_address(local))
    return found


def _address(local: str) -> str:
    """Return `0100007F:2384` as `127.0.0.1:9092`: the kernel prints words of the machine's byte order."""
    words, port = local.split(":")
    packed = b"".join(struct.pack("=I", int(words[at : at + 8], 16)) for at in range(0, len(words), 8))
    host = socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
    return f"{host}:{int(port, 16)}" if ":" not in host else f"[{host}]:{int(port, 16)}"
