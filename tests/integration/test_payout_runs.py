"""Payout runs on PostgreSQL: chosen from the read models, frozen, approved by somebody else, requested exactly once."""

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random

import msgspec
import psycopg
import pytest

from consumers.health import Health
from consumers.payout_saga import PayoutSaga
from consumers.payout_worker import PayoutWorker
from consumers.rails import Payee
from ledger import merchants, partners, payout_runs, payouts
from ledger.application import Ledger, following
from ledger.commissions import Act, evolve, fold, move
from ledger.events import Rate, Stream
from ledger.payout_books import PayoutBooks
from ledger.payout_runs import Criteria, Owed, Payable
from ledger.payout_store import Hint, HintHandledError, SqlPayoutStore
from ledger.payouts import Seen
from ledger.postings import postings
from projections import payables
from projections.runner import Projector
from schemas.errors import ConflictError, ForbiddenError, IllegalMoveError, NotFoundError, RejectedError
from tests.support.payout_provider import Provider, SimulatedRail
from tests.support.payout_world import Clear, Clock, day_of, earned
from tests.support.registration import HASH_KEY

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MOVING = Act(NOW, NOW, NOW.date(), "test")
CRITERIA = Criteria(NOW, {"USD": 500}, frozenset({"stripe", "manual"}))
MAKER, CHECKER = payouts.Act(NOW, "test", "maker"), payouts.Act(NOW, "test", "checker")
SEALED = msgspec.json.encode(Payee("acct"))


class Program:
    """A merchant's books, and what a run needs of them."""

    def __init__(self, url):
        self.url = url
        self.ledger = Ledger(url, hash_key=HASH_KEY)
        self.store = SqlPayoutStore(self.ledger)
        self.books = PayoutBooks(self.store, day_of)
        self.conn = psycopg.connect(url, autocommit=True)

    def commission(self, order_id, partner_id, amount_minor=1_000, moves=("approve",)):
        """Put a commission on the books that made these moves."""
        events = [earned(order_id, partner_id, amount_minor * 10, NOW - timedelta(days=1))]
        order = fold(events)
        for name in moves:
            details = {"reference": "wire"} if name == "pay" else {"reason": "odd"} if name == "hold" else {}
            made = move(order, name, MOVING, **details)
            evolve(order, made[0])
            events += made
        self.ledger.record(following(Stream.order("acme", order_id), 0, events))

    def move(self, order_id, name, **details):
        """Move a commission by hand."""
        stream = Stream.order("acme", order_id)
        order = fold(each.event for each in self.ledger.stream(stream))
        self.ledger.record(following(stream, order.version, move(order, name, MOVING, **details)))

    def look(self):
        """Bring the read models up to the log."""
        Projector(self.url).catch_up()

    def prepare(self, run_id="run", *, needs_approval=False, payable=None):
        """Freeze a run of everybody."""
        owed = payables.owed(self.conn, "acme", NOW)
        payable = payable or {each.partner_id: Payable("stripe") for each in owed}
        lines = payout_runs.choose("acme", run_id, owed, payable, CRITERIA, frozen={})
        return payout_runs.prepare(self.books, "acme", run_id, lines, CRITERIA, MAKER, needs_approval=needs_approval)

    def carry_on(self, run_id="run"):
        """Do what is left to be done of the run."""
        return sum(
            payout_runs.carry_on(
                self.books, "acme", run_id,
                lambda owners, at: payables.commissions_of(self.conn, "acme", owners, at),
                lambda partners: dict.fromkeys(partners, SEALED), MAKER,
            )
        )  # fmt: skip

    def rows(self):
        """Return partner, amount and state of every payout."""
        return self.conn.execute(
            "SELECT partner_id, amount_minor, state FROM ledger.payouts ORDER BY partner_id, requested_at"
        ).fetchall()

    def lines(self, run_id="run"):
        """Return partner, whether it is in, and why."""
        return [
            (each.partner_id, each.included, each.reason) for each in self.store.lines("acme", run_id, waiting=False)
        ]

    def sums(self):
        """Return what stands in each account, of all partners."""
        sums = {}
        with self.ledger.connection() as conn:
            names = conn.execute("SELECT DISTINCT originator_id FROM ledger.events WHERE originator_id ^@ 'order/'")
            names = [row["originator_id"] for row in names]
        for stream in self.ledger.streams(names).values():
            for recorded in stream:
                for posting in postings(recorded.event):
                    sums[posting.account] = sums.get(posting.account, 0) + posting.amount_minor
        return {account: amount for account, amount in sums.items() if amount and account != "expense"}

    def only(self):
        """Return the name of the only payout."""
        ((payout_id,),) = self.conn.execute("SELECT payout_id FROM ledger.payouts").fetchall()
        return ("acme", payout_id)

    def decide(self, decide, act=MAKER, **more):
        """Decide on the only payout."""
        return self.books.decide(self.only(), lambda payout: decide(payout, act), act, **more)


