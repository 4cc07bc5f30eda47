"""The saga over the real rails and the doubles: what may stop where, and what then (spec of payouts, section 7)."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import aiohttp
import msgspec
import pytest

from consumers.payout_saga import PayoutSaga
from consumers.rails import Payee
from consumers.rails.bank import BankBatches, BankRail
from consumers.rails.bank_file import Debtor
from consumers.rails.bank_statements import read_statement
from consumers.rails.paypal import Credentials, PayPalClient, PayPalRail
from consumers.rails.stripe import API_VERSION, StripeRail, close, stripe_client
from ledger.application import Ledger, following
from ledger.bank_orders import BankOrders
from ledger.payout_books import PayoutBooks
from ledger.payout_events import PayoutRequested, payout_stream
from ledger.payout_store import Change, Hint
from ledger.payouts import QUIET, fold
from ledger.sealing import KeyRing
from schemas.errors import RetryableError
from tests.support.bank import Entry, camt, pain002
from tests.support.doubles.faults import FAULTS
from tests.support.doubles.paypal import CLIENT_ID, CLIENT_SECRET, paypal_double
from tests.support.doubles.stripe import KEY, Kept, StripeDouble, stripe_double
from tests.support.payout_store import MemoryPayoutStore
from tests.support.payout_world import Clear, day_of

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
PAYOUT = "po_0123456789abcdef"
NAME = ("acme", PAYOUT)


class Town:
    """A payout, its books, a rail and the provider behind it; the provider's clock is ours."""

    def __init__(self, rail, double, payee, name=""):
        self.rail, self.double, self.now = rail, double, START
        self.store = MemoryPayoutStore()
        self.books = PayoutBooks(self.store, day_of)
        told = {
            "merchant_id": "acme", "occurred_at": START, "recorded_at": START, "cause": "test", "payout_id": PAYOUT,
            "partner_id": "p_ada", "currency": "EUR", "amount_minor": 1250, "to_state": "requested", "run_id": "r",
            "rail": rail.name, "reservations": 0, "maker": "lou",
        }  # fmt: skip
        event = PayoutRequested(**told)
        change = Change(fold([event]), following(payout_stream(*NAME), 0, [event]), START)
        self.store.commit([change._replace(payee=msgspec.json.encode(Payee(payee, name)))], now=START)

    def worker(self, rail=None):
        """Return a worker that knows nothing of the others."""
        rail = rail or self.rail
        return PayoutSaga(self.books, {rail.name: rail}, Clear(), lambda: self.now)

    async def step(self, after=timedelta(0), rail=None):
        """Let time pass, and a worker do what is to be done then; returns its word."""
        self.now += after
        self.double.now = self.now
        return await self.worker(rail).step(NAME)

    def fail(self, name, times=1, **changes):
        """Let the next sendings meet this fault; looking meets none."""
        self.double.faults.extend([replace(FAULTS[name], of="POST", **changes)] * times)

    @property
    def payout(self):
        """The payout as it stands."""
        return self.books.find(NAME)

    @property
    def paid(self):
        """How many payments the provider has."""
        return len(self.double.transfers if self.rail.name == "stripe" else self.double.batches)

    @property
    def accepted(self):
        """The state of a payout that the provider has just taken."""
        return "processed" if self.rail.name == "stripe" else "submitted"


@pytest.fixture
async def by_stripe():
    """Yield a payout by Stripe."""
    async with stripe_double() as double:
        double.account("acct_ada")
        client = stripe_client(KEY, base=double.url, timeout_s=1.0)
        yield Town(StripeRail(client, timeout_s=1.0), double, "acct_ada")
        await close(client)


@pytest.fixture
async def by_paypal():
    """Yield a payout by PayPal."""
    async with (
        paypal_double() as double,
        PayPalClient(Credentials(CLIENT_ID, CLIENT_SECRET, double.url), timeout_s=1.0) as client,
    ):
        yield Town(PayPalRail(client), double, "ada@example.com")


