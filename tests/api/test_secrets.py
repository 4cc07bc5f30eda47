"""No secret is written down: after a run through all routes, neither database nor log holds a part of a key or IBAN."""

import asyncio
import re
from contextlib import closing
from datetime import UTC, datetime

import aiohttp
import psycopg
import pytest

from consumers.paying import paying
from ledger import merchants
from ledger.application import Ledger
from tests.api.test_isolation import ROUTES, call, lines
from tests.support.api import NOW, PAYOUTS, Api
from tests.support.keys import key_of
from tests.support.service import HASH_KEY, LOOPBACK, Process, until
from tests.support.worlds import IBAN, build, door, missing

# So much of a secret is as good as none, and does not come about by chance.
PART = 10
# Where acme's partners are paid by hand, as `tests.support.worlds` has it.
DOOR = door("acme")
TOKEN = re.compile(r"cl_[0-9a-f]{16}_([A-Za-z0-9_-]{43})")
_TABLES = """
SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
"""


class Clocked(Api):
    """An API whose clock is the machine's, as that of its process is."""

    @property
    def now(self):
        """Return the time."""
        return datetime.now(UTC)

    @now.setter
    def now(self, told):
        """Nobody sets it."""


@pytest.fixture
async def served(database_url, tmp_path):
    """Yield the API of a web process of its own, which logs everything that it can."""
    environment = {
        "DATABASE_URL": database_url, "LEDGER_HASH_KEY": HASH_KEY, "WEB_PORT": "0", "LOG_LEVEL": "debug",
        "RATE_LIMIT_BURST": "100000", "RATE_LIMIT_FAILURES_BURST": "100000",
        "PAYOUT_DETAILS_KEYS": PAYOUTS.payout_details_keys[0].get_secret_value(),
        "BANK_DEBTOR_NAME": "Acme GmbH", "BANK_DEBTOR_IBAN": PAYOUTS.bank_debtor_iban,
    }  # fmt: skip
    process = Process("web", environment, tmp_path)
    with closing(Ledger(database_url, hash_key=HASH_KEY.encode())) as ledger:
        keys = {}
        for merchant_id in ("acme", "zenith"):
            merchants.register(
                ledger, merchant_id=merchant_id, name=merchant_id, currency="USD", email="o@example.com", now=NOW,
                cause="test",
            )  # fmt: skip
            keys[merchant_id] = key_of(ledger, merchant_id)
        process.start()
        try:
            await asyncio.to_thread(until, process.is_ready, "a web process that is ready", timeout_s=60)
            async with (
                aiohttp.ClientSession(f"http://{LOOPBACK}:{process.port}") as session,
                paying(ledger, PAYOUTS) as pays,
            ):
                # What a worker does is done here.
                api = Clocked(session, ledger, database_url, keys, paying=pays)
                api.log = process.log
                yield api
        finally:
            process.kill()


def parts(secret):
    """Return the parts of a secret that may stand nowhere, as text and as the database writes bytes."""
    pieces = {secret[at : at + PART] for at in range(len(secret) - PART + 1)}
    return pieces | {piece.encode().hex() for piece in pieces}


def held(text, secrets):
    """Return the parts of the secrets that a text holds."""
    return [part for secret in secrets for part in parts(secret) if part in text]


def dump(url):
    """Return all rows of all tables, as text."""
    with psycopg.connect(url) as conn:
        tables = [name for (name,) in conn.execute(_TABLES)]
        return {name: str(conn.execute(f"SELECT t::text FROM {name} AS t").fetchall()) for name in tables}  # noqa: S608


async def every_route(api, world):
    """Call every route, with ids of the merchant's own and of nothing, and return all that was answered."""
    told = []
    for ids in (world.ids, missing(world.ids)):
        for name, bodies in lines(ids, world.ids).items():
            for body in bodies:
                headers = {"Idempotency-Key": f"request-{len(told)}"}
                for _ in ("first", "again"):
                    answer = await call(api, name, ids, body, of="acme", headers=headers)
                    told.append(answer.text)
    return told


async def test_no_secret_is_written_down(served):
    """Keys good and bad, through every route, in every wrong place, and while things fail: no part of any is kept."""
    world = await build(served, "acme")
    good = served.keys["acme"]
    told = await every_route(served, world)
    wrong = f"cl_{'0' * 16}_{'Wrong-secret_of-nobody' * 2}"[:63]
    for token in (wrong, good[:-1] + "x"):
        for headers in (
            {"Authorization": f"Bearer {token}"},
            {"Authorization": f"Basic {token}"},
            {"Authorization": f"Bearer {good}", "X-Request-Id": token},
            {"Authorization": f"Bearer {good}", "Idempotency-Key": token},
        ):
            told.append((await served.post("/users", {}, of=None, headers=headers)).text)
    for statement, status in (
        ("ALTER TABLE read.balances RENAME COLUMN pending_minor TO something", 500),
        ("ALTER TABLE read.balances RENAME TO something", 503),
    ):
        with psycopg.connect(served.database_url, autocommit=True) as conn:
            conn.execute(statement)
        assert (await served.get("/balances")).status == status
    shown = " ".join([*told, *world.words, good, wrong])
    links = re.findall(r"/reset/([\w-]{43})", shown)
    assert DOOR in shown, "whoever pays by hand is told where"
    secrets = {*TOKEN.findall(shown), *re.findall(r"whsec_([\w+/=-]{20,})", shown), *links, IBAN, DOOR}
    assert len(secrets) >= 12, "keys and webhooks were made and rotated, and users invited"
    assert len(links) >= 4
    log = served.log.read_text()
    assert "internal_error" in log or "unexpected error" in log, "the log of the failures is looked at too"
    assert held(log, secrets) == []
    assert {table: found for table, text in dump(served.database_url).items() if (found := held(text, secrets))} == {}
    document = (await served.get("/openapi.json", of=None)).text
    assert TOKEN.search(document) is None
    assert held(document, secrets) == []


def test_a_part_of_a_secret_is_found():
    """What looks for secrets finds a part of one in text and in bytes as PostgreSQL writes them."""
    assert held("... abcdefghij ...", {"xabcdefghijx"})
    assert held(str(b"abcdefghij".hex()), {"xabcdefghijx"})
    assert not held("abcdefghi", {"xabcdefghijx"})
    assert ROUTES
