"""Intake on real PostgreSQL: one transaction a batch, and what a storefront can send into it."""

import json
import threading
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from ledger import dead_letters, partners
from ledger.application import Ledger
from ledger.events import CommissionEarned, Rate, RefundParked
from ledger.intake import OUTCOMES, Intake, Message, Source
from ledger.store import PositionTakenError
from schemas.errors import ConflictError, RejectedError
from tests.support import oracle as model
from tests.support.bad_messages import BAD_MESSAGES
from tests.support.checker import differences
from tests.support.found import tables
from tests.support.oracle_program import BEGINNING, Merchant, Partner, held_by
from tests.support.oracle_program import Rate as ToldRate
from tests.support.registration import HASH_KEY, register
from tests.support.storefront import Storefront, lay_out, sample_program

NOW = datetime(2026, 11, 22, tzinfo=UTC)
SOURCE = Source("cluster", "orders", 0)
JANE = Partner("jane", (ToldRate(BEGINNING, "percentage", "10"),), email="jane@partners.example")
ACME = Merchant("acme", "USD", (JANE,), {"JANE10": held_by("jane")})


@pytest.fixture
def ledger(database_url):
    """Yield a ledger that knows the merchant acme and its partner jane."""
    ledger = Ledger(database_url, hash_key=HASH_KEY)
    register(ledger, [ACME])
    yield ledger
    ledger.close()


@pytest.fixture
def intake(ledger):
    """Return an intake into that ledger."""
    return Intake(ledger)


def placed(order_id="1", **changes):
    """Return the bytes of an order of 100.00 USD with jane's code."""
    told = {
        "type": "order.placed", "event_id": f"e-{order_id}", "merchant_id": "acme", "order_id": order_id,
        "occurred_at": "2026-11-20T10:00:00Z", "currency": "USD", "total": "100.00", "coupon_code": "jane10",
        "customer": {"id": "c-7", "email": "kim@example.com", "name": "Kim"},
    }  # fmt: skip
    return json.dumps(told | changes).encode()


def refunded(order_id="1", refund_id="r1", amount="40.00", **changes):
    """Return the bytes of a refund."""
    told = {
        "type": "order.refunded", "event_id": f"e-{refund_id}", "merchant_id": "acme", "order_id": order_id,
        "occurred_at": "2026-11-21T10:00:00Z", "currency": "USD", "refund_id": refund_id, "amount": amount,
    }  # fmt: skip
    return json.dumps(told | changes).encode()


def send(intake, *raw, source=SOURCE, now=NOW):
    """Take the messages as the next batch of the partition; return what it became."""
    after = intake.position(source)
    first = 0 if after is None else after + 1
    return intake.take(source, [Message(first + n, value) for n, value in enumerate(raw)], now, after=after)


def one(ledger, query, *values):
    """Return the first row of a query."""
    with ledger.connection() as conn:
        return conn.execute(query, values).fetchone()


def accounted(ledger):
    """Return the positions in the shape of the checker."""
    with ledger.connection() as conn:
        rows = conn.execute("SELECT * FROM ledger.positions").fetchall()
    names = ("position", "consumed", *OUTCOMES)
    return {(row["source"], row["topic"], row["partition"]): {name: row[name] for name in names} for row in rows}


def everything(ledger):
    """Return all that the checker compares, read from the event store alone."""
    with ledger.connection() as conn:
        names = conn.execute(
            "SELECT DISTINCT originator_id FROM ledger.events WHERE starts_with(originator_id, 'order/')"
        )
        streams = ledger.streams([row["originator_id"] for row in names])
        letters = conn.execute("SELECT source, topic, partition, position, code FROM ledger.dead_letters").fetchall()
        ignored = conn.execute("SELECT * FROM ledger.ignored_totals").fetchall()
    return {
        **tables([recorded.event for recorded in stream] for stream in streams.values()),
        "positions": accounted(ledger),
        "dead_letters": [tuple(row.values()) for row in letters],
        "ignored": {
            (row["merchant_id"], row["day"].isoformat(), row["currency"]): {
                "orders": row["orders"], "total_minor": int(row["total_minor"])
            }
            for row in ignored
        },
    }  # fmt: skip


