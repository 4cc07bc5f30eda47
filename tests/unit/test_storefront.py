"""The storefront makes every mistake that it promises, the same for the same seed, and the oracle knows them all."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from random import Random

import pytest

from schemas.errors import RejectedError
from schemas.order_events import parse
from tests.support import cdnow
from tests.support.bad_messages import BAD_MESSAGES
from tests.support.good_messages import GOOD_MESSAGES
from tests.support.oracle import OUTCOMES, Books, Oracle
from tests.support.oracle_reading import Placed, Refusal, UntaughtError, read
from tests.support.storefront import History, Outgoing, Storefront, lay_out, read_history, sample_program
from tests.support.storefront_orders import GARBAGE, PLANS, Order, Shop, elsewhere, instant, money

# What each class of garbage is refused for. The lead's contract, not the oracle's opinion.
GARBAGE_CODES = {
    "bytes that are no UTF-8": "not_utf8",
    "JSON that was cut off": "not_json",
    "nothing": "empty",
    "an array": "not_an_object",
    "a NaN": "not_json",
    "a field twice": "duplicate_key",
    "more than 64 KiB": "too_large",
    "no order id": "missing",
    "no total": "missing",
    "an unknown type": "unknown_type",
    "an order id with a null byte": "control_character",
    "an order id that is too long": "too_long",
    "an empty event id": "too_short",
    "a merchant that is no slug": "bad_slug",
    "a time without offset": "timestamp_without_offset",
    "a time in words": "not_a_timestamp",
    "a time before 1970": "timestamp_out_of_range",
    "no such currency": "unknown_currency",
    "a float for a total": "not_a_decimal",
    "a total in words": "not_a_decimal",
    "a total with too many decimals": "too_many_decimals",
    "a negative total": "negative",
    "a total beyond all bounds": "out_of_range",
    "a refund of nothing": "not_positive",
}


@pytest.fixture(scope="module")
def published() -> list[Outgoing]:
    """Return ten thousand messages of one seed, with the rest of every life."""
    storefront = Storefront(3, sample_program())
    return storefront.take(10_000) + storefront.rest()


def booked(outgoing: list[Outgoing], partitions: int = 3) -> Books:
    """Return the oracle's books of the messages."""
    return Oracle(sample_program()).take_all(lay_out(outgoing, partitions)).books()


def test_a_seed_is_a_stream():
    """One seed gives the same bytes, however they are taken; another seed gives others."""
    program = sample_program()
    at_once, piecemeal = Storefront(1, program), Storefront(1, program)
    pieces = [message for count in (1, 0, 499, 500) for message in piecemeal.take(count)]
    assert at_once.take(1000) == pieces
    assert at_once.rest() == piecemeal.rest()
    assert Storefront(2, program).take(1000) != pieces


def test_every_life_is_led():
    """Every plan comes up, so that no rule goes untested for want of an order."""
    storefront = Storefront(1, sample_program())
    storefront.take(20_000)
    assert {plan.name for plan in PLANS} == {name for name, count in storefront.counts.items() if count >= 5}


def test_every_outcome_state_and_code_happens(published):
    """The books of a stream have every outcome in every partition, every reason to skip and every code."""
    books = booked(published)
    assert all(row[outcome] > 0 for row in books.intake.values() for outcome in OUTCOMES)
    assert {row["reason"] for row in books.orders.values() if row["reason"]} == {
        *("partner_not_approved", "partner_paused", "partner_banned"),
        *("self_referral", "zero_base", "fixed_rate_in_other_currency"),
    }
    assert {row["state"] for row in books.orders.values()} == {"pending", "approved", "reversed", "rejected", "skipped"}
    assert {row["currency"] for row in books.orders.values()} == {"USD", "EUR", "JPY", "KWD"}
    codes = {code for *_, code in books.dead_letters}
    assert codes >= {"unknown_merchant", "conflicting_duplicate", "refund_exceeds_total", "currency_mismatch"}
    assert codes >= set(GARBAGE_CODES.values())
    assert books.parked


