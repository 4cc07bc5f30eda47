"""Whatever a storefront sends, in whatever batches and order: the decisions end at the oracle's cent."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.batch import OUTCOMES, Batch, Message, Source
from schemas.errors import RejectedError
from schemas.order_events import parse
from tests.support import oracle as model
from tests.support.checker import differences
from tests.support.found import tables
from tests.support.oracle_program import BEGINNING, Merchant, Partner, Rate, held_by
from tests.support.registration import HASH_KEY, directory_of
from tests.support.storefront import Storefront, lay_out, sample_program

NOW = datetime(2026, 11, 22, tzinfo=UTC)
PROGRAM = sample_program()
DIRECTORY = directory_of(PROGRAM)


def read(raw):
    """Return what intake hands on: the event, or why it cannot be read."""
    try:
        return parse(raw)
    except RejectedError as error:
        return error


class Memory:
    """The books in memory: batches in, streams and counts out, as intake and PostgreSQL would keep them."""

    def __init__(self, directory):
        self.directory, self.streams, self.letters, self.bought = directory, defaultdict(list), set(), {}
        self.counts = defaultdict(lambda: {"position": -1, "consumed": 0, **dict.fromkeys(OUTCOMES, 0)})

    def take(self, messages):
        """Take one batch: messages of one partition."""
        source = Source(messages[0].source, messages[0].topic, messages[0].partition)
        batch = Batch(self.directory, source, NOW, HASH_KEY, self.streams, self.bought)
        for message in messages:
            batch.take(Message(message.offset, message.value), read(message.value))
        self.bought = {**self.bought, **batch.counted}
        for recorded in batch.events:
            assert recorded.originator_version == len(self.streams[recorded.originator_id]) + 1
            self.streams[recorded.originator_id].append(recorded)
        self._count(source, messages, batch)

    def _count(self, source, messages, batch):
        row = self.counts[tuple(source)]
        row["position"] = messages[-1].offset
        row["consumed"] += len(messages)
        for outcome, count in batch.counts.items():
            row[outcome] += count
        for cause in batch.unparked:
            parked = self.counts[tuple(Source.of_cause(cause)[0])]
            parked["adjusted"] -= 1
            parked["dead_lettered"] += 1
        self.letters |= {(*letter.source, letter.position, letter.error.code) for letter in batch.dead_letters}

    def found(self):
        """Return the tables that the checker compares."""
        events = ([recorded.event for recorded in stream] for stream in self.streams.values())
        return {**tables(events), "positions": dict(self.counts), "dead_letters": list(self.letters)}


def in_batches(messages, random):
    """Return the messages cut into batches of one partition each, the partitions taken in turn by chance."""
    waiting = defaultdict(list)
    for message in messages:
        waiting[message.partition].append(message)
    while waiting:
        partition = random.choice(sorted(waiting))
        size = random.randint(1, 40)
        yield waiting[partition][:size]
        waiting[partition] = waiting[partition][size:]
        if not waiting[partition]:
            del waiting[partition]


@given(seed=st.integers(0, 2**32), count=st.integers(1, 400), partitions=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_any_stream_of_messages_ends_at_the_books_of_the_oracle(seed, count, partitions):
    """Orders, refunds, disputes, repetitions, contradictions and garbage, in any batches, end as the oracle says."""
    storefront = Storefront(seed, PROGRAM)
    messages = lay_out([*storefront.take(count), *storefront.rest()], partitions)
    memory, oracle = Memory(DIRECTORY), model.Oracle(PROGRAM)
    for batch in in_batches(messages, Random(seed)):
        memory.take(batch)
        oracle.take_all(batch)
    assert differences(oracle.books(), memory.found()) == []


JANE = Partner("jane", (Rate(BEGINNING, "percentage", "12.5"),))
SHOP = Merchant("acme", "USD", (JANE,), {"JANE10": held_by("jane")}, approval="manual")


@st.composite
def an_order_and_its_facts(draw):
    """Return the raw events of one order: placed, refunds within its total, maybe a cancellation and disputes."""
    total = draw(st.integers(1, 50_000))
    at = datetime(2026, 5, 1, tzinfo=UTC)

    def event(kind, number, **fields):
        instant = at + timedelta(hours=draw(st.integers(1, 900)))
        told = {"type": kind, "event_id": f"e{number}", "merchant_id": "acme", "order_id": "1"}
        return told | {"occurred_at": instant.isoformat()} | fields

    def amount(minor):
        return f"{minor // 100}.{minor % 100:02}"

    placed = event("order.placed", 0, currency="USD", total=amount(total), coupon_code="jane10")
    cuts = sorted(draw(st.lists(st.integers(0, total), max_size=5)))
    parts = [after - before for before, after in zip([0, *cuts], cuts, strict=False) if after > before]
    refunds = [
        event("order.refunded", f"r{n}", currency="USD", refund_id=f"r{n}", amount=amount(part))
        for n, part in enumerate(parts)
    ]
    others = draw(st.lists(st.sampled_from(["order.cancelled", "order.disputed", "order.dispute_won"]), max_size=4))
    facts = [event(kind, f"o{n}") for n, kind in enumerate(others)]
    told = [placed, *refunds, *facts]
    return told, draw(st.permutations(told + draw(st.lists(st.sampled_from(told), max_size=3))))


def final(events):
    """Return the one commission that the events end in."""
    import json

    memory = Memory(directory_of([SHOP]))
    for offset, told in enumerate(events):
        memory.take([model.Message("orders", 0, offset, json.dumps(told).encode())])
    found = memory.found()
    return found["commissions"]["acme", "1"], found["balances"], found["revenue"]


@given(story=an_order_and_its_facts())
@settings(max_examples=150, deadline=None)
def test_the_order_of_arrival_and_repetitions_do_not_matter(story):
    """However the facts of an order are shuffled and repeated, the commission, balances and revenue are the same."""
    told, shuffled = story
    commission, balances, revenue = final(shuffled)
    straight, straight_balances, straight_revenue = final(told)
    assert (commission, balances) == (straight, straight_balances)
    totals = [sum(row["gross"] - row["refunded"] for row in rows.values()) for rows in (revenue, straight_revenue)]
    assert totals[0] == totals[1] == commission["total_minor"] - commission["refunded_minor"]


@given(total=st.integers(1, 10**7), bps=st.integers(0, 10_000), cuts=st.lists(st.floats(0, 1), max_size=6))
@settings(max_examples=200, deadline=None)
def test_refunds_that_add_up_to_the_order_end_at_exactly_zero(total, bps, cuts):
    """Whatever the rate and however the order is given back, nothing of the commission remains, to the cent."""
    from ledger.commissions import evolve, fold, owed_minor, take_fact
    from ledger.events import Rate as LedgerRate
    from ledger.events import RefundParked
    from tests.unit.test_commissions import NOW as AT
    from tests.unit.test_commissions import earned

    base = earned(total_minor=total, base_minor=total, rate=LedgerRate(type="percentage", bps=bps))
    first = earned(
        total_minor=total, base_minor=total, rate=LedgerRate(type="percentage", bps=bps),
        amount_minor=owed_minor(base, total),
    )  # fmt: skip
    order = fold([first])
    points = sorted({int(cut * total) for cut in cuts} | {0, total})
    for number, (before, after) in enumerate(pairwise(points)):
        fact = RefundParked(
            merchant_id="acme", order_id="1", occurred_at=AT, occurred_on=AT.date(), recorded_at=AT,
            cause=f"t@{number}", kind="refund", event_id=f"e{number}", refund_id=f"r{number}", currency="USD",
            refund_minor=after - before,
        )  # fmt: skip
        (event,) = take_fact(order, fact)
        evolve(order, event)
        assert 0 <= order.amount_minor <= first.amount_minor
    assert (order.amount_minor, order.state) == (0, "reversed")
