"""The crash table of payouts, row by row: where a worker may stop, and what the next one does."""

import asyncio
from datetime import timedelta
from random import Random

import msgspec
import pytest

from consumers.health import Health
from consumers.payout_saga import PayoutSaga
from consumers.payout_worker import PayoutWorker
from consumers.rails import Accepted, Found, Missing, Payee, Rejected, Several, Unknown
from ledger import payouts
from ledger.payout_books import PayoutBooks
from ledger.payout_store import Hint
from ledger.payouts import QUIET
from schemas.errors import CorruptionError, RejectedError, RetryableError
from tests.support.payout_store import MemoryPayoutStore
from tests.support.payout_world import Clear, Clock, World, day_of


class Scripted:
    """A rail that says what it is told to say, and remembers what it was asked."""

    name = "stripe"
    window = timedelta(hours=23)

    def __init__(self, clock):
        self.clock, self.sent, self.off, self.wrong = clock, [], None, None
        self.answers, self.shown, self.states = [], Missing(), {}

    def refusal(self, instruction, now):  # noqa: ARG002 - of the protocol
        """Return why it is off."""
        return self.off

    def compose(self, instruction):
        """Return a body, or what is wrong."""
        if self.wrong:
            raise RejectedError.at("$", self.wrong, "never")
        return f"{instruction.payout_id} {instruction.amount_minor}".encode()

    async def submit(self, attempt):
        """Say what was scripted; a callable is called, an exception raised."""
        self.sent.append((attempt.instruction.key, attempt.body))
        answer = self.answers.pop(0) if self.answers else Accepted(self.found())
        if isinstance(answer, BaseException):
            raise answer
        return await answer() if callable(answer) else answer

    async def look_up(self, attempt):  # noqa: ARG002 - as above
        """Show what was scripted."""
        return self.shown

    async def state(self, reference):
        """Show what was scripted for the reference."""
        return self.states.get(reference, Missing())

    def found(self, state="processed", **changes):
        """Return the payment as it should be."""
        return Found(state, "tr_1", self.amount, "USD", "acct_jane")._replace(**changes)


class Story:
    """One payout of jane's, a worker, and everything that can be seen of it."""

    def __init__(self):
        self.clock, self.store = Clock(), MemoryPayoutStore()
        self.books = PayoutBooks(self.store, day_of)
        self.rail = Scripted(self.clock)
        self.world = World(Random(1), self.store, self.books, self.clock, ["stripe"])
        self.saga = self.worker()
        run = None
        while run is None:
            self.world.prepare()
            self.world.carry_on(self.world.runs[-1])
            run = self.payouts("jane")
        (self.name,) = run
        self.rail.amount = self.payout.opened.amount_minor

    def payouts(self, partner):
        """Return the partner's payouts that may start; approve what waits for it."""
        for name in self.world.names("requested"):
            if not self.books.find(name).startable:
                self.world.carry_on(name and self.books.find(name).opened.run_id)
        names = [name for name in self.world.names() if self.books.find(name).opened.partner_id == partner]
        return names or None

    def worker(self):
        """Return another worker."""
        return PayoutSaga(self.books, {"stripe": self.rail}, Clear(), lambda: self.clock.now, self.ask)

    async def ask(self, work):
        """Do it at once."""
        return work()

    @property
    def payout(self):
        """The payout as it stands."""
        return self.books.find(self.name)

    async def step(self, later=timedelta(0), saga=None):
        """Let some time pass, and a worker do one step."""
        self.clock.now += later
        return await (saga or self.saga).step(self.name)


@pytest.fixture
def story():
    """Return a story whose payout was requested."""
    return Story()


async def test_after_the_request_the_worker_starts_the_first_attempt(story):
    """One step: written, sent, and its outcome written down."""
    assert await story.step() == "processed"
    payout = story.payout
    assert (payout.attempt, payout.reference, story.rail.sent[0][0]) == (1, "tr_1", f"payout-{story.name[1]}-1")
    assert story.store.bodies[*story.name, 1] == story.rail.sent[0][1]


