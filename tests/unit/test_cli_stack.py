"""The pieces that `up` is made of, without its servers."""

import itertools
import os
import signal
import struct
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from random import Random

import orjson
import pytest
import typer

from cli import gateway, parts, storefront
from cli.data_folder import DataFolder, Running
from cli.embedded import EmbeddedError
from cli.main import COMMANDS, Commands
from cli.parts import Tail, Watch
from cli.readiness import Readiness
from cli.shop import Shop
from cli.stopping import stop_signals
from schemas.errors import RejectedError
from schemas.order_events import parse

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Dying:
    """A part that ends as soon as it was started."""

    name = "dying"
    alive = False

    def __init__(self) -> None:
        self.starts = 0

    def start(self) -> None:
        """Count the start."""
        self.starts += 1

    def ended(self) -> str:
        """Return how it ended."""
        return "ended"


def test_what_keeps_dying_is_started_less_and_less_often(monkeypatch) -> None:
    """The delay before each start doubles up to its limit, and begins anew after a part ran for long."""
    clock = itertools.count(0.0, 0.25)
    monkeypatch.setattr(parts.time, "monotonic", lambda: next(clock))
    told: list[str] = []
    watch, part = Watch(lambda _, words: told.append(words), lambda: None), Dying()
    watch.add(part)
    for _ in range(2000):
        watch.look()
    delays = [words.rsplit(" ", 2)[1] for words in told if "again in" in words]

    assert delays[:8] == ["0.5", "1", "2", "4", "8", "16", "30", "30"]
    assert part.starts >= 7
    while told[-1] != "runs again":
        watch.look()
    part.alive = True
    for _ in range(4 * 61):
        next(clock)
    part.alive = False
    watch.look()
    assert told[-1] == "ended; it is started again in 0.5 s"


def test_trouble_is_told_and_that_it_is_over(tmp_path) -> None:
    """Of a log, warnings, errors and crashes are told, in one line each; good news only after bad news."""
    log = tmp_path / "x.log"
    log.write_bytes(b'{"level": "error", "event": "before we looked"}\n')
    tail = Tail(log)
    lines = (
        {"level": "info", "event": "broker: fine", "condition": "broker"},
        {"level": "warning", "event": "broker: away", "condition": "broker", "reason": "two\nlines"},
        {"level": "info", "event": "broker: fine", "condition": "broker"},
        {"level": "info", "event": "broker: fine", "condition": "broker"},
    )
    with log.open("ab") as file:
        file.writelines(orjson.dumps(line) + b"\n" for line in lines)
        file.write(b"Traceback (most recent call last):\n" + b'{"level": "error", "event": "half')

    assert tail.news() == [
        "warning: broker: away (reason=two lines)",
        "broker: fine",
        "Traceback (most recent call last):",
    ]
    with log.open("ab") as file:
        file.write(b' a line"}\n')
    assert tail.news() == ["error: half a line"]
    log.write_bytes(b'{"level": "error", "event": "new log"}\n')
    assert tail.news() == ["error: new log"]


def test_an_old_clients_question_is_answered_so_that_it_can_read_it() -> None:
    """ApiVersions answers lose their tagged fields; addresses become ours; everything else passes as it is."""
    calls: gateway.Calls = {}
    theirs, ours = b"127.0.0.1" + struct.pack(">i", 5000), b"127.0.0.1" + struct.pack(">i", 9092)
    requests = {1: (18, 3), 2: (3, 9), 3: (1, 11), 4: (18, 3)}
    for correlation_id, (call, version) in requests.items():
        request = struct.pack(">hhi", call, version, correlation_id) + b"client"
        assert gateway.noted(calls, request) == request
    two_calls = struct.pack(">hhhb", 0, 0, 9, 0) + struct.pack(">hhhb", 1, 0, 12, 0)
    versions = struct.pack(">ihb", 1, 0, 3) + two_calls + struct.pack(">i", 0)

    assert gateway.mended(calls, versions + b"\x02\x00\x04tags", (theirs, ours)) == versions + b"\0"
    assert gateway.mended(calls, struct.pack(">i", 2) + theirs, (theirs, ours)) == struct.pack(">i", 2) + ours
    assert gateway.mended(calls, struct.pack(">i", 3) + theirs, (theirs, ours)) == struct.pack(">i", 3) + theirs
    refused = struct.pack(">ih", 4, 35) + b"oldest version"
    assert gateway.mended(calls, refused, (theirs, ours)) == refused
    assert calls == {}


