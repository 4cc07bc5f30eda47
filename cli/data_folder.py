"""The folder of the embedded stack: the servers' data, the secrets, and where a running `up` can be reached.

| file | holds |
|---|---|
| `postgres/`, `postgres.log`, `broker.log` | the servers (`cli.embedded`) |
| `logs/` | what worker, projector, web and the demo's storefront log |
| `hash.key` | the key of the e-mail hashes: part of the books |
| `payouts.key` | seals how partners are paid: lost, everybody has to say it again |
| `demo.key`, `demo.password` | the demo merchant's API key and its owner's first password, for it is a demo |
| `mail/` | the letters that `up` sends to nobody |
| `up.json`, `up.lock` | the `up` that runs now |
"""

import base64
import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import NamedTuple

from cli.embedded.process import EmbeddedError, FolderLock, command_of
from schemas.payout_settings import SEALING_KEY_BYTES

DATABASE = "ledger"


class Running(NamedTuple):
    """A running `up`: its process, those of its children by name, and where its servers listen."""

    pid: int
    children: dict[str, int]
    bootstrap_servers: str
    web_url: str


class DataFolder:
    """One folder. Secrets are readable by their owner alone."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.logs = self.path / "logs"
        self.mail = self.path / "mail"
        self.lock = FolderLock(self.path / "up.lock")

    def create(self) -> None:
        """Make the folder where it is missing. The modes of folders that are there already are not touched."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.logs.mkdir(mode=0o700, exist_ok=True)

    @property
    def has_books(self) -> bool:
        """Whether there is a database in it."""
        return (self.path / "postgres").is_dir()

    def hash_key(self) -> bytes:
        """Return the key of the e-mail hashes; a new folder gets one. Raises EmbeddedError where books lost theirs."""
        kept = self.path / "hash.key"
        if not kept.exists():
            if self.has_books:
                raise EmbeddedError(f"{kept} is missing: the books were hashed with it, bring it back from a backup")
            self.keep("hash.key", secrets.token_hex(32))
        return kept.read_text(encoding="ascii").strip().encode()

    def payout_details_key(self) -> str:
        """Return the key of payout details as PAYOUT_DETAILS_KEYS has it; a folder without one gets one."""
        if self.kept("payouts.key") is None:
            self.keep("payouts.key", f"folder:{base64.b64encode(secrets.token_bytes(SEALING_KEY_BYTES)).decode()}")
        return str(self.kept("payouts.key"))

    def keep(self, name: str, secret: str) -> None:
        """Write a secret that only its owner can read, whole or not at all."""
        fresh = self.path / f"{name}.new"
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self.path / name)

    def kept(self, name: str) -> str | None:
        """Return a secret that was kept, None where there is none."""
        try:
            return (self.path / name).read_text(encoding="ascii").strip() or None
        except FileNotFoundError:
            return None

    def tell(self, running: Running) -> None:
        """Write down what runs on the folder, for other commands and for the next start."""
        fresh = self.path / "up.json.new"
        fresh.write_text(json.dumps(running._asdict()), encoding="utf-8")
        fresh.rename(self._state)

    def told(self) -> Running | None:
        """Return what the last `up` wrote down, None where it ended in order. It may be dead: see `running`."""
        try:
            return Running(**json.loads(self._state.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def running(self) -> Running | None:
        """Return the `up` that runs on the folder now, None where none does."""
        told = self.told()
        return told if told is not None and command_of(told.pid) and not self._free() else None

    def forget(self) -> None:
        """Remove what `tell` wrote: nothing runs any more."""
        self._state.unlink(missing_ok=True)

    @property
    def _state(self) -> Path:
        return self.path / "up.json"

    def _free(self) -> bool:
        """Return whether nobody holds the lock of `up`: a process id alone may be another's by now."""
        probe = FolderLock(self.path / "up.lock")
        try:
            probe.acquire()
        except EmbeddedError:
            return False
        probe.release()
        return True
