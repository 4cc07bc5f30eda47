"""Keys of payout details that are missing or wrong are told of when a process starts, and not at the first payout."""

import asyncio
from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from consumers.health import Health
from consumers.payout_keys import CONDITION, keys_looked_at
from ledger import merchants, partners
from ledger.application import Ledger
from ledger.events import Rate
from ledger.payout_details import PayoutDetails, rotate
from ledger.payout_keys import KeyFault, key_faults, told
from ledger.sealing import KeyRing
from schemas.payout_methods import PayoutMethod
from tests.support.registration import HASH_KEY
from tests.support.running_worker import running, worker_settings
from tests.support.service import HASH_KEY as HASH
from tests.support.service import Process
from tests.support.service import until as wait
from tests.support.waiting import until

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OLD, NEW, FALSE = ("old", b"1" * 32), ("new", b"2" * 32), ("old", b"3" * 32)
WHEN = {"now": NOW, "cause": "test"}


@pytest.fixture
def ledger(database_url):
    """Yield books in which `old` sealed payout details and a payee, and `new` another payee."""
    ledger = Ledger(database_url, hash_key=HASH_KEY)
    merchants.register(ledger, merchant_id="acme", name="Acme", currency="EUR", email="o@acme.example", **WHEN)
    ada = partners.register(
        ledger, merchant_id="acme", name="Ada", email="ada@partners.example", coupon_code="ADA",
        rate=Rate(type="percentage", bps=1_000), **WHEN,
    ).partner_id  # fmt: skip
    method = PayoutMethod(method="manual", address="cash")
    PayoutDetails(ledger, KeyRing([OLD]), timedelta()).change("acme", ada, method, by="test", now=NOW)
    with ledger.connection() as conn:
        for payout_id, key in (("po_1", OLD), ("po_2", NEW)):
            payee = KeyRing([key]).seal(b"payee")
            conn.execute("INSERT INTO people.payout_payees VALUES ('acme', %s, %s, %s)", (payout_id, ada, payee))
        conn.execute("INSERT INTO people.payout_payees VALUES ('acme', 'po_3', %s, NULL)", (ada,))
    yield ledger
    ledger.close()


@pytest.mark.parametrize(
    ("keys", "faults"),
    [
        ([NEW, OLD], []),
        ([OLD, NEW], []),
        ([NEW], [KeyFault("old", 2, missing=True)]),
        ([NEW, FALSE], [KeyFault("old", 2, missing=False)]),
        ([FALSE], [KeyFault("new", 1, missing=True), KeyFault("old", 2, missing=False)]),
        (None, [KeyFault("new", 1, missing=True), KeyFault("old", 2, missing=True)]),
    ],
)
def test_what_does_not_open_what_is_stored_is_found(ledger, keys, faults):
    """A key that is missing, and another one under the same id, are found by their ids, and how much they sealed."""
    assert key_faults(ledger, keys and KeyRing(keys)) == faults


def test_what_nobody_sealed_is_found(ledger):
    """Bytes that were not sealed by us at all are a fault without an id, whatever keys there are."""
    with ledger.connection() as conn:
        conn.execute("UPDATE people.payout_payees SET payee = '\\x0203ff41'::bytea WHERE payout_id = 'po_2'")
    assert key_faults(ledger, KeyRing([OLD])) == [KeyFault("?", 1, missing=True)]


def test_what_is_told_says_what_to_do(ledger):
    """The line names the ids and not the keys, what is wrong with each, and where it is explained."""
    line = told(key_faults(ledger, KeyRing([FALSE]))) or ""
    assert "the key 'new' that sealed 1 values is not in PAYOUT_DETAILS_KEYS" in line
    assert "the key 'old' that sealed 2 values is another one in PAYOUT_DETAILS_KEYS" in line
    assert "docs/payout-rails.md" in line
    assert told([]) is None


async def test_a_worker_tells_of_it_and_works_on(ledger):
    """It stands in the log, once, and where operators look; the worker is no less ready; sealed anew, it is over."""
    health, said = Health(), asyncio.Queue()

    def tell(what):
        health.tell(CONDITION, what)
        said.put_nowait(what)

    with capture_logs() as lines:
        async with keys_looked_at(ledger, KeyRing([NEW]), tell, again_s=0.01):
            assert "'old'" in await asyncio.wait_for(said.get(), 10)
            assert "'old'" in health.alive()["look_into"][CONDITION]
            assert health.ready
            await asyncio.to_thread(rotate, ledger, KeyRing([NEW, OLD]))
            while await asyncio.wait_for(said.get(), 10) is not None:
                pass
            assert health.told == {}
    # What it sealed may become less while it is sealed anew, which is told too.
    assert {(line["log_level"], *line["keys"]) for line in lines} == {("error", "old")}


async def test_a_database_that_is_away_is_waited_for(ledger, monkeypatch):
    """Where the books do not answer at first, the keys are looked at when they do."""
    found, answers = asyncio.Event(), iter([ConnectionError("away")])

    def look(ledger, keys):
        for error in answers:
            raise error
        return key_faults(ledger, keys)

    monkeypatch.setattr("consumers.payout_keys.key_faults", look)
    with capture_logs():
        async with keys_looked_at(ledger, None, lambda what: what and found.set(), retry_s=0.0):
            await asyncio.wait_for(found.wait(), 10)


async def test_a_worker_without_any_key_tells_of_what_was_sealed(ledger, database_url):
    """Where no key is set nobody is paid, which is no fault, except where something was sealed before."""
    settings = worker_settings("127.0.0.1:1", "orders")
    with capture_logs():
        async with running(database_url, settings) as health:
            await until(lambda: CONDITION in health.told, "told of the keys")
    assert "'new'" in health.told[CONDITION]


def test_a_web_process_with_another_key_says_so(ledger, database_url, tmp_path):
    """It serves, and its log names the id of the key that does not open what is stored; never the key."""
    told = " ".join(f"{name}:{b64encode(key).decode()}" for name, key in (NEW, FALSE))
    environment = {"DATABASE_URL": database_url, "LEDGER_HASH_KEY": HASH, "WEB_PORT": "0", "PAYOUT_DETAILS_KEYS": told}
    process = Process("web", environment, tmp_path)
    process.start()
    try:
        wait(lambda: "payout details cannot be opened" in process.log.read_text(), "a line in the log")
    finally:
        process.kill()
    log = process.log.read_text()
    assert "the key 'old' that sealed 2 values is another one in PAYOUT_DETAILS_KEYS" in log.replace("\\'", "'")
    assert b64encode(FALSE[1]).decode() not in log
