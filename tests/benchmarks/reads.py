"""Reads through HTTP at ten thousand and at a million commissions."""

import asyncio
import socket
import time
from datetime import UTC, datetime
from typing import Any

import aiohttp
import psycopg

from ledger.application import Ledger
from ledger.intake import Intake, Message, Source
from projections.runner import Projector
from tests.benchmarks.stack import HASH_KEY, MERCHANT, Stack, order
from web.keys import create_key

_REQUESTS = 1_500
_WARM_UP = 100
_BATCH = 4_000


def reads(stack: Stack, few: int, many: int, url: str) -> dict[str, Any]:
    """Return p50 and p99 (ms) of `GET /balances` and of the first page of `/commissions` at both sizes, and the ratios.

    `url` is a database with at least `few` orders fewer than `many`: it is filled up on the way.
    """
    small_url = stack.database()
    fill(small_url, few)
    fill(url, many)
    small, large = _measure(stack, small_url), _measure(stack, url)
    table: dict[str, Any] = {"few": few, "many": many}
    for path in small:
        table |= {
            f"{path}_p50_few_ms": percentile(small[path], 50), f"{path}_p50_many_ms": percentile(large[path], 50),
            f"{path}_p99_few_ms": percentile(small[path], 99), f"{path}_p99_many_ms": percentile(large[path], 99),
            f"{path}_ratio_p99": round(percentile(large[path], 99) / percentile(small[path], 99), 2),
        }  # fmt: skip
    return table


def fill(url: str, orders: int) -> None:
    """Book orders by intake itself (without a broker) until there are so many, and bring the read models up to them."""
    ledger = Ledger(url, hash_key=HASH_KEY)
    intake, now, source = Intake(ledger), datetime.now(UTC), Source("fill", "orders", 0)
    with ledger.connection() as conn:
        row = conn.execute(
            "SELECT count(*) AS n FROM ledger.events WHERE starts_with(originator_id, 'order/')"
        ).fetchone()
    have = int(row["n"]) if row else 0
    after = intake.position(source)
    for start in range(have, orders, _BATCH):
        numbers = range(start, min(start + _BATCH, orders))
        first = 0 if after is None else after + 1
        messages = [Message(first + place, order(number)) for place, number in enumerate(numbers)]
        after = intake.take(source, messages, now, after=after).position
    ledger.close()
    Projector(url).catch_up()
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("VACUUM ANALYZE")
        conn.execute("CHECKPOINT")


def _measure(stack: Stack, url: str) -> dict[str, list[float]]:
    port = free_port()
    key = api_key(url)
    with stack.web(url, port):
        return asyncio.run(_ask(port, key))


async def _ask(port: int, key: str) -> dict[str, list[float]]:
    headers = {"Authorization": f"Bearer {key}"}
    paths = {
        "balances": "/api/v1/balances",
        "balances_of_partner": "/api/v1/balances?partner_id=p0007",
        "commissions": "/api/v1/commissions",
        "commissions_of_partner": "/api/v1/commissions?partner_id=p0007&status=pending",
    }
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as session:
        await _until_it_answers(session)
        return {name: await _times(session, path) for name, path in paths.items()}


async def _times(session: aiohttp.ClientSession, path: str) -> list[float]:
    took = []
    for _ in range(_WARM_UP + _REQUESTS):
        begun = time.perf_counter()
        async with session.get(path) as answer:
            if answer.status != 200:
                raise RuntimeError(f"{path}: {answer.status} {await answer.text()}")
            await answer.read()
        took.append((time.perf_counter() - begun) * 1000)
    return took[_WARM_UP:]


async def _until_it_answers(session: aiohttp.ClientSession) -> None:
    for _ in range(600):
        try:
            async with session.get("/healthz"):
                return
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.05)
    raise TimeoutError("the web process does not answer")


def api_key(url: str) -> str:
    """Return a new API key of the benchmarks' merchant."""
    with psycopg.connect(url, autocommit=True) as conn:
        return create_key(conn, MERCHANT, "bench", datetime.now(UTC))


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def percentile(values: list[float], percent: int) -> float:
    """Return the percentile of the values, to a hundredth."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) * percent // 100, len(ordered) - 1)], 2)