@pytest.mark.parametrize("trouble", [TimeoutError(), Unknown("HTTP 500"), asyncio.CancelledError(), KeyError("x")])
async def test_an_unknown_outcome_is_looked_up_and_then_the_very_same_goes_out_again(story, trouble):
    """Never a failure, never another key: nothing before all is quiet, a look first, then the same bytes."""
    story.rail.answers = [trouble]
    try:
        await story.step()
    except asyncio.CancelledError:
        story.saga = story.worker()
    assert story.payout.state == "submitting"
    assert await story.step() == "quiet"
    assert await story.step(QUIET) == "processed"
    first, second = story.rail.sent
    assert first == second


async def test_what_was_executed_and_not_heard_of_is_adopted(story):
    """The look shows it, so that nothing goes out again."""
    story.rail.answers = [TimeoutError()]
    await story.step()
    story.rail.shown = story.rail.found()
    assert await story.step(QUIET) == "processed"
    assert len(story.rail.sent) == 1


async def test_a_lost_commit_of_the_outcome_is_found_by_reading_the_stream_again(story):
    """The answer was read, the commit failed: the next worker looks up, and adopts."""
    commit = story.store.commit

    def lose(changes, **more):
        if any(type(each.event).__name__ == "PayoutProcessed" for change in changes for each in change.events):
            raise RetryableError("the database is away")
        return commit(changes, **more)

    story.store.commit = lose
    with pytest.raises(RetryableError):
        await story.step()
    story.store.commit = commit
    story.rail.shown = story.rail.found()
    assert await story.step(QUIET, story.worker()) == "processed"
    assert len(story.rail.sent) == 1


async def test_a_webhook_before_our_commit_adopts_and_our_late_result_is_dropped(story):
    """The hint is followed while we still wait for the answer."""

    async def answer():
        hint = Hint("stripe", "evt_1", story.name[1], "tr_1")
        story.store.keep_hint(hint, story.clock.now)
        story.rail.shown = story.rail.found()
        assert await story.worker().follow(hint, story.name) == "processed"
        return Accepted(story.rail.found("in_transit"))

    story.rail.answers = [answer]
    assert await story.step() == "dropped"
    assert story.payout.state == "processed"


async def test_a_hint_is_followed_once(story):
    """The same event again, and one of a payout that was never sent, do nothing."""
    hint = Hint("stripe", "evt_1", story.name[1], "tr_1")
    assert story.store.keep_hint(hint, story.clock.now)
    assert await story.saga.follow(hint, story.name) == "dropped"
    other = hint._replace(event_id="evt_2")
    story.store.keep_hint(other, story.clock.now)
    await story.step()
    assert await story.saga.follow(other, story.name) == "processed"
    assert await story.saga.follow(other, story.name) == "handled_before"
    assert await story.saga.follow(other, None) == "unknown_payout"


async def test_of_two_workers_one_sends(story):
    """Both read the same version; the loser of the append sends nothing."""

    async def slow(work):
        result = work()
        await asyncio.sleep(0)
        return result

    sagas = [PayoutSaga(story.books, {"stripe": story.rail}, Clear(), lambda: story.clock.now, slow) for _ in range(2)]
    words = await asyncio.gather(*(saga.step(story.name) for saga in sagas))
    assert sorted(words) == ["dropped", "processed"]
    assert len(story.rail.sent) == 1


async def test_behind_the_window_nothing_is_ever_sent(story):
    """Unknown for too long is a review, and stays one until somebody decides, or the payment is seen."""
    story.rail.answers = [TimeoutError()]
    await story.step()
    story.rail.shown = Unknown("away")
    assert await story.step(QUIET) == "unknown"
    assert await story.step(story.rail.window) == "review"
    for _ in range(3):
        await story.step(timedelta(days=1))
    assert len(story.rail.sent) == 1
    story.rail.shown = story.rail.found()
    assert await story.step(timedelta(days=1)) == "processed"


