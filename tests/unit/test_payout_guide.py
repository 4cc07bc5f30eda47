"""The guide to payouts names everything that somebody may meet: commands, states, reasons."""

from pathlib import Path
from typing import get_args

import pytest

from cli.payout_words import REASONS
from cli.payouts import app
from schemas.api_payouts import PayoutStatus, RunReason

GUIDE = (Path(__file__).resolve().parents[2] / "docs/payouts.md").read_text(encoding="utf-8")
COMMANDS = [command.name for command in app.registered_commands]


@pytest.mark.parametrize("word", [*COMMANDS, *get_args(PayoutStatus), *get_args(RunReason)])
def test_the_guide_names_it(word) -> None:
    """Every command, state of a payout and reason of a run stands in the guide."""
    assert f"`{word}" in GUIDE or f"payouts {word}" in GUIDE


def test_every_reason_has_words() -> None:
    """The command line says every reason in words."""
    assert set(REASONS) == set(get_args(RunReason))
