"""Publishing to a topic as storefronts do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer

from tests.support.storefront import Outgoing


@asynccontextmanager
async def producing(bootstrap: str, **settings: Any) -> AsyncIterator[AIOKafkaProducer]:
    """Yield a started producer."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=2, **settings)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def publish(bootstrap: str, topic: str, messages: Iterable[Outgoing], **settings: Any) -> list[Any]:
    """Publish the messages in their order and return what the broker said of each: where it lies."""
    async with producing(bootstrap, **settings) as producer:
        answers = [await producer.send(topic, message.value, key=message.key) for message in messages]
        return [await answer for answer in answers]