def test_the_figures_of_the_books_agree_with_each_other(published):
    """Balances, revenue, customers and orders are the same money, counted four ways."""
    books = booked(published)
    earned = {key: row for key, row in books.orders.items() if row["state"] != "skipped"}
    owed: Counter = Counter()
    net: Counter = Counter()
    for (merchant_id, _), row in earned.items():
        # What is rejected is not owed, but it stands: it can be reopened.
        stands = 0 if row["state"] == "rejected" else row["commission_minor"]
        owed[merchant_id, row["partner_id"], row["currency"]] += stands + row["clawed_back_minor"]
        net[merchant_id, row["currency"]] += row["total_minor"] - row["refunded_minor"]
    states = ("pending", "approved", "held", "in_payout", "paid", "clawed_back")
    assert {key: sum(row[state] for state in states) for key, row in books.balances.items()} == dict(owed)
    revenue: Counter = Counter()
    for (merchant_id, _, currency, _), row in books.revenue.items():
        revenue[merchant_id, currency] += row["gross"] - row["refunded"]
    customers: Counter = Counter()
    for (merchant_id, _, currency), row in books.customers.items():
        customers[merchant_id, currency] += row["net"]
    assert revenue == customers == net
    assert sum(row["conversions"] for row in books.revenue.values()) == len(earned)


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_refused_for_one_reason(name):
    """Each class of garbage has its code, for the oracle and for the service, in every currency and spelling."""
    [shop] = [Shop(merchant, ["A"]) for merchant in sample_program() if merchant.merchant_id == "dune"]
    for number in range(200):
        order = Order(shop, f"g-{number}", number, Random(number).random)
        raw = GARBAGE[name](order)
        with pytest.raises(Refusal) as refused:
            read(raw)
        assert refused.value.code == GARBAGE_CODES[name]
        with pytest.raises(RejectedError) as rejected:
            parse(raw)
        assert rejected.value.code == GARBAGE_CODES[name]


def test_the_service_reads_what_the_oracle_reads(published):
    """Two parsers that share no code see the same order, refund or fault in every message."""
    for _, raw in published:
        try:
            told = read(raw)
        except Refusal as refusal:
            with pytest.raises(RejectedError) as rejected:
                parse(raw)
            assert rejected.value.code == refusal.code  # noqa: PT017 - two parsers are compared
            continue
        event = parse(raw)
        assert (event.merchant_id, event.order_id, event.occurred_at) == (*told[:2], told.occurred_at)
        if isinstance(told, Placed):
            amounts = (event.total_minor, event.tax_minor, event.shipping_minor, event.discount_minor)
            assert amounts == (told.total, told.tax, told.shipping, told.discount)
            assert (event.currency, event.coupon_code) == (told.currency, told.coupon_code)
            assert (event.customer_id, event.customer_email) == (told.customer_id, told.customer_email)
        elif told.kind == "refunded":
            assert (event.currency, event.refund_id, event.amount_minor) == (told.currency, told.refund_id, told.amount)


@pytest.mark.parametrize("bad", [bad for bad in BAD_MESSAGES if not bad.headers], ids=lambda bad: bad.name)
def test_the_oracle_never_guesses_about_a_bad_message(bad):
    """What the topic's contract refuses, the oracle refuses with the same code, or says that it was not taught."""
    with pytest.raises((Refusal, UntaughtError)) as raised:
        read(bad.raw)
    assert getattr(raised.value, "code", bad.code) == bad.code


@pytest.mark.parametrize("good", [good for good in GOOD_MESSAGES if not good.headers], ids=lambda good: good.name)
def test_the_oracle_never_refuses_a_good_message(good):
    """What the topic's contract takes, the oracle reads, or says that it was not taught."""
    with suppress(UntaughtError):
        assert read(good.raw)


def test_the_partition_does_not_matter(published):
    """However many partitions there are, the books but for the counts per partition are the same."""
    one, many = (replace(booked(published, count), intake={}, dead_letters=set()) for count in (1, 7))
    assert one == many


def test_kcat_can_publish_it(published):
    """No message holds a line break, and no key a tab."""
    assert not [value for _, value in published if b"\n" in value]
    assert not [key for key, _ in published if key is not None and (b"\t" in key or b"/" not in key)]


def test_some_messages_have_no_key(published):
    """Some storefronts forget the key; one that remembers it uses the order's for all its messages."""
    keys = Counter(key is None for key, _ in published)
    assert 0 < keys[True] < 0.05 * len(published)
    for key, raw in published[:500]:
        if key and b'"order_id":"s3-' in raw and b'"merchant_id":"no-such' not in raw:
            assert key.partition(b"/")[2] in raw


def test_offsets_are_contiguous_per_partition(published):
    """A topic is laid out as a broker would: each partition from 0 on, without a gap, in the order of sending."""
    offsets: defaultdict[int, list[int]] = defaultdict(list)
    for message in lay_out(published, 4):
        offsets[message.partition].append(message.offset)
    assert len(offsets) == 4
    assert all(found == list(range(len(found))) for found in offsets.values())


