"""Kafka's Metadata request in the first version that tells a topic's id; aiokafka itself stops at version 5.

A topic that was deleted and created again has the same name and starts at offset 0. Its id is what tells the two apart.
"""

import base64
from io import BytesIO
from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

_NO_TOPIC_ID = bytes(16)


class TopicId:
    """Kafka's UUID, read and written as the 22 characters that Kafka's own tools print."""

    @classmethod
    def encode(cls, value: str) -> bytes:
        """Return the 16 bytes of the id."""
        return base64.urlsafe_b64decode(f"{value}==") if value else _NO_TOPIC_ID

    @classmethod
    def decode(cls, data: BytesIO) -> str:
        """Return the id, empty where the broker has none."""
        raw = data.read(16)
        return "" if raw == _NO_TOPIC_ID else base64.urlsafe_b64encode(raw).decode().rstrip("=")

    @classmethod
    def repr(cls, value: str) -> str:
        """Return the id for log lines."""
        return repr(value)


_BROKER = (("node_id", Int32), ("host", CompactString("utf-8")), ("port", Int32), ("rack", CompactString("utf-8")))
_PARTITION = (
    ("error_code", Int16),
    ("partition", Int32),
    ("leader", Int32),
    ("leader_epoch", Int32),
    ("replicas", CompactArray(Int32)),
    ("isr", CompactArray(Int32)),
    ("offline_replicas", CompactArray(Int32)),
    ("tags", TaggedFields),
)


class MetadataResponseV10(Response):  # type: ignore[misc]
    """The broker's answer: the cluster, and of each topic its id."""

    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(*_BROKER, ("tags", TaggedFields))),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", TopicId),
                ("is_internal", Boolean),
                ("partitions", CompactArray(*_PARTITION)),
                ("topic_authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class MetadataRequestV10(RequestStruct):  # type: ignore[misc]
    """The request on the wire."""

    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = MetadataResponseV10
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", TopicId), ("topic", CompactString("utf-8")), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicRequest(Request[MetadataRequestV10]):  # type: ignore[misc]
    """Asks for one topic, and creates none by asking."""

    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[MetadataRequestV10]) -> MetadataRequestV10:
        """Return the request in the negotiated version; called by aiokafka."""
        topics: list[Any] = [("", self._topic, {})]
        return request_struct_class(topics, False, False, False, {})