# --- the table of order-events.md -------------------------------------------------------------------------------------


def test_a_partners_code_earns(ledger, intake):
    """An order with the code of an approved partner is CommissionEarned, with its rule and arithmetic."""
    assert send(intake, placed()).counts["earned"] == 1
    (recorded,) = ledger.stream("order/acme/1")
    assert isinstance(recorded.event, CommissionEarned)
    assert (recorded.event.amount_minor, recorded.event.base_minor, recorded.event.rate.bps) == (1_000, 10_000, 1_000)
    assert recorded.event.cause == "cluster/orders/0@0"


def test_a_partners_code_that_does_not_earn_is_skipped_with_its_reason(ledger, intake):
    """The partner's own order is CommissionSkipped because it is a self-referral."""
    own = placed(customer={"id": "c-1", "email": " JANE@partners.example "})
    assert send(intake, own).counts["skipped"] == 1
    assert ledger.stream("order/acme/1")[0].event.reason == "self_referral"


def test_an_order_without_a_partners_code_is_ignored_and_counted(ledger, intake):
    """No code and nobody's code are counted per merchant, day and currency, and leave no event."""
    head = ledger.head()
    assert send(intake, placed("1", coupon_code="NOBODY"), placed("2", coupon_code=None)).counts["ignored"] == 2
    row = one(ledger, "SELECT * FROM ledger.ignored_totals")
    assert (row["merchant_id"], str(row["day"]), row["currency"]) == ("acme", "2026-11-20", "USD")
    assert (row["orders"], row["total_minor"]) == (2, 20_000)
    assert ledger.head() == head


def test_the_same_again_is_a_duplicate(ledger, intake):
    """The same order and the same refund again are counted and change nothing, in the same batch or a later one."""
    assert send(intake, placed(), placed(event_id="again"), refunded(), refunded()).counts["duplicate"] == 2
    head = ledger.head()
    taken = send(intake, placed(), refunded())
    assert (taken.counts["duplicate"], ledger.head()) == (2, head)
    assert [result.commission_minor for result in taken.results] == [600, 600]


def test_the_same_id_with_other_content_is_a_dead_letter_that_names_the_fields(ledger, intake):
    """A contradiction is refused and says which fields differ; what is on the books stays."""
    send(intake, placed(), refunded())
    taken = send(intake, placed(total="120.00", currency="EUR"), refunded(amount="41.00"))
    faults = [[fault.path for fault in result.error.faults] for result in taken.results]
    assert faults == [["$.currency", "$.total"], ["$.amount"]]
    row = one(ledger, "SELECT code, path, raw, reason FROM ledger.dead_letters WHERE position = 2")
    assert (row["code"], row["path"]) == ("conflicting_duplicate", "$.currency")
    assert bytes(row["raw"]) == placed(total="120.00", currency="EUR")
    assert "total" in row["reason"]


def test_a_refund_before_its_order_is_parked_and_applied_when_the_order_comes(ledger, intake):
    """Parked first, applied later: the commission is that of what remains."""
    assert send(intake, refunded()).counts["adjusted"] == 1
    assert isinstance(ledger.stream("order/acme/1")[0].event, RefundParked)
    taken = send(intake, placed())
    assert (taken.results[0].outcome, taken.results[0].commission_minor) == ("earned", 600)


