"""Which log is this? The identity of the orders topic, asked of the broker itself.

Positions only mean something within one log. A broker that came back empty (the embedded one keeps its topics in
memory), another cluster at the same address, or a topic that was deleted and created again start at offset 0 under the
same name. So positions are kept per *source*: the cluster's id and the topic's id, both made up by the broker.
"""

import asyncio
from contextlib import suppress
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from consumers.metadata import MetadataResponseV10, TopicRequest
from schemas.errors import RetryableError

_REQUEST_TIMEOUT_MS = 5_000
_UNKNOWN_TOPIC = 3
_TOPIC_ID_LENGTH = 8


class BrokerAwayError(RetryableError):
    """No broker answers."""


class TopicMissingError(RetryableError):
    """The broker answers, and has no such topic (yet)."""


class Log(NamedTuple):
    """Which log it is: the ids that the broker made up for the cluster and for the topic."""

    cluster_id: str
    topic_id: str

    @property
    def source(self) -> str:
        """The name under which its positions are kept. It stands in the cause of every event, so it is kept short.

        48 bits tell the successive topics of one cluster apart. A broker too old for topic ids leaves the cluster's id.
        """
        return f"{self.cluster_id}/{self.topic_id[:_TOPIC_ID_LENGTH]}" if self.topic_id else self.cluster_id


class Broker:
    """A connection of its own to the cluster, used for nothing but asking who is there. Not thread-safe."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self.topic = topic
        self._bootstrap_servers = bootstrap_servers
        self._client: AIOKafkaClient | None = None
        self._connecting = asyncio.Lock()

    async def log(self) -> Log:
        """Return which log the topic is now. Raises BrokerAwayError, TopicMissingError."""
        answer = await self._ask()
        error, topic_id = _answer_for_topic(answer)
        if error == _UNKNOWN_TOPIC:
            raise TopicMissingError(f"the broker has no topic {self.topic!r}")
        if error:
            raise BrokerAwayError(f"the broker does not describe the topic {self.topic!r} (error {error})")
        return Log(str(answer.cluster_id), topic_id)

    async def create_topic(self, partitions: int, replication_factor: int) -> None:
        """Create the topic; that somebody else was faster is fine. Raises BrokerAwayError."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap_servers, request_timeout_ms=_REQUEST_TIMEOUT_MS)
        try:
            await admin.start()
            await admin.create_topics([NewTopic(self.topic, partitions, replication_factor)])
        except (KafkaError, OSError) as error:
            raise BrokerAwayError(f"the topic {self.topic!r} could not be created: {error!r}") from error
        finally:
            await admin.close()

    async def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(KafkaError, OSError):
                await client.close()

    async def _ask(self) -> Any:
        try:
            client = await self._connected()
            return await self._ask_any(client)
        except (KafkaError, OSError, TimeoutError) as error:
            # Start from the bootstrap addresses again: the brokers that were known may all be gone.
            await self.close()
            raise BrokerAwayError(f"no broker answers at {self._bootstrap_servers}: {error!r}") from error

    async def _connected(self) -> AIOKafkaClient:
        async with self._connecting:
            if self._client is None:
                client = AIOKafkaClient(
                    bootstrap_servers=self._bootstrap_servers,
                    client_id="commission-ledger-identity",
                    request_timeout_ms=_REQUEST_TIMEOUT_MS,
                )
                try:
                    await client.bootstrap()
                except BaseException:
                    await client.close()
                    raise
                self._client = client
            return self._client

    async def _ask_any(self, client: AIOKafkaClient) -> Any:
        failure: Exception = BrokerAwayError("the cluster names no brokers")
        for node in client.cluster.brokers():
            try:
                try:
                    return await client.send(node.nodeId, TopicRequest(self.topic))
                except (NotImplementedError, IncompatibleBrokerVersion):
                    request = MetadataRequest([self.topic], allow_auto_topic_creation=False)
                    return await client.send(node.nodeId, request)
            except (KafkaError, OSError, TimeoutError) as error:
                failure = error
        raise failure


def _answer_for_topic(answer: Any) -> tuple[int, str]:
    """Return the error code (0: none) and the id of the one topic that was asked for, empty from an old broker."""
    if not answer.topics:
        return _UNKNOWN_TOPIC, ""
    error_code, _, topic_id, *_ = answer.topics[0]
    return error_code, topic_id if answer.API_VERSION >= MetadataResponseV10.API_VERSION else ""
