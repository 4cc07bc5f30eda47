"""PostgreSQL and a Kafka-compatible broker as processes of our own.

For one machine, the demo and the tests; never production.
"""

from cli.embedded.broker import EmbeddedBroker
from cli.embedded.postgres import EmbeddedPostgres
from cli.embedded.process import EmbeddedError

__all__ = ["EmbeddedBroker", "EmbeddedError", "EmbeddedPostgres"]