def test_a_parked_refund_that_proves_wrong_becomes_a_dead_letter_and_is_counted_as_one(ledger, intake):
    """What was parked and turns out too large is refused at its own position, also across partitions."""
    other = Source("cluster", "orders", 3)
    send(intake, refunded(amount="100.01"), source=other)
    send(intake, placed())
    assert accounted(ledger)[other]["adjusted"] == 0
    assert accounted(ledger)[other]["dead_lettered"] == 1
    row = one(ledger, "SELECT code, partition, position, merchant_id FROM ledger.dead_letters")
    assert tuple(row.values()) == ("refund_exceeds_total", 3, 0, "acme")
    assert ledger.stream("order/acme/1")[1].event.amount_minor == 1_000


@pytest.mark.parametrize("kind", ["order.cancelled", "order.disputed"])
def test_a_cancellation_or_dispute_takes_back_what_is_left(intake, kind):
    """What is left of the commission is taken back; a dispute that is won gives it back."""
    at = "2026-11-21T12:00:00Z"
    told = {"type": kind, "event_id": "x", "merchant_id": "acme", "order_id": "1", "occurred_at": at}
    won = told | {"type": "order.dispute_won", "event_id": "w", "occurred_at": "2026-11-22T12:00:00Z"}
    events = [placed(), refunded(), json.dumps(told).encode(), json.dumps(won).encode()]
    results = [send(intake, raw).results[0].commission_minor for raw in events]
    assert results == [1_000, 600, 0, 600 if kind == "order.disputed" else 0]


@pytest.mark.parametrize(
    ("raw", "code", "path"),
    [
        (refunded(amount="100.01"), "refund_exceeds_total", "$.amount"),
        (refunded(currency="EUR"), "currency_mismatch", "$.currency"),
        (placed("2", merchant_id="nobody"), "unknown_merchant", "$.merchant_id"),
    ],
)
def test_what_contradicts_the_books_is_a_dead_letter_with_code_and_path(ledger, intake, raw, code, path):
    """Too much refunded, another currency, an unknown merchant: each is refused by its own code at its own field."""
    send(intake, placed())
    (result,) = send(intake, raw).results
    assert (result.outcome, result.error.code, result.error.path) == ("dead_lettered", code, path)
    row = one(ledger, "SELECT count(*) AS n FROM ledger.dead_letters WHERE code = %s AND path = %s", code, path)
    assert row["n"] == 1


def test_every_class_of_invalid_message_is_kept_with_code_and_path_and_its_neighbours_are_booked(ledger, intake):
    """Each bad message stands alone among good ones: it is kept whole, with exactly its code, and they are booked."""
    for number, bad in enumerate(BAD_MESSAGES):
        good = [placed(f"{number}-{n}") for n in range(4)]
        after = intake.position(SOURCE)
        first = 0 if after is None else after + 1
        messages = [Message(first + n, raw) for n, raw in enumerate(good)]
        messages.insert(2, Message(first + 4, bad.raw, None, bad.headers))
        messages = [message._replace(position=first + n) for n, message in enumerate(messages)]
        taken = intake.take(SOURCE, messages, NOW, after=after)
        assert (taken.counts["earned"], taken.counts["dead_lettered"]) == (4, 1), bad.name
        row = one(ledger, "SELECT code, path, raw FROM ledger.dead_letters WHERE position = %s", first + 2)
        assert (row["code"], row["path"]) == (bad.code, bad.path), bad.name
        assert row["raw"] == bad.raw, bad.name
    assert len(BAD_MESSAGES) >= 40


def test_one_bad_message_in_a_thousand_costs_the_other_999_nothing(ledger, intake):
    """A poison message in a full batch is set aside, and the whole rest is committed with it."""
    raw = [placed(str(number)) for number in range(999)]
    raw.insert(500, b'{"type": "order.placed", ')
    taken = send(intake, *raw)
    assert (taken.counts["earned"], taken.counts["dead_lettered"]) == (999, 1)


# --- what was in force ------------------------------------------------------------------------------------------------


