"""The Faust app: hosts the worker's services, elects a leader, runs its timers, spreads work over all workers."""

from collections.abc import Iterable
from typing import Any

import faust
from faust import StreamT
from mode.types import ServiceT

from consumers.approvals import Approvals
from consumers.bans import Bans
from consumers.order_intake import OrderIntake
from consumers.settings import WorkerSettings
from schemas.errors import CorruptionError


class WorkerApp(faust.App):
    """A Faust app that starts order intake beside its own consumer and writes nothing to the disk."""

    intake: OrderIntake
    # What it starts and stops is told by `health`; mode would say it at length.
    mundane_level = "debug"

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        """Return what starts with the app: intake first, so that it need not wait for the app's own consumer group."""
        return [self.intake, *super().on_init_dependencies()]

    async def on_first_start(self) -> None:
        """Create no folders: there are no tables, positions live in PostgreSQL."""


def build_app(settings: WorkerSettings, intake: OrderIntake, approvals: Approvals, bans: Bans) -> WorkerApp:
    """Return an app that is ready to start. An app is used once: a new one is built after the broker was replaced."""
    app = WorkerApp(
        settings.app_id,
        broker=[f"aiokafka://{server.strip()}" for server in settings.bootstrap_servers.split(",")],
        store="memory://",
        cache="memory://",
        # Faust's own web server has no authentication and listens everywhere.
        web_enabled=False,
        # Said although it is off: Faust would read our own WEB_PORT, and refuse the 0 that stands for any free port.
        web_port=6066,
        autodiscover=False,
        stream_wait_empty=False,
        topic_partitions=4,
        topic_replication_factor=settings.topic_replication_factor,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.heartbeat_interval_s,
        broker_rebalance_timeout=settings.rebalance_timeout_s,
        broker_commit_interval=1.0,
    )
    app.intake = intake
    _add_approvals(app, settings, approvals)
    _add_bans(app, settings, bans)
    return app


def _add_approvals(app: WorkerApp, settings: WorkerSettings, approvals: Approvals) -> None:
    topic = app.topic(f"{settings.app_id}-approvals", value_type=bytes, value_serializer="raw", internal=True)

    @app.agent(topic, name="approvals")
    async def book_approvals(chunks: StreamT[bytes]) -> None:
        async for chunk in chunks:
            try:
                await approvals.book(chunk)
            except CorruptionError as error:
                # Faust would start the agent again; the books have to be looked at first.
                await app.crash(error)
                raise

    @app.timer(settings.approval_interval_s, on_leader=True, name="publish due approvals")  # type: ignore[untyped-decorator]
    async def publish_due() -> None:
        async def publish(chunk: bytes) -> Any:
            return await topic.send(value=chunk)

        await approvals.publish_due(publish)


def _add_bans(app: WorkerApp, settings: WorkerSettings, bans: Bans) -> None:
    @app.timer(settings.ban_interval_s, on_leader=True, name="carry out bans")  # type: ignore[untyped-decorator]
    async def carry_out() -> None:
        try:
            await bans.carry_out()
        except CorruptionError as error:
            await app.crash(error)
            raise