async def test_a_worker_that_was_frozen_before_the_call_does_not_make_it(story):
    """Between the commit and the call an hour passed: the look comes first."""

    async def slow(work):
        result = work()
        story.clock.now += timedelta(hours=1)
        return result

    saga = PayoutSaga(story.books, {"stripe": story.rail}, Clear(), lambda: story.clock.now, slow)
    assert await story.step(saga=saga) == "too_late"
    assert story.rail.sent == []
    assert await story.step() == "processed"


async def test_a_definite_rejection_fails_and_frees_the_commissions(story):
    """They are approved again, by the code that the provider gave."""
    story.rail.answers = [Rejected("balance_insufficient")]
    assert await story.step() == "rejected"
    assert (story.payout.state, story.payout.reason) == ("failed", "balance_insufficient")
    topics = [type(each.event).__name__ for each in story.store.log]
    assert topics.count("CommissionUnreserved") > 0


async def test_a_success_after_a_failure_raises_the_alarm_and_freezes_the_partner(story):
    """The state stays; the next payout of that partner does not start."""
    story.rail.answers = [Rejected("balance_insufficient")]
    await story.step()
    story.rail.shown = story.rail.found()
    assert await story.step(timedelta(days=1)) == "failed"
    assert story.payout.contradictions[0][0] == "processed_after_failed"
    assert story.store.frozen("acme", ["jane"]) == {"jane": "processed_after_failed"}


async def test_two_payments_for_one_payout_are_a_review(story):
    """Whoever looks sees both references."""
    story.rail.answers = [TimeoutError()]
    await story.step()
    story.rail.shown = Several(["tr_1", "tr_2"])
    assert await story.step(QUIET) == "review"
    assert story.payout.contradictions == (("several", ("tr_1", "tr_2")),)


async def test_our_own_fault_is_a_review_and_bad_credentials_stop_the_rail(story):
    """Another body under the key is ours to explain; with a key that was refused nothing is begun for a while."""
    story.rail.answers = [Unknown("idempotency_error", "review")]
    assert await story.step() == "review"
    other = Story()
    other.rail.answers = [Unknown("401", "stop")]
    await other.step()
    assert other.saga.stopped == {"stripe": other.clock.now + timedelta(minutes=15)}
    assert await other.step(QUIET) == "unknown"
    assert len(other.rail.sent) == 1
    assert await other.step(timedelta(minutes=15)) == "processed"


async def test_what_may_not_be_begun_waits_and_what_never_can_be_is_called_off(story):
    """A rail that is off, or a frozen partner: later. No details, or ones that the rail can never use: cancelled."""
    story.rail.off = "switched off"
    assert await story.step() == "refused"
    story.rail.off = None
    story.store.freezes["acme", "jane"] = "several"
    assert await story.step() == "frozen"
    story.store.freezes.clear()
    story.rail.wrong = "bad_payee"
    assert await story.step() == "cancelled"
    assert story.payout.reason == "bad_payee"
    other = Story()
    other.store.payees[other.name] = None
    assert await other.step() == "cancelled"
    assert other.rail.sent == []
    nobody = Story()
    assert (
        await nobody.step(saga=PayoutSaga(nobody.books, {}, Clear(), lambda: nobody.clock.now, nobody.ask)) == "no_rail"
    )


async def test_an_attempt_whose_body_was_erased_is_left_to_a_person(story):
    """Nothing can be sent again that is not known to the byte."""
    story.rail.answers = [TimeoutError()]
    await story.step()
    story.store.bodies.clear()
    assert await story.step(QUIET) == "review"
    assert story.payout.reason == "no_body"


async def test_another_attempt_looks_first_at_what_the_one_before_may_have_left(story):
    """A person permitted it by mistake: the payment is there, and is adopted instead of sent again."""
    story.rail.answers = [Unknown("idempotency_error", "review")]
    await story.step()
    act = payouts.Act(story.clock.now + QUIET, "test", "kim")
    story.books.decide(story.name, lambda p: payouts.declare_dead(p, act, "asked", retry=True), act)
    story.rail.shown = story.rail.found()
    assert await story.step(QUIET) == "processed"
    assert len(story.rail.sent) == 1