@pytest.fixture
def program(database_url):
    """Yield a program on a database of its own."""
    program = Program(database_url)
    yield program
    program.conn.close()
    program.ledger.close()


def start(payout, act):
    """Begin an attempt."""
    return payouts.start(payout, act, "sha", timedelta(hours=23))


def observe(state, **changes):
    """Return the decision on what the provider shows, some time later."""

    def decide(payout, act):
        seen = Seen(state, "tr_1", payout.opened.amount_minor, "USD", "acct")._replace(**changes)
        return payouts.observe(payout, act._replace(at=act.at + payouts.QUIET), seen, "acct")

    return decide


def test_a_run_empties_the_payable_balances_and_nothing_twice(program):
    """Each partner gets one payout of all that is approved; carrying on once more makes no other."""
    for number in range(6):
        program.commission(f"o{number}", f"p{number % 2}")
    program.commission("held", "p0", moves=("approve", "hold"))
    program.look()
    program.prepare()
    assert program.carry_on() == 2
    assert program.carry_on() == 0
    assert program.rows() == [("p0", 3_000, "requested"), ("p1", 3_000, "requested")]
    assert program.sums() == {"in_payout": 6_000, "held": 1_000}
    assert len(program.store.due(NOW, timedelta(minutes=5), 10)) == 2


def test_a_run_says_of_everybody_why(program):
    """Everybody who is owed anything is in the list, in or out, with the first reason that applies."""
    payable = {
        "fine": Payable("stripe"), "held": Payable("stripe", on_hold=True),
        "fresh": Payable("stripe", details="details_changed"),
        "paypal": Payable("paypal"), "small": Payable("stripe"), "debt": Payable("stripe"), "even": Payable("stripe"),
        "busy": Payable("stripe"), "rich": Payable("stripe"), "not": Payable("stripe"), "ice": Payable("stripe"),
    }  # fmt: skip
    net = {"small": (499, 0), "debt": (100, -200), "even": (100, -100), "rich": (9_000, 0)}
    owed = [Owed(partner, "USD", *net.get(partner, (1_000, 0)), 1) for partner in sorted([*payable, "nobody"])]
    criteria = CRITERIA._replace(limit_minor={"stripe": {"USD": 8_000}}, excluded=frozenset({"not"}))
    lines = payout_runs.choose(
        "acme", "run", owed, payable, criteria, frozen={"ice": "several"}, opened=frozenset({("busy", "USD")})
    )
    assert {line.partner_id: line.reason for line in lines} == {
        "fine": "payable", "held": "on_hold", "fresh": "details_changed", "paypal": "rail_off",
        "small": "below_minimum",
        "debt": "negative_balance", "even": "nothing_payable", "busy": "open_payout", "rich": "over_limit",
        "not": "excluded", "ice": "frozen", "nobody": "no_payout_details",
    }  # fmt: skip
    assert [line.partner_id for line in lines if line.included] == ["fine"]