def test_the_rate_in_force_when_the_order_was_placed_decides_however_late_it_comes(ledger, intake):
    """A rate from the first of December on does not touch an order of November that arrives in January."""
    december = datetime(2026, 12, 1, tzinfo=UTC)
    partners.change(
        ledger, merchant_id="acme", partner_id="jane", rate=Rate(type="percentage", bps=500), rate_from=december,
        now=NOW, cause="test",
    )  # fmt: skip
    late = placed("2", occurred_at="2026-11-30T23:59:59.999999Z")
    new = placed("3", occurred_at="2026-12-01T00:00:00Z")
    results = send(intake, late, new, now=NOW + timedelta(days=60)).results
    assert [result.commission_minor for result in results] == [1_000, 500]


def test_a_rate_cannot_change_for_a_time_that_orders_depend_on(ledger, intake):
    """A rate in the past is refused once an order of that time is on the books, and allowed as long as none is."""
    rate = {"merchant_id": "acme", "partner_id": "jane", "rate": Rate(type="percentage", bps=500), "cause": "test"}
    partners.change(ledger, **rate, rate_from=datetime(2026, 11, 1, tzinfo=UTC), now=NOW)
    assert send(intake, placed()).results[0].commission_minor == 500
    with pytest.raises(RejectedError, match="are on the books") as refused:
        partners.change(ledger, **rate, rate_from=datetime(2026, 11, 20, tzinfo=UTC), now=NOW)
    assert refused.value.code == "rate_in_the_past"
    partners.change(ledger, **rate, rate_from=datetime(2026, 11, 20, 10, 0, 1, tzinfo=UTC), now=NOW)


def test_a_batch_that_was_decided_on_an_old_directory_is_decided_again(ledger, intake, monkeypatch):
    """A code that is assigned between the decision and the commit earns: the batch sees it and decides anew."""
    decided = []
    take = type(intake)._batch

    def assign_once(self, source, now, told):
        batch = take(self, source, now, told)
        if not decided:
            partners.assign_coupon(
                ledger, merchant_id="acme", partner_id="jane", code="NEW", now=NOW, cause="test"
            )  # fmt: skip
        decided.append(batch)
        return batch

    monkeypatch.setattr(type(intake), "_batch", assign_once)
    results = send(intake, placed("1"), placed("2", coupon_code="NEW")).results
    assert [result.outcome for result in results] == ["earned", "earned"]
    assert len(decided) == 2, "the directory did not move while the batch was decided"


# --- positions --------------------------------------------------------------------------------------------------------


def test_a_worker_that_lost_its_partition_cannot_commit(ledger, intake):
    """A position that is not where the worker believes it is refuses the whole batch: nothing is written twice."""
    send(intake, placed("1"))
    head = ledger.head()
    for stale in (None, 7):
        with pytest.raises(PositionTakenError):
            intake.take(SOURCE, [Message(1, placed("2"))], NOW, after=stale)
    assert (ledger.head(), intake.position(SOURCE)) == (head, 0)


