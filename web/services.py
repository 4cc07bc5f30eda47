"""What the application is made of; the composition root (cli) builds it, handlers get it with each call."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aiohttp import web
from argon2 import Parameters
from argon2.profiles import RFC_9106_LOW_MEMORY
from psycopg_pool import AsyncConnectionPool

from consumers.paying import Paying
from ledger.application import Ledger
from projections.read import Reads
from web.mail import Mailer


@dataclass(frozen=True, kw_only=True)
class WebOptions:
    """What an operator can choose. `secret` keys what must be unguessable (dashboard addresses); sizes are in bytes."""

    public_url: str
    secret: bytes
    ledger_threads: int = 4
    waiting_max: int = 256
    # Room for the longest body that any call but /orders takes (100 ids, every character escaped), and no more: to find
    # everything that is wrong with a large one would keep the others waiting.
    body_max: int = 128 * 1024
    orders_body_max: int = 16 * 1024 * 1024
    body_wait_s: float = 30.0
    lag_max: int = 100_000
    webhook_allow_private: bool = False
    # Per key; and per address for keys that are not valid.
    rate_per_s: float = 100.0
    rate_burst: int = 1_000
    failures_per_s: float = 1.0
    failures_burst: int = 60
    connections_max: int = 800
    # A connection without a complete request, and one whose client does not read its answer, are closed after so long.
    idle_s: float = 75.0
    write_wait_s: float = 30.0
    # Exports and imports: how many run at once, how long an export may take (it keeps one moment of the database), and
    # how large a file may be and how long it may take to arrive.
    long_calls_max: int = 4
    export_s_max: float = 1_800.0
    import_body_max: int = 32 * 1024 * 1024
    import_wait_s: float = 600.0
    # What a password costs; whatever is dearer than what was stored is stored anew at the next login.
    password_cost: Parameters = field(default_factory=lambda: RFC_9106_LOW_MEMORY)


@dataclass(frozen=True, kw_only=True)
class Services:
    """The write side, the read side, the pool for what belongs to no merchant yet (keys, health), and the clock.

    The connections of `reads` stand behind the wall between merchants, those of `pool` do not. `mail` None: none is
    sent, and whoever lost a password has to ask for a link. `paying` None: nobody is paid, for no key seals how.
    """

    ledger: Ledger
    reads: Reads
    pool: AsyncConnectionPool[Any]
    now: Callable[[], datetime]
    options: WebOptions
    mail: Mailer | None = None
    paying: Paying | None = None


SERVICES = web.AppKey("services", Services)
