"""The oracle's own rules, one test each: what it says is what everything else is measured by."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.oracle import OUTCOMES, Message, Oracle, Taken, half_up
from tests.support.oracle_program import BEGINNING, Merchant, Partner, Rate, held_by, in_force, with_partner_ids
from tests.support.oracle_reading import UntaughtError

SUPPORT = Path(__file__).parent.parent / "support"
OURS = ("cli", "web", "consumers", "projections", "ledger", "schemas")
INDEPENDENT = (
    *("oracle", "oracle_program", "oracle_reading"),
    *("storefront", "storefront_orders", "cdnow", "checker", "cases"),
)

AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
BEFORE, AFTER = AT - timedelta(seconds=1), AT + timedelta(seconds=1)
TEN = (Rate(BEGINNING, "percentage", "10"),)
KEY = ("acme", "o1")


def acme(*, rates=TEN, standings=((BEGINNING, "approved"),), codes=None, **terms) -> Merchant:
    """Return a program in dollars with one partner, Jane, who holds JANE10."""
    jane = Partner("jane", rates, standings, email="Jane@Example.com")
    return Merchant("acme", "USD", (jane,), codes or {"JANE10": held_by("jane")}, **terms)


class Topic:
    """One partition that the oracle reads, message by message."""

    def __init__(self, merchant: Merchant) -> None:
        self.oracle = Oracle([merchant])
        self.offset = -1

    def raw(self, value: bytes | None) -> Taken:
        """Publish bytes; return what became of them."""
        self.offset += 1
        return self.oracle.take(Message("orders", 0, self.offset, value))

    def tell(self, kind: str, **fields) -> Taken:
        """Publish an order event of order o1 at AT; return what became of it."""
        told = {"type": f"order.{kind}", "event_id": f"e-{kind}", "merchant_id": "acme", "order_id": "o1"}
        return self.raw(json.dumps(told | {"occurred_at": AT.isoformat()} | fields).encode())

    def placed(self, total="100.00", **fields) -> Taken:
        """Publish that o1 was placed with Jane's code, in dollars."""
        return self.tell("placed", **{"currency": "USD", "total": total, "coupon_code": "JANE10"} | fields)

    def refunded(self, amount, refund_id="r1", currency="USD", **fields) -> Taken:
        """Publish a refund of o1."""
        return self.tell("refunded", amount=amount, refund_id=refund_id, currency=currency, **fields)

    def order(self) -> dict:
        """Return what the books say of o1."""
        return self.oracle.books().orders[KEY]

    def balance(self) -> dict:
        """Return Jane's dollars."""
        return self.oracle.books().balances["acme", "jane", "USD"]

    def counts(self) -> dict:
        """Return the partition's counts that are not zero."""
        row = self.oracle.books().intake["cluster", "orders", 0]
        return {outcome: row[outcome] for outcome in OUTCOMES if row[outcome]}

    def codes(self) -> list[tuple[int, str]]:
        """Return offset and code of each dead letter."""
        return sorted((offset, code) for _, _, _, offset, code in self.oracle.books().dead_letters)


# --- independence -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", INDEPENDENT)
def test_it_shares_no_code_with_the_service(module):
    """No module of the oracle or the storefront imports anything of the service, not even in a function."""
    tree = ast.parse((SUPPORT / f"{module}.py").read_text(encoding="utf-8"))
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    imported += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert [name for name in imported if name.split(".")[0] in OURS] == []
    ours = {name.rpartition(".")[2] for name in imported if name.startswith("tests.")}
    assert ours <= set(INDEPENDENT)
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "__import__"]


# --- arithmetic -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "rounded"), [("5/2", 3), ("249/100", 2), ("7/2", 4), ("0", 0), ("1/3", 0)])
def test_halves_go_up(value, rounded):
    """A half is rounded up, not to even."""
    assert half_up(Fraction(value)) == rounded


@pytest.mark.parametrize(
    ("base", "minor"), [("total", 1000), ("net_of_tax", 800), ("net_of_tax_and_shipping", 700)], ids=str
)
def test_the_terms_say_what_the_base_is(base, minor):
    """Tax and shipping are taken off the base where the terms say so; a discount never is, the total is net of it."""
    topic = Topic(acme(base=base))
    assert topic.placed(tax="20.00", shipping="10.00", discount="5.00") == Taken("earned", minor)


