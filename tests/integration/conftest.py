"""The command line, called in this process."""

import pytest

from tests.support.commands import Commands, for_database


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], database_url: str) -> Commands:
    """Return the commands on this test's own database."""
    return Commands(capsys, for_database(database_url))
