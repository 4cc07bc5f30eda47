"""Everything that pays, on PostgreSQL, over the real rails to both doubles; the clock is ours, and theirs.

An office is what a process has: another one may be opened on another database (a backup), with the same providers.
"""

from base64 import b64encode
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import psycopg
from pydantic import SecretStr

from consumers.health import Health
from consumers.paying import paying
from consumers.payout_reconciliation import reconcile
from consumers.payout_saga import PayoutSaga
from consumers.payout_worker import PayoutWorker
from consumers.rails import Payee
from ledger import merchants, payout_runs
from ledger.application import Ledger, following
from ledger.commissions import Act as Moving
from ledger.commissions import evolve, fold, move
from ledger.events import Stream
from ledger.payout_runs import Criteria, Payable
from ledger.payouts import QUIET, Act, payout_id
from ledger.terms import Terms
from projections import payables
from projections.runner import Projector
from projections.verify import verify
from schemas.payout_settings import PayoutSettings
from tests.support.doubles.paypal import CLIENT_ID, CLIENT_SECRET, PayPalDouble, paypal_double
from tests.support.doubles.stripe import KEY, StripeDouble, stripe_double
from tests.support.payout_world import earned
from tests.support.registration import HASH_KEY

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
IBAN = "NL91ABNA0417164300"
ADDRESSES = {"stripe": "acct_{}", "paypal": "{}@example.com", "bank": IBAN}


class Clock:
    """The time of everybody."""

    def __init__(self):
        self.now = START


class Office:
    """One process that pays, and what a test does in it."""

    def __init__(self, url, ledger, pays, stripe: StripeDouble, paypal: PayPalDouble, clock: Clock):
        self.url, self.ledger, self.paying, self.clock = url, ledger, pays, clock
        self.stripe, self.paypal, self.health = stripe, paypal, Health()
        self.sealed = pays.keys.seal
        saga = PayoutSaga(pays.books, pays.rails.rails, pays.keys, lambda: clock.now)
        refresh = [self._at_home, *(rail.refresh for rail in pays.rails.limited)]
        self.worker = PayoutWorker(pays.books, saga, self.health, lambda: clock.now, refresh=refresh)

    async def _at_home(self, now):
        self.paying.home.look(now)

    # --- the program ---

    def earn(self, partner_id, amount_minor=1_000, *, currency="USD", order_id=None):
        """Give a partner of acme an approved commission."""
        order_id = order_id or f"{partner_id}-{amount_minor}-{self.clock.now.isoformat()}"
        event = earned(order_id, partner_id, amount_minor * 10, self.clock.now)
        event = msgspec.structs.replace(event, currency=currency)
        made = move(fold([event]), "approve", Moving(self.clock.now, self.clock.now, self.clock.now.date(), "test"))
        evolve(fold([event]), made[0])
        self.ledger.record(following(Stream.order("acme", order_id), 0, [event, *made]))

    def request(self, run_id, rails):
        """Prepare a run of these partners (by rail), and request its payouts; return their ids by partner."""
        Projector(self.url).catch_up()
        act = Act(self.clock.now, "test", "maker")
        criteria = Criteria(self.clock.now, {}, frozenset(rails.values()))
        frozen = self.paying.books.store.frozen("acme", list(rails))
        with psycopg.connect(self.url, autocommit=True) as conn:
            owed = [each for each in payables.owed(conn, "acme", self.clock.now) if each.partner_id in rails]
            payable = {partner: Payable(rail) for partner, rail in rails.items()}
            lines = payout_runs.choose("acme", run_id, owed, payable, criteria, frozen=frozen)
            payout_runs.prepare(self.paying.books, "acme", run_id, lines, criteria, act, needs_approval=False)
            sum(
                payout_runs.carry_on(
                    self.paying.books, "acme", run_id,
                    lambda owners, at: payables.commissions_of(conn, "acme", owners, at),
                    lambda partners: {each: self._payee(each, rails[each]) for each in partners}, act,
                )
            )  # fmt: skip
        return {each.partner_id: payout_id("acme", run_id, each.partner_id, each.currency) for each in owed}

    def _payee(self, partner_id, rail):
        payee = Payee(ADDRESSES[rail].format(partner_id), "Ada Lovelace" if rail == "bank" else "")
        return self.paying.keys.seal(msgspec.json.encode(payee))

    # --- the worker ---

    async def work(self, after=timedelta(0)):
        """Let time pass, and do what is due then."""
        self.pass_time(after)
        while await self.worker.work():
            pass

    async def pay(self, run_id, rails):
        """Request payouts and send them; return their ids by partner."""
        ids = self.request(run_id, rails)
        await self.work()
        return ids

    def pass_time(self, by):
        """Let time pass, for us and for the providers."""
        self.clock.now += by
        self.stripe.now = self.paypal.now = self.clock.now

    async def compare(self, rail, days=35, until=timedelta(0)):
        """Compare the rail with its provider."""
        now = self.clock.now
        return await reconcile(self.paying, rail, now - timedelta(days=days), now + until, now)

    # --- what can be seen ---

    def payout(self, payout_id):
        """Return the payout as it stands."""
        return self.paying.books.find(("acme", payout_id))

    def states(self):
        """Return the state of every payout, by partner."""
        with self.ledger.connection() as conn:
            rows = conn.execute("SELECT partner_id, state FROM ledger.payouts ORDER BY requested_at, payout_id")
            found: dict[str, list[str]] = {}
            for row in rows:
                found.setdefault(row["partner_id"], []).append(row["state"])
        return found

    def frozen(self, partner_id):
        """Return why the partner is frozen."""
        return self.paying.books.store.frozen("acme", [partner_id]).get(partner_id)

    def verified(self):
        """Return what is wrong with the read models."""
        Projector(self.url).catch_up()
        return verify(self.url).differences

    def sent_by_stripe(self):
        """Return what each account has by Stripe, in minor units."""
        sums: dict[str, int] = {}
        for each in self.stripe.transfers:
            sums[each["destination"]] = sums.get(each["destination"], 0) + each["amount"] - each["amount_reversed"]
        return sums


