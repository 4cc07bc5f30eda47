"""A small program with money to pay out, for the search: partners, commissions, clawbacks, runs, refunds, people."""

from datetime import UTC, datetime

import msgspec

from consumers.rails import Payee
from ledger import payout_runs, payouts
from ledger.application import following
from ledger.commissions import DUPLICATE, Act, evolve, fold, move, take_fact
from ledger.events import CommissionEarned, Rate, RefundParked, Stream
from ledger.payout_commissions import standing_of
from ledger.payout_runs import Criteria, Owed, Payable
from ledger.payouts import AT_REST
from schemas.errors import LedgerError, RejectedError

START = datetime(2026, 1, 1, tzinfo=UTC)
MERCHANT = "acme"
MINIMUM = {"USD": 500}


class Clear:
    """Seals nothing: there is nobody to hide from."""

    def seal(self, clear):
        """Return it as it is."""
        return clear

    def unseal(self, sealed):
        """Return it as it is."""
        return sealed


class Clock:
    """The time, as the search lets it pass."""

    def __init__(self):
        self.now = START


def day_of(merchant_id, instant):
    """Return the day in UTC."""
    return instant.date()


def earned(order_id, partner_id, total_minor, at):
    """Return a pending commission of a tenth."""
    return CommissionEarned(
        merchant_id=MERCHANT, order_id=order_id, occurred_at=at, occurred_on=at.date(), recorded_at=at, cause="test",
        partner_id=partner_id, coupon_code="C", currency="USD", total_minor=total_minor, amount_minor=total_minor // 10,
        to_state="pending", rate=Rate(type="percentage", bps=1_000), base="total", base_minor=total_minor,
        fixed_on_partial_refund="keep", terms_version=1,
    )  # fmt: skip