async def test_money_that_comes_back_is_seen_by_whoever_looks_once_a_day(story):
    """Without any webhook, in parts; and after 35 days nobody looks any more."""
    await story.step()
    story.rail.shown = story.rail.found(returned_minor=1)
    assert story.store.rows[story.name]["due_at"] == story.clock.now + timedelta(days=1)
    assert await story.step(timedelta(days=1)) == "returned"
    story.rail.shown = Unknown("away")
    await story.step(timedelta(days=40))
    assert story.store.rows[story.name]["due_at"] is not None, "watching ends with an answer"
    story.rail.shown = story.rail.found(returned_minor=1)
    await story.step()
    assert story.store.rows[story.name]["due_at"] is None


async def test_the_worker_does_what_is_due_and_what_was_hinted_at(story):
    """Payouts that are due and hints that came in are taken, done, and not taken twice."""
    health = Health()
    worker = PayoutWorker(story.books, story.saga, health, lambda: story.clock.now, 0.001)
    assert await worker.take_hint(Hint("stripe", "evt_1", story.name[1], None))
    assert not await worker.take_hint(Hint("stripe", "evt_1", story.name[1], None))
    assert await worker.work() > 1
    assert story.payout.state == "processed"
    assert await worker.work() == 0


async def test_the_worker_goes_on_after_trouble_and_stops_where_the_books_are_broken(story):
    """A database that is away is told once and tried again; broken books end it."""
    health = Health()
    worker = PayoutWorker(story.books, story.saga, health, lambda: story.clock.now, 0.001)
    due, calls = story.store.due, []

    def away(*told):
        calls.append(told)
        if len(calls) == 1:
            raise RetryableError("away")
        if len(calls) > 3:
            raise CorruptionError("broken")
        return due(*told)

    story.store.due = away
    with pytest.raises(CorruptionError):
        await worker.run()
    assert story.payout.state == "processed"
    assert msgspec.json.decode(story.store.payees[story.name], type=Payee).address == "acct_jane"


async def test_a_look_comes_before_the_very_first_sending(story):
    """What is there already, because these books were restored from a backup, is adopted and not sent."""
    story.rail.shown = story.rail.found()
    assert await story.step() == "processed"
    assert (story.rail.sent, story.payout.attempt) == ([], 1)


async def test_a_hint_recovers_an_attempt_that_the_books_do_not_remember(story):
    """Of a payout that was never sent by these books the provider's payment is adopted, also while the rail is off."""
    story.rail.off, story.rail.shown = "off", story.rail.found()
    hint = Hint("stripe", "evt_1", story.name[1], "tr_1")
    story.store.keep_hint(hint, story.clock.now)
    assert await story.saga.follow(hint, story.name) == "processed"
    assert (story.rail.sent, story.payout.key) == ([], f"payout-{story.name[1]}-1")
    assert await story.saga.follow(hint, story.name) == "handled_before"


async def test_a_hint_that_recovers_contradicts_where_it_has_to(story):
    """Another amount than ours, or several payments, freeze the partner as ever."""
    for shown, contradiction in ((story.rail.found(amount_minor=1), "differs"), (Several(["a", "b"]), "several")):
        other = Story()
        other.rail.shown = shown
        hint = Hint("stripe", "evt_1", other.name[1], "tr_1")
        other.store.keep_hint(hint, other.clock.now)
        assert await other.saga.follow(hint, other.name) == "review"
        assert (other.payout.contradictions[0][0], other.rail.sent) == (contradiction, [])


async def test_nothing_is_sent_again_to_somebody_who_was_frozen_meanwhile(story):
    """A repeat is a sending too: whoever is frozen waits for a person, and after the window there is a review."""
    story.rail.answers = [TimeoutError()]
    await story.step()
    story.store.freezes["acme", "jane"] = "theirs_only"
    assert await story.step(QUIET) == "unknown"
    assert len(story.rail.sent) == 1
    assert await story.step(story.rail.window) == "review"
