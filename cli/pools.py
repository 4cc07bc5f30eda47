"""Connections for what asks the read side."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from projections import wall
from projections.read import Reads

Answer = TypeVar("Answer")
Pool = AsyncConnectionPool[AsyncConnection[Any]]

_WAIT_S = 5.0


@asynccontextmanager
async def opened(database_url: str, size_max: int, *, walled: bool = False) -> AsyncIterator[Pool]:
    """Lend a pool of at most so many connections in autocommit mode. It fills by itself once the database is there.

    With `walled` its connections see the rows of one merchant at a time (`projections.wall`).
    """
    pool: Pool = AsyncConnectionPool(
        database_url, kwargs={"autocommit": True}, min_size=1, max_size=size_max, timeout=_WAIT_S, open=False,
        configure=wall.stand_behind if walled else None,
    )  # fmt: skip
    await pool.open(wait=False)
    try:
        yield pool
    finally:
        await pool.close()


async def ask(database_url: str, question: Callable[[Reads], Awaitable[Answer]]) -> Answer:
    """Return the read side's answer to one question. Raises psycopg.OperationalError where nobody answers."""
    # Where nobody answers, a pool would try for a while and keep the reason to itself.
    async with await AsyncConnection.connect(database_url):
        pass
    async with opened(database_url, 1) as pool:
        return await question(Reads(pool))
