"""The worker process: one Faust app at a time, for as long as the process is wanted.

The app is replaced (not the process) when the broker came back as another cluster, or when Faust gave up: what it
believed about topics and groups is then about a log that is no more. Positions are PostgreSQL's, so nothing is lost by
starting over.
"""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import datetime
from functools import partial

import stamina.instrumentation
import structlog

from consumers.app import WorkerApp, build_app
from consumers.approvals import Approvals, Due
from consumers.bans import Bans, Swept
from consumers.broker import Broker, BrokerAwayError, TopicMissingError
from consumers.health import Health, served
from consumers.order_intake import OrderIntake
from consumers.paying import Paying
from consumers.payout_choosing import Payables
from consumers.payout_keys import CONDITION, keys_looked_at
from consumers.payout_letters import Post
from consumers.payouts import paying_out
from consumers.settings import WorkerSettings
from consumers.webhooks import sending
from ledger.application import Ledger
from ledger.intake import Intake
from schemas.errors import CorruptionError

_log = structlog.get_logger(__name__)

# `approvals`, `bans`, `webhooks` and `payouts` join them when they fail: most workers never lead, and have nothing to
# tell of it.
CONDITIONS = ("broker", "topic", "database", "intake", "app")

_WATCH_INTERVAL_S = 1.0
_RESTART_PAUSE_S = 1.0


async def run_worker(
    settings: WorkerSettings,
    ledger: Ledger,
    due: Due,
    swept: Swept,
    now: Callable[[], datetime],
    *,
    paying: Paying | None = None,
    payables: Payables | None = None,
    post: Post | None = None,
    stop: asyncio.Event | None = None,
    health: Health | None = None,
) -> None:
    """Run until SIGTERM or SIGINT (or `stop`), then finish the batch in hand, leave the groups and return.

    Without `paying` and `payables` nobody is paid, without `post` nobody is written to.

    A broker or a database that is away is waited for. Raises CorruptionError when the books cannot be trusted.
    """
    stop = stop or asyncio.Event()
    health = health or Health(*CONDITIONS)
    # Each retry would be a line otherwise; `health` tells it once.
    stamina.instrumentation.set_on_retry_hooks([])
    broker = Broker(settings.bootstrap_servers, settings.orders_topic)
    worker = _Worker(settings, ledger, due, swept, now, broker, health, stop)
    with _stopped_by_signals(stop), _quiet_libraries():
        async with served(health, settings.health_host, settings.health_port) as port:
            _log.info("worker started", topic=settings.orders_topic, app_id=settings.app_id, health_port=port)
            try:
                async with AsyncExitStack() as beside:
                    await beside.enter_async_context(sending(settings, ledger, health, now))
                    keys, tell = (paying.keys if paying else None), partial(health.tell, CONDITION)
                    await beside.enter_async_context(keys_looked_at(ledger, keys, tell))
                    if paying is not None and payables is not None:
                        await beside.enter_async_context(paying_out(paying, ledger, payables, health, now, post))
                    await worker.run()
            finally:
                await broker.close()
    _log.info("worker stopped")