def test_two_workers_with_one_partition_commit_each_batch_once(ledger, database_url):
    """Two intakes race for the same batches: each batch is committed by exactly one of them."""
    rival = Ledger(database_url, hash_key=HASH_KEY)
    lost = []

    def work(books):
        intake = Intake(books)
        while (after := intake.position(SOURCE)) is None or after < 199:
            first = 0 if after is None else after + 1
            try:
                intake.take(SOURCE, [Message(first + n, placed(str(first + n))) for n in range(20)], NOW, after=after)
            except PositionTakenError:
                lost.append(after)

    threads = [threading.Thread(target=work, args=(books,)) for books in (ledger, rival)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    row = accounted(ledger)[SOURCE]
    assert (row["position"], row["consumed"], row["earned"]) == (199, 200, 200)
    assert lost, "the two never met: the race did not happen"
    rival.close()


def test_two_partitions_that_tell_the_same_orders_book_each_once(ledger, database_url):
    """Without keys an order may come by two partitions at once: one earns, the other is its duplicate."""
    rival = Ledger(database_url, hash_key=HASH_KEY)

    def work(books, partition):
        intake = Intake(books)
        for start in range(0, 400, 40):
            raw = [placed(str(n)) for n in range(start, start + 40)]
            send(intake, *raw, source=Source("cluster", "orders", partition))

    threads = [threading.Thread(target=work, args=pair) for pair in ((ledger, 0), (rival, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = accounted(ledger).values()
    assert sum(row["earned"] for row in rows) == 400
    assert sum(row["duplicate"] for row in rows) == 400
    rival.close()


# --- the whole, and the other ways in ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_storefronts_stream_ends_at_the_books_of_the_oracle(ledger, intake, seed):
    """Thousands of messages of four merchants over three partitions: every table equals the oracle's, to the cent."""
    program = sample_program()[1:]
    register(ledger, program)
    storefront, random = Storefront(seed, [ACME, *program]), Random(seed)
    messages = lay_out([*storefront.take(2_000), *storefront.rest()], 3)
    expected = model.Oracle([ACME, *program])
    by_partition = {p: [m for m in messages if m.partition == p] for p in range(3)}
    while any(by_partition.values()):
        partition = random.choice([p for p, waiting in by_partition.items() if waiting])
        size = random.choice([1, 30, 400])
        batch, by_partition[partition] = by_partition[partition][:size], by_partition[partition][size:]
        source = Source("cluster", "orders", partition)
        taken = [Message(message.offset, message.value) for message in batch]
        intake.take(source, taken, NOW, after=intake.position(source))
        expected.take_all(batch)
    assert differences(expected.books(), everything(ledger)) == []


def test_the_tracking_api_takes_events_of_its_own_merchant_only(ledger, intake):
    """Objects come in without a merchant_id; one that names somebody else's is told the same as a missing one."""
    mine = json.loads(placed("1"))
    del mine["merchant_id"]
    taken = intake.take_objects("acme", [mine, json.loads(placed("2", merchant_id="bolt")), 17], NOW)
    assert [result.outcome for result in taken.results] == ["earned", "dead_lettered", "dead_lettered"]
    assert [result.error.code for result in taken.results[1:]] == ["merchant_mismatch", "not_an_object"]
    assert accounted(ledger)["api", "acme", 0]["consumed"] == 3


def test_what_the_api_refuses_can_be_retried_as_it_came(ledger, intake):
    """A refused object keeps the merchant of its key, so its letter is that merchant's and can be taken in again."""
    refund = json.loads(refunded(amount="40.00", currency="EUR"))
    del refund["merchant_id"]
    intake.take_objects("acme", [json.loads(placed()), refund], NOW)
    row = one(ledger, "SELECT dead_letter_id, merchant_id FROM ledger.dead_letters")
    assert row["merchant_id"] == "acme"
    with pytest.raises(RejectedError, match="the order is in USD"):
        dead_letters.retry(ledger, dead_letter_id=row["dead_letter_id"], merchant_id="acme", now=NOW, cause="test")


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"total": 10**30}, "out_of_range"), ({"metadata": {"k": "x" * 70_000}}, "too_large"), ({"total": 1.5}, None)],
)
def test_an_object_that_json_cannot_carry_is_refused_and_kept(ledger, intake, changes, code):
    """Huge integers, huge objects and fractions are refused one by one; the others of the call are booked."""
    taken = intake.take_objects("acme", [json.loads(placed("1", **changes)), json.loads(placed("2"))], NOW)
    assert [result.outcome for result in taken.results] == ["dead_lettered", "earned"]
    assert code is None or taken.results[0].error.code == code
    assert one(ledger, "SELECT raw FROM ledger.dead_letters")["raw"]