def test_a_run_that_was_cut_short_goes_on_and_makes_the_same_payouts(program, monkeypatch):
    """Killed between two transactions, it makes the rest later, under the ids that were frozen."""
    for number in range(5):
        program.commission(f"o{number}", f"p{number}")
    program.look()
    program.prepare()
    monkeypatch.setattr(payout_runs, "EVENTS_A_BATCH", 2)
    commit, calls = program.store.commit, []

    def cut(*args, **more):
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return commit(*args, **more)

    monkeypatch.setattr(program.store, "commit", cut)
    with pytest.raises(KeyboardInterrupt):
        program.carry_on()
    monkeypatch.setattr(program.store, "commit", commit)
    assert len(program.rows()) == 2
    assert program.carry_on() == 3
    frozen = {line.payout_id for line in program.store.lines("acme", "run", waiting=False)}
    assert {payout_id for _, payout_id in program.store.of_run("acme", "run", ["requested"])} == frozen
    assert len(frozen) == 5


def test_what_changed_since_the_read_model_looked_is_decided_again_and_disturbs_nobody(program):
    """A commission that was held meanwhile is left out; a partner without any other is out; the others are paid."""
    for order_id, partner in (("a", "jane"), ("b", "jane"), ("c", "kim"), ("d", "lou")):
        program.commission(order_id, partner)
    program.look()
    program.prepare()
    program.move("a", "hold", reason="odd")
    program.move("c", "hold", reason="odd")
    program.carry_on()
    assert program.rows() == [("jane", 1_000, "requested"), ("lou", 1_000, "requested")]
    assert program.lines() == [("jane", True, "payable"), ("kim", False, "changed"), ("lou", True, "payable")]


def test_a_partner_has_one_open_payout_of_a_currency(program):
    """A second run finds nobody with an open payout, and leaves out whoever got one since it was prepared."""
    program.commission("a", "jane")
    program.look()
    program.prepare("first")
    program.commission("b", "jane")
    program.look()
    program.prepare("second")
    program.carry_on("first")
    program.commission("c", "jane")
    program.look()
    program.carry_on("second")
    assert len(program.rows()) == 1
    assert program.lines("second") == [("jane", False, "open_payout")]


def test_nothing_starts_before_somebody_else_approved(program):
    """Where approval is demanded the maker cannot give it, and the worker finds nothing to do without it."""
    program.commission("a", "jane")
    program.look()
    program.prepare(needs_approval=True)
    program.carry_on()
    assert program.store.due(NOW, timedelta(minutes=5), 10) == []
    with pytest.raises(ForbiddenError):
        payout_runs.approve(program.books, "acme", "run", MAKER)
    with pytest.raises(NotFoundError):
        payout_runs.approve(program.books, "acme", "no run", CHECKER)
    assert payout_runs.approve(program.books, "acme", "run", CHECKER).state == "approved"
    with pytest.raises(IllegalMoveError):
        payout_runs.approve(program.books, "acme", "run", CHECKER)
    program.carry_on()
    assert program.rows() == [("jane", 1_000, "approved")]
    assert program.store.due(NOW, timedelta(minutes=5), 10) == [program.only()]


def test_a_run_that_is_called_off_gives_back_what_was_not_submitted(program):
    """Its requested payouts are cancelled and their commissions payable again; one that was submitted goes its way."""
    program.commission("a", "jane")
    program.look()
    program.prepare()
    program.carry_on()
    program.decide(start)
    program.commission("b", "kim")
    program.look()
    program.prepare("second")
    program.carry_on("second")
    for run_id in ("run", "second"):
        payout_runs.cancel(program.books, "acme", run_id, MAKER, "changed our mind")
        program.carry_on(run_id)
    assert program.rows() == [("jane", 1_000, "submitting"), ("kim", 1_000, "cancelled")]
    assert program.sums() == {"in_payout": 1_000, "approved": 1_000}


