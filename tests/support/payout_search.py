"""The search: a seed decides who moves next, what fails, where somebody crashes, and how far the clock jumps.

The decisions, the commands and the saga are the real ones; the providers are simulated and keep the truth. Nothing runs
at once: each coroutine goes on to its next await, and whatever can happen in between, does.
"""

from datetime import timedelta
from random import Random

from consumers.payout_saga import PayoutSaga
from ledger.events import decode
from ledger.payout_books import PayoutBooks
from ledger.payout_store import Hint, SqlPayoutStore
from ledger.payouts import QUIET
from schemas.errors import LedgerError, RetryableError
from tests.support.payout_oracle import Accounts, wrong_at_rest
from tests.support.payout_provider import Pause, Provider, SimulatedRail
from tests.support.payout_store import MemoryPayoutStore
from tests.support.payout_world import Clear, Clock, World, day_of

_JUMPS = [timedelta(hours=2), timedelta(hours=22), timedelta(hours=26), timedelta(days=31)]


class PostgresPayoutStore(SqlPayoutStore):
    """The real store, and what the search wants to see of it."""

    def after(self, position):
        """Return the events behind the position, and where they stand: ids have gaps where something failed."""
        with self._ledger.connection() as conn:
            rows = conn.execute(
                "SELECT notification_id AS position, topic, state FROM ledger.events"
                " WHERE notification_id > %s ORDER BY notification_id",
                (position,),
            ).fetchall()
        return [(row["position"], decode(row["topic"], row["state"])) for row in rows]


