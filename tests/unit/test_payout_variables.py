"""The environment of payouts: what an operator may set reaches the processes, and is told."""

from pathlib import Path

import pytest

from schemas.payout_settings import PayoutSettings

ROOT = Path(__file__).parents[2]
NAMES = [name.upper() for name in PayoutSettings.model_fields]


def test_every_variable_reaches_the_containers() -> None:
    """The compose file hands each variable of payouts on to every process of ours, empty where it is not set."""
    text = (ROOT / "docker-compose.yml").read_text()
    shared = text[text.index("environment: &settings") : text.index("\nservices:")]
    assert [name for name in NAMES if f"    {name}: ${{{name}:-}}\n" not in shared] == []


def test_every_variable_is_told() -> None:
    """The page about the rails names each variable."""
    text = (ROOT / "docs/payout-rails.md").read_text()
    assert [name for name in NAMES if f"`{name}`" not in text] == []


def test_empty_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the compose file hands on empty is as if it were not there."""
    for name in NAMES:
        monkeypatch.setenv(name, "")
    assert PayoutSettings() == PayoutSettings.model_construct(
        **{name: field.get_default() for name, field in PayoutSettings.model_fields.items()}
    )
