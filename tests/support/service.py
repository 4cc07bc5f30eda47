"""The service as an operator runs it: worker, projector and web, each a process of its own, set by environment."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import quote, urlencode

import psycopg

from cli import leash
from schemas.settings import Settings
from tests.support.kafka import SharedBroker
from tests.support.processes import listening_addresses

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "artifacts"
HASH_KEY = "a hash key for tests, which is long enough"
LOOPBACK = "127.0.0.1"
POLL_S = 0.02
_ANSWER_S = 20
_LOG_LINES = 40
_PAGE = 200
_OURS = frozenset(name.upper() for name in Settings.model_fields)


def until(done: Callable[[], bool], what: str, *, timeout_s: float = 30) -> None:
    """Return once `done()` is true, asking again and again: other processes tell nobody. Raises AssertionError."""
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, f"after {timeout_s:g} s, still not {what}"
        time.sleep(POLL_S)


class Answer(NamedTuple):
    """One HTTP answer, read to its end; `body` is decoded where it is JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any


class Client:
    """The API as somebody with this key sees it; without one, nobody."""

    def __init__(self, port: int, key: str | None = None) -> None:
        self._port, self._key = port, key

    def ask(self, method: str, path: str, body: Any = None, **query: object) -> Answer:
        """Return the answer to a call under /api/v1, or to an absolute path that starts with `//`."""
        address = path[1:] if path.startswith("//") else f"/api/v1{path}"
        if query:
            # `from` is a word of Python: it is written `from_` here.
            address += "?" + urlencode({name.rstrip("_"): str(value) for name, value in query.items()})
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = HTTPConnection(LOOPBACK, self._port, timeout=_ANSWER_S)
        try:
            connection.request(method, address, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            told = response.read()
            is_json = "json" in response.headers.get_content_type()
            return Answer(response.status, dict(response.headers), json.loads(told) if is_json and told else told)
        finally:
            connection.close()

    def get(self, path: str, **query: object) -> Any:
        """Return the body of a GET that succeeds."""
        answer = self.ask("GET", path, **query)
        assert answer.status == 200, answer
        return answer.body

    def post(self, path: str, body: Any = None) -> Any:
        """Return the body of a POST that succeeds."""
        answer = self.ask("POST", path, body)
        assert answer.status in {200, 201}, answer
        return answer.body

    def rows(self, path: str, **query: object) -> Iterator[dict[str, Any]]:
        """Yield every row of a list, page after page to the last cursor."""
        page = self.get(path, limit=_PAGE, **query)
        yield from page["data"]
        while page["next_cursor"] is not None:
            page = self.get(path, limit=_PAGE, cursor=page["next_cursor"], **query)
            yield from page["data"]


class Process:
    """A command of ours as a process of its own. It ends when we do, however we end; its log is in a file."""

    def __init__(self, name: str, environment: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._environment = dict(environment)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the one that runs."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs (frozen counts as running)."""
        return self._process is not None and self._process.poll() is None

    @property
    def port(self) -> int | None:
        """The port on which it listens, None while it does not."""
        with suppress(OSError):
            addresses = listening_addresses(self.pid)
            return int(addresses.pop().rpartition(":")[2]) if addresses else None
        return None

    def start(self) -> None:
        """Start it; it may not be ready yet."""
        assert not self.alive, f"{self.name} runs already"
        command = [sys.executable, "-m", "cli.main", self.name, *leash.mark(self._folder)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdin=subprocess.PIPE, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """End it as kill -9 does."""
        self._end(signal.SIGKILL)

    def stop(self, timeout_s: float = 30) -> int:
        """Ask it to end and return its exit code: 0, or 1 where it had ended by itself; 0 where it does not run.

        Raises subprocess.TimeoutExpired where it does not end.
        """
        crashed = self._process is not None and not self.alive
        return self._end(signal.SIGTERM, timeout_s) or int(crashed)

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does, without telling anybody."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on as if nothing had happened."""
        os.kill(self.pid, signal.SIGCONT)

    def is_ready(self) -> bool:
        """Return whether `/readyz` says so. Raises AssertionError where the process ended by itself."""
        assert self.alive, f"{self.name} ended: {self.last_words()}"
        port = self.port
        try:
            return port is not None and Client(port).ask("GET", "//readyz").status == 200
        except OSError:
            return False

    def last_words(self) -> str:
        """Return the end of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-_LOG_LINES:])

    def _end(self, number: signal.Signals, timeout_s: float = 30) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        self._process.send_signal(signal.SIGCONT)  # a frozen one takes the other signal only now
        code = self._process.wait(timeout_s)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process = None
        return code


class Service:
    """Worker, projector and web on a database and a topic. As a context they run, are ready, and stop in good order.

    When the test inside fails, the ends of the logs are printed, and the logs are kept in `artifacts/`.
    """

    def __init__(self, database_url: str, broker: SharedBroker, topic: str, folder: Path, **settings: str) -> None:
        self.database_url = database_url
        self.cluster_id, self.topic, self.folder = broker.cluster_id, topic, folder
        self._environment = {name: value for name, value in os.environ.items() if name not in _OURS} | {
            "DATABASE_URL": database_url,
            "LEDGER_HASH_KEY": HASH_KEY,
            "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap,
            # Of its own: the session's broker has other tests' groups as well.
            "KAFKA_APP_ID": f"app-{topic}",
            # A worker that was killed is missed soon, and a group forms soon.
            "KAFKA_SESSION_TIMEOUT_MS": "6000",
            "KAFKA_REBALANCE_TIMEOUT_MS": "1000",
            "ORDERS_TOPIC": topic,
        }
        self._environment |= settings
        self.worker = Process("worker", self._environment | {"WORKER_HEALTH_PORT": "0"}, folder)
        self.projector = Process("projector", self._environment, folder)
        self.web = Process("web", self._environment | {"WEB_PORT": "0"}, folder)
        self._processes = (self.worker, self.projector, self.web)

    def __enter__(self) -> Self:
        """Start everything and wait until it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            for process in self._processes:
                process.start()
            self.until_ready()
        except BaseException:
            self._give_up()
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Stop everything. Raises AssertionError where one does not end with 0, or ended before it was asked to."""
        if kind is not None:
            self._give_up()
            return
        codes = {process.name: process.stop() for process in self._processes}
        if any(codes.values()):
            self._give_up()
        assert not any(codes.values()), f"exit codes: {codes}"

    def until_ready(self) -> None:
        """Wait until worker and web say that they are ready."""
        until(self.worker.is_ready, "a worker that is ready", timeout_s=90)
        until(self.web.is_ready, "a web process that is ready", timeout_s=60)

    def client(self, key: str | None = None) -> Client:
        """Return the API for the holder of a key, or for nobody."""
        port = self.web.port
        assert port is not None, self.web.last_words()
        return Client(port, key)

    def cli(self, *arguments: str, exits: int = 0) -> str:
        """Return what a command writes to stdout. Raises AssertionError where it ends with another code."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            cwd=ROOT, env=self._environment, capture_output=True, check=False, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == exits, f"{arguments} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def cli_json(self, *arguments: str, exits: int = 0) -> Any:
        """Return the one JSON document that a command writes with `--json`."""
        return json.loads(self.cli(*arguments, "--json", exits=exits))

    def consumed(self) -> int:
        """Return how many messages of the topic are accounted for, as the database says."""
        return self._one_number("SELECT coalesce(sum(consumed), 0) FROM ledger.positions WHERE topic = %s", self.topic)

    def until_booked(self, count: int, *, timeout_s: float = 60) -> None:
        """Wait until so many messages of the topic are accounted for, then until the read models have all of them."""
        until(lambda: self.consumed() >= count, f"booked: {count} messages", timeout_s=timeout_s)
        self.until_read(timeout_s=timeout_s)

    def until_read(self, *, timeout_s: float = 30) -> None:
        """Wait until the read models are at the head of the log."""
        head = self._one_number("SELECT coalesce(max(notification_id), 0) FROM ledger.events")
        until(
            lambda: self._one_number("SELECT coalesce(max(position), 0) FROM read.tracked") >= head,
            f"read: position {head}",
            timeout_s=timeout_s,
        )

    def _one_number(self, query: str, *parameters: str) -> int:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            row = connection.execute(query, parameters).fetchone()
        return int(row[0]) if row else 0

    def _give_up(self) -> None:
        kept = ARTIFACTS / self.folder.parent.name
        kept.mkdir(parents=True, exist_ok=True)
        for process in self._processes:
            process.kill()
            sys.stderr.write(f"--- the end of {process.name}'s log (all of it: {kept})\n{process.last_words()}\n")
            if process.log.exists():
                shutil.copy(process.log, kept)


def in_path(part: str) -> str:
    """Return an id as it stands in a path."""
    return quote(part, safe="")
