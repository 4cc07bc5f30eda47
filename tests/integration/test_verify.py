"""Verify: an independent fold of the log finds every figure that is not what the log says, and names it."""

import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta

import msgspec
import psycopg
import pytest

from ledger.events import CommissionApproved, CommissionEarned, CommissionPaid, decode, encode
from ledger.intake import Intake, Message, Source
from projections import verify as verifying
from projections.rows import Commission
from projections.runner import Projector
from projections.verify import verify
from tests.support import random_log
from tests.support.read_models import dump, execute, fill, ledger

NOW = datetime(2026, 3, 1, tzinfo=UTC)

SHOP_USD = "merchant_id = 'shop' AND currency = 'USD'"
P1_JPY = "merchant_id = 'shop' AND partner_id = 'p1' AND currency = 'JPY'"


def invent(table: str, changes: str) -> str:
    """Return the beginning of a statement that adds a row like another, but for these columns."""
    another = f"(jsonb_populate_record(t, '{{{changes}}}'))"
    if table != "commissions":
        return f"INSERT INTO read.{table} SELECT {another}.* FROM read.{table} AS t "  # noqa: S608
    # Its other columns are computed.
    told = [field.name for field in fields(Commission)]
    values = ", ".join(f"{another}.{name}" for name in told)
    return f"INSERT INTO read.{table} ({', '.join(told)}) SELECT {values} FROM read.{table} AS t "  # noqa: S608


# What is damaged, and the beginning of what must be said. ORDER stands for an order's id.
DAMAGES = {
    "commission, amount": (
        "UPDATE read.commissions SET amount_minor = amount_minor + 1 WHERE order_id = ORDER",
        "commissions shop/ORDER: amount_minor should be",
    ),
    "commission, state": (
        "UPDATE read.commissions SET state = 'odd' WHERE order_id = ORDER",
        "commissions shop/ORDER: state should be",
    ),
    "commission, time": (
        "UPDATE read.commissions SET occurred_at = occurred_at + interval '1 microsecond' WHERE order_id = ORDER",
        "commissions shop/ORDER: occurred_at should be",
    ),
    "commission, missing": (
        "DELETE FROM read.commissions WHERE order_id = ORDER",
        "commissions shop/ORDER: the row should be there, is none",
    ),
    "commission, invented": (
        invent("commissions", '"order_id": "zzz"') + "WHERE order_id = ORDER",
        "commissions shop/zzz: the row should be none, is there",
    ),
    "commission, invented merchant": (
        invent("commissions", '"merchant_id": "nobody"') + "WHERE order_id = ORDER",
        "commissions nobody/ORDER: the row should be none, is there",
    ),
    "balance": (
        "UPDATE read.balances SET pending_minor = pending_minor + 1, expense_minor = expense_minor - 1 WHERE " + P1_JPY,  # noqa: S608
        "balances shop/p1/JPY: pending_minor should be",
    ),
    "balance, missing": (
        "DELETE FROM read.balances WHERE " + P1_JPY,  # noqa: S608
        "balances shop/p1/JPY: the row should be there, is none",
    ),
    "balance, invented": (
        "INSERT INTO read.balances VALUES (1, 0, 0, 0, 0, 0, -1, 'shop', 'nobody', 'JPY')",
        "balances shop/nobody/JPY: the row should be none, is there",
    ),
    "revenue": (
        "UPDATE read.revenue SET refunded_minor = refunded_minor - 1 WHERE merchant_id = 'shop' AND partner_id = 'p2'",
        "revenue shop/p2/",
    ),
    "conversions": (
        "UPDATE read.conversions SET reversed = reversed + 1 WHERE merchant_id = 'shop' AND partner_id = 'p2'",
        "conversions shop/p2/",
    ),
    "day of a program": (
        "UPDATE read.program_days SET skipped = skipped + 1 WHERE " + SHOP_USD,  # noqa: S608
        "days shop/USD/",
    ),
    "day of a program, missing": (
        "DELETE FROM read.program_days WHERE " + SHOP_USD,  # noqa: S608
        "days shop/USD/",
    ),
    "balance of a program": (
        "UPDATE read.program_balances SET held_minor = held_minor + 1, expense_minor = expense_minor - 1 WHERE "  # noqa: S608
        + SHOP_USD,
        "balances shop/USD: held_minor should be",
    ),
    "customer": (
        "UPDATE read.customers SET partner_id = 'p9' WHERE customer_id = 'anna' AND " + SHOP_USD,  # noqa: S608
        "customers shop/anna/USD: partner_id should be p",
    ),
    "customer, missing": (
        "DELETE FROM read.customers WHERE customer_id = 'bob/1' AND merchant_id = 'shop-b' AND currency = 'USD'",
        "customers shop-b/bob/1/USD: the row should be there, is none",
    ),
    "customer, invented": (
        invent("customers", '"customer_id": "zoe"') + "WHERE customer_id = 'anna' AND " + SHOP_USD,
        "customers shop/zoe/USD: the row should be none, is there",
    ),
    "partner": (
        "UPDATE read.partners SET standing = 'odd' WHERE partner_id = 'p3'", "partners shop/p3: standing should be",
    ),
    "rate": ("UPDATE read.partner_rates SET bps = bps + 1 WHERE partner_id = 'p3'", "partners shop"),
    "coupon": ("DELETE FROM read.coupons WHERE partner_id = 'p3'", "partners shop"),
    "program": ("UPDATE read.programs SET terms = '{}'", "programs shop"),
    "program version": (
        "UPDATE read.program_versions SET cause = 'nobody' WHERE version = 4 AND merchant_id = 'shop'",
        "programs shop/4: cause should be",
    ),
    "coupon rate": ("DELETE FROM read.coupon_rates WHERE code = 'CODE-P3'", "partners shop"),
    "assignment": (
        "UPDATE read.assignments SET partner_id = 'p9' WHERE customer_id = 'anna' AND merchant_id = 'shop'",
        "assignments shop/anna: partner_id should be",
    ),
}  # fmt: skip


