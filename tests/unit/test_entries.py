"""Commissions entered by hand: who may be owed what, and what storefronts and people may do with them afterwards."""

from datetime import UTC, datetime, timedelta

import pytest

from ledger import bans, entries
from ledger.commissions import (
    BY_HAND,
    LEGAL_MOVES,
    Act,
    evolve,
    fold,
    legal_by_hand,
    move,
    move_by_hand,
    remaining_minor,
    take_fact,
    told_before,
)
from ledger.entries import Entry
from ledger.events import RefundParked
from ledger.hashes import entry_id
from ledger.postings import postings
from schemas.errors import ConflictError, IllegalMoveError, RejectedError
from schemas.order_events import parse
from tests.support.messages import encoded, placed
from tests.unit.test_commissions import DETAILS, arrive

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ACT = Act(NOW, NOW, NOW.date(), "test")
ENTRY = Entry("acme", "manual-1", "jane", 1_250, "USD", "a bonus")
HAND = {name: DETAILS.get(meant, {}) for name, meant in BY_HAND.items()}


def entered(standing="approved", occurred_at=NOW, **changes):
    """Return the event that an entry of 12.50 (unless changed) becomes."""
    entry = ENTRY._replace(**changes)
    return entries.decide(
        entry, standing, occurred_at=occurred_at, occurred_on=occurred_at.date(), now=NOW, cause="test"
    )


def fact(kind):
    """Return a fact about the entry, as a storefront would tell it."""
    refund = {"refund_id": "r", "currency": "USD", "refund_minor": 100} if kind == "refund" else {}
    return RefundParked(
        merchant_id="acme", order_id="manual-1", occurred_at=NOW, occurred_on=NOW.date(), recorded_at=NOW, cause="t@1",
        kind=kind, event_id="e", **refund,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("standing", "changes", "code", "path"),
    [
        ("approved", {"amount_minor": 0}, "zero_amount", "$.amount"),
        ("approved", {"occurred_at": NOW + timedelta(microseconds=1)}, "in_the_future", "$.occurred_at"),
        ("applied", {}, "partner_not_approved", "$.partner_id"),
        ("rejected", {"amount_minor": -1}, "partner_not_approved", "$.partner_id"),
        ("invited", {}, "partner_not_approved", "$.partner_id"),
        ("banned", {}, "partner_banned", "$.partner_id"),
    ],
)
def test_an_entry_that_cannot_be_owed_is_refused_at_its_field(standing, changes, code, path):
    """Nothing, what is yet to come, and what a partner of that standing cannot earn are refused, each by its code."""
    with pytest.raises(RejectedError) as refused:
        entered(standing, **changes)
    assert (refused.value.code, refused.value.path) == (code, path)


@pytest.mark.parametrize(("standing", "amount"), [("approved", -1), ("paused", 1), ("banned", -1)])
def test_an_entry_is_payable_at_once_and_may_be_negative(standing, amount):
    """Whoever enters a commission has decided: it begins approved; from a banned partner money may be taken back."""
    event = entered(standing, amount_minor=amount)
    order = fold([event])
    assert (order.state, order.amount_minor, remaining_minor(order)) == ("approved", amount, 0)
    moved = {posting.account: posting.amount_minor for posting in postings(event)}
    assert moved == {"approved": amount, "expense": -amount}


@pytest.mark.parametrize("kind", ["refund", "cancellation", "dispute", "dispute_won"])
def test_a_storefront_cannot_take_an_entry_back(kind):
    """Refunds and the like are about orders: for an entry they are refused, never applied and never parked."""
    with pytest.raises(RejectedError) as refused:
        take_fact(fold([entered()]), fact(kind))
    assert (refused.value.code, refused.value.path) == ("not_an_order", "$.order_id")


def test_an_order_cannot_take_an_entrys_id():
    """An order that is placed under the id of an entry contradicts the books."""
    told = parse(encoded(placed(order_id="manual-1")))
    with pytest.raises(ConflictError) as refused:
        told_before(fold([entered()]), told)
    assert (refused.value.code, refused.value.path) == ("conflicting_duplicate", "$.order_id")


@pytest.mark.parametrize(
    ("way", "state"),
    [
        (["hold", "release"], "approved"),
        (["reject", "reopen"], "approved"),
        (["hold", "reject", "reopen", "release"], "approved"),
        (["mark-paid", "mark-unpaid"], "approved"),
        (["mark-paid"], "paid"),
    ],
)
def test_an_entry_moves_like_any_other_commission(way, state):
    """It is held, rejected and paid by hand, goes back to where it was, and keeps its amount."""
    order = fold([entered(amount_minor=-300)])
    for name in way:
        for event in move_by_hand(order, name, ACT, **HAND[name]):
            evolve(order, event)
    assert (order.state, order.amount_minor, order.clawed_back_minor) == (state, -300, 0)


def test_a_ban_takes_what_would_be_paid_and_forgives_nothing():
    """A positive entry is cancelled by a ban like any open commission; a negative one is still owed by the partner."""
    (rejected,) = bans.take(fold([entered()]), [entered()], "ban", ACT)
    assert (rejected.to_state, rejected.ban) == ("rejected", "ban")
    debt = entered(amount_minor=-1)
    assert bans.take(fold([debt]), [debt], "ban", ACT) == []


@pytest.mark.parametrize(
    ("way", "legal"),
    [
        ([], ("approve", "hold", "reject")),
        (["approve"], ("hold", "mark-paid", "reject")),
        (["hold"], ("reject", "release")),
        (["reject"], ("reopen",)),
        (["approve", "pay"], ("mark-unpaid",)),
        (["approve", "reserve"], ()),
    ],
)
def test_people_are_told_what_they_may_do(way, legal):
    """The legal moves are those that people can make, by the names that they call; in a payout there are none."""
    order = arrive(*way)
    assert tuple(sorted(legal_by_hand(order))) == legal
    for name in BY_HAND:
        if name in legal:
            assert move_by_hand(order, name, ACT, **HAND[name])
            continue
        with pytest.raises(IllegalMoveError) as refused:
            move_by_hand(order, name, ACT, **HAND[name])
        assert (refused.value.state, refused.value.legal) == (order.state, legal)


def test_what_a_payout_paid_is_not_marked_unpaid_by_hand():
    """The payout knows whether the money came back; by hand nothing can be done with what it paid."""
    order = arrive("approve", "reserve")
    (event,) = move(order, "pay", ACT, reference="tr_1", payout_id="po-1")
    evolve(order, event)
    with pytest.raises(IllegalMoveError) as refused:
        move_by_hand(order, "mark-unpaid", ACT, reason="returned")
    assert (refused.value.state, refused.value.legal) == ("paid", ())


def test_every_move_by_hand_is_a_move():
    """What people call is something that the state machine knows."""
    assert set(BY_HAND.values()) <= {name for names in LEGAL_MOVES.values() for name in names}


def test_the_same_request_is_the_same_entry():
    """The id comes from what makes the entry happen once, of this merchant, and cannot be guessed without the key."""
    ids = {
        entry_id(key, merchant_id, *told)
        for key in (b"k1", b"k2")
        for merchant_id in ("acme", "zenith")
        for told in (("key", "1"), ("key", "2"), ("request", "1", "ff"))
    }
    assert len(ids) == 12
    assert entry_id(b"k1", "acme", "key", "1") in ids
    assert all(id_.startswith("manual-") and len(id_) == 23 for id_ in ids)
