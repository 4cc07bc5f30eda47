"""A town in which partners are paid while workers die, and the check of its books against the providers at the end."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TypeVar

import psycopg

from cli.connection import bring_up_to_date
from cli.embedded import EmbeddedPostgres
from consumers.paying import Paying
from consumers.payout_choosing import Wanted, prepare_run
from ledger import payouts
from ledger.application import Ledger, following
from ledger.commissions import Act, fold, move
from ledger.events import Recorded, Stream, decode
from ledger.hashes import run_id
from ledger.payout_store import Name
from ledger.store import VersionConflictError
from ledger.terms import Terms
from projections.payables import SqlPayables
from projections.runner import Projector
from projections.verify import verify
from schemas.errors import LedgerError, RetryableError
from schemas.payout_methods import PayoutMethod
from tests.support.fast_clock import FastClock
from tests.support.oracle_program import BEGINNING, Merchant, Partner, Rate
from tests.support.payout_inbox import Inbox, inbox
from tests.support.payout_oracle import wrong_at_rest
from tests.support.payout_processes import Doubles, PayoutWorkerProcess, PayoutWorkers
from tests.support.payout_worker import pays
from tests.support.payout_world import earned
from tests.support.registration import register
from tests.support.waiting import until
from tests.support.worker_process import HASH_KEY

T = TypeVar("T")

MERCHANT = "acme"
START = datetime(2026, 11, 22, 12, tzinfo=UTC)
# Five minutes, after which others conclude from the provider, are five seconds.
SPEED = 60.0
PATIENCE_S = 90.0
# A provider that does not answer is given up well before others look.
_TIMEOUT_S = 0.8
_KEY = "k1:" + base64.b64encode(b"s" * 32).decode()
# So few payouts that were not sent yet call for a new run.
_FEW = 100
_CALM = timedelta(minutes=15)


class Sent(NamedTuple):
    """A payment of a provider, in the words of the oracle."""

    payout_id: str
    net_minor: int
    state: str


class Sender(NamedTuple):
    """What a provider did, in the words of the oracle."""

    payments: list[Sent]
    twice: list[str]


class Town:
    """Books, providers, workers, partners; `random` decides about what is left to chance."""

    def __init__(
        self, url: str, ledger: Ledger, clock: FastClock, doubles: Doubles, found: Paying, workers: PayoutWorkers,
        random: Random,
    ) -> None:  # fmt: skip
        self.url, self.ledger, self.clock, self.doubles, self.workers = url, ledger, clock, doubles, workers
        self.books, self.random, self._paying = found.books, random, found
        self.payables = SqlPayables(ledger)
        self.partners: list[str] = []
        self.runs: list[str] = []
        self._orders, self._due_by = 0, START

    # --- what merchants do ---

    def settle_in(self, partners: int, by: str | None = None) -> None:
        """Let there be so many partners, half of them paid by Stripe, half by PayPal, or all by this rail."""
        self.partners = [f"p{number:04}" for number in range(partners)]
        rates = (Rate(BEGINNING, "percentage", "10"),)
        register(self.ledger, [Merchant(MERCHANT, "USD", tuple(Partner(each, rates) for each in self.partners), {})])
        for number, partner_id in enumerate(self.partners):
            rail: Any = by or ("paypal" if number % 2 else "stripe")
            method = PayoutMethod(method=rail, address=address_of(partner_id))
            self._paying.details.change(MERCHANT, partner_id, method, by="test", now=START)

    async def earn(self, commissions: int) -> None:
        """Let every partner have so many approved commissions more."""
        now = self.clock.now()
        events: list[Recorded] = []
        for partner_id in self.partners:
            for _ in range(commissions):
                self._orders += 1
                events += self._approved(f"o{self._orders:06}", partner_id, now)
        await asyncio.to_thread(self._insisting, lambda: self.ledger.record(events))
        await asyncio.to_thread(Projector(self.url).catch_up)

    def _insisting(self, work: Callable[[], T]) -> T | None:
        """Do it, as often as it takes: connections are lost with their server. None: it was done, the answer lost."""
        while True:
            try:
                return work()
            except RetryableError:
                continue
            except VersionConflictError:
                return None

    def _approved(self, order_id: str, partner_id: str, now: datetime) -> list[Recorded]:
        order = [earned(order_id, partner_id, self.random.randint(50, 400) * 100, now)]
        order += move(fold(order), "approve", Act(now, now, now.date(), "test"))
        return following(Stream.order(MERCHANT, order_id), 0, order)

    def prepare(self) -> str:
        """Freeze a run of everybody; the workers carry it on. Return its id."""
        now = self.clock.now()
        id_ = run_id(MERCHANT, "test", str(len(self.runs)))
        act = payouts.Act(now, "test", "maker")
        self._insisting(lambda: prepare_run(self._paying, self.payables, MERCHANT, id_, Terms(), Wanted(now), act))
        self.runs.append(id_)
        return id_

    async def run(self, commissions: int) -> None:
        """Let everybody earn so many commissions, and freeze a run of them."""
        await self.earn(commissions)
        await asyncio.to_thread(self.prepare)

    async def keep_busy(self) -> None:
        """Have something to pay, always."""
        if await asyncio.to_thread(lambda: self.states()["requested"] + self.waiting()) < _FEW:
            await self.run(1)

    async def take_back(self, amount_minor: int) -> None:
        """Reverse a part of a transfer at Stripe."""
        done = [each for each in await self.paid() if each["provider"] == "stripe" and not each["returned_minor"]]
        if done:
            each = self.random.choice(done)
            await self.doubles.post(f"/stripe/transfers/{each['reference']}/reverse", amount=amount_minor)

    # --- what can be seen ---

    def rows(self) -> list[tuple[str, ...]]:
        """Return id, partner, state, amount, attempt and reason of every payout."""
        with psycopg.connect(self.url) as conn:
            return conn.execute(
                "SELECT payout_id, partner_id, state, amount_minor, attempt FROM ledger.payouts ORDER BY payout_id"
            ).fetchall()

    def states(self) -> Counter[str]:
        """Return how many payouts there are in each state."""
        return Counter(row[2] for row in self.rows())

    def open(self) -> int:
        """Return how many payouts are open, and how many lines of runs still wait to become one."""
        return sum(number for state, number in self.states().items() if state not in payouts.AT_REST) + self.waiting()

    def waiting(self) -> int:
        """Return how many lines of runs are in and not requested yet."""
        lines = self._insisting(lambda: [self.books.store.lines(MERCHANT, each, waiting=True) for each in self.runs])
        return sum(map(len, lines or ()))

    async def came_in(self) -> int:
        """Return how many calls that pay came in at the providers so far."""
        return await self.doubles.counted("POST came in")

    async def calls_later(self, most: int = 6) -> None:
        """Return in the middle of a call that pays, after a random number of others."""
        wanted = await self.came_in() + self.random.randint(1, most)

        async def reached() -> bool:
            assert self.workers.running, "all workers have ended"
            return await self.came_in() >= wanted and await self.doubles.counted("POST under way") > 0

        await until(reached, "calls of providers", timeout_s=PATIENCE_S)

    def requesting(self) -> bool:
        """Return whether somebody is writing a run's payouts at this moment."""
        with psycopg.connect(self.url) as conn:
            row = conn.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_xid IS NOT NULL"
            ).fetchone()
        return bool(row and row[0])

    def missed(self) -> int:
        """Return how often workers said that they had no database."""
        return sum("the database does not answer" in line for line in self.workers.lines())

    def in_payout(self) -> int:
        """Return what is in payouts by the balances."""
        Projector(self.url).catch_up()
        with psycopg.connect(self.url) as conn:
            row = conn.execute("SELECT coalesce(sum(in_payout_minor), 0)::bigint FROM read.balances").fetchone()
        return int(row[0]) if row else 0

    async def paid_twice(self) -> list[str]:
        """Return the payouts of which the providers have more than one payment."""
        return _sender(await self.paid()).twice

    def victim(self) -> PayoutWorkerProcess:
        """Return a running worker."""
        return self.random.choice(self.workers.running)

    # --- the end ---

    async def come_to_rest(self) -> None:
        """Let all faults end, everything be done that is left, people decide; a month passes."""
        for provider in ("stripe", "paypal"):
            await self.doubles.post(f"/{provider}/faults", chance=0.0)
            await self.doubles.post(f"/{provider}/slow", seconds=0.0)
        await self.doubles.post("/paypal/outcome", status="SUCCESS")
        await self._until(self._rests, "every payout at rest")
        # Whatever no webhook told is found by looking once a day.
        for _ in range(2):
            self._forward(timedelta(days=1, hours=1))
            await self._until(self._looked, "everything that was due being done")

    async def _until(self, look: Callable[[], Awaitable[bool]], what: str) -> None:
        try:
            await until(look, what, timeout_s=PATIENCE_S)
        except AssertionError as error:
            left = [row for row in self.rows() if row[2] not in payouts.AT_REST][:10]
            counts = await self.doubles.get("/counts")
            raise AssertionError(f"{error}; {left}; {self._due()} due; {self.waiting()} waiting; {counts}") from error

    def _forward(self, by: timedelta) -> None:
        self.clock.forward(by)
        self._due_by = self.clock.now()

    async def _rests(self) -> bool:
        await self.doubles.post("/paypal/items", **{"from": "PENDING", "to": ["SUCCESS"]})
        await self.doubles.post("/paypal/items", **{"from": "UNCLAIMED", "to": ["SUCCESS", "RETURNED"]})
        await self.doubles.post("/paypal/items", **{"from": "ONHOLD", "to": ["SUCCESS", "REFUNDED"]})
        await self._decide()
        if not await asyncio.to_thread(self.open):
            return True
        # What is looked at seldom need not be waited for; nothing that is under way is as old as that.
        if await self._looked():
            self._forward(_CALM)
        return False

    async def _looked(self) -> bool:
        mail = sum(each["mail"] for each in (await self.doubles.get("/counts")).values())
        return not mail and not await asyncio.to_thread(self._due)

    def _due(self) -> list[tuple[Any, ...]]:
        """Return what was due when the clock was put forward last, and is still."""
        told = {"now": self._due_by, "young": self.clock.now() - timedelta(days=1)}
        with psycopg.connect(self.url) as conn:
            return conn.execute(
                "SELECT payout_id, state, due_at FROM ledger.payouts WHERE due_at <= %(now)s UNION ALL"
                # Of a hint that is a day old nobody takes notice any more.
                " SELECT event_id, payout_id, due_at FROM ledger.payout_hints"
                " WHERE due_at <= %(now)s AND received_at > %(young)s LIMIT 10",
                told,
            ).fetchall()

    async def _decide(self) -> None:
        """Let a person look at what is in review, who asks the provider, and is told the truth."""
        found = [row for row in await asyncio.to_thread(self.rows) if row[2] == "review"]
        paid = {each["payout_id"]: each for each in await self.paid() if each["live"]} if found else {}
        for row in found:
            await asyncio.to_thread(self._decided, (MERCHANT, row[0]), paid.get(row[0]))

    def _decided(self, name: Name, payment: dict[str, Any] | None) -> None:
        act = payouts.Act(self.clock.now(), "test", "person")
        try:
            if payment is None:
                self.books.decide(name, lambda payout: payouts.declare_dead(payout, act, "asked"), act)
                return
            told: dict[str, Any] = {
                "method": payment["provider"], "transaction_id": payment["reference"], "paid_at": act.at,
                "currency": payment["currency"], "amount_minor": payment["amount_minor"],
            }  # fmt: skip
            confirmed = (told["method"], told["transaction_id"])
            self.books.decide(name, lambda payout: payouts.confirm(payout, act, **told), act, confirmed=confirmed)
        except LedgerError:
            return  # too early, or somebody was faster: later

    async def paid(self) -> list[dict[str, Any]]:
        """Return what the providers have."""
        found: list[dict[str, Any]] = await self.doubles.get("/paid")
        return found

    def log(self) -> list[Any]:
        """Return every event."""
        with psycopg.connect(self.url) as conn:
            rows = conn.execute("SELECT topic, state::text FROM ledger.events ORDER BY notification_id").fetchall()
        return [decode(topic, state) for topic, state in rows]

    async def wrong(self) -> list[str]:
        """Return in sentences what is wrong: paid twice, to whom or how much, lost, other sums than the providers'."""
        paid = await self.paid()
        rows = {row[0]: row for row in await asyncio.to_thread(self.rows)}
        wrong = self._lines()
        for each in paid:
            row = rows.get(each["payout_id"])
            if row is None or (each["amount_minor"], each["currency"]) != (row[3], "USD"):
                wrong.append(f"{each} is not what was to be paid: {row}")
            elif each["payee"] != address_of(row[1]):
                wrong.append(f"{each} went to somebody else than {row[1]}")
        log = await asyncio.to_thread(self.log)
        wrong += wrong_at_rest(log, {"all": _sender(paid)}, 0)
        await asyncio.to_thread(Projector(self.url).catch_up)
        wrong += [str(each) for each in (await asyncio.to_thread(verify, self.url)).differences]
        return wrong + await asyncio.to_thread(self._balances, paid)

    def _balances(self, paid: Sequence[dict[str, Any]]) -> list[str]:
        with psycopg.connect(self.url) as conn:
            found = conn.execute(
                "SELECT partner_id, paid_minor, in_payout_minor FROM read.balances WHERE merchant_id = %s", (MERCHANT,)
            ).fetchall()
        theirs: Counter[str] = Counter()
        for each in paid:
            theirs[each["payee"]] += each["amount_minor"] - each["returned_minor"] if each["live"] else 0
        return [
            f"{partner_id}: {ours} paid and {open_} in payouts by the balances, {theirs[address_of(partner_id)]} there"
            for partner_id, ours, open_ in found
            if (ours, open_) != (theirs[address_of(partner_id)], 0)
        ]

    def _lines(self) -> list[str]:
        """Return what workers wrote that is neither a debug line nor a warning: a traceback, an error."""
        return [line for line in self.workers.lines() if '"level": "error"' in line or "Traceback" in line]