@pytest.fixture
def books(database_url):
    """Return a database with a random log and its read models, in which nothing is wrong."""
    fill(database_url, seed=7, orders=250)
    Projector(database_url).catch_up()
    assert verify(database_url).differences == []
    return database_url


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_wrong_figure_is_found_and_named(books, damage):
    """One value changed, one row gone or one too many: the difference names the row, the column and both values."""
    query = (
        "SELECT order_id FROM read.commissions WHERE merchant_id = 'shop' AND customer_id IS NULL AND state = 'skipped'"
    )
    ((order,), *_) = execute(books, query)
    statement, expected = DAMAGES[damage]
    execute(books, statement.replace("ORDER", f"'{order}'"))
    done = verify(books)
    assert str(done.differences[0]).startswith(expected.replace("ORDER", order)), done.differences
    assert set(done.counts) == {done.differences[0].model}


def test_the_first_difference_of_each_read_model_is_named_and_all_are_counted(books):
    """A read model that is wrong all over is one line with a number, not a thousand lines."""
    execute(books, "UPDATE read.commissions SET version = version + 1")
    execute(books, "UPDATE read.customers SET orders = orders + 1")
    done = verify(books)
    assert {d.model for d in done.differences} == {"commissions", "customers"}
    assert done.counts["commissions"] == execute(books, "SELECT count(*) FROM read.commissions")[0][0]


def test_several_processes_find_what_one_finds(books, monkeypatch):
    """The log is cut into shares at any place, and the result is the same."""
    monkeypatch.setattr(verifying, "_ALONE_EVENTS", 1)
    monkeypatch.setattr(verifying, "_SPAN_EVENTS", 10)
    monkeypatch.setattr(verifying, "_SAMPLED", 5)
    alone, together = verify(books, processes=1), verify(books, processes=2)
    assert (alone.differences, alone.events) == ([], together.events)
    assert together.differences == []
    execute(books, "UPDATE read.commissions SET version = version + 1 WHERE order_id = 'order-00100'")
    assert verify(books, processes=2).differences == verify(books, processes=1).differences != []


def test_read_models_that_lag_are_compared_as_of_their_position(books):
    """What the read models have not seen yet is no difference."""
    with ledger(books) as opened:
        random_log.append(opened, [e for e in random_log.log(7, 260) if e.originator_id == "order/shop/order-00258"])
    assert verify(books).differences == []


def test_progress_is_told_in_events_of_all_events(books):
    """The callback hears how many events are done of how many, and the last time all of them."""
    heard = []
    position = verify(books, lambda done, total: heard.append((done, total))).position
    assert heard == sorted(heard)
    assert heard[-1] == (position, position)


def test_nothing_is_changed(books):
    """Verify only reads."""
    told = dump(books)
    verify(books)
    assert dump(books) == told


# --- the log itself ---


def rewrite(url, originator_id, version, **changes):
    """Change an event of the log, as nobody ever may."""
    with psycopg.connect(url) as conn:
        place = (originator_id, version)
        topic, state = conn.execute(
            "SELECT topic, state::text FROM ledger.events WHERE originator_id = %s AND originator_version = %s", place
        ).fetchone()
        state = encode(msgspec.structs.replace(decode(topic, state), **changes)).decode()
        conn.execute(
            "UPDATE ledger.events SET state = %s WHERE originator_id = %s AND originator_version = %s", (state, *place)
        )


