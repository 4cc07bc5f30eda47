"""kcat (Debian's, on librdkafka) as the storefront: publishes, and reads back where everything lies.

Nothing of ours makes or reads a Kafka message here, so what the service understands is what others write.
"""

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from cli.gateway import Gateway
from tests.support.kafka import SharedBroker
from tests.support.oracle import Message
from tests.support.requirements import require
from tests.support.storefront import Outgoing

# Between messages, and between key and value. kcat takes several bytes, so a value may hold line breaks, tabs, null
# bytes and anything else but these.
MESSAGE_END = b"\x1e\x1e\n"
KEY_END = b"\x1f\x1f"
_HEADING = "%p %o %K %S\\n%k%s"
_TIMEOUT_S = 60


class Kcat:
    """kcat on one topic of one broker."""

    def __init__(self, bootstrap: str, topic: str, cluster_id: str = "cluster") -> None:
        self.bootstrap, self.topic, self.cluster_id = bootstrap, topic, cluster_id

    def publish(self, outgoing: Iterable[Outgoing]) -> None:
        """Publish the messages in their order; returns when the broker has confirmed each. Raises AssertionError."""
        self._produce(outgoing, "-K", _escaped(KEY_END))

    def publish_plain(self, value: bytes, *options: str) -> None:
        """Publish one message as `kcat -P OPTIONS` does: without a key, unless the options name one."""
        self._run("-P", "-t", self.topic, "-D", _escaped(MESSAGE_END), *options, told=value)

    def publish_tombstone(self, key: bytes) -> None:
        """Publish a message whose value is null, which is not the same as empty."""
        self._produce([Outgoing(key, b"")], "-K", _escaped(KEY_END), "-Z")

    def read(self) -> list[Message]:
        """Return what lies in the topic now, partition by partition, each in the order of its offsets."""
        read = self._run("-C", "-q", "-e", "-o", "beginning", "-t", self.topic, "-f", _HEADING)
        return sorted(_messages(read, self.topic, self.cluster_id), key=lambda message: message[1:3])

    def _produce(self, outgoing: Iterable[Outgoing], *options: str) -> None:
        lines = []
        for key, value in outgoing:
            assert MESSAGE_END not in value, "a message that kcat would publish as two"
            assert KEY_END not in value, "a message of which kcat would take the beginning for its key"
            # Without the delimiter in it, the whole line is the value, and there is no key.
            lines.append(value if key is None else key + KEY_END + value)
        told = MESSAGE_END.join([*lines, b""])
        self._run("-P", "-t", self.topic, "-D", _escaped(MESSAGE_END), "-X", "acks=all", *options, told=told)

    def _run(self, *arguments: str, told: bytes = b"") -> bytes:
        done = subprocess.run(
            ["kcat", "-b", self.bootstrap, *arguments], input=told, capture_output=True, check=False, timeout=_TIMEOUT_S
        )
        assert done.returncode == 0, f"kcat {' '.join(arguments)}: {done.stderr.decode(errors='replace')}"
        return done.stdout


@contextmanager
def kcat_on(broker: SharedBroker, topic: str) -> Iterator[Kcat]:
    """Yield kcat on the topic; through the gateway of `up` where this kcat cannot talk to this broker by itself.

    Ends the test where there is no kcat.
    """
    require(shutil.which("kcat"), "kcat")
    if talks_to(broker.bootstrap):
        yield Kcat(broker.bootstrap, topic, broker.cluster_id)
        return
    gateway = Gateway(0)
    gateway.start(broker.bootstrap)
    try:
        yield Kcat(gateway.address, topic, broker.cluster_id)
    finally:
        gateway.stop()


def talks_to(bootstrap: str) -> bool:
    """Return whether the installed kcat can talk to the broker that answers there."""
    asked = ["kcat", "-L", "-b", bootstrap]
    return subprocess.run(asked, capture_output=True, check=False, timeout=_TIMEOUT_S).returncode == 0


def unpublished(outgoing: Iterable[Outgoing], lying: Iterable[Message]) -> Counter[bytes]:
    """Return the values that were published but do not lie in the topic (or too often: with a negative count)."""
    missing = Counter(value for _, value in outgoing)
    missing.subtract(message.value or b"" for message in lying)
    return Counter({value: count for value, count in missing.items() if count})


def _messages(read: bytes, topic: str, source: str) -> Iterator[Message]:
    at = 0
    while at < len(read):
        end = read.index(b"\n", at)
        partition, offset, key_length, length = map(int, read[at:end].split())
        start = end + 1 + max(0, key_length)
        at = start + max(0, length)
        yield Message(topic, partition, offset, None if length < 0 else read[start:at], source)


def _escaped(delimiter: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in delimiter)
