"""Waiting for something that announces itself to nobody: it is looked at again and again, and must come in time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_LOOK_AGAIN_S = 0.03


async def until(look: Callable[[], T | Awaitable[T]], what: str, *, timeout_s: float = 30.0) -> T:
    """Return what `look` returns as soon as it is true; fails, saying `what` did not happen, when it does not come."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen = look()
        if inspect.isawaitable(seen):
            seen = await seen
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"within {timeout_s:g} s, {what} did not happen; last seen: {seen!r}")
        await asyncio.sleep(_LOOK_AGAIN_S)
