"""The servers that the chaos tests hurt: their own, durable, one set a test; every test runs on both brokers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kafka import Broker
from tests.support.requirements import require
from tests.support.servers import broker_missing, new_broker


@pytest.fixture(params=["embedded", "apache"])
def hurt_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """Yield a started broker of this test's own, first of one kind, then of the other."""
    absent = broker_missing(request.param)
    require(not absent, absent)
    broker = new_broker(request.param, tmp_path / "broker")
    broker.start()
    yield broker
    broker.kill()
