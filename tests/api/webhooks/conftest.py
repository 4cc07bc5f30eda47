"""Webhooks that lead to receivers on this machine, and what sends to them."""

import pytest

from tests.support.api import running
from tests.support.receivers import receiving, sending


@pytest.fixture
async def api(database_url):
    """Yield the API, which takes addresses on the loopback."""
    async with running(database_url, webhook_allow_private=True) as found:
        yield found


@pytest.fixture
async def receiver():
    """Yield a receiver that takes everything."""
    async with receiving() as found:
        yield found


@pytest.fixture
async def sender(api):
    """Yield a sender at the API's clock."""
    async with sending(api.ledger, api.now) as found:
        yield found
