"""The demo's storefront: a process that knows nothing of us but the topic."""

import asyncio
import heapq
import logging
import signal
from collections.abc import Iterable
from datetime import datetime, timedelta
from random import Random
from typing import Annotated

import structlog
import typer
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from cli import leash
from cli.clock import now
from cli.connection import read_settings
from cli.demo import HISTORY
from cli.failures import UsageError
from cli.logs import configure
from cli.options import ChildOf
from cli.shop import Post, Shop
from schemas.settings import Settings

_log = structlog.get_logger(__name__)

_HISTORY_ORDERS = 1_500
_HISTORY_LATER = timedelta(days=12)
_LATER = timedelta(minutes=2)
_RETRY_S = 1.0

app = typer.Typer(rich_markup_mode="markdown", add_completion=False)


@app.command()
def storefront(
    *,
    per_second: Annotated[float, typer.Option(min=0.01, max=1000, help="Orders a second, on average.")] = 3.0,
    history: Annotated[bool, typer.Option("--history", help="Begin with the orders of the last weeks.")] = False,
    child_of: ChildOf = None,
) -> None:
    """Publish the orders of the demo merchant until stopped."""
    leash.wear(child_of)
    settings = read_settings()
    if settings.kafka_bootstrap_servers is None:
        raise UsageError("KAFKA_BOOTSTRAP_SERVERS is not set: HOST:PORT of the broker")
    configure(settings.log_level or "info")
    # A broker that is away makes it write a hundred lines a second; ours is one.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    begun = now()
    # Seeded by the run: nothing here is a secret.
    random = Random(begun.isoformat())  # noqa: S311
    shop = Shop(random, f"{int(begun.timestamp()):x}")
    waiting = past(shop, random, begun) if history else []
    asyncio.run(_run(settings, shop, random, waiting, per_second))


def past(shop: Shop, random: Random, until: datetime) -> list[Post]:
    """Return what was sent in the weeks before `until` and what of it is still to come, the oldest first.

    Trade grows a little, and no two days are the same.
    """
    begin = until - HISTORY
    placed = (begin + HISTORY * (random.random() ** 0.8) for _ in range(_HISTORY_ORDERS))
    return sorted(post for at in placed for post in shop.order(at, _HISTORY_LATER))


async def _run(settings: Settings, shop: Shop, random: Random, waiting: list[Post], per_second: float) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    heapq.heapify(waiting)
    while not stop.is_set():
        try:
            await _publish(settings, shop, random, waiting, per_second, stop)
        except (KafkaError, OSError) as error:
            _log.warning("the storefront cannot publish", reason=repr(error))
            await _pause(stop, _RETRY_S)
    _log.info("storefront stopped")


async def _publish(
    settings: Settings, shop: Shop, random: Random, waiting: list[Post], per_second: float, stop: asyncio.Event
) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, client_id="demo-storefront", linger_ms=5
    ) as producer:
        while not stop.is_set():
            at = now()
            for post in _due(waiting, at):
                await producer.send(settings.orders_topic, post.value, key=post.key or None)
            await producer.flush()
            await _pause(stop, random.expovariate(per_second))
            for post in shop.order(now(), _LATER):
                heapq.heappush(waiting, post)


def _due(waiting: list[Post], at: datetime) -> Iterable[Post]:
    while waiting and waiting[0].at <= at:
        yield heapq.heappop(waiting)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
