"""A payout run of ten thousand partners: preview, request and settlement beside SQL that marks the same rows.

What is measured is the ledger's part. The bare SQL is that of somebody who keeps commissions as rows: a table with the
same columns and keys as our own list of commissions has, marked `in_payout` and then `paid` by one UPDATE each, with
the payouts beside them, in one durable transaction a step. Ours appends an event to each commission's own stream, with
the payout's events and rows beside them, in transactions of at most 10,000 events, so that intake is not kept waiting.

`python -m tests.benchmarks.payouts URL` measures in a process of its own, whose memory is told as well.
"""

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import psycopg

from cli.serve_worker import _collect_seldom
from consumers.paying import Paying, paying
from consumers.payout_choosing import Wanted, choose_run, prepare_run
from ledger import payout_runs, payouts
from ledger.application import Ledger, following
from ledger.commissions import Act, evolve, fold, move
from ledger.events import Recorded, Stream
from ledger.hashes import run_id
from ledger.payout_store import Name
from ledger.payouts import Seen
from ledger.sealing import KeyRing
from ledger.terms import Terms
from projections.payables import SqlPayables
from projections.runner import Projector
from schemas.payout_methods import PayoutMethod
from schemas.payout_settings import PayoutSettings, key_of
from tests.benchmarks.stack import HASH_KEY, Stack, quiet
from tests.support.oracle_program import BEGINNING, Merchant, Partner, Rate
from tests.support.payout_world import MERCHANT, earned
from tests.support.registration import register

_NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
_KEY = "bench:" + "YmVuY2htYXJrcyBhcmUgb2Ygbm9ib2R5IGF0IGFsbCE="
_BATCH = 5_000
# As many payouts a transaction as keeps it at about 10,000 events.
_PAYOUTS_A_BATCH = 100
# So many, or a tenth, are settled as the worker does it: each by itself, in a transaction of its own.
_ALONE = 500