def test_a_base_shrinks_in_proportion():
    """A refund takes the same share of a net base as of the total."""
    topic = Topic(acme(base="net_of_tax"))
    topic.placed(tax="20.00")
    assert topic.refunded("25.00") == Taken("adjusted", -200)


def test_a_fixed_commission_pro_rata():
    """Where the terms say pro rata, a fixed commission shrinks with the order."""
    topic = Topic(acme(rates=(Rate(BEGINNING, "fixed", "5.00"),), fixed_on_partial_refund="pro_rata"))
    topic.placed("30.00")
    assert topic.refunded("10.00") == Taken("adjusted", -167)
    assert topic.refunded("20.00", "r2") == Taken("adjusted", -333)


# --- what is in force -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("at", "value"), [(BEFORE, "old"), (AT, "new"), (AFTER, "new"), (BEGINNING, "old")])
def test_in_force(at, value):
    """An entry is in force from its own instant on, and the first reaches back for ever."""
    assert in_force([(BEFORE, "old"), (AT, "new")], at)[1] == value


def test_a_history_out_of_order_is_refused():
    """A history that is not sorted would be read wrongly, so it is not read."""
    with pytest.raises(UntaughtError):
        in_force([(AT, "new"), (BEFORE, "old")], AT)


@pytest.mark.parametrize(("at", "outcome"), [(BEFORE, "earned"), (AT, "ignored")])
def test_a_revoked_code_is_nobodys(at, outcome):
    """A code that was revoked belongs to nobody from that instant on."""
    topic = Topic(acme(codes={"JANE10": ((BEGINNING, "jane"), (AT, None))}))
    assert topic.placed(occurred_at=at.isoformat()).outcome == outcome


def test_codes_are_compared_without_case_and_space():
    """A code is a partner's however it is spelt."""
    assert Topic(acme()).placed(coupon_code="  jAnE10 ").outcome == "earned"


@pytest.mark.parametrize("standing", ["applied", "rejected", "paused", "banned"])
def test_a_standing_that_does_not_earn(standing):
    """An order earns only while the partner is approved; its standing comes before every other reason."""
    topic = Topic(acme(standings=((BEGINNING, "approved"), (AT, standing))))
    assert topic.placed("0", occurred_at=AT.isoformat()).outcome == "skipped"
    reasons = {"paused": "partner_paused", "banned": "partner_banned"}
    assert topic.order()["reason"] == reasons.get(standing, "partner_not_approved")
    assert topic.placed("5", order_id="o2", occurred_at=BEFORE.isoformat()).outcome == "earned"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"total": "0", "customer": {"id": "c", "email": " JANE@example.COM "}}, "self_referral"),
        ({"total": "0", "currency": "EUR"}, "zero_base"),
        ({"total": "1", "tax": "3.00"}, "zero_base"),
        ({"currency": "EUR"}, "fixed_rate_in_other_currency"),
    ],
)
def test_an_order_that_does_not_earn(fields, reason):
    """Self-referral comes before a zero base, and that before a fixed rate in another currency."""
    topic = Topic(acme(rates=(Rate(BEGINNING, "fixed", "5"),), base="net_of_tax"))
    assert topic.placed(**fields).outcome == "skipped"
    assert topic.order()["reason"] == reason
    assert topic.oracle.books().balances == {}


# --- the same again ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"event_id": "other", "metadata": {"k": "v"}, "future": 1.5},
        {"coupon_code": " jane10 ", "occurred_at": "2026-11-22T12:00:00+02:00", "total": 100},
        {"customer": {"id": "c-1", "email": "new@example.com", "name": "New"}},
    ],
)
def test_the_same_content_in_other_words(fields):
    """Descriptive fields and another spelling of the same values make no other order."""
    topic = Topic(acme())
    topic.placed(customer={"id": "c-1", "email": "old@example.com"})
    assert topic.placed(**{"customer": {"id": "c-1"}} | fields) == Taken("duplicate")


