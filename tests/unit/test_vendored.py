"""What we took over from others as files: complete, unchanged, and with its licence."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

VENDOR = Path(__file__).resolve().parents[2] / "web/static/vendor"
MANIFEST = json.loads((VENDOR / "manifest.json").read_text(encoding="utf-8"))
LICENCES = {"0BSD", "MIT"}


@pytest.mark.parametrize("taken", MANIFEST, ids=lambda taken: taken["name"])
def test_files_are_what_the_manifest_says(taken: dict) -> None:
    """Every vendored file has the hash that it had in the package it came from, and its licence lies beside it."""
    found = {name: sha256((VENDOR / name).read_bytes()).hexdigest() for name in taken["files"]}
    assert found == {name: told["sha256"] for name, told in taken["files"].items()}
    assert any(name.endswith(".LICENSE") for name in found)
    assert taken["licence"] in LICENCES
    assert taken["package"].endswith(f"@{taken['version']}")
    assert taken["source"].startswith("https://")


def test_nothing_is_vendored_unsaid() -> None:
    """The folder holds the manifest and what it names, and nothing else."""
    named = {name for taken in MANIFEST for name in taken["files"]}
    assert {path.name for path in VENDOR.iterdir()} == {"manifest.json", *named}
