"""What a test needs from the machine: on a developer's it may be missing, in CI it may not."""

import os
from typing import NoReturn

import pytest


def in_ci() -> bool:
    """Return whether this runs in CI (`CI=true`)."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def missing(what: str) -> NoReturn:
    """End the test for want of `what`: skipped on a developer's machine, failed in CI."""
    if in_ci():
        pytest.fail(f"CI needs {what}", pytrace=False)
    pytest.skip(f"needs {what}")


def require(found: object, what: str) -> None:
    """Go on only when `found` is truthy; else as `missing`."""
    if not found:
        missing(what)
