"""The books were restored from a backup, and payments were made after it: nobody is paid once more."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import psycopg
import pytest
from psycopg import sql

from consumers.payout_reconciliation import compare_from, moved_in, reconcile
from consumers.rails.bank_statements import read_statement
from ledger import approvals
from ledger.payout_findings import Counts
from ledger.payout_home import AWAY
from ledger.payout_store import Hint
from schemas.errors import ConflictError, RejectedError
from tests.support.bank import Entry, camt
from tests.support.doubles.paypal import paypal_double
from tests.support.doubles.stripe import stripe_double
from tests.support.payout_office import Clock, Office, office, open_program
from tests.support.postgres import in_database

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


class Installation:
    """One database after the other, the same providers and the same clock."""

    def __init__(self, url, server_url, stripe, paypal):
        self.url, self.server_url, self.stripe, self.paypal, self.clock = url, server_url, stripe, paypal, Clock()
        self.name = url.rpartition("/")[2].partition("?")[0]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Office]:
        """Let everything run on the database that is in use."""
        async with office(self.url, self.stripe, self.paypal, self.clock) as found:
            yield found

    def back_up(self):
        """Copy the database, which nobody uses now."""
        self._execute("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY", f"{self.name}_backup", self.name)

    def restore(self):
        """Use the backup from now on."""
        self.url = in_database(self.server_url, f"{self.name}_backup")

    def close(self):
        """Remove the backup."""
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", f"{self.name}_backup")

    def _execute(self, statement, *names):
        with psycopg.connect(self.server_url, autocommit=True) as conn:
            conn.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@pytest.fixture
async def place(database_url, server_url):
    """Yield an installation whose partners have accounts at both providers."""
    async with AsyncExitStack() as stack:
        stripe = await stack.enter_async_context(stripe_double())
        paypal = await stack.enter_async_context(paypal_double())
        for partner in ("ada", "bob", "eve", "kim"):
            stripe.account(f"acct_{partner}")
        found = Installation(database_url, server_url, stripe, paypal)
        stack.callback(found.close)
        async with found.running() as opened:
            open_program(opened.ledger)
        yield found


async def compare(opened: Office, *rails: str) -> list[Counts]:
    """Compare the rails as the drill says: from before the backup on."""
    now = opened.clock.now
    since = await compare_from(opened.paying, now)
    reports = [await reconcile(opened.paying, rail, since, now, now) for rail in rails]
    await opened.work()
    return [report.counts for report in reports]


async def test_the_drill(place: Installation) -> None:
    """Rails off by itself, compare, adopt, freeze whom the backup does not know of, rails on: nobody is paid twice."""
    async with place.running() as before:
        for partner in ("ada", "bob", "eve"):
            before.earn(partner)
        bob = (await before.pay("run-bob", {"bob": "paypal"}))["bob"]
        ada = before.request("run-ada", {"ada": "stripe"})["ada"]
    place.back_up()
    async with place.running() as lost:
        await lost.work()
        place.paypal.move("ITEM1", "SUCCESS")
        await lost.pay("run-eve", {"eve": "stripe"})
        await lost.work(DAY)
        assert lost.states() == {"ada": ["processed"], "bob": ["processed"], "eve": ["processed"]}
    place.restore()
    place.clock.now += DAY
    async with place.running() as found:
        # Stripe has forgotten its keys, and the backup is of before: whatever was sent now would be paid once more.
        await found.work()
        await found.work(HOUR)
        assert len(place.stripe.transfers) == 2
        assert (found.paying.spending.off("stripe"), found.states()["ada"]) == (AWAY, ["requested"])
        with pytest.raises(ConflictError) as caught:
            await moved_in(found.paying, by="ops", declared="all looked at", now=found.clock.now)
        assert caught.value.code == "not_compared"
        assert await compare(found, "stripe", "paypal") == [Counts(matched=1, theirs_only=1), Counts(matched=1)]
        assert (found.payout(ada).state, found.payout(ada).reference) == ("processed", "tr_1")
        assert (found.payout(bob).state, found.payout(bob).transaction_id) == ("processed", "TXITEM1")
        assert found.frozen("eve") == "theirs_only"
        with pytest.raises(RejectedError):
            await moved_in(found.paying, by="ops", declared=" ", now=found.clock.now)
        home = await moved_in(found.paying, by="ops", declared="PayPal's activity: nothing", now=found.clock.now)
        assert (home.is_home, found.paying.spending.off("stripe")) == (True, None)
        # Eve's commissions are approved again by these books; the list of a run leaves her out, and says why.
        found.request("run-again", {"eve": "stripe", "ada": "stripe"})
        (line,) = found.paying.books.store.lines("acme", "run-again", waiting=False)
        assert (line.partner_id, line.included, line.reason) == ("eve", False, "frozen")
        await found.work()
        await resolve_eve(found)
        found.earn("eve", 700)
        await found.pay("run-later", {"eve": "stripe"})
        assert found.sent_by_stripe() == {"acct_ada": 1_000, "acct_eve": 1_700}
        assert found.verified() == []


async def resolve_eve(found: Office) -> None:
    """Mark what the lost payout paid as paid, say so, and let eve be paid again."""
    (kept,) = found.paying.findings.open("stripe")
    assert (kept.finding.partner_id, kept.finding.theirs) == ("eve", (1_000, "USD"))
    with found.ledger.connection() as conn:
        rows = conn.execute("SELECT order_id FROM read.commissions WHERE partner_id = 'eve' AND state = 'approved'")
        orders = [row["order_id"] for row in rows]
    for order_id in orders:
        approvals.mark_paid(
            found.ledger, merchant_id="acme", order_id=order_id, now=found.clock.now, cause="test",
            reference=kept.finding.references[0], note="",
        )  # fmt: skip
    found.paying.findings.resolve(kept.finding_id, declared="marked as paid", by="ops", now=found.clock.now)
    assert found.paying.books.store.unfreeze("acme", "eve")


async def test_what_was_under_way_at_the_time_of_the_backup(place: Installation) -> None:
    """A payout that the backup has in the middle of its sending is adopted, though its end came after the backup."""
    async with place.running() as before:
        before.earn("ada")
        ada = before.request("run", {"ada": "stripe"})["ada"]
        before.earn("bob")
        place.paypal.outcome = "SUCCESS"
        bob = before.request("other", {"bob": "paypal"})["bob"]
        for rail in before.paying.rails.rails.values():
            rail.submit = _dies
        await before.work()
        assert {before.payout(ada).state, before.payout(bob).state} == {"submitting"}
    place.back_up()
    async with place.running() as lost:
        await lost.work(HOUR)
        assert {lost.payout(ada).state} == {"processed"}
        await lost.work(HOUR)
        assert {lost.payout(bob).state} == {"processed"}
    place.restore()
    async with place.running() as found:
        found.pass_time(HOUR)
        await found.work()
        await compare(found, "stripe", "paypal")
        # PayPal shows a batch to whoever sends the same again, which nobody may before the rails are on.
        assert (found.payout(ada).state, found.payout(bob).state) == ("processed", "submitting")
        await moved_in(found.paying, by="ops", declared="PayPal's activity", now=found.clock.now)
        await found.work(HOUR)
        await found.work(HOUR)
        assert found.payout(bob).state == "processed"
        assert (len(place.stripe.transfers), len(place.paypal.batches)) == (1, 1)


async def _dies(attempt):
    raise ConnectionError(attempt.instruction.payout_id)


async def test_even_without_any_comparison_the_look_comes_first(place: Installation) -> None:
    """Where somebody moves in without looking, a payout that the backup knows of is still found before it is sent."""
    async with place.running() as before:
        before.earn("ada")
        ada = before.request("run", {"ada": "stripe"})["ada"]
    place.back_up()
    async with place.running() as lost:
        await lost.work()
    place.restore()
    place.clock.now += 2 * DAY
    async with place.running() as found:
        found.paying.home.move_in(by="ops", declared="in a hurry", now=found.clock.now)
        await found.work(HOUR)
        assert (found.payout(ada).state, len(place.stripe.transfers)) == ("processed", 1)


async def test_a_copy_pays_nobody(place: Installation) -> None:
    """A copy of the database, with the keys of the original, sends nothing: not new payouts, not old ones, no batch."""
    async with place.running() as before:
        before.earn("ada")
        before.earn("bob", currency="EUR")
        await before.pay("run-bob", {"bob": "bank"})
    place.back_up()
    place.restore()
    async with place.running() as copy:
        copy.request("run", {"ada": "stripe"})
        await copy.work()
        await copy.work(DAY)
        assert (place.stripe.transfers, copy.states()["ada"]) == ([], ["requested"])
        batches = copy.paying.rails.bank_batches
        with pytest.raises(ConflictError) as caught:
            batches.seal("acme", "key", execution_on=copy.clock.now.date(), by="lou", now=copy.clock.now)
        assert caught.value.code == "rail_off"


async def test_bank_transfers_of_which_the_backup_knows_nothing(place: Installation) -> None:
    """What the bank booked under an id of ours that is on no books stops the next batch until somebody explains it."""
    async with place.running() as found:
        found.earn("ada", currency="EUR")
        found.earn("bob", 500, currency="EUR")
        ids = await found.pay("run", {"ada": "bank", "bob": "bank"})
        batches, day = found.paying.rails.bank_batches, found.clock.now.date()
        strange = read_statement(camt(Entry("po00000000000000ff", amount="9.00"), Entry("RENT-11", reference="B2")))
        told = {"by": "lou", "now": found.clock.now, "merchant_id": "acme"}
        assert [what for _, what in batches.take(strange, **told).became] == ["unknown", "unknown"]
        (kept,) = found.paying.findings.open("bank", "acme")
        assert (kept.finding.payout_id, kept.finding.theirs) == ("po_00000000000000ff", (900, "EUR"))
        with pytest.raises(ConflictError) as caught:
            batches.seal("acme", "key", execution_on=day, by="lou", now=found.clock.now)
        assert caught.value.code == "payments_unknown"
        assert (await found.compare("bank")).counts == Counts(matched=2, theirs_only=1)
        found.paying.findings.resolve(kept.finding_id, declared="Eve, marked as paid", by="lou", now=found.clock.now)
        assert batches.seal("acme", "key", execution_on=day, by="lou", now=found.clock.now).payments == 2
        # Days later the bank has told of one of the two.
        own = ids["ada"].replace("_", "")
        batches.take(read_statement(camt(Entry(own, amount="10.00", reference="B3"))), **told)
        await found.work(7 * DAY)
        report = await found.compare("bank")
        assert [(each.finding.reason, each.finding.partner_id) for each in report.open] == [("not_settled", "bob")]
        assert report.counts == Counts(matched=1, ours_only=1)


async def test_payments_of_nobody_have_to_be_explained_first(place: Installation) -> None:
    """What PayPal sent word of, and nobody can be frozen for, keeps the rails off until somebody says what it was."""
    async with place.running() as before:
        before.earn("ada")
        await before.pay("run", {"ada": "paypal"})
    place.back_up()
    async with place.running() as lost:
        lost.earn("kim")
        kim = (await lost.pay("lost", {"kim": "paypal"}))["kim"]
    place.restore()
    async with place.running() as found:
        found.pass_time(HOUR)
        place.paypal.move("ITEM2", "SUCCESS")
        found.paying.books.store.keep_hint(Hint("paypal", "WH-1", kim, "BATCH2"), found.clock.now)
        await compare(found, "stripe", "paypal")
        with pytest.raises(ConflictError) as caught:
            await moved_in(found.paying, by="ops", declared="PayPal's activity", now=found.clock.now)
        (kept,) = found.paying.findings.open("paypal")
        assert (caught.value.code, kept.finding.payout_id) == ("payments_unknown", kim)
        found.paying.findings.resolve(kept.finding_id, declared="Kim, marked as paid", by="ops", now=found.clock.now)
        assert (await moved_in(found.paying, by="ops", declared="PayPal's activity", now=found.clock.now)).is_home
