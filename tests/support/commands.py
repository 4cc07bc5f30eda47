"""Runs `commission-ledger` as a user does: a command line in; an exit code and two streams of text out."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest

from cli.main import main
from schemas.settings import Settings
from tests.support.registration import HASH_KEY

PROGRAM = (sys.executable, "-m", "cli.main")


@dataclass
class Done:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """The JSON documents on stdout, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Commands:
    """Calls commands in this process, with the environment that is given and nothing of ours of the machine's own."""

    def __init__(self, capsys: pytest.CaptureFixture[str], environment: Mapping[str, str]) -> None:
        self._capsys, self.environment = capsys, dict(environment)

    def __call__(self, *arguments: object) -> Done:
        """Run one command to its end."""
        self._capsys.readouterr()
        argv = ["commission-ledger", *map(str, arguments)]
        with mock.patch.dict(os.environ, bare() | self.environment, clear=True), mock.patch.object(sys, "argv", argv):
            try:
                main()
                code = 0
            except SystemExit as ended:
                code = int(ended.code or 0)
        return Done(code, *self._capsys.readouterr())

    def start(self, *arguments: object, **options: Any) -> "subprocess.Popen[str]":
        """Start a command as a process of its own."""
        return subprocess.Popen(
            [*PROGRAM, *map(str, arguments)], env=bare() | self.environment, text=True, **options
        )  # fmt: skip


def bare() -> dict[str, str]:
    """Return this process's environment without the variables that are the service's."""
    ours = {name.upper() for name in Settings.model_fields}
    return {name: value for name, value in os.environ.items() if name.upper() not in ours}


def for_database(url: str, **more: str) -> dict[str, str]:
    """Return the environment of a service on this database."""
    return {"DATABASE_URL": url, "LEDGER_HASH_KEY": HASH_KEY.decode().ljust(32, "."), **more}
