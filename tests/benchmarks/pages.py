"""The first pages of merchants and partners at ten thousand and at a million commissions, and how much they weigh."""

import asyncio
import re
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
import psycopg

from ledger import logins, sessions
from ledger.access import Actor, once
from ledger.application import Ledger
from ledger.sessions import Origin
from tests.benchmarks import bare
from tests.benchmarks.reads import fill, free_port, percentile
from tests.benchmarks.stack import HASH_KEY, MERCHANT, Stack
from tests.support.keys import key_of
from web.sessions import PARTNER_COOKIE, USER_COOKIE

_PARTNER = "p0007"
_HERE = Origin("127.0.0.1", "a benchmark")
_RANGE = f"from={bare.DAYS[0]}&to={bare.DAYS[1]}"
_WARM_UP = 50
_FILE = re.compile(r'(?:href|src)="(/static/[^"]+)"')
_START_S = 30.0


class Site(NamedTuple):
    """A running service, a browser, and each first page: its path, and the cookie of who looks at it."""

    browser: aiohttp.ClientSession
    asked: Mapping[str, tuple[str, str]]


def pages(stack: Stack, few: int, many: int, url: str, requests: int) -> dict[str, float]:
    """Return p50 and p99 (ms) of each first page at both sizes, their ratio, and the weight (kB) of the larger one.

    `url` is a database with at most `many` orders: it is filled up on the way. A page's weight is that of its HTML and
    of every file that it names, as they come to a browser that takes gzip.
    """
    small_url = stack.database()
    fill(small_url, few)
    fill(url, many)
    ports = free_port(), free_port()
    with stack.web(small_url, ports[0]), stack.web(url, ports[1]):
        found = asyncio.run(_look(dict(zip(ports, (small_url, url), strict=True)), requests))
    table: dict[str, float] = {"few": few, "many": many, "requests": requests}
    for name, (small, large, weight) in found.items():
        table |= {
            f"{name}_p50_few_ms": percentile(small, 50), f"{name}_p50_many_ms": percentile(large, 50),
            f"{name}_p99_few_ms": percentile(small, 99), f"{name}_p99_many_ms": percentile(large, 99),
            f"{name}_ratio_p99": round(percentile(large, 99) / percentile(small, 99), 2),
            f"{name}_weight_kb": round(weight / 1000, 1),
        }  # fmt: skip
    return table


async def _look(urls: Mapping[int, str], requests: int) -> dict[str, tuple[list[float], list[float], int]]:
    """Return, by the page's name, how long each request took (ms) at both sizes, and the larger's weight (bytes)."""
    async with AsyncExitStack() as opened:
        small, large = [await _site(opened, port, url) for port, url in urls.items()]
        found = {}
        for name in small.asked:
            took = await _by_turns((small, large), name, requests)
            found[name] = (*took, await _weight(large, name))
        return found


async def _site(opened: AsyncExitStack, port: int, url: str) -> Site:
    session = aiohttp.ClientSession(f"http://127.0.0.1:{port}", auto_decompress=False, headers={"Accept": "text/html"})
    browser = await opened.enter_async_context(session)
    await _until_it_answers(browser)
    return Site(browser, await _come_in(browser, url))


async def _come_in(browser: aiohttp.ClientSession, url: str) -> Mapping[str, tuple[str, str]]:
    """Log a user and a partner in, without passwords, and return the pages that they see first."""
    key, user, partner = await asyncio.to_thread(_begin, url)
    headers = {"Authorization": f"Bearer {key}", "Accept-Encoding": "identity"}
    async with browser.get(f"/api/v1/partners/{_PARTNER}", headers=headers) as answer:
        told = await answer.json()
    return {
        "overview": (f"/overview?{_RANGE}", f"{USER_COOKIE}={user}"),
        "dashboard": (f"{urlsplit(told['dashboard_url']).path}?{_RANGE}", f"{PARTNER_COOKIE}={partner}"),
    }


def _begin(url: str) -> tuple[str, str, str]:
    now = datetime.now(UTC)
    with psycopg.connect(url, autocommit=True) as conn:
        # The program was registered as events alone; pages look for a partner's name as well.
        conn.execute(
            "INSERT INTO people.partners (merchant_id, partner_id, name, email)"
            " VALUES (%s, %s, 'Jane', 'jane@example.com') ON CONFLICT DO NOTHING",
            (MERCHANT, _PARTNER),
        )
    ledger = Ledger(url, hash_key=HASH_KEY)
    try:
        mail = f"owner-{now.timestamp()}@example.com"
        made = logins.create(
            ledger, merchant_id=MERCHANT, name="Owner", email=mail, role="owner", now=now, by=Actor("bench")
        )
        told = {"merchant_id": MERCHANT, "came": _HERE, "replaces": None, "now": now}
        user = once(ledger, None, lambda curs: sessions.start_user(curs, user_id=made.user.user_id, **told))
        partner = once(
            ledger, None, lambda curs: sessions.start_partner(curs, partner_id=_PARTNER, generation=1, **told)
        )
        return key_of(ledger, MERCHANT), user.get_secret_value(), partner.get_secret_value()
    finally:
        ledger.close()


async def _by_turns(sites: tuple[Site, Site], name: str, requests: int) -> tuple[list[float], list[float]]:
    """Ask in turns, so that what else the machine does meanwhile falls on both alike."""
    took: tuple[list[float], list[float]] = [], []
    for number in range(_WARM_UP + requests):
        for times, site in zip(took, sites, strict=True):
            begun = time.perf_counter()
            await _get(site.browser, *site.asked[name])
            if number >= _WARM_UP:
                times.append((time.perf_counter() - begun) * 1000)
    return took


async def _weight(site: Site, name: str) -> int:
    page = await _get(site.browser, *site.asked[name])
    files = sorted(set(_FILE.findall(page.decode())))
    if not files:
        raise RuntimeError(f"{name} names no files")
    return len(page) + sum([len(await _get(site.browser, file, "", encoding="gzip")) for file in files])


async def _get(browser: aiohttp.ClientSession, path: str, cookie: str, *, encoding: str = "identity") -> bytes:
    headers = {"Cookie": cookie, "Accept-Encoding": encoding}
    async with browser.get(path, headers=headers, allow_redirects=False) as answer:
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {answer.headers.get('Location')}")
        return await answer.read()


async def _until_it_answers(browser: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(_START_S):
        while True:
            try:
                async with browser.get("/healthz"):
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