@pytest.mark.parametrize(
    "fields",
    [
        {"total": "100.01"},
        {"currency": "EUR"},
        {"tax": "1"},
        {"shipping": "1"},
        {"discount": "1"},
        {"coupon_code": "OTHER"},
        {"customer": {"id": "c-2"}},
        {"occurred_at": AFTER.isoformat()},
        {"items": [{"sku": "a"}]},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_other_content_contradicts(fields):
    """Each field of the content makes a second telling a contradiction, also of a skipped order."""
    for standing in ("approved", "paused"):
        topic = Topic(acme(standings=((BEGINNING, standing),)))
        topic.placed()
        assert topic.placed(**fields) == Taken("dead_lettered", code="conflicting_duplicate")


def test_a_refund_again():
    """A refund is known by its id: the same amount is a duplicate, another amount or currency a contradiction."""
    for parked in (True, False):
        topic = Topic(acme())
        if not parked:
            topic.placed()
        topic.refunded("5.00")
        assert topic.refunded(5, event_id="other", reason="again").outcome == "duplicate"
        assert topic.refunded("5.01").code == "conflicting_duplicate"
        assert topic.refunded("5.00", currency="EUR").code == "conflicting_duplicate"


def test_a_cancellation_and_a_dispute_again():
    """A second cancellation is a duplicate; a dispute's event id stands for one kind and one instant."""
    topic = Topic(acme())
    topic.placed()
    assert topic.tell("disputed", event_id="d") == Taken("adjusted", -1000)
    assert topic.tell("disputed", event_id="d").outcome == "duplicate"
    assert topic.tell("disputed", event_id="d", occurred_at=AFTER.isoformat()).code == "conflicting_duplicate"
    assert topic.tell("dispute_won", event_id="d").code == "conflicting_duplicate"
    assert topic.tell("cancelled").outcome == "adjusted"
    assert topic.tell("cancelled", event_id="other").outcome == "duplicate"


def test_an_ignored_order_leaves_no_trace():
    """An order without a partner's code is counted each time; told later with a code, it earns."""
    topic = Topic(acme())
    assert [topic.placed(coupon_code=code).outcome for code in ("NOSUCH", "NOSUCH")] == ["ignored", "ignored"]
    assert topic.oracle.books().ignored == {("acme", "2026-11-22", "USD"): {"orders": 2, "total_minor": 20000}}
    assert topic.placed().outcome == "earned"


# --- before its order -------------------------------------------------------------------------------------------------


def test_parked_facts_are_applied_when_the_order_comes():
    """What came before its order counts as adjusted at once, and in the commission when the order comes."""
    topic = Topic(acme())
    assert topic.refunded("40.00") == Taken("adjusted", 0)
    assert topic.oracle.books().parked == {KEY: 1}
    assert topic.placed() == Taken("earned", 600)
    assert topic.oracle.books().parked == {}


def test_a_parked_refund_that_proves_wrong():
    """It becomes a dead letter of its own position, and its count moves from adjusted to dead-lettered."""
    topic = Topic(acme())
    for amount, refund_id, currency in (("90.00", "r1", "USD"), ("20.00", "r2", "USD"), ("1.00", "r3", "EUR")):
        topic.refunded(amount, refund_id, currency)
    assert topic.counts() == {"adjusted": 3}
    assert topic.placed() == Taken("earned", 100)
    assert topic.counts() == {"adjusted": 1, "dead_lettered": 2, "earned": 1}
    assert topic.codes() == [(1, "refund_exceeds_total"), (2, "currency_mismatch")]


def test_refunds_of_a_skipped_order_are_checked():
    """They are adjusted with nothing to take back, and refused where they cannot be."""
    topic = Topic(acme(standings=((BEGINNING, "paused"),)))
    topic.placed()
    assert topic.refunded("60.00") == Taken("adjusted", 0)
    assert topic.refunded("60.00", "r2").code == "refund_exceeds_total"
    assert topic.refunded("1.00", "r3", "EUR").code == "currency_mismatch"
    assert topic.order()["state"] == "skipped"


# --- states -----------------------------------------------------------------------------------------------------------


def test_cancellation_and_refund_may_overlap():
    """Storefronts do both: the cancelled order is worth nothing, whichever came first, and the refund is no error."""
    for kinds in permutations(("cancelled", "refunded")):
        topic = Topic(acme())
        topic.placed()
        for kind in kinds:
            taken = topic.refunded("100.00") if kind == "refunded" else topic.tell(kind)
            assert taken.outcome == "adjusted"
        assert (topic.order()["commission_minor"], topic.order()["state"]) == (0, "reversed")


def test_the_latest_dispute_decides():
    """By its instant, not by its arrival; at the same instant, won is later than disputed."""
    for told, state in (
        ([("dispute_won", AFTER), ("disputed", AT)], "pending"),
        ([("dispute_won", AT), ("disputed", AT)], "pending"),
        ([("dispute_won", BEFORE), ("disputed", AT)], "reversed"),
    ):
        topic = Topic(acme())
        topic.placed()
        for kind, at in told:
            topic.tell(kind, occurred_at=at.isoformat())
        assert topic.order()["state"] == state


@pytest.mark.parametrize("moves", [[], ["approve"], ["hold"], ["approve", "hold"]], ids=str)
def test_reversed_comes_back_to_where_it_was(moves):
    """A dispute takes the commission back, and when it is won the commission is where it was."""
    topic = Topic(acme())
    topic.placed()
    for move in moves:
        topic.oracle.move(*KEY, move)
    state = topic.order()["state"]
    topic.tell("disputed")
    assert (topic.order()["state"], topic.balance()["payable"]) == ("reversed", 0)
    topic.tell("dispute_won", occurred_at=AFTER.isoformat())
    assert topic.order()["state"] == state
    assert topic.balance()[state] == 1000


@pytest.mark.parametrize("moves", [["reserve"], ["reserve", "pay"], ["pay"]], ids=str)
def test_what_is_on_its_way_out_is_clawed_back(moves):
    """From the payout on the commission stays, and what is taken back stands beside it until it is given back."""
    topic = Topic(acme())
    topic.placed()
    for move in ["approve", *moves]:
        topic.oracle.move(*KEY, move)
    state = {"reserve": "in_payout", "pay": "paid"}[moves[-1]]
    assert topic.tell("disputed") == Taken("adjusted", -1000)
    assert topic.order() | {"state": state, "commission_minor": 1000, "clawed_back_minor": -1000} == topic.order()
    assert (topic.balance()[state], topic.balance()["payable"]) == (1000, -1000)
    topic.tell("dispute_won", occurred_at=AFTER.isoformat())
    assert (topic.order()["clawed_back_minor"], topic.balance()["payable"]) == (0, 0)


def test_the_timer():
    """After N days a pending commission is approved: at the instant itself, not a second before, and only once."""
    topic = Topic(acme(approval="after_days", approve_after_days=14))
    topic.placed()
    due = AT + timedelta(days=14)
    assert [topic.oracle.approve_due(now) for now in (due - timedelta(seconds=1), due, due)] == [0, 1, 0]
    assert topic.order()["state"] == "approved"


def test_immediate_approval():
    """Where the terms say so, a commission is approved when it is earned."""
    topic = Topic(acme(approval="immediate"))
    topic.placed()
    assert topic.balance()["payable"] == 1000


# --- the tables -------------------------------------------------------------------------------------------------------


def test_revenue_by_the_programs_day():
    """Each fact counts on the day of its own instant, in the program's time zone; skipped orders are no revenue."""
    topic = Topic(acme(time_zone="Asia/Tokyo"))
    topic.placed(occurred_at="2026-11-22T14:59:59Z")
    topic.refunded("30.00", occurred_at="2026-11-22T15:00:00Z")
    topic.placed("0", order_id="o2")
    assert topic.oracle.books().revenue == {
        ("acme", "jane", "USD", "2026-11-22"): {"gross": 10000, "refunded": 0, "conversions": 1},
        ("acme", "jane", "USD", "2026-11-23"): {"gross": 0, "refunded": 3000, "conversions": 0},
    }


def test_customers():
    """A customer's orders add up per currency; an order without a customer is nobody's."""
    topic = Topic(acme())
    topic.placed(customer={"id": "c-1"})
    topic.placed("8.00", order_id="o2", currency="EUR", customer={"id": "c-1"})
    topic.placed(order_id="o3")
    topic.refunded("30.00")
    assert topic.oracle.books().customers == {
        ("acme", "c-1", "USD"): {"orders": 1, "gross": 10000, "refunded": 3000, "net": 7000},
        ("acme", "c-1", "EUR"): {"orders": 1, "gross": 800, "refunded": 0, "net": 800},
    }


def test_partners_under_other_ids():
    """A program can be given the ids that the service made, with all that hangs on them."""
    topic = Topic(with_partner_ids(acme(), {"jane": "p-77"}))
    topic.placed()
    assert list(topic.oracle.books().balances) == [("acme", "p-77", "USD")]


# --- what it was not taught -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"currency": "CHF"},
        {"total": None},
        {"total": "1e2"},
        {"total": "-0"},
        {"total": True},
        {"occurred_at": "2026-02-30T00:00:00Z"},
        {"coupon_code": "  "},
        {"customer": "kim"},
        {"items": {}},
        {"metadata": {"k": 1}},
        {"specversion": "1.0"},
        {"total": "-1", "order_id": ""},
    ],
    ids=str,
)
def test_it_does_not_guess(fields):
    """A message that nobody taught it is an error of the test, never an outcome."""
    with pytest.raises(UntaughtError):
        Topic(acme()).placed(**fields)