def clawback(program, order_id="old", amount_minor=400):
    """Put a commission on the books that was paid, and refunded in part since."""
    from ledger.commissions import take_fact
    from ledger.events import RefundParked

    program.commission(order_id, "jane", moves=("approve", "pay"))
    stream = Stream.order("acme", order_id)
    order = fold(each.event for each in program.ledger.stream(stream))
    fact = RefundParked(
        merchant_id="acme", order_id=order_id, occurred_at=NOW, occurred_on=NOW.date(), recorded_at=NOW, cause="t",
        kind="refund", event_id=f"r-{order_id}", refund_id=f"r-{order_id}", currency="USD",
        refund_minor=amount_minor * 10,
    )  # fmt: skip
    program.ledger.record(following(stream, order.version, take_fact(order, fact)))


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ("processed", {"paid": 1_600}),
        ("failed", {"approved": 1_000, "paid": 1_000, "clawed_back": -400}),
        ("returned", {"approved": 1_000, "paid": 1_000, "clawed_back": -400}),
    ],
)
def test_clawbacks_are_netted_off_and_come_back_with_the_money(program, ending, expected):
    """Paid: what was clawed back is settled. Failed or returned: it waits for the next payout, exactly once."""
    clawback(program)
    program.commission("new", "jane")
    program.look()
    program.prepare()
    program.carry_on()
    assert program.rows() == [("jane", 600, "requested")]
    assert program.sums() == {"in_payout": 600, "paid": 1_000}
    program.decide(start)
    program.decide(observe("failed" if ending == "failed" else "processed"))
    if ending == "returned":
        program.decide(observe("processed", returned_minor=600))
    assert program.rows()[0][2] == ending
    assert program.sums() == expected


def test_a_negative_net_sends_nothing_and_carries_forward(program):
    """Where more was clawed back than is payable nothing is reserved, nothing is netted."""
    clawback(program, amount_minor=900)
    program.commission("new", "jane", amount_minor=800)
    program.look()
    program.prepare()
    program.carry_on()
    assert program.rows() == []
    assert program.lines() == [("jane", False, "negative_balance")]
    assert program.sums() == {"approved": 800, "paid": 1_000, "clawed_back": -900}


def test_what_came_back_in_part_is_owed_again_in_part(program):
    """Each part is entered once, as much less paid and as much payable; the rest comes back the same way."""
    program.commission("a", "jane")
    program.look()
    program.prepare()
    program.carry_on()
    program.decide(start)
    program.decide(observe("processed"))
    for total, approved in ((300, 300), (300, 300), (1_000, 1_000)):
        program.decide(observe("processed", returned_minor=total))
        assert program.sums() == {
            account: amount for account, amount in (("paid", 1_000 - total), ("approved", approved)) if amount
        }
    assert program.rows() == [("jane", 1_000, "returned")]


def test_one_transaction_confirms_one_payout(program):
    """A transaction number of a method that paid another payout is refused; the same confirmation again is the same."""
    for order_id, partner in (("a", "jane"), ("b", "kim")):
        program.commission(order_id, partner)
    program.look()
    program.prepare()
    program.carry_on()
    first, second = program.store.of_run("acme", "run", ["requested"])
    told = {"method": "wire", "transaction_id": "T1", "amount_minor": 1_000, "currency": "USD", "paid_at": NOW}

    def confirm(name):
        return program.books.decide(
            name, lambda payout: payouts.confirm(payout, MAKER, **told), MAKER, confirmed=("wire", "T1")
        )

    assert confirm(first).payout.state == "processed"
    assert confirm(first).events == ()
    with pytest.raises(ConflictError, match="paid another payout"):
        confirm(second)
    assert program.sums() == {"paid": 1_000, "in_payout": 1_000}


def test_a_hint_is_handled_once_in_the_transaction_of_what_it_brought_about(program):
    """The same event of a provider, however often it is delivered, has one effect."""
    program.commission("a", "jane")
    program.look()
    program.prepare()
    program.carry_on()
    program.decide(start)
    hint = Hint("stripe", "evt_1", program.only()[1], None)
    assert program.store.keep_hint(hint, NOW)
    assert not program.store.keep_hint(hint, NOW)
    assert program.store.hints(NOW, timedelta(minutes=5), 10) == [(hint, program.only())]
    program.decide(observe("processed"), hint=("stripe", "evt_1"))
    with pytest.raises(HintHandledError):
        program.decide(observe("processed"), hint=("stripe", "evt_1"))
    assert program.store.hints(NOW + timedelta(hours=1), timedelta(minutes=5), 10) == []