def test_the_demos_orders_are_ones_that_the_topic_takes() -> None:
    """The demo's storefront tells valid events, but for the few that it cuts off, over weeks and in order."""
    posts = storefront.past(Shop(Random(1), "run"), Random(2), NOW)
    kinds: dict[str, int] = {}
    for post in posts:
        try:
            event = parse(post.value)
        except RejectedError as error:
            kinds[error.code] = kinds.get(error.code, 0) + 1
        else:
            kinds[event.type] = kinds.get(event.type, 0) + 1
            assert post.key == f"demo/{event.order_id}".encode()

    assert set(kinds) >= {"order.placed", "order.refunded", "order.cancelled", "order.disputed", "order.dispute_won"}
    assert set(kinds) - {"not_json"} == {kind for kind in kinds if kind.startswith("order.")}
    assert posts == sorted(posts)
    assert NOW - timedelta(days=61) < posts[0].at < NOW - timedelta(days=50)


def test_secrets_are_their_owners_alone(tmp_path) -> None:
    """A secret is written whole with mode 600, and the hash key of a folder never changes."""
    folder = DataFolder(tmp_path / "data")
    folder.create()
    key = folder.hash_key()

    assert len(key) >= 32
    assert folder.hash_key() == key
    assert (tmp_path / "data" / "hash.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    folder.keep("demo.key", "one")
    folder.keep("demo.key", "two")
    assert (folder.kept("demo.key"), folder.kept("other.key")) == ("two", None)


def test_books_are_not_given_another_hash_key(tmp_path) -> None:
    """A folder that has books, and lost its hash key, is refused."""
    (tmp_path / "postgres").mkdir()

    with pytest.raises(EmbeddedError, match=r"hash\.key is missing"):
        DataFolder(tmp_path).hash_key()


def test_a_running_up_is_one_that_holds_the_folder(tmp_path) -> None:
    """What an `up` wrote down counts while that very `up` holds the folder: a process id alone may be another's."""
    folder, other = DataFolder(tmp_path), DataFolder(tmp_path)
    folder.tell(Running(os.getpid(), {"web": 1}, "127.0.0.1:1", "http://127.0.0.1:2"))
    assert other.running() is None

    folder.lock.acquire()
    assert other.running() == other.told()
    folder.lock.release()
    folder.forget()
    assert other.told() is None


def test_a_child_ends_with_the_one_who_started_it(tmp_path) -> None:
    """A process on the leash gets SIGTERM when the pipe from its parent ends, however the parent went."""
    program = "import sys, threading; from pathlib import Path; from cli import leash;"
    program += " leash.wear(Path(sys.argv[1])); print('up', flush=True); threading.Event().wait()"
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )  # fmt: skip
    with child:
        assert child.stdout.readline() == b"up\n"
        assert child.poll() is None
        child.stdin.close()
        assert child.wait(20) == -signal.SIGTERM


def test_stop_signals_are_counted_and_given_back() -> None:
    """Ctrl-C wakes whoever waits, a second one is told apart, and the handlers from before come back."""
    before = signal.getsignal(signal.SIGINT)
    with stop_signals() as stop:
        assert stop.wait(0) is False
        signal.raise_signal(signal.SIGINT)
        assert stop.wait(60) is True
        signal.raise_signal(signal.SIGTERM)
        assert stop.times == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_who_does_not_answer_is_not_ready() -> None:
    """An address where nobody listens is waited for, by name."""
    assert "127.0.0.1:1" in Readiness("http://127.0.0.1:1/readyz").missing()


def test_the_list_of_commands_names_those_that_are_there() -> None:
    """Every command in the list can be loaded, has a line of its own, and an unknown name is none."""
    group = typer.main.get_command(typer.Typer(cls=Commands, callback=lambda: None, add_completion=False))
    for name, (_, line) in COMMANDS.items():
        assert group.get_command(None, name).name == name
        assert line.endswith(".")
    assert group.get_command(None, "nonsense") is None