def test_a_taught_refusal():
    """A code can be taught for bytes that the oracle cannot read by itself."""
    oracle = Oracle([acme()], refusals={b"null": "empty"})
    assert oracle.take(Message("orders", 0, 0, b"null")) == Taken("dead_lettered", code="empty")


@pytest.mark.parametrize(
    "change",
    [
        {"base": "gross"},
        {"approval": "never"},
        {"rates": (Rate(BEGINNING, "tiered", "1"),)},
        {"rates": (Rate(BEGINNING, "percentage", "1.005"),)},
        {"standings": ((AT, "gone"),)},
    ],
    ids=str,
)
def test_terms_that_it_was_not_taught(change):
    """So are terms, rates and standings that nobody taught it."""
    with pytest.raises(UntaughtError):
        Topic(acme(**change)).placed()


def test_positions_only_go_up():
    """An offset that was read already is an error of the test, as are moves that a state does not have."""
    topic = Topic(acme())
    topic.placed()
    with pytest.raises(UntaughtError):
        topic.oracle.take(Message("orders", 0, 0, b"{}"))
    with pytest.raises(UntaughtError):
        topic.oracle.move(*KEY, "release")


# --- metamorphic ------------------------------------------------------------------------------------------------------

FACTS = (
    ("refunded", {"amount": "33.33", "refund_id": "r1", "currency": "USD"}),
    ("refunded", {"amount": "0.01", "refund_id": "r2", "currency": "USD"}),
    ("refunded", {"amount": "66.66", "refund_id": "r3", "currency": "USD"}),
    ("cancelled", {}),
    ("disputed", {"event_id": "d1"}),
    ("dispute_won", {"event_id": "w1", "occurred_at": AFTER.isoformat()}),
    ("disputed", {"event_id": "d2", "occurred_at": (AFTER + timedelta(days=1)).isoformat()}),
)


@given(st.sets(st.sampled_from(range(len(FACTS)))).flatmap(lambda chosen: st.permutations(["placed", *sorted(chosen)])))
def test_the_order_of_arrival_does_not_matter(arrival):
    """Whatever comes first, the order, its balance and its customer end at the same cent."""
    told = [arrival, sorted(arrival, key=lambda what: -1 if what == "placed" else what)]
    books = []
    for sequence in told:
        topic = Topic(acme(rates=(Rate(BEGINNING, "percentage", "12.5"),)))
        for what in sequence:
            if what == "placed":
                topic.placed(customer={"id": "c"})
            else:
                topic.tell(FACTS[what][0], **FACTS[what][1])
        books.append(topic.oracle.books())
    first, second = (replace(one, revenue={}) for one in books)
    assert first == second


def test_a_prefix_is_what_the_positions_say():
    """The books at given positions are the books of the messages up to them, and no others."""
    told = [Message("orders", n % 2, n // 2, json.dumps({"type": "order.x", "n": n}).encode()) for n in range(10)]
    books = Oracle([acme()]).take_all(told, until={("cluster", "orders", 0): 2}).books()
    assert [row["consumed"] for row in books.intake.values()] == [3]