@pytest.fixture
def history(books):
    """Return a database in which the order `tale` was earned, approved and paid."""
    at = datetime(2026, 2, 1, tzinfo=UTC)
    common = {
        "merchant_id": "shop",
        "recorded_at": at,
        "cause": "test",
        "order_id": "tale",
        "partner_id": "p0",
        "currency": "USD",
    }
    earned = {
        "coupon_code": "CODE-p0", "total_minor": 1000, "to_state": "pending", "base": "total", "base_minor": 1000,
        "rate": random_log.Rate(type="percentage", bps=1000), "fixed_on_partial_refund": "keep", "terms_version": 1,
    }  # fmt: skip
    day = timedelta(days=1)
    events = [
        CommissionEarned(**common, **earned, occurred_at=at, occurred_on=at.date(), amount_minor=100),
        CommissionApproved(
            **common, occurred_at=at + day, occurred_on=(at + day).date(), amount_minor=100, from_state="pending",
            to_state="approved",
        ),
        CommissionPaid(
            **common, occurred_at=at + day, occurred_on=(at + day).date(), amount_minor=100, from_state="approved",
            to_state="paid", reference="bank",
        ),
    ]  # fmt: skip
    with ledger(books) as opened:
        opened.record(random_log.following("order/shop/tale", 0, events))
    Projector(books).catch_up()
    assert verify(books).differences == []
    return books


@pytest.mark.parametrize(
    ("version", "changes", "told"),
    [
        (2, {"amount_minor": 99}, "moves 99, but the commission is 100"),
        (2, {"from_state": "held"}, "begins in state 'held', but it is 'pending'"),
        (3, {"from_state": "pending"}, "begins in state 'pending', but it is 'approved'"),
    ],
)
def test_an_illegal_history_is_found(history, version, changes, told):
    """A move that was not legal where it stands, or moved another amount, is a difference of the log itself."""
    rewrite(history, "order/shop/tale", version, **changes)
    found = {d.model: str(d) for d in verify(history).differences}
    assert told in found["log"]


def test_a_missing_event_is_found(history):
    """Versions of a stream are 1, 2, 3, ...: a gap is named with its stream."""
    execute(history, "DELETE FROM ledger.events WHERE originator_id = 'order/shop/tale' AND originator_version = 2")
    found = {d.model: str(d) for d in verify(history).differences}
    assert found["log"].startswith("log order/shop/tale: version should be 2, is 3")


def test_an_event_in_another_order_s_stream_is_found(history):
    """The stream's name is the order's: an event that says otherwise is a difference."""
    rewrite(history, "order/shop/tale", 1, order_id="other")
    assert "log" in {d.model for d in verify(history).differences}


# --- intake ---


@pytest.fixture
def taken(books):
    """Return a database into which messages of one partition were taken, of every outcome."""
    query = (
        "SELECT code FROM read.coupons JOIN read.partners USING (merchant_id, partner_id)"
        " WHERE merchant_id = 'shop' AND standing = 'approved' AND revoked_at IS NULL ORDER BY code"
    )
    code = execute(books, query)[0][0]
    common = {"event_id": "e", "merchant_id": "shop", "occurred_at": "2026-02-01T00:00:00Z", "currency": "USD"}

    def placed(order_id: str, coupon_code: str = code) -> bytes:
        told = {"type": "order.placed", "order_id": order_id, "total": "10.00", "coupon_code": coupon_code}
        return json.dumps(common | told).encode()

    def refunded(order_id: str, amount: str) -> bytes:
        told = {"type": "order.refunded", "order_id": order_id, "refund_id": "r", "amount": amount}
        return json.dumps(common | told).encode()

    raws = [
        placed("m1"), placed("m1"), refunded("m1", "1.00"), placed("m2", "NOBODY"), refunded("m3", "99.00"),
        refunded("m4", "1.00"), b"garbage", placed("m3"),
    ]  # fmt: skip
    with ledger(books) as opened:
        messages = [Message(position, raw) for position, raw in enumerate(raws)]
        counts = Intake(opened).take(Source("cluster", "orders", 3), messages, NOW, after=None).counts
    assert counts["ignored"] == counts["duplicate"] == 1
    Projector(books).catch_up()
    assert verify(books).differences == []
    return books


@pytest.mark.parametrize("column", ["earned", "adjusted", "dead_lettered", "ignored"])
def test_counts_that_the_log_does_not_bear_out_are_found(taken, column):
    """The outcomes of each partition are compared with the events, dead letters and ignored totals of its messages."""
    execute(
        taken, "UPDATE ledger.positions SET COLUMN = COLUMN + 1, duplicate = duplicate - 1".replace("COLUMN", column)
    )
    place = "all partitions" if column == "ignored" else "cluster/orders/3"
    (found,) = verify(taken).differences
    assert str(found).startswith(f"intake {place}: {column} should be")


def test_a_lost_partition_is_found(taken):
    """Events of messages whose partition is on no record are a difference."""
    execute(taken, "DELETE FROM ledger.positions")
    execute(taken, "DELETE FROM ledger.ignored_totals")
    (found,) = verify(taken).differences
    assert str(found).startswith("intake cluster/orders/3: ")