@pytest.mark.parametrize(
    ("minor", "currency", "text"), [(1005, "USD", "10.05"), (7, "KWD", "0.007"), (0, "EUR", "0.00"), (12, "JPY", "12")]
)
def test_money(minor, currency, text):
    """An amount has exactly the decimals of its currency."""
    assert money(minor, currency) == text


def test_instants():
    """The same instant can be written with another offset."""
    assert instant(86_400 + 3_661) == "2026-01-02T01:01:01Z"
    assert elsewhere(86_400 - 1) == "2026-01-02T01:59:59+02:00"


# --- the history ------------------------------------------------------------------------------------------------------


def test_a_history_is_there_before_it_is_closed(tmp_path: Path, published):
    """What is about to be sent can be read at once, byte for byte, by somebody else; the answers follow."""
    history = History(tmp_path / "history")
    history.sending(5, published[:300])
    sent = read_history(tmp_path / "history")
    assert [one.outgoing for one in sent.values()] == published[:300]
    assert min(sent) == 5
    history.acked(6, "orders", 2, 77)
    history.close()
    places = {number: one.place for number, one in read_history(tmp_path / "history").items() if one.place}
    assert places == {6: ("orders", 2, 77)}


def test_a_history_that_was_cut_off(tmp_path: Path, published):
    """A producer killed while it wrote a line had not sent that message; a new one goes on behind it."""
    path = tmp_path / "history"
    history = History(path)
    history.sending(0, published[:3])
    history.close()
    path.write_bytes(path.read_bytes()[:-10])
    assert list(read_history(path)) == [0, 1]
    history = History(path)
    history.sending(3, published[3:5])
    history.close()
    assert list(read_history(path)) == [0, 1, 3, 4]


# --- CDNOW ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bought() -> list[cdnow.Purchase]:
    """Return the purchases of the committed extract."""
    return list(cdnow.purchases(cdnow.EXTRACT_FILE))


def test_the_extract_is_the_beginning(bought):
    """The committed extract is the first thousand purchases of the data set, where that is there."""
    assert len(bought) == 1000
    assert bought[0] == cdnow.Purchase(1, "00001", bought[0].bought_on, "11.77")
    if cdnow.SHARED_FILE.exists():
        assert list(cdnow.purchases(cdnow.SHARED_FILE, limit=1000)) == bought


def test_the_file_can_be_named(monkeypatch, tmp_path):
    """CDNOW_FILE comes before the shared data set, and that before the extract."""
    monkeypatch.setenv("CDNOW_FILE", str(tmp_path / "mine"))
    assert cdnow.data_file() == tmp_path / "mine"
    monkeypatch.delenv("CDNOW_FILE")
    monkeypatch.setattr(cdnow, "SHARED_FILE", tmp_path / "nowhere")
    assert cdnow.data_file() == cdnow.EXTRACT_FILE


def test_cdnow_messages(bought):
    """A seed is a stream that kcat can publish, a fifth of it under a code, with every outcome but skipped."""
    outgoing = cdnow.messages(bought, seed=4)
    assert outgoing == cdnow.messages(bought, seed=4) != cdnow.messages(bought, seed=5)
    assert not [value for key, value in outgoing if not key or not value or b"\n" in value or b"\t" in key + value]
    [counts] = cdnow.expected(outgoing).intake.values()
    assert counts["consumed"] == len(outgoing) > 1000
    assert all(counts[outcome] > 0 for outcome in OUTCOMES if outcome != "skipped")
    with_code = sum(b'"coupon_code"' in value for _, value in outgoing)
    assert 0.15 < with_code / len(outgoing) < 0.25


def test_cdnow_sums_by_hand(bought):
    """Where nothing is given back, a balance is the sum over the partner's orders, each rounded half up."""
    told = [one for one in cdnow.messages(bought) if b'"order.placed"' in one.value]
    sums: Counter = Counter()
    seen = set()
    for _, value in told:
        try:
            order = read(value)
        except Refusal:
            continue
        name = (order.coupon_code or "").lower().removesuffix("10")
        if name in cdnow.RATES and order.order_id not in seen and order.merchant_id == cdnow.MERCHANT_ID:
            seen.add(order.order_id)
            cents = Decimal(order.total) * Decimal(cdnow.RATES[name]) / 100
            sums[name] += int(cents.quantize(Decimal(1), ROUND_HALF_UP))
    found = cdnow.expected(told).balances
    assert {name: row["pending"] for (_, name, _), row in found.items()} == dict(sums)
    assert len(seen) > 100