class Search:
    """One story, from one seed."""

    def __init__(self, seed, *, steps=1_000, rail=SimulatedRail, store=None):
        self.random = Random(seed)
        self.clock, self.steps = Clock(), steps
        self.store = store or MemoryPayoutStore()
        self.providers = {kind: Provider(kind, self.random, self.clock) for kind in ("stripe", "paypal")}
        self.rails = {kind: rail(provider) for kind, provider in self.providers.items()}
        self.books = PayoutBooks(self.store, day_of)
        self.world = World(self.random, self.store, self.books, self.clock, sorted(self.rails))
        self.workers = [self._worker(), self._worker()]
        self.live = [[], []]
        self.faults = self.random.choice([0.3, 1.0, 3.0])
        self.meddling = self.random.choice([0.05, 0.3, 1.0])
        for provider in self.providers.values():
            provider.faults = self.random.choice([0.3, 1.0, 3.0])
        self.words = set()
        self.wrong = []
        self.log, self._accounts, self._position, self._calm = [], Accounts(), 0, 0

    def _worker(self):
        return PayoutSaga(self.books, self.rails, Clear(), lambda: self.clock.now, self.ask)

    async def ask(self, work):
        """Do blocking work: it may fail before it begins, and its success may not be heard of."""
        await Pause()
        if self.random.random() < 0.02 * self.faults:
            raise RetryableError("the database does not answer")
        result = work()
        await Pause()
        if self.random.random() < 0.02 * self.faults:
            raise RetryableError("the commit was lost on its way back")
        return result

    # --- what may happen ---

    def run(self):
        """Tell the story to its end, and return in sentences what is wrong with it."""
        try:
            return self._told()
        finally:
            self._stop()

    def _told(self):
        acts, usual = zip(*self._acts(), strict=True)
        # Each story has much of some things and little of others: what is rare on average is common somewhere.
        weights = [weight * self.random.choice([0.2, 1, 1, 5]) for weight in usual]
        for _ in range(self.steps):
            self.random.choices(acts, weights)[0]()
            self.check()
            if self.wrong:
                return self.wrong
        self.come_to_rest()
        return self.wrong or wrong_at_rest(self.log, self.providers, self.world.paid_by_hand)

    def _acts(self):
        return [
            (self.go_on, 60),
            (self.begin, 25),
            (self.arrive, 8),
            (self.crash, 1),
            (self.pass_time, 8),
            (self.jump, 0.3),
            (self.progress, 5),
            (self.deliver, 3),
            (self.world.refund, 0.5),
            (self.world.look, 1),
            (self._quietly(self.world.prepare), 2),
            (self._quietly(self.world.carry_on), 3),
            (self.world.earn_more, 1),
            (self._quietly(lambda: self.world.decide(self.providers)), 1),
        ]

    def _quietly(self, act):
        """Return the act, whose refusal is one more thing that may happen."""

        def done():
            try:
                act()
            except LedgerError as error:
                self.words.add(type(error).__name__)

        return done

    def go_on(self, which=None):
        """Let one coroutine go on to its next await."""
        which = which or self.random.choice([live for live in self.live if live] or self.live)
        if not which:
            return
        coroutine = self.random.choice(which)
        try:
            coroutine.send(None)
        except StopIteration as ended:
            which.remove(coroutine)
            self.words.add(ended.value)
        except RetryableError:
            which.remove(coroutine)

    def begin(self):
        """Let a worker take up what is due, a hint, or (late, or mistaken) any payout at all."""
        number = self.random.randrange(2)
        saga, live = self.workers[number], self.live[number]
        if len(live) >= 3:
            return
        names = list(self.store.due(self.clock.now, QUIET, 1))
        if not names and self.random.random() < self.meddling:
            known = self.world.names("submitting") or self.world.names()
            names = [self.random.choice(known)] if known else []
        live += [saga.step(name) for name in names]
        live += [saga.follow(*hint) for hint in self.store.hints(self.clock.now, QUIET, 1)]

    def arrive(self):
        """Let a request arrive at its provider."""
        provider = self.random.choice(list(self.providers.values()))
        if provider.under_way:
            provider.arrive(self.random.choice(provider.under_way))

    def crash(self):
        """End one worker where it stands, and start another in its place."""
        number = self.random.randrange(2)
        for coroutine in self.live[number]:
            coroutine.close()
        self.live[number] = []
        self.workers[number] = self._worker()

    def pass_time(self, by=None):
        """Let some time pass; what is under way arrives in time, or never."""
        until = self.clock.now + (by or timedelta(seconds=self.random.choice([1, 2, 5, 20, 40, 120, 400])))
        for provider in self.providers.values():
            provider.hurry(until)
        self.clock.now = until

    def jump(self):
        """Let the clock jump, by up to 31 days."""
        self.pass_time(self.random.choice(_JUMPS))

    def progress(self):
        """Let something become of a payment."""
        provider = self.random.choice(list(self.providers.values()))
        if provider.payments:
            provider.progress(self.random.choice(provider.payments))

    def deliver(self):
        """Deliver any webhook: late, out of order, and maybe once more."""
        provider = self.random.choice(list(self.providers.values()))
        if provider.mail:
            event_id, payout_id, reference = self.random.choice(provider.mail)
            if self.random.random() < 0.7:
                provider.mail.remove((event_id, payout_id, reference))
            known = payout_id if self.random.random() < 0.7 else None
            self.store.keep_hint(Hint(provider.kind, event_id, known, reference), self.clock.now)

    # --- the end ---

    def come_to_rest(self):
        """Let all faults end, and everything be done that is left to do."""
        self.faults = 0.0
        for provider in self.providers.values():
            provider.faults = 0.0
        self._stop()
        for days in (*[0] * 8, *[1] * 37):
            self.pass_time(timedelta(days=days) or timedelta(minutes=20))
            for provider in self.providers.values():
                for payment in provider.payments:
                    provider.progress(payment, settle=True)
            while any(provider.mail for provider in self.providers.values()):
                self.deliver()
            for run_id in self.world.runs:
                self.world.carry_on(run_id)
            self._work()
            self.world.decide(self.providers)
            if self.wrong or (days and self._at_rest()):
                return

    def _stop(self):
        for live in self.live:
            for coroutine in live:
                coroutine.close()
            live.clear()

    def _at_rest(self):
        # After the last change somebody still looks once a day.
        before = len(self.log)
        self.check()
        self._calm = 0 if len(self.log) != before else self._calm + 1
        return self._calm > 2 and self.world.resting

    def _work(self):
        saga = self.workers[0]
        for _ in range(100):
            coroutines = [saga.step(name) for name in self.store.due(self.clock.now, QUIET, 100)]
            coroutines += [saga.follow(*hint) for hint in self.store.hints(self.clock.now, QUIET, 100)]
            if not coroutines:
                return
            for coroutine in coroutines:
                live = [coroutine]
                while live:
                    self.go_on(live)
                    for provider in self.providers.values():
                        for ticket in list(provider.under_way):
                            provider.arrive(ticket)
            self.check()

    # --- what must be true at any instant ---

    def check(self):
        """Note what is wrong by now: what is in payouts is the sum of the open ones, and nobody was paid twice."""
        new = self.store.after(self._position)
        for self._position, event in new:
            self.log.append(event)
            self._accounts.take(event)
        if new:
            self.wrong += self._accounts.unbalanced()
        for provider in self.providers.values():
            self.wrong += [f"{payout_id} was paid twice" for payout_id in sorted(provider.twice)]


def search(seed, **options):
    """Return in sentences what is wrong with the story of this seed."""
    return Search(seed, **options).run()
