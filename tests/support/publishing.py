"""Publishing to a topic as storefronts do."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tests.support.requirements import require
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


def require_kcat(bootstrap: str, *, kind: str) -> None:
    """Skip the test (in CI: fail it) without kcat; skip it where kcat does not understand the embedded broker.

    Debian's librdkafka (2.0.2) miscounts the tagged fields in the embedded broker's ApiVersions answer.
    """
    require(shutil.which("kcat"), "kcat")
    listed = subprocess.run(["kcat", "-L", "-b", bootstrap], check=False, timeout=30, capture_output=True, text=True)
    if listed.returncode != 0 and kind == "embedded":
        pytest.skip(f"kcat cannot talk to the embedded broker: {listed.stderr.splitlines()[-1]}")


def publish_with_kcat(bootstrap: str, topic: str, messages: Iterable[Outgoing]) -> None:
    """Publish the messages with kcat, one a line, key and value apart by a tab; raises CalledProcessError."""
    lines = b"".join((message.key or b"") + b"\t" + message.value + b"\n" for message in messages)
    command = ["kcat", "-P", "-b", bootstrap, "-t", topic, "-K", "\\t"]
    subprocess.run(command, input=lines, check=True, timeout=60, capture_output=True)
