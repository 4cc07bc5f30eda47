"""What the application is made of; the composition root (cli) builds it, handlers get it with each call."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import web
from psycopg_pool import AsyncConnectionPool

from ledger.application import Ledger
from projections.read import Reads


@dataclass(frozen=True, kw_only=True)
class WebOptions:
    """What an operator can choose. `secret` keys what must be unguessable (dashboard addresses); sizes are in bytes."""

    public_url: str
    secret: bytes
    ledger_threads: int = 4
    waiting_max: int = 256
    body_max: int = 1024 * 1024
    orders_body_max: int = 16 * 1024 * 1024
    body_wait_s: float = 30.0
    lag_max: int = 100_000


@dataclass(frozen=True, kw_only=True)
class Services:
    """The write side, the read side, the pool for what is the web's own (keys), and the clock."""

    ledger: Ledger
    reads: Reads
    pool: AsyncConnectionPool[Any]
    now: Callable[[], datetime]
    options: WebOptions


SERVICES = web.AppKey("services", Services)