def run_of_payouts(stack: Stack, partners: int, commissions: int) -> dict[str, Any]:
    """Return the seconds of each step, those of the bare SQL, the ratios, and the memory that it took at most."""
    url = stack.database()
    fill(url, partners, commissions)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("VACUUM ANALYZE")
        quiet(conn)
    command = [sys.executable, "-m", "tests.benchmarks.payouts", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    table: dict[str, Any] = json.loads(done.stdout)
    return table


def fill(url: str, partners: int, commissions: int) -> None:
    """Let there be so many partners, each with details of how it is paid, and so many approved commissions of them."""
    ledger = Ledger(url, hash_key=HASH_KEY)
    names = [f"p{number:05}" for number in range(partners)]
    program = Merchant(
        MERCHANT, "USD", tuple(Partner(name, (Rate(BEGINNING, "percentage", "10"),)) for name in names), {}
    )
    register(ledger, [program])
    _give_details(ledger, names)
    for start in range(0, commissions, _BATCH):
        numbers = range(start, min(start + _BATCH, commissions))
        ledger.record([event for n in numbers for event in _approved(n, names[n % partners])])
    ledger.close()
    Projector(url).catch_up()


def _approved(number: int, partner_id: str) -> list[Recorded]:
    at = _NOW - timedelta(days=40)
    events = [earned(f"o{number:07}", partner_id, 1_000 + number % 40_000, at)]
    order = fold(events)
    made = move(order, "approve", Act(at, at, at.date(), "bench"))
    evolve(order, made[0])
    return following(Stream.order(MERCHANT, f"o{number:07}"), 0, [*events, *made])


def _give_details(ledger: Ledger, names: Sequence[str]) -> None:
    keys = KeyRing([key_of(_KEY)])
    with ledger.connection() as conn, conn.cursor() as curs, curs.copy(_DETAILS) as copy:
        for name in names:
            method = PayoutMethod(method="stripe", address=f"acct_{name}")
            sealed = keys.seal(msgspec.json.encode((MERCHANT, name, method.model_dump())))
            copy.write_row((MERCHANT, name, 1, "stripe", sealed, _NOW - timedelta(days=40), "bench"))


_DETAILS = (
    "COPY people.payout_details (merchant_id, partner_id, number, method, details, changed_at, changed_by) FROM STDIN"
)

# --- in a process of its own ------------------------------------------------------------------------------------------


async def measure(url: str) -> dict[str, Any]:
    """Return what `run_of_payouts` tells."""
    table = _bare(url)
    # As the worker does.
    _collect_seldom()
    ledger = Ledger(url, hash_key=HASH_KEY)
    settings = PayoutSettings(stripe_api_key="sk_test", stripe_api_base="http://127.0.0.1:9", payout_details_keys=_KEY)  # type: ignore[arg-type]
    async with paying(ledger, settings) as found:
        assert found is not None
        table |= _ours(found, ledger, SqlPayables(ledger))
    ledger.close()
    for step in ("request", "settlement"):
        table[f"{step}_ratio"] = round(table[f"{step}_s"] / table[f"{step}_bare_s"], 2)
    return table


def _ours(found: Paying, ledger: Ledger, payables: SqlPayables) -> dict[str, Any]:
    took: dict[str, Any] = {}
    id_, act, wanted = run_id(MERCHANT, "bench"), payouts.Act(_NOW, "bench", "bench"), Wanted(_NOW)
    before = _memory_mb()
    with _timed(took, "preview"):
        choice = choose_run(found, payables, MERCHANT, id_, Terms(), wanted, _NOW)
    with _timed(took, "freeze"):
        prepare_run(found, payables, MERCHANT, id_, Terms(), wanted, act)
    with _timed(took, "request"):
        requested = sum(_requested(found, payables, id_, act))
    assert requested == len(choice.lines), (requested, len(choice.lines))
    names = found.books.store.of_run(MERCHANT, id_, ("requested",))
    with _timed(took, "start"):
        _decided(found, names, act, lambda p: payouts.start(p, act, "0" * 64, timedelta(hours=23)))
    first = min(_ALONE, len(names) // 10)
    alone, together = names[:first], names[first:]
    with _timed(took, "settlement"):
        _decided(found, together, act, lambda payout: _processed(payout, act))
    took["settlement_s"] = round(took["settlement_s"] * len(names) / len(together), 2)
    with _timed(took, "settled_alone"):
        for name in alone:
            found.books.decide(name, lambda payout: _processed(payout, act), act)
    per_s = round(len(alone) / took.pop("settled_alone_s"))
    return {
        "partners": len(names), "commissions": sum(line.commissions for line in choice.lines), **took,
        "settled_one_by_one_per_s": per_s, "memory_mb": round(_memory_mb()),
        "memory_growth_mb": round(_memory_mb() - before),
    }  # fmt: skip


def _requested(found: Paying, payables: SqlPayables, id_: str, act: payouts.Act) -> Iterator[int]:
    lines = found.books.store.lines(MERCHANT, id_, waiting=True)
    rails = {line.partner_id: line.rail for line in lines}
    return payout_runs.carry_on(
        found.books, MERCHANT, id_, partial(payables.commissions_of, MERCHANT),
        lambda partners: found.details.payees(MERCHANT, partners, (rails, _NOW)), act,
    )  # fmt: skip


def _decided(found: Paying, names: Sequence[Name], act: payouts.Act, decide: Callable[[payouts.Payout], Any]) -> None:
    for start in range(0, len(names), _PAYOUTS_A_BATCH):
        for done in found.books.decide_all(names[start : start + _PAYOUTS_A_BATCH], decide, act):
            if isinstance(done, Exception):
                raise done


def _processed(payout: payouts.Payout, act: payouts.Act) -> Any:
    opened = payout.opened
    seen = Seen("processed", f"tr_{opened.payout_id}", opened.amount_minor, opened.currency)
    return payouts.observe(payout, act, seen, None, answer=True)


# --- the bare SQL -----------------------------------------------------------------------------------------------------

# The very rows that are shown as commissions, with all that they say and the same keys.
_FILL = """
CREATE SCHEMA bare;
CREATE TABLE bare.commissions (LIKE read.commissions INCLUDING ALL);
INSERT INTO bare.commissions ({columns}) SELECT {columns} FROM read.commissions;
CREATE TABLE bare.payouts (
    payout_id text PRIMARY KEY, partner_id text NOT NULL, currency text NOT NULL, amount_minor bigint NOT NULL,
    state text NOT NULL
)"""
_WRITTEN = """
SELECT column_name FROM information_schema.columns
WHERE (table_schema, table_name) = ('read', 'commissions') AND is_generated = 'NEVER'"""
_REQUEST = """
INSERT INTO bare.payouts
SELECT 'po_' || md5(partner_id || currency), partner_id, currency, sum(amount_minor), 'requested'
FROM bare.commissions WHERE state = 'approved' GROUP BY partner_id, currency;
UPDATE bare.commissions AS commission SET state = 'in_payout', payout_id = payout.payout_id, version = version + 1
FROM bare.payouts AS payout
WHERE commission.partner_id = payout.partner_id AND commission.currency = payout.currency
AND commission.state = 'approved'"""
_SETTLE = """
UPDATE bare.payouts SET state = 'processed';
UPDATE bare.commissions AS commission SET state = 'paid', paid_at = now(), version = version + 1
FROM bare.payouts AS payout WHERE commission.payout_id = payout.payout_id"""


def _bare(url: str) -> dict[str, Any]:
    took: dict[str, Any] = {}
    with psycopg.connect(url, autocommit=True) as conn:
        names = conn.execute(_WRITTEN).fetchall()
        conn.execute(_FILL.format(columns=", ".join(name for (name,) in names)).encode())
        conn.execute("VACUUM ANALYZE bare.commissions")
        quiet(conn)
        for step, statements in (("request_bare", _REQUEST), ("settlement_bare", _SETTLE)):
            with _timed(took, step), conn.transaction():
                conn.execute(statements)
            conn.execute("VACUUM ANALYZE bare.commissions")
            quiet(conn)
        conn.execute("DROP SCHEMA bare CASCADE")
    return took


@contextmanager
def _timed(took: dict[str, Any], step: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    took[f"{step}_s"] = round(time.perf_counter() - begun, 2)


def _memory_mb() -> float:
    # Of Linux; what it was at most.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1]))))  # noqa: T201 - the answer to who started us