def test_a_contradiction_freezes_the_partner(program):
    """Nothing more is sent to a partner whose provider tells what cannot be, before somebody has looked."""
    program.commission("a", "jane")
    program.look()
    program.prepare()
    program.carry_on()
    program.decide(start)
    program.decide(observe("processed", amount_minor=999))
    assert program.store.frozen("acme", ["jane", "kim"]) == {"jane": "differs"}
    assert program.store.unfreeze("acme", "jane")
    assert not program.store.unfreeze("acme", "jane")


async def test_the_worker_pays_a_whole_run(program):
    """On PostgreSQL: what is due is taken, sent once, and written down; nothing is left to do."""
    clock = Clock()
    clock.now = NOW
    provider = Provider("stripe", Random(1), clock, faults=0.0)
    rail = ArrivingRail(provider)
    for number in range(20):
        program.commission(f"o{number}", f"p{number}")
    program.look()
    program.prepare()
    program.carry_on()
    saga = PayoutSaga(program.books, {"stripe": rail}, Clear(), lambda: clock.now)
    worker = PayoutWorker(program.books, saga, Health(), lambda: clock.now)
    assert await worker.work() == 20
    assert await worker.work() == 0
    assert {state for _, _, state in program.rows()} == {"processed"}
    assert program.sums() == {"paid": 20_000}
    assert len(provider.payments) == 20


async def test_two_workers_at_once_pay_everybody_once(program):
    """Both take every payout at the same time: one sends, the other drops what it knows."""
    clock = Clock()
    clock.now = NOW
    provider = Provider("stripe", Random(1), clock, faults=0.0)
    for number in range(8):
        program.commission(f"o{number}", f"p{number}")
    program.look()
    program.prepare()
    program.carry_on()
    sagas = [PayoutSaga(program.books, {"stripe": ArrivingRail(provider)}, Clear(), lambda: clock.now) for _ in "ab"]
    names = program.store.of_run("acme", "run", ["requested"])
    words = await asyncio.gather(*(saga.step(name) for name in names for saga in sagas))
    assert words.count("processed") >= 8
    assert provider.twice == set()
    assert (len(provider.payments), program.sums()) == (8, {"paid": 8_000})
    assert program.store.opened("acme") == frozenset()


class ArrivingRail(SimulatedRail):
    """A rail on which requests arrive at once."""

    async def submit(self, attempt):
        """Send it."""
        return self.provider.execute(attempt.instruction, attempt.body)


def test_a_negative_balance_can_be_written_off_with_a_reason(program):
    """An entry by hand of exactly what is owed; the same request once; nothing where nothing is owed."""
    merchants.register(
        program.ledger, merchant_id="acme", name="Acme", currency="USD", email="a@example.com", now=NOW, cause="test"
    )
    jane = partners.register(
        program.ledger, merchant_id="acme", name="Jane", email="j@example.com", rate=Rate(type="fixed", amount_minor=1),
        now=NOW, cause="test",
    )  # fmt: skip
    owed = Owed(jane.partner_id, "USD", 100, -900, 2)
    moved = payout_runs.write_off(program.ledger, "acme", owed, MAKER, "gone", key="k1")
    assert (moved.amount_minor, moved.state) == (800, "approved")
    with pytest.raises(ConflictError, match="entered before"):
        payout_runs.write_off(program.ledger, "acme", owed, MAKER, "gone", key="k1")
    with pytest.raises(RejectedError, match="not negative"):
        payout_runs.write_off(program.ledger, "acme", owed._replace(approved_minor=900), MAKER, "gone", key="k2")