def address_of(partner_id: str) -> str:
    """Return where the partner is paid."""
    return f"{partner_id}@example.com" if int(partner_id[1:]) % 2 else f"acct_{partner_id}"


def _sender(paid: Sequence[dict[str, Any]]) -> Sender:
    payments = [
        Sent(each["payout_id"], each["amount_minor"] - each["returned_minor"] if each["live"] else 0, each["status"])
        for each in paid
    ]
    live = Counter(each["payout_id"] for each in paid if each["live"])
    return Sender(payments, sorted(payout_id for payout_id, number in live.items() if number > 1))


@asynccontextmanager
async def town(
    folder: Path, postgres: EmbeddedPostgres, seed: int, *, partners: int, payable: bool = True
) -> AsyncIterator[Town]:
    """Yield a town with an inbox for what the providers tell, twice and in any order.

    Not `payable`: everybody is paid by hand, so that runs request payouts which nobody sends.
    """
    url = postgres.database("books")
    bring_up_to_date(url)
    clock = FastClock.begin(folder / "clock", START, SPEED)
    ledger = Ledger(url, hash_key=HASH_KEY)
    try:
        async with Doubles(folder, clock, seed) as doubles:
            settings = settings_of(doubles)
            with PayoutWorkers(folder, url, settings, clock) as workers:
                async with pays(ledger, settings) as found, inbox(found, clock.now) as box:
                    built = Town(url, ledger, clock, doubles, found, workers, Random(f"payouts {seed}"))
                    await asyncio.to_thread(built.settle_in, partners, None if payable else "manual")
                    for number in range(0, partners, 2):
                        await doubles.post(f"/stripe/accounts/acct_p{number:04}")
                    await doubles.post("/stripe/balance", usd=10**12)
                    await listen(doubles, box)
                    async with projected(url):
                        yield built
    finally:
        ledger.close()


