"""The plain application: the same library used as its tutorial shows, one aggregate and one transaction a message."""

import asyncio
import json
import time
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from aiokafka import AIOKafkaConsumer, TopicPartition
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from psycopg.conninfo import conninfo_to_dict

from tests.benchmarks.stack import PARTITIONS, program


class Commission(Aggregate):
    """A commission as an aggregate of the library."""

    @staticmethod
    def create_id(order_id: str) -> UUID:
        """Return the id of the order's commission."""
        return uuid5(NAMESPACE_URL, order_id)

    @event("Earned")
    def __init__(self, order_id: str, partner_id: str, currency: str, total: str, amount: str) -> None:
        self.order_id, self.partner_id, self.currency, self.total, self.amount = (
            order_id,
            partner_id,
            currency,
            total,
            amount,
        )


def plain(bootstrap: str, url: str, topic: str, seconds: float = 10.0) -> float:
    """Return how many messages a second the plain application takes from Kafka to committed aggregates."""
    conninfo = conninfo_to_dict(url)
    application: Application[UUID] = Application(
        env={
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": str(conninfo["dbname"]), "POSTGRES_HOST": str(conninfo["host"]),
            "POSTGRES_PORT": str(conninfo.get("port", 5432)), "POSTGRES_USER": str(conninfo["user"]),
            "POSTGRES_PASSWORD": str(conninfo.get("password", "")), "POSTGRES_SCHEMA": "public",
        }
    )  # fmt: skip
    try:
        return asyncio.run(_run(application, bootstrap, topic, seconds))
    finally:
        application.close()


async def _run(application: Application[UUID], bootstrap: str, topic: str, seconds: float) -> float:
    codes = {code: history[0][1] for code, history in program().codes.items()}
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        await consumer.getone()
        done, begun = 0, time.perf_counter()
        async for message in consumer:
            application.save(_commission(json.loads(message.value), codes))
            done += 1
            if time.perf_counter() - begun > seconds:
                break
        return done / (time.perf_counter() - begun)
    finally:
        await consumer.stop()


def _commission(told: dict[str, Any], codes: dict[str, str | None]) -> Commission:
    partner_id = str(codes[told["coupon_code"]])
    return Commission(told["order_id"], partner_id, told["currency"], told["total"], str(float(told["total"]) * 0.1))