@pytest.fixture(params=["stripe", "paypal"])
def town(request):
    """Return a payout by each of the two."""
    return request.getfixturevalue(f"by_{request.param}")


async def test_a_payout_is_paid(town: Town) -> None:
    """A payout is sent once, and every later look changes nothing."""
    assert await town.step() == town.accepted
    for _ in range(3):
        await town.step(timedelta(hours=1))
    assert (town.paid, town.payout.state) == (1, town.accepted)


@pytest.mark.parametrize("name", sorted(FAULTS))
async def test_after_any_fault_it_is_paid_once(town: Town, name: str) -> None:
    """Executed or not, with the answer lost in whichever way: looked up, or sent again with the same key and body."""
    town.fail(name)
    assert await town.step() == "unknown"
    assert (town.payout.state, town.payout.attempt) == ("submitting", 1)
    assert await town.step() == "quiet"
    await town.step(QUIET)
    assert (town.paid, town.payout.state, town.payout.attempt) == (1, town.accepted, 1)


@pytest.mark.parametrize("refused", [False, True])
async def test_by_bank(database_url: str, refused: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """A bank transfer waits, is given to the bank, and is paid when its statement says so; a refusal frees it."""
    ledger = Ledger(database_url, hash_key=b"k" * 32)
    orders = BankOrders(ledger, KeyRing([("k1", b"s" * 32)]))
    batches = BankBatches(orders, Debtor("Acme GmbH", "DE89370400440532013000"))
    town = Town(BankRail(orders), StripeDouble(), "NL91ABNA0417164300", "Ada Lovelace")
    assert await town.step() == "submitted"
    batch = batches.seal("acme", "first", execution_on=START.date(), by="user/lou", now=START)
    assert (await town.step(timedelta(hours=1)), batch.payments) == ("nothing_new", 1)
    own = "po0123456789abcdef"
    for file in (pain002(own),) if refused else (camt(Entry(own)), camt(Entry(own, direction="CRDT", back="AC04"))):
        town.now += timedelta(days=1)
        (hint,) = batches.take(read_statement(file), by="user/lou", now=town.now).hints
        assert town.store.keep_hint(hint, town.now)
        await town.worker().follow(hint, NAME)
    assert town.payout.state == ("failed" if refused else "returned")
    ledger.close()


class Dying:
    """A rail whose worker dies before the call, or after it."""

    def __init__(self, rail, *, after):
        self._rail, self._after, self.name, self.window = rail, after, rail.name, rail.window

    def __getattr__(self, name):
        return getattr(self._rail, name)

    async def submit(self, attempt):
        """Die."""
        if self._after:
            await self._rail.submit(attempt)
        raise asyncio.CancelledError


@pytest.mark.parametrize("after", [False, True])
async def test_a_worker_that_dies_at_the_call(town: Town, after: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """Whether the worker died before or after the call, the next one pays once, with the same key."""
    with pytest.raises(asyncio.CancelledError):
        await town.step(rail=Dying(town.rail, after=after))
    assert (town.payout.state, town.paid) == ("submitting", int(after))
    await town.step(QUIET)
    assert (town.paid, town.payout.state, town.payout.attempt) == (1, town.accepted, 1)


async def test_a_commit_that_is_lost_after_the_answer(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer was read and could not be written down: the next worker finds out the same."""
    commit, times = town.store.commit, []

    def failing(changes, **more):
        times.append(1)
        if len(times) == 2:
            raise RetryableError("the database does not answer")
        return commit(changes, **more)

    monkeypatch.setattr(town.store, "commit", failing)
    with pytest.raises(RetryableError):
        await town.step()
    assert (town.paid, town.payout.state) == (1, "submitting")
    await town.step(QUIET)
    assert (town.paid, town.payout.state) == (1, town.accepted)


async def test_two_workers(town: Town) -> None:
    """Two workers at once send one payment: the slower one's attempt is dropped."""
    words = await asyncio.gather(*(town.worker().step(NAME) for _ in range(5)))
    assert (town.paid, town.payout.state, town.payout.attempt) == (1, town.accepted, 1)
    assert "dropped" in words


async def test_a_webhook_before_our_commit(town: Town) -> None:
    """A webhook adopts the payment that we do not know of yet; doubled, reordered or late it changes nothing more."""
    town.fail("time-out")
    late = asyncio.create_task(town.step())
    while not town.paid:  # noqa: ASYNC110 - the double has no event to wait for
        await asyncio.sleep(0.001)
    reference = "tr_1" if town.rail.name == "stripe" else "BATCH1"
    for number in (1, 1, 2):
        hint = Hint(town.rail.name, f"evt_{number}", PAYOUT, reference)
        town.store.keep_hint(hint, town.now)
        await town.worker().follow(hint, NAME)
    assert town.payout.state == town.accepted
    events = len(town.store.log)
    await late
    await town.step(QUIET)
    assert (len(town.store.log), town.paid) == (events, 1)


async def test_after_the_window_nothing_is_sent(town: Town) -> None:
    """Where nobody knows and the window is over nothing is sent any more: a person looks."""
    town.fail("500 before")
    await town.step()
    assert await town.step(town.rail.window) == "dropped" or town.payout.state == "review"
    await town.step(QUIET)
    assert (town.payout.state, town.payout.reason, town.paid) == ("review", "window_over", 0)


async def test_a_definite_rejection_fails_the_payout(town: Town) -> None:
    """A rejection from the closed list fails the payout, once and for all."""
    town.double.balance = {} if town.rail.name == "stripe" else 0
    assert await town.step() == "rejected"
    assert (town.payout.state, town.paid) == ("failed", 0)


async def test_bad_credentials_stop_the_rail_only(town: Town) -> None:
    """Bad credentials fail no payout and stop the rail."""
    town.fail("500 before", 2, status=401, body=b'{"error": {}}')
    worker = town.worker()
    assert await worker.step(NAME) == "unknown"
    assert town.rail.name in worker.stopped
    assert (town.payout.state, town.paid) == ("submitting", 0)


async def test_money_that_comes_back_is_owed_again(by_stripe: Town) -> None:
    """A reversal is a running total, in parts and in whole, however late it is told."""
    await by_stripe.step()
    for amount, total in ((250, 250), (None, 1250)):
        by_stripe.double.reverse("tr_1", amount)
        await by_stripe.step(timedelta(days=1))
        assert (by_stripe.payout.state, by_stripe.payout.returned_minor) == ("returned", total)


async def test_two_transfers_for_one_payout_raise_the_alarm(by_stripe: Town) -> None:
    """Two transfers for one payout freeze the partner's payouts, and a person looks."""
    await by_stripe.step()
    by_stripe.double.transfers.append(by_stripe.double.transfers[0] | {"id": "tr_2"})
    await by_stripe.step(timedelta(days=1))
    assert by_stripe.payout.contradictions == (("several", ("tr_1", "tr_2")),)
    assert by_stripe.store.frozen("acme", ["p_ada"]) == {"p_ada": "several"}


async def test_a_success_after_a_failure_raises_the_alarm(by_stripe: Town) -> None:
    """What Stripe rejected and has all the same is not paid again: the partner's payouts stop, and a person looks."""
    by_stripe.double.balance = {}
    assert await by_stripe.step() == "rejected"
    by_stripe.double.balance = {"eur": 10**9}
    async with aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {KEY}", "Stripe-Version": API_VERSION, "Idempotency-Key": "another"}
        told = {"amount": "1250", "currency": "eur", "destination": "acct_ada", "transfer_group": f"payout_{PAYOUT}"}
        async with session.post(f"{by_stripe.double.url}/v1/transfers", data=told, headers=headers) as answer:
            assert answer.status == 200
    await by_stripe.step(timedelta(days=1))
    assert (by_stripe.payout.state, by_stripe.paid) == ("failed", 1)
    assert by_stripe.payout.contradictions == (("processed_after_failed", ("tr_1",)),)
    assert by_stripe.store.frozen("acme", ["p_ada"]) == {"p_ada": "processed_after_failed"}


async def test_a_key_that_answers_500_for_as_long_as_it_lasts(by_stripe: Town) -> None:
    """Stripe answers a key with the 500 that it answered first: it is sent again while that is safe, and then never."""
    by_stripe.fail("500 before")
    assert await by_stripe.step() == "unknown"
    kept = by_stripe.double.sent[-1]
    error = {"error": {"type": "api_error", "message": "sorry"}}
    by_stripe.double.keys[str(kept.key)] = Kept(START, kept.path, kept.body, 500, error)
    for _ in range(30):
        await by_stripe.step(timedelta(hours=1))
    assert (by_stripe.payout.state, by_stripe.payout.reason, by_stripe.paid) == ("review", "window_over", 0)
    posts = [sent for sent in by_stripe.double.sent if sent.method == "POST"]
    assert len(posts) > 10
    assert len({(sent.key, sent.body) for sent in posts}) == 1


async def test_another_amount_is_not_adopted(town: Town) -> None:
    """A payment with another amount than ours is a contradiction, and is not taken for ours."""
    town.fail("500")
    await town.step()
    if town.rail.name == "stripe":
        town.double.transfers[0]["amount"] = 99
    else:
        town.double.items[0]["payout_item"]["amount"] = {"value": "0.99", "currency": "EUR"}
    await town.step(QUIET)
    assert (town.payout.state, town.payout.reason) == ("review", "differs")


@pytest.mark.parametrize(
    ("statuses", "state"),
    [
        (["SUCCESS"], "processed"), (["UNCLAIMED"], "held"), (["UNCLAIMED", "SUCCESS"], "processed"),
        (["UNCLAIMED", "RETURNED"], "failed"), (["SUCCESS", "REVERSED"], "returned"), (["FAILED"], "failed"),
        (["BLOCKED"], "failed"), (["ONHOLD", "REFUNDED"], "failed"), (["SUCCESS", "RETURNED"], "returned"),
    ],
)  # fmt: skip
async def test_what_becomes_of_an_item(by_paypal: Town, statuses: list[str], state: str) -> None:
    """Held, paid, failed, or come back: failed before it was paid, returned after."""
    await by_paypal.step()
    for status in statuses:
        by_paypal.double.move("ITEM1", status)
        await by_paypal.step(timedelta(hours=1))
    assert by_paypal.payout.state == state
    assert by_paypal.paid == 1


async def test_what_failed_while_its_answer_was_lost_is_not_sent_for_ever(by_paypal: Town) -> None:
    """A repeat that is answered with what failed meanwhile ends the sending: it is followed, and a person decides."""
    by_paypal.fail("500")
    assert await by_paypal.step() == "unknown"
    by_paypal.double.move("ITEM1", "FAILED")
    assert await by_paypal.step(QUIET) == "submitted"
    assert by_paypal.payout.reference == "BATCH1"
    assert await by_paypal.step(QUIET) == "review"
    assert (by_paypal.payout.reason, by_paypal.payout.sends, by_paypal.paid) == ("failed_after_repeat", 2, 1)


async def test_what_came_back_while_its_answer_was_lost_is_left_to_a_person(by_stripe: Town) -> None:
    """Sent twice without an answer, and all of it taken back before anybody saw it: a person decides, at once."""
    for after in (False, True):
        with pytest.raises(asyncio.CancelledError):
            await by_stripe.step(QUIET, rail=Dying(by_stripe.rail, after=after))
    by_stripe.double.reverse("tr_1")
    assert await by_stripe.step(QUIET) == "review"
    assert (by_stripe.payout.reason, by_stripe.paid) == ("failed_after_repeat", 1)


async def test_a_denied_batch_fails_the_payout(by_paypal: Town) -> None:
    """A denied batch frees its key, so the payout is failed and never sent again under it."""
    await by_paypal.step()
    by_paypal.double.deny("BATCH1")
    await by_paypal.step(timedelta(hours=1))
    assert by_paypal.payout.state == "failed"
    await by_paypal.step(timedelta(hours=1))
    assert by_paypal.paid == 1