@asynccontextmanager
async def projected(url: str) -> AsyncIterator[None]:
    """Keep the read models up to the log while inside, as far as there is a database."""

    async def go_on() -> None:
        while True:
            with suppress(psycopg.Error):
                await asyncio.to_thread(Projector(url).catch_up)
            await asyncio.sleep(0.2)

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()


def settings_of(doubles: Doubles) -> dict[str, Any]:
    """Return the settings of everybody here, by which the doubles are the providers."""
    told = doubles.environment
    return {
        "stripe_api_key": told["STRIPE_API_KEY"], "stripe_api_base": told["STRIPE_API_BASE"],
        "stripe_webhook_secrets": told["STRIPE_WEBHOOK_SECRETS"], "stripe_timeout_s": _TIMEOUT_S,
        "paypal_client_id": told["PAYPAL_CLIENT_ID"], "paypal_client_secret": told["PAYPAL_CLIENT_SECRET"],
        "paypal_api_base": told["PAYPAL_API_BASE"], "paypal_webhook_id": told["PAYPAL_WEBHOOK_ID"],
        "paypal_timeout_s": _TIMEOUT_S, "payout_details_keys": _KEY,
    }  # fmt: skip


async def listen(doubles: Doubles, box: Inbox) -> None:
    """Let both providers tell all that happens: twice, in any order, a tenth of it never."""
    for provider in ("stripe", "paypal"):
        await doubles.post(f"/{provider}/webhooks", to=f"{box.url}/{provider}", times=2, shuffle=True, lost=0.1)