class _Worker:
    def __init__(
        self,
        settings: WorkerSettings,
        ledger: Ledger,
        due: Due,
        swept: Swept,
        now: Callable[[], datetime],
        broker: Broker,
        health: Health,
        stop: asyncio.Event,
    ) -> None:
        self._settings, self._ledger, self._due, self._swept, self._now = settings, ledger, due, swept, now
        self._broker, self._health, self._stop = broker, health, stop
        self._intake = Intake(ledger)

    async def run(self) -> None:
        while not self._stop.is_set():
            cluster = await self._cluster_when_there()
            if cluster is None:
                return
            await self._one_app(cluster)
            await self._pause(_RESTART_PAUSE_S)

    async def _one_app(self, cluster: str) -> None:
        """Run one app until it is stopped, crashes, or its cluster is replaced."""
        async with self._running() as (app, started):
            ends = {asyncio.create_task(self._stop.wait()), asyncio.create_task(self._until_replaced(cluster))}
            crashed = asyncio.create_task(_until_crashed(app, started))
            try:
                await asyncio.wait({*ends, crashed}, return_when=asyncio.FIRST_COMPLETED)
                self._health.begin("app", "stopping" if self._stop.is_set() else "restarting")
            finally:
                for task in (*ends, crashed):
                    task.cancel()
        if isinstance(app.crash_reason, CorruptionError):
            raise app.crash_reason
        if app.crash_reason is not None and not self._stop.is_set():
            _log.warning("the app crashed and is replaced", reason=repr(app.crash_reason))

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[tuple[WorkerApp, "asyncio.Task[None]"]]:
        intake = OrderIntake(self._settings, self._intake, self._broker, self._health, self._now)
        approvals = Approvals(self._settings, self._ledger, self._due, self._health, self._now)
        bans = Bans(self._settings, self._ledger, self._swept, self._health, self._now)
        app = build_app(self._settings, intake, approvals, bans)
        self._health.facts = intake.facts
        # Its start ends only when its group is formed, which takes as long as the broker likes.
        started = asyncio.create_task(self._start(app))
        try:
            yield app, started
        finally:
            started.cancel()
            await _stop_app(app, self._settings.stop_timeout_s)

    async def _start(self, app: WorkerApp) -> None:
        await app.start()
        self._health.up("app")

    async def _cluster_when_there(self) -> str | None:
        """Return the cluster's id once the broker answers, None when we are to stop."""
        while not self._stop.is_set():
            try:
                return (await self._broker.log()).cluster_id
            except TopicMissingError as error:
                self._health.up("broker")
                await self._create_topic(error)
            except BrokerAwayError as error:
                self._health.down("broker", str(error))
            await self._pause(_WATCH_INTERVAL_S)
        return None

    async def _create_topic(self, error: TopicMissingError) -> None:
        partitions = self._settings.orders_topic_partitions
        if partitions is None:
            self._health.down("topic", str(error))
            return
        _log.info("creating the topic", topic=self._settings.orders_topic, partitions=partitions)
        await self._broker.create_topic(partitions, self._settings.topic_replication_factor)

    async def _until_replaced(self, cluster: str) -> None:
        """Return when the cluster that answers is not the one the app was started for."""
        while True:
            await asyncio.sleep(_WATCH_INTERVAL_S)
            try:
                found = (await self._broker.log()).cluster_id
            except TopicMissingError as error:
                # Everything Faust knows of may be missing as well, and it would ask for it in a tight loop.
                self._health.down("topic", str(error))
                return
            except BrokerAwayError as error:
                self._health.down("broker", str(error))
                continue
            self._health.up("broker")
            if found != cluster:
                _log.warning("another cluster answers now", was=cluster, cluster=found)
                return

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)


async def _until_crashed(app: WorkerApp, started: "asyncio.Task[None]") -> None:
    await asyncio.wait({started})
    if started.cancelled() or started.exception() is not None:
        app.crash_reason = app.crash_reason or started.exception()
        return
    await app.wait_until_stopped()


async def _stop_app(app: WorkerApp, timeout_s: float) -> None:
    try:
        await asyncio.wait_for(app.stop(), timeout_s)
    except Exception as error:  # noqa: BLE001 - it is thrown away; its thread ends with its broken connections
        _log.warning("the app did not stop cleanly", reason=repr(error))


@contextmanager
def _stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    try:
        for number in signals:
            loop.add_signal_handler(number, stop.set)
    except (RuntimeError, ValueError):
        # Not in the main thread (a test, `up` in one process): whoever runs us there stops us by the event.
        yield
        return
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Silence the libraries' own lines: a broker that is away makes them write a hundred a second, `health` one."""
    # A Faust app logs under the name of the module that defines it.
    loggers = [logging.getLogger(name) for name in ("aiokafka", "faust", "mode", "consumers.app")]
    before = [logger.level for logger in loggers]
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
