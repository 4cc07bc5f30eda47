"""Everything on one machine: the servers, our own processes, and in which order they come and go."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from cli import leash
from cli.clock import now
from cli.connection import Books, bring_up_to_date
from cli.data_folder import DATABASE, DataFolder, Running
from cli.demo import Demo, prepare
from cli.demo_payouts import prepare_payouts
from cli.embedded import EmbeddedBroker, EmbeddedError, EmbeddedPostgres
from cli.embedded.process import LOOPBACK, end_orphan, free_port, require_free
from cli.gateway import Gateway
from cli.parts import Child, Server, Tail, Watch
from cli.readiness import Readiness
from cli.stopping import Stop
from schemas.settings import Settings

TOPIC_PARTITIONS = 4
# The embedded broker keeps a group's join open for all of it, so it is short: seconds until the first order is booked.
_REBALANCE_MS = 3_000
_READY_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 25.0
_ORPHAN_TIMEOUT_S = 15.0
_LOOK_EVERY_S = 0.2

Tell = Callable[[str, str], None]
"""Gets the name of a part, and a sentence about it."""


class StoppedError(EmbeddedError):
    """We were asked to stop before everything ran."""


class Ports(NamedTuple):
    """Where to listen; 0 takes a free port."""

    web: int
    kafka: int


class Addresses(NamedTuple):
    """Where everything can be reached; `mail_folder` None: mail is sent in earnest."""

    web_url: str
    bootstrap_servers: str
    topic: str
    data: str
    mail_folder: str | None


class EmbeddedStack:
    """The whole service on a data folder. `start`, `watch` until asked to stop, `close`."""

    def __init__(self, folder: DataFolder, ports: Ports, settings: Settings, stop: Stop, tell: Tell) -> None:
        self._folder, self._settings, self._stop, self._tell = folder, settings, stop, tell
        self._web_port = ports.web or free_port()
        self._worker_port = free_port()
        self._broker = EmbeddedBroker(folder.path)
        self._gateway = Gateway(ports.kafka)
        self._postgres = EmbeddedPostgres(folder.path)
        self._children: list[Child] = []
        self._tails: list[tuple[str, Tail]] = []
        self._watch = Watch(tell, self._write_down)
        self._stack = ExitStack()

    @property
    def addresses(self) -> Addresses:
        """Where everything can be reached, once it runs."""
        return Addresses(
            f"http://{LOOPBACK}:{self._web_port}",
            self._gateway.address,
            self._settings.orders_topic,
            str(self._folder.path),
            self._mail_folder,
        )

    def start(self, step: Callable[[str], None], *, demo: bool) -> Demo | None:
        """Start everything and return when orders are booked and shown; returns the demo, None without one.

        `step` gets what is going on. Raises EmbeddedError for what cannot run, StoppedError.
        """
        self._claim()
        step("starting the broker")
        self._start_broker()
        self._check_stop()
        step("starting PostgreSQL")
        books = Books(self._start_postgres(), self._settings, self._folder)
        self._check_stop()
        step("preparing the database")
        bring_up_to_date(books.database_url)
        found = prepare(books, self._folder) if demo else None
        if demo:
            prepare_payouts(books, now())
        self._check_stop()
        step("starting worker, projector and web")
        environment = self._environment(books)
        for name in ("worker", "projector", "web"):
            self._start_child(Child(name, [name], environment, self._folder.path))
        self._wait_until_ready(step)
        if found is not None:
            arguments = ["storefront", "--history"] if found.is_new else ["storefront"]
            self._start_child(Child("storefront", arguments, environment, self._folder.path))
        return found

    def watch(self) -> None:
        """Keep everything running, and tell what happens, until we are asked to stop."""
        while not self._stop.wait(_LOOK_EVERY_S):
            self._show_news()
            self._watch.look()

    def close(self) -> None:
        """Stop everything in its order: whoever writes before those who keep what is written. Asked twice: at once."""
        for child in self._children:
            child.terminate()
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        for child in self._children:
            while not child.wait(_LOOK_EVERY_S):
                if time.monotonic() > deadline or self._stop.times > 1:
                    self._tell(child.name, "does not stop, and is killed")
                    child.kill()
        self._show_news()
        self._stack.close()

    def _claim(self) -> None:
        """Make the folder ours, and end what a killed `up` left running on it."""
        self._folder.create()
        self._folder.lock.acquire()
        self._stack.callback(self._folder.lock.release)
        left = self._folder.told()
        for pid in left.children.values() if left else ():
            end_orphan(pid, " ".join(leash.mark(self._folder.path)), signal.SIGTERM, timeout_s=_ORPHAN_TIMEOUT_S)
        self._stack.callback(self._folder.forget)
        with _option_named("--port"):
            require_free(self._web_port, "web")
        self._folder.hash_key()

    def _start_broker(self) -> None:
        self._stack.callback(self._broker.stop)
        self._broker.start()
        self._stack.callback(self._gateway.stop)
        with _option_named("--kafka-port"):
            self._gateway.start(self._broker.bootstrap)
        self._create_topic()
        self._watch.add(Server("broker", self._broker, self._create_topic))

    def _create_topic(self) -> None:
        asyncio.run(self._broker.create_topic(self._settings.orders_topic, TOPIC_PARTITIONS))

    def _start_postgres(self) -> str:
        self._stack.callback(self._postgres.close)
        self._postgres.start()
        self._watch.add(Server("PostgreSQL", self._postgres))
        return self._postgres.database(DATABASE)

    def _start_child(self, child: Child) -> None:
        tail = Tail(child.log)
        child.start()
        self._children.append(child)
        self._tails.append((child.name, tail))
        self._watch.add(child)
        self._write_down()

    def _write_down(self) -> None:
        children = {child.name: child.pid for child in self._children}
        self._folder.tell(Running(os.getpid(), children, self._broker.bootstrap, self.addresses.web_url))

    def _wait_until_ready(self, step: Callable[[str], None]) -> None:
        readiness = Readiness(f"{self.addresses.web_url}/readyz", f"http://{LOOPBACK}:{self._worker_port}/readyz")
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while (missing := readiness.missing()) is not None:
            step(f"waiting for {missing}")
            for child in self._children:
                if not child.alive:
                    raise EmbeddedError(f"{child.name} {child.ended()}: {self._last_words(child.name)}")
            if time.monotonic() > deadline:
                raise EmbeddedError(f"not ready after {_READY_TIMEOUT_S:.0f} s: {missing}; see {self._folder.logs}")
            self._stop.wait(_LOOK_EVERY_S)
            self._check_stop()

    def _last_words(self, name: str) -> str:
        news = [line for tail_name, tail in self._tails if tail_name == name for line in tail.news()]
        return news[-1] if news else f"see {self._folder.logs / name}.log"

    def _show_news(self) -> None:
        for name, tail in self._tails:
            for line in tail.news():
                self._tell(name, line)

    def _check_stop(self) -> None:
        if self._stop.times:
            raise StoppedError("stopped before everything ran")

    def _environment(self, books: Books) -> Mapping[str, str]:
        """Return the children's environment: ours, but for what says where the books are."""
        ours = {name.upper() for name in Settings.model_fields}
        told = {
            "DATABASE_URL": books.database_url,
            "LEDGER_HASH_KEY": books.hash_key.decode(),
            "PAYOUT_DETAILS_KEYS": " ".join(
                key.get_secret_value() for key in books.payout_settings.payout_details_keys
            ),
            "KAFKA_BOOTSTRAP_SERVERS": self._broker.bootstrap,
            "KAFKA_REBALANCE_TIMEOUT_MS": str(_REBALANCE_MS),
            "ORDERS_TOPIC": self._settings.orders_topic,
            "ORDERS_TOPIC_PARTITIONS": str(TOPIC_PARTITIONS),
            "WORKER_HEALTH_PORT": str(self._worker_port),
            "WEB_HOST": LOOPBACK,
            "WEB_PORT": str(self._web_port),
            "PUBLIC_URL": self._settings.public_url or self.addresses.web_url,
            # Everything here is on this machine: so are the receivers that somebody tries it with.
            "WEBHOOK_ALLOW_PRIVATE": "true",
            "LOG_LEVEL": self._settings.log_level or "info",
            **self._mail(),
        }
        return {name: value for name, value in os.environ.items() if name.upper() not in ours} | told

    def _mail(self) -> Mapping[str, str]:
        """Return where the web's mail goes: where the operator says, else nowhere but into our folder."""
        told = {
            "SMTP_URL": self._settings.smtp_url and self._settings.smtp_url.get_secret_value(),
            "MAIL_FROM": self._settings.mail_from,
            "MAIL_FOLDER": self._mail_folder,
        }
        return {name: value for name, value in told.items() if value}

    @property
    def _mail_folder(self) -> str | None:
        if self._settings.smtp_url is not None:
            return None
        return str((self._settings.mail_folder or self._folder.mail).resolve())


@contextmanager
def _option_named(option: str) -> Iterator[None]:
    """Name the option that helps where a port is taken."""
    try:
        yield
    except EmbeddedError as error:
        if "is not free" not in str(error):
            raise
        raise EmbeddedError(f"{error}; choose another one: {option} N") from error
