"""A running site for tests of pages: the real application, and a projector that keeps the read models at the log."""

import pytest

from tests.support import visitors
from tests.support.api import kept_up, running


@pytest.fixture
async def api(database_url):
    """Yield the application of two merchants, acme and zenith (`tests/support/api.py`), its read models kept up."""
    async with running(database_url) as app, kept_up(database_url):
        yield app


@pytest.fixture
async def owner(api):
    """Return somebody who is logged in as an owner of acme's program."""
    return await visitors.user(api)
