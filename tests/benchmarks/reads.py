"""Reads through HTTP at ten thousand and at a million commissions, beside a bare handler of the same statements."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import aiohttp
import psycopg

from ledger.application import Ledger
from ledger.intake import Intake, Message, Source
from projections.runner import Projector
from tests.benchmarks import bare
from tests.benchmarks.stack import HASH_KEY, MERCHANT, Stack, order
from tests.support.keys import key_of

_PARTNER = "p0007"
_PATHS = {
    "balances": "/api/v1/balances",
    "balances_of_partner": f"/api/v1/balances?partner_id={_PARTNER}",
    "commissions": "/api/v1/commissions",
    "commissions_of_partner": f"/api/v1/commissions?partner_id={_PARTNER}&status=pending",
    "metrics": f"/api/v1/metrics?from={bare.DAYS[0]}&to={bare.DAYS[1]}",
}
_WARM_UP = 200
# Asked in turns, so that what else the machine does meanwhile falls on both alike.
_TURN = 100
_CLIENTS = 8
_BATCH = 4_000


class Measured(NamedTuple):
    """How long each request took (ms) when one followed the other, and how many a second there were side by side."""

    took_ms: list[float]
    per_s: float


def reads(stack: Stack, few: int, many: int, url: str, requests: int) -> dict[str, Any]:
    """Return p50, p99 (ms) and requests a second of each path at both sizes, beside the bare handler, and the ratios.

    `url` is a database with at most `many` orders: it is filled up on the way. Each figure is of so many requests.
    """
    small_url = stack.database()
    fill(small_url, few)
    fill(url, many)
    (small, _), (large, plain) = _measure(stack, small_url, requests), _measure(stack, url, requests)
    table: dict[str, Any] = {"few": few, "many": many, "requests": requests}
    for path in _PATHS:
        ours, bare_ = large[path], plain[path]
        table |= {
            f"{path}_p50_few_ms": percentile(small[path].took_ms, 50),
            f"{path}_p50_many_ms": percentile(ours.took_ms, 50), f"{path}_p50_bare_ms": percentile(bare_.took_ms, 50),
            f"{path}_p99_few_ms": percentile(small[path].took_ms, 99),
            f"{path}_p99_many_ms": percentile(ours.took_ms, 99), f"{path}_p99_bare_ms": percentile(bare_.took_ms, 99),
            f"{path}_per_s": round(ours.per_s), f"{path}_bare_per_s": round(bare_.per_s),
            f"{path}_ratio_p99": _ratio(ours.took_ms, small[path].took_ms, 99),
            f"{path}_ratio_p50": _ratio(ours.took_ms, bare_.took_ms, 50),
        }  # fmt: skip
    return table


def _ratio(ours: list[float], others: list[float], percent: int) -> float:
    return round(percentile(ours, percent) / percentile(others, percent), 2)


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


def _measure(stack: Stack, url: str, requests: int) -> tuple[dict[str, Measured], dict[str, Measured]]:
    """Return what was measured of the service, and of the bare handler."""
    port, bare_port, key = free_port(), free_port(), api_key(url)
    with stack.web(url, port), _bare(url, bare_port):
        return asyncio.run(_ask(port, key, bare_port, requests))


@contextmanager
def _bare(url: str, port: int) -> Iterator[None]:
    asked = asyncio.run(bare.statements(url, MERCHANT, _PARTNER))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.bare", str(port)], stdin=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    with process.stdin as stdin:
        json.dump({"url": url, "paths": asked}, stdin, default=str)
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


async def _ask(port: int, key: str, bare_port: int, requests: int) -> tuple[dict[str, Measured], dict[str, Measured]]:
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as ours,
        aiohttp.ClientSession(f"http://127.0.0.1:{bare_port}") as plain,
    ):
        await _until_it_answers(ours, "/healthz")
        await _until_it_answers(plain, "/balances")
        found: tuple[dict[str, Measured], dict[str, Measured]] = {}, {}
        for name, path in _PATHS.items():
            sides = ((ours, path), (plain, f"/{name}"))
            times = await _by_turns(sides, requests)
            for results, side, took_ms in zip(found, sides, times, strict=True):
                results[name] = Measured(took_ms, await _per_s(*side, requests))
        return found


async def _by_turns(sides: tuple[tuple[aiohttp.ClientSession, str], ...], requests: int) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in sides]
    for session, path in sides:
        await _times(session, path, _WARM_UP)
    for _ in range(requests // _TURN):
        for took, (session, path) in zip(times, sides, strict=True):
            took.extend(await _times(session, path, _TURN))
    return times


async def _times(session: aiohttp.ClientSession, path: str, requests: int) -> list[float]:
    took = []
    for _ in range(requests):
        begun = time.perf_counter()
        async with session.get(path) as answer:
            if answer.status != 200:
                raise RuntimeError(f"{path}: {answer.status} {await answer.text()}")
            await answer.read()
        took.append((time.perf_counter() - begun) * 1000)
    return took


async def _per_s(session: aiohttp.ClientSession, path: str, requests: int) -> float:
    begun = time.perf_counter()
    await asyncio.gather(*(_times(session, path, requests // _CLIENTS) for _ in range(_CLIENTS)))
    return requests // _CLIENTS * _CLIENTS / (time.perf_counter() - begun)


async def _until_it_answers(session: aiohttp.ClientSession, path: str) -> None:
    for _ in range(600):
        try:
            async with session.get(path):
                return
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.05)
    raise TimeoutError("the web process does not answer")


def api_key(url: str) -> str:
    """Return a new API key of the benchmarks' merchant."""
    ledger = Ledger(url, hash_key=HASH_KEY)
    try:
        return key_of(ledger, MERCHANT)
    finally:
        ledger.close()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def percentile(values: list[float], percent: int) -> float:
    """Return the percentile of the values, to a hundredth."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) * percent // 100, len(ordered) - 1)], 2)