class World:
    """What merchants, storefronts and people do, each as one act; `random` decides about what."""

    def __init__(self, random, store, books, clock, rails):
        self.random, self.store, self.books, self.clock, self.rails = random, store, books, clock, rails
        self.orders, self.owners, self.runs, self.facts = [], {}, [], 0
        self.shown = {}
        self.paid_by_hand = 0
        for partner in ("jane", "kim", "lou"):
            for number in range(random.randint(1, 3)):
                self.earn(partner, number)
        self.look()

    def act(self, by=""):
        """Return somebody's act, now."""
        return payouts.Act(self.clock.now, "test", by)

    def moving(self):
        """Return who moves a commission, now."""
        return Act(self.clock.now, self.clock.now, self.clock.now.date(), "test")

    def write(self, events):
        """Append events of orders; what somebody else wrote first is left alone."""
        try:
            self.store.commit([], now=self.clock.now, others=events)
        except LedgerError:
            return False
        return True

    def earn(self, partner, number):
        """Give the partner an approved commission; some were paid long ago, and refunded since."""
        order_id = f"{partner}-{number}-{len(self.orders)}"
        self.orders.append(order_id)
        self.owners[order_id] = partner
        events = [earned(order_id, partner, self.random.randint(50, 400) * 100, self.clock.now)]
        order = fold(events)
        moves = [("approve", {})]
        if self.random.random() < 0.25:
            moves.append(("pay", {"reference": "by hand"}))
            self.paid_by_hand += events[0].amount_minor
        for name, details in moves:
            events += (made := move(order, name, self.moving(), **details))
            evolve(order, made[0])
        self.write(following(Stream.order(MERCHANT, order_id), 0, events))
        if len(moves) == 2:
            self.refund(order_id)

    def earn_more(self):
        """Give anybody one more commission."""
        if len(self.orders) < 40:
            self.earn(self.random.choice(["jane", "kim", "lou"]), len(self.orders))

    def refund(self, order_id=None):
        """Refund part of an order, or cancel it, wherever its commission is."""
        order_id = order_id or self.random.choice(self.orders)
        stream = Stream.order(MERCHANT, order_id)
        order = fold(recorded.event for recorded in self.store.streams([stream])[stream])
        self.facts += 1
        kind = self.random.choice(["refund", "refund", "cancellation", "dispute", "dispute_won"])
        refund = {"refund_id": f"r{self.facts}", "currency": "USD", "refund_minor": self.random.randint(1, 9_000)}
        fact = RefundParked(
            merchant_id=MERCHANT, order_id=order_id, occurred_at=self.clock.now, occurred_on=self.clock.now.date(),
            recorded_at=self.clock.now, cause=f"test {self.facts}", kind=kind, event_id=f"e{self.facts}",
            **(refund if kind == "refund" else {}),
        )  # fmt: skip
        try:
            decided = take_fact(order, fact)
        except RejectedError:
            return
        if decided != DUPLICATE:
            self.write(following(stream, order.version, decided))

    # --- runs ---

    def look(self):
        """Bring the read model, which is behind most of the time, up to the log."""
        streams = self.store.streams([Stream.order(MERCHANT, order_id) for order_id in self.orders])
        self.shown = {
            order_id: standing_of(order_id, fold(r.event for r in streams[Stream.order(MERCHANT, order_id)]))
            for order_id in self.orders
        }

    def standings(self, owners, cut_off_at):  # noqa: ARG002 - everything is payable by then
        """Return what the read model shows of these partners."""
        return {
            owner: [each for id_, each in self.shown.items() if self.owners[id_] == owner[0] and each.counts]
            for owner in owners
        }

    def prepare(self):
        """Prepare a run of everybody; somebody approves it where that is demanded."""
        if len(self.runs) > 1 and not self.resting:
            return
        run_id = f"run-{len(self.runs)}"
        owners = [(partner, "USD") for partner in sorted(set(self.owners.values()))]
        owed = [
            Owed(
                *owner, sum(each.amount_minor for each in rows if each.state == "approved"),
                sum(each.clawed_back_minor for each in rows), len(rows),
            )
            for owner, rows in self.standings(owners, self.clock.now).items()
        ]  # fmt: skip
        payable = {partner: Payable(self.random.choice(self.rails)) for partner, _ in owners}
        criteria = Criteria(self.clock.now, MINIMUM, frozenset(self.rails))
        frozen = self.store.frozen(MERCHANT, [partner for partner, _ in owners])
        # One that was opened since somebody looked is found out when the payout is requested.
        opened = self.store.opened(MERCHANT) if self.random.random() < 0.5 else frozenset()
        lines = payout_runs.choose(MERCHANT, run_id, owed, payable, criteria, frozen=frozen, opened=opened)
        needs_approval = self.random.random() < 0.3
        payout_runs.prepare(
            self.books, MERCHANT, run_id, lines, criteria, self.act("maker"), needs_approval=needs_approval
        )
        self.runs.append(run_id)

    def carry_on(self, run_id=None):
        """Go on with a run, which may approve it first."""
        if not self.runs:
            return
        run_id = run_id or self.random.choice(self.runs)
        run = payout_runs.find(self.books, MERCHANT, run_id)
        if run.state == "prepared" and run.prepared.needs_approval:
            payout_runs.approve(self.books, MERCHANT, run_id, self.act("checker"))
        elif run.state != "cancelled" and self.random.random() < 0.02:
            payout_runs.cancel(self.books, MERCHANT, run_id, self.act("maker"), "changed our mind")
        for _ in payout_runs.carry_on(self.books, MERCHANT, run_id, self.standings, payees, self.act("maker")):
            pass

    def names(self, *states):
        """Return the payouts in these states, all where none is named."""
        states = states or tuple(payouts.LEGAL_MOVES)
        return [name for run_id in self.runs for name in self.store.of_run(MERCHANT, run_id, states)]

    # --- people ---

    def decide(self, providers):
        """Let a person decide about payouts in review, who asks the provider, and is told the truth."""
        for name in self.names("review"):
            payout = self.books.find(name)
            provider = providers[payout.opened.rail]
            mine = [each for each in provider.payments if each.payout_id == name[1]]
            under_way = any(ticket.instruction.payout_id == name[1] for ticket in provider.under_way)
            if not payout.quiet(self.clock.now) or under_way or any(e.state in ("in_transit", "held") for e in mine):
                continue
            paid = [each for each in mine if each.state == "processed" and each.net_minor]
            if paid:
                self._confirm(name, payout, paid[0], self.act("person"))
            else:
                self._declare(name, self.act("person"), retry=self.random.random() < 0.3)

    def _declare(self, name, act, *, retry):
        self.books.decide(name, lambda payout: payouts.declare_dead(payout, act, "asked", retry=retry), act)

    def _confirm(self, name, payout, payment, act):
        told = {
            "method": payout.opened.rail, "transaction_id": payment.reference, "currency": "USD",
            "amount_minor": payout.opened.amount_minor, "paid_at": act.at,
        }  # fmt: skip
        self.books.decide(
            name, lambda p: payouts.confirm(p, act, **told), act, confirmed=(told["method"], told["transaction_id"])
        )

    @property
    def resting(self):
        """Whether no payout is open."""
        return not self.names(*(state for state in payouts.LEGAL_MOVES if state not in AT_REST))


def payees(partners):
    """Return everybody's account, as it is kept."""
    return {partner: msgspec.json.encode(Payee(f"acct_{partner}")) for partner in partners}