def test_nobody_can_leave_a_letter_in_another_merchants_name(ledger, intake):
    """What came with a key is filed under it whatever it says, so a retry can never book it for somebody else."""
    register(ledger, [Merchant("bolt", "USD", (JANE,), {"JANE10": held_by("jane")})])
    intake.take_objects("acme", [json.loads(placed(merchant_id="bolt"))], NOW)
    row = one(ledger, "SELECT dead_letter_id, merchant_id FROM ledger.dead_letters")
    assert row["merchant_id"] == "acme"
    with pytest.raises(RejectedError) as refused:
        dead_letters.retry(ledger, dead_letter_id=row["dead_letter_id"], now=NOW, cause="test")
    assert refused.value.code == "merchant_mismatch"


def test_a_refused_fraction_is_still_one_when_it_is_taken_in_again(ledger, intake):
    """A dead letter says what was sent: 10.5 does not turn into "10.5" on the way to a retry."""
    from schemas.json_text import decode

    intake.take_objects("acme", [decode(placed().replace(b'"100.00"', b"10.5"))], NOW)
    row = one(ledger, "SELECT dead_letter_id, raw FROM ledger.dead_letters")
    assert b'"total":10.5,' in bytes(row["raw"])
    with pytest.raises(RejectedError) as refused:
        dead_letters.retry(ledger, dead_letter_id=row["dead_letter_id"], now=NOW, cause="test")
    assert refused.value.code == "not_a_decimal"


def test_a_message_that_cannot_be_read_is_still_found_by_its_merchant(ledger, intake):
    """A letter names the merchant where the message does, however wrong the rest of it is, and nobody otherwise."""
    send(intake, placed(total="1.005"), placed(merchant_id="nobody", total="x"), b"{")
    with ledger.connection() as conn:
        rows = conn.execute("SELECT merchant_id FROM ledger.dead_letters ORDER BY position").fetchall()
    assert [row["merchant_id"] for row in rows] == ["acme", None, None]


def test_a_dead_letter_that_is_retried_is_booked_and_counted_anew(ledger, intake):
    """A message of a merchant that was unknown is booked after the merchant is there, and counted as what it became."""
    send(intake, placed("1", merchant_id="late"))
    letter = one(ledger, "SELECT dead_letter_id FROM ledger.dead_letters")["dead_letter_id"]
    with pytest.raises(RejectedError, match="there is no merchant"):
        dead_letters.retry(ledger, dead_letter_id=letter, now=NOW, cause="test")
    register(ledger, [Merchant("late", "USD", (JANE,), {"JANE10": held_by("jane")})])
    resolved = dead_letters.retry(ledger, dead_letter_id=letter, now=NOW, cause="test")
    assert (resolved.status, resolved.outcome) == ("retried", "earned")
    row = accounted(ledger)[SOURCE]
    assert (row["consumed"], row["earned"], row["dead_lettered"]) == (1, 1, 0)
    with pytest.raises(ConflictError, match="retried already"):
        dead_letters.retry(ledger, dead_letter_id=letter, now=NOW, cause="test")


def test_personal_data_is_kept_apart_from_the_events(ledger, intake):
    """Names, e-mails, reasons and metadata stand in the schema `people`, and nowhere in the log."""
    send(intake, placed(metadata={"note": "call Kim"}))
    row = one(ledger, "SELECT name, email FROM people.customers WHERE customer_id = 'c-7'")
    assert tuple(row.values()) == ("Kim", "kim@example.com")
    send(
        intake, refunded(reason="Kim changed her mind", metadata={"desk": "kim@example.com"}), refunded(reason="again")
    )
    with ledger.connection() as conn:
        notes = conn.execute("SELECT reason, metadata::text FROM people.order_notes ORDER BY event_id").fetchall()
    assert [tuple(note.values()) for note in notes] == [
        (None, '{"note": "call Kim"}'),
        ("Kim changed her mind", '{"desk": "kim@example.com"}'),
    ]
    with ledger.connection() as conn:
        states = "".join(r["state"] for r in conn.execute("SELECT state::text FROM ledger.events"))
    assert "kim" not in states.lower()
