"""`worker`: books the orders of the topic."""

import asyncio
import gc

import typer

from cli import leash
from cli.clock import now
from cli.connection import Books, books
from cli.logs import configure
from cli.options import ChildOf, Data
from cli.pools import opened
from cli.serve_web import mailer, web_options
from consumers.paying import paying
from consumers.settings import WorkerSettings
from consumers.worker import run_worker
from ledger.application import Ledger
from projections.payables import SqlPayables
from projections.read import Reads
from schemas.settings import Settings
from web.payout_letters import PayoutPost

_COLLECT_AFTER_OBJECTS = 200_000

app = typer.Typer(rich_markup_mode="markdown", add_completion=False)


@app.command()
def worker(*, data: Data = None, child_of: ChildOf = None) -> None:
    """Book the orders of the Kafka topic; run as many as the topic has partitions."""
    leash.wear(child_of)
    with books(data) as found:
        configure(found.settings.log_level or "info")
        settings = worker_settings(found.settings, found.bootstrap_servers)
        _collect_seldom()
        with found.ledger() as ledger:
            asyncio.run(_serve(found, settings, ledger))


def _collect_seldom() -> None:
    # A batch makes tens of thousands of objects that live as long as it does and are in no cycle: looking for cycles at
    # Python's own pace took a third of intake's time (docs/benchmarks.md).
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER_OBJECTS, 20, 50)


async def _serve(found: Books, settings: WorkerSettings, ledger: Ledger) -> None:
    async with opened(found.database_url, 1) as pool, paying(ledger, found.payout_settings) as pays:
        reads, mail = Reads(pool), mailer(found.settings)
        post = None if mail is None else PayoutPost(mail, web_options(found.settings, found.hash_key))
        await run_worker(
            settings, ledger, reads.due_commissions, reads.swept_commissions, now,
            paying=pays, payables=SqlPayables(ledger), post=post,
        )  # fmt: skip


def worker_settings(settings: Settings, bootstrap_servers: str) -> WorkerSettings:
    """Return the worker's settings: what the environment names, its own defaults for the rest."""
    told = {
        "bootstrap_servers": bootstrap_servers,
        "orders_topic": settings.orders_topic,
        "orders_topic_partitions": settings.orders_topic_partitions,
        "topic_replication_factor": settings.topic_replication_factor,
        "app_id": settings.kafka_app_id,
        "session_timeout_s": _seconds(settings.kafka_session_timeout_ms),
        "heartbeat_interval_s": _seconds(settings.kafka_heartbeat_interval_ms),
        "rebalance_timeout_s": _seconds(settings.kafka_rebalance_timeout_ms),
        "webhook_allow_private": settings.webhook_allow_private,
        "webhook_disable_days": settings.webhook_disable_days,
        "webhook_log_days": settings.webhook_log_days,
        "health_host": settings.worker_health_host,
        "health_port": settings.worker_health_port,
    }
    return WorkerSettings(**{name: value for name, value in told.items() if value is not None})


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
