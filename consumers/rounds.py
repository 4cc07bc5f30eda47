"""Work that is done in rounds, for as long as a worker runs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

from consumers.health import Health


async def in_rounds(
    work: Callable[[], Awaitable[int]],
    health: Health,
    condition: str,
    failing: str,
    pause_s: float,
    *,
    fatal: tuple[type[Exception], ...] = (),
) -> NoReturn:
    """Work until cancelled, without a pause as long as there was something to do.

    What goes wrong is told once, as `failing` and the reason, and tried again. Raises what is `fatal`.
    """
    while True:
        busy = 0
        try:
            busy = await work()
        except fatal:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the next round comes
            health.down(condition, f"{failing}: {error!r}")
        else:
            health.up(condition)
        if not busy:
            await asyncio.sleep(pause_s)