def settings(stripe, paypal, **more):
    """Return the settings of an office with all rails."""
    told = {
        "payout_details_keys": (SecretStr("k1:" + b64encode(b"s" * 32).decode()),), "stripe_api_key": SecretStr(KEY),
        "stripe_api_base": stripe.url, "paypal_client_id": CLIENT_ID, "paypal_client_secret": SecretStr(CLIENT_SECRET),
        "paypal_api_base": paypal.url, "bank_debtor_name": "Acme GmbH", "bank_debtor_iban": "DE89370400440532013000",
        "stripe_timeout_s": 0.3, "paypal_timeout_s": 0.3,
    }  # fmt: skip
    return PayoutSettings(**told | more)


@asynccontextmanager
async def office(url, stripe, paypal, clock=None, **more):
    """Yield an office on this database."""
    ledger = Ledger(url, hash_key=HASH_KEY)
    try:
        async with paying(ledger, settings(stripe, paypal, **more)) as pays:
            assert pays is not None
            opened = Office(url, ledger, pays, stripe, paypal, clock or Clock())
            opened.pass_time(timedelta(0))
            yield opened
    finally:
        ledger.close()


def open_program(ledger):
    """Register acme."""
    merchants.register(
        ledger, merchant_id="acme", name="Acme", currency="USD", email="owner@example.com",
        terms=Terms(approval="manual"), now=START, cause="test",
    )  # fmt: skip


@asynccontextmanager
async def town(url):
    """Yield an office, and the doubles around it, where everybody has an account."""
    async with stripe_double() as stripe, paypal_double() as paypal:
        for partner in ("ada", "bob", "eve"):
            stripe.account(f"acct_{partner}")
        async with office(url, stripe, paypal) as opened:
            open_program(opened.ledger)
            yield opened


__all__ = ["QUIET", "START", "Clock", "Office", "office", "open_program", "town"]
