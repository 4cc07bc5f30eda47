"""One payout: its states, who may do what, and what the provider says."""

from datetime import UTC, datetime, timedelta

import pytest

from ledger import payouts
from ledger.payout_events import PayoutRequested
from ledger.payouts import LEGAL_MOVES, QUIET, SEND_WITHIN, Act, Seen, evolve, fold
from schemas.errors import ConflictError, ForbiddenError, IllegalMoveError, RejectedError

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
WINDOW = timedelta(hours=23)
LATER = NOW + QUIET
ACT = Act(NOW, "test", "kim")
PAYEE = "acct_jane"


def seen(state="processed", reference="tr_1", **changes):
    """Return what the provider shows."""
    return Seen(state, reference, 1_000, "USD", PAYEE)._replace(**changes)


def at(instant):
    """Return an act at that time."""
    return Act(instant, "test", "kim")


def requested(**changes):
    """Return the request of a payout of 10.00."""
    told = {
        "merchant_id": "acme", "occurred_at": NOW, "recorded_at": NOW, "cause": "test", "payout_id": "po_1",
        "partner_id": "jane", "currency": "USD", "amount_minor": 1_000, "to_state": "requested", "run_id": "r",
        "rail": "stripe", "reservations": 1, "maker": "lou",
    }  # fmt: skip
    return PayoutRequested(**told | changes)


def play(payout, *decisions):
    """Return the payout after the decisions, each of which is told the payout as it stands."""
    for decide in decisions:
        for event in decide(payout):
            evolve(payout, event)
    return payout


def begin(payout):
    """Start an attempt."""
    return payouts.start(payout, ACT, "sha", WINDOW)


def observe(found, when=LATER):
    """Return the decision on what the provider shows then."""
    return lambda payout: payouts.observe(payout, at(when), found, PAYEE)


def submitting():
    """Return a payout that was just sent."""
    return play(fold([requested()]), begin)


def in_state(state):
    """Return a payout that came to the state in the shortest way."""
    ways = {
        "requested": [],
        "approved": [lambda p: payouts.approve(p, ACT)],
        "submitting": [begin],
        "submitted": [begin, observe(seen("in_transit"))],
        "held": [begin, observe(seen("held", code="unclaimed"))],
        "review": [begin, lambda p: payouts.review(p, ACT, "window_over")],
        "processed": [begin, observe(seen())],
        "failed": [begin, lambda p: payouts.rejected(p, ACT, "balance_insufficient")],
        "returned": [begin, observe(seen()), observe(seen("returned"))],
        "cancelled": [lambda p: payouts.cancel(p, ACT, "changed our mind")],
    }
    payout = play(fold([requested()]), *ways[state])
    assert payout.state == state
    return payout


def test_an_id_and_a_key_come_from_our_own_ids_alone():
    """The same partner in the same run has the same payout and the same key, whenever and however often it is asked."""
    one = payouts.payout_id("acme", "run", "jane", "USD")
    assert one == payouts.payout_id("acme", "run", "jane", "USD")
    assert one.startswith("po_")
    assert len(one) == 19
    assert (
        len(
            {one, *(payouts.payout_id(*told) for told in (("acme", "run", "jane", "EUR"), ("b", "run", "jane", "USD")))}
        )
        == 3
    )
    assert payouts.key_of(one, 2) == f"payout-{one}-2"


MOVES = {
    "approve": lambda p: payouts.approve(p, ACT),
    "start": begin,
    "cancel": lambda p: payouts.cancel(p, ACT, "why"),
    "repeat": lambda p: payouts.repeat(p, at(LATER)),
    "review": lambda p: payouts.review(p, ACT, "why"),
    "declare_dead": lambda p: payouts.declare_dead(p, at(LATER), "asked them"),
    "retry": lambda p: payouts.declare_dead(p, at(LATER), "asked them", retry=True),
    "return": lambda p: payouts.returned(p, at(LATER), p.returned_minor + 1) if p.state != "returned" else [1],
    "confirm": lambda p: payouts.confirm(
        p, ACT, method="wire", transaction_id="T1", amount_minor=1_000, currency="USD", paid_at=NOW
    ),
}  # fmt: skip


@pytest.mark.parametrize("state", LEGAL_MOVES)
@pytest.mark.parametrize("move", MOVES)
def test_what_is_not_legal_is_refused_with_the_state_and_what_is(state, move):
    """Each move is made where it is legal, and refused everywhere else, by name."""
    payout = in_state(state)
    if move in LEGAL_MOVES[state] or (state, move) == ("review", "review"):
        assert isinstance(MOVES[move](payout), list)
        return
    with pytest.raises(IllegalMoveError) as refused:
        MOVES[move](payout)
    assert refused.value.state == state
    assert refused.value.legal == tuple(sorted(LEGAL_MOVES[state]))


def test_the_maker_is_not_the_checker():
    """Where approval is demanded nothing starts without it, and whoever made the run cannot give it."""
    payout = fold([requested(needs_approval=True)])
    for move in ("start", "confirm"):
        with pytest.raises(IllegalMoveError):
            MOVES[move](payout)
    for nobody in ("lou", ""):
        with pytest.raises(ForbiddenError, match="somebody else"):
            payouts.approve(payout, Act(NOW, "test", nobody))
    assert play(payout, MOVES["approve"], begin).state == "submitting"


def test_key_body_and_window_are_written_before_anything_is_sent():
    """An attempt names its number, its key, the hash of its body and the end of the provider's window."""
    (event,) = begin(fold([requested()]))
    assert (event.attempt, event.key, event.body_sha256) == (1, "payout-po_1-1", "sha")
    assert event.window_ends_at == NOW + WINDOW


def test_what_was_written_goes_out_at_once_or_not_at_all():
    """Whoever was frozen between the commit and the call may not send any more."""
    payout = submitting()
    assert payouts.may_send(payout, NOW)
    assert not payouts.may_send(payout, NOW + SEND_WITHIN)
    assert not payouts.may_send(payout, NOW - timedelta(seconds=1))
    assert not payouts.may_send(in_state("processed"), NOW)


def test_the_same_goes_out_again_only_when_all_is_quiet_and_the_window_is_open():
    """Too early: nothing. In the window: the same attempt once more. Behind it: a person decides, for ever."""
    payout = submitting()
    assert payouts.repeat(payout, at(LATER - timedelta(seconds=1))) == []
    (again,) = payouts.repeat(payout, at(LATER))
    assert (type(again).__name__, again.attempt) == ("PayoutSubmissionRepeated", 1)
    (over,) = payouts.repeat(payout, at(NOW + WINDOW))
    assert (over.to_state, over.reason) == ("review", "window_over")
    with pytest.raises(IllegalMoveError):
        payouts.repeat(play(payout, lambda _: [over]), at(NOW + WINDOW))


@pytest.mark.parametrize("state", ["submitting", "submitted", "held"])
def test_a_success_is_adopted_wherever_the_payout_is(state):
    """What the provider shows as paid is processed at once, by its reference."""
    payout = play(in_state(state), observe(seen(), NOW))
    assert (payout.state, payout.reference) == ("processed", "tr_1")


def test_a_failure_counts_only_when_nothing_can_be_under_way_any_more():
    """A provider may free the key of what it denied: what is still under way would be paid after all."""
    payout = submitting()
    assert payouts.observe(payout, at(NOW), seen("failed"), PAYEE) == []
    assert play(payout, observe(seen("failed", code="denied"))).reason == "denied"


def test_a_failure_of_what_was_sent_twice_is_left_to_a_person():
    """Which of two sendings was denied nobody can tell, so the commissions are not freed."""
    payout = play(submitting(), lambda p: payouts.repeat(p, at(LATER)))
    much_later = LATER + QUIET
    assert payouts.observe(payout, at(much_later), seen("failed"), PAYEE) == []
    payout = play(payout, observe(seen("in_transit"), much_later), observe(seen("failed"), much_later))
    assert (payout.state, payout.reason) == ("review", "failed_after_repeat")


@pytest.mark.parametrize(
    "changes",
    [{"amount_minor": 999}, {"currency": "EUR"}, {"payee": "acct_kim"}],
    ids=lambda changes: next(iter(changes)),
)
def test_what_differs_is_not_adopted(changes):
    """Another amount, currency or payee raises the alarm once, and a person decides."""
    payout = play(submitting(), observe(seen(**changes)))
    assert (payout.state, payout.reason) == ("review", "differs")
    assert payout.contradictions == (("differs", ("tr_1",)),)
    assert payouts.observe(payout, at(LATER), seen(**changes), PAYEE) == []
    assert payouts.observe(payout, at(LATER), seen(), PAYEE) == [], "no provider ends this review, a person does"


def test_two_payments_for_one_payout_raise_the_alarm():
    """Once, whatever the state; while it is open a person decides."""
    for state, then in (("submitted", "review"), ("processed", "processed")):
        payout = play(in_state(state), lambda p: payouts.several(p, ACT, ["tr_1", "tr_2"]))
        assert payout.state == then
        assert payouts.several(payout, ACT, ["tr_1", "tr_2"]) == []
    (alarm,) = payouts.observe(in_state("processed"), ACT, seen(reference="tr_2"), PAYEE)
    assert alarm.contradiction == "several"


@pytest.mark.parametrize("state", ["failed", "cancelled", "processed", "returned"])
def test_a_terminal_state_is_never_overwritten_by_a_late_hint(state):
    """Whatever comes late, a terminal state stays; only what was paid can still come back."""
    for found in (seen("in_transit"), seen("held"), seen("failed"), seen("processed")):
        payout = play(in_state(state), observe(found))
        assert payout.state == state, found.state


def test_a_success_after_a_failure_raises_the_alarm():
    """The state stays, the alarm is raised once; what was taken back in full is none."""
    payout = play(in_state("failed"), observe(seen()))
    assert payout.contradictions == (("processed_after_failed", ("tr_1",)),)
    assert payouts.observe(payout, at(LATER), seen(), PAYEE) == []
    assert payouts.observe(in_state("failed"), at(LATER), seen(returned_minor=1_000), PAYEE) == []


def test_money_comes_back_by_a_running_total_in_any_order_and_any_number_of_times():
    """Each part once, however often and in which order the totals are told; never more than was paid."""
    payout = in_state("processed")
    for total in (300, 300, 200, 700, 700, 1_000, 500):
        payout = play(payout, observe(seen(returned_minor=total)))
    assert (payout.state, payout.returned_minor) == ("returned", 1_000)
    with pytest.raises(RejectedError, match="more came back"):
        payouts.returned(payout, ACT, 1_001)


def test_what_came_back_before_anybody_saw_it_paid_was_not_paid():
    """Returned before success is a failure; paid and taken back in part is both."""
    assert play(in_state("held"), observe(seen("returned"))).state == "failed"
    payout = play(submitting(), observe(seen(returned_minor=400)))
    assert (payout.state, payout.returned_minor) == ("returned", 400)


def test_a_review_because_nothing_was_to_be_seen_ends_when_it_is_seen():
    """Adoption is the one thing that needs no person."""
    assert play(in_state("review"), observe(seen())).state == "processed"
    assert play(submitting(), lambda p: payouts.review(p, ACT, "our_fault"), observe(seen())).state == "review"


def test_a_person_may_permit_another_attempt_under_its_own_key():
    """Only a declaration does, not while something is under way; and such a payout cannot be called off any more."""
    payout = play(submitting(), lambda p: payouts.review(p, ACT, "window_over"))
    with pytest.raises(ConflictError, match="under way"):
        payouts.declare_dead(payout, ACT, "asked them", retry=True)
    payout = play(payout, MOVES["retry"])
    assert payout.startable
    with pytest.raises(IllegalMoveError):
        payouts.cancel(payout, ACT, "why")
    assert play(payout, begin).key == "payout-po_1-2"


def test_what_an_abandoned_attempt_left_says_nothing_about_the_next_one():
    """Its failure, told late, does not free the commissions that the next attempt may have paid."""
    payout = play(
        submitting(), observe(seen("in_transit", "first")), lambda p: payouts.review(p, ACT, "why"), MOVES["retry"]
    )
    assert payouts.observe(payout, at(LATER), seen("failed", "first"), PAYEE) == []
    payout = play(payout, begin)
    assert payout.reference is None
    assert payouts.observe(payout, at(LATER), seen("failed", "first"), PAYEE) == []


def test_a_confirmation_is_for_the_exact_amount_and_counts_once():
    """The same again is the same; other data is a conflict; another amount is refused."""
    told = {"method": "wire", "transaction_id": "T1", "amount_minor": 1_000, "currency": "USD", "paid_at": NOW}
    for wrong in ({"amount_minor": 999}, {"currency": "EUR"}):
        with pytest.raises(RejectedError, match="exactly"):
            payouts.confirm(in_state("requested"), ACT, **told | wrong)
    payout = play(in_state("requested"), lambda p: payouts.confirm(p, ACT, **told))
    assert (payout.state, payout.method, payout.transaction_id) == ("processed", "wire", "T1")
    assert payouts.confirm(payout, ACT, **told) == []
    with pytest.raises(ConflictError, match="confirmed as wire T1"):
        payouts.confirm(payout, ACT, **told | {"transaction_id": "T2"})


def test_what_a_person_found_on_a_bank_statement_is_no_second_payment_when_the_bank_tells_of_it():
    """Confirmed as `bank` under the bank's number, the payout keeps ours, by which the bank's file names it later."""
    sent = play(fold([requested(rail="bank")]), begin, observe(seen("in_transit", "po1")))
    paid = {"transaction_id": "4711", "amount_minor": 1_000, "currency": "USD", "paid_at": NOW}
    play(sent, lambda payout: payouts.confirm(payout, ACT, method="bank", **paid))
    assert (sent.state, sent.reference, sent.paid_under) == ("processed", "po1", "4711")
    assert payouts.observe(sent, at(LATER), seen("processed", "po1"), PAYEE) == []


def test_what_a_bank_was_given_a_person_may_confirm_too():
    """Before any file tells of it; the order at the bank stays its own. At any other provider only it is asked."""
    told = {"method": "wire", "transaction_id": "T1", "amount_minor": 1_000, "currency": "USD", "paid_at": NOW}
    with pytest.raises(IllegalMoveError):
        payouts.confirm(in_state("submitted"), ACT, **told)
    given = play(fold([requested(rail="bank")]), begin, observe(seen("in_transit", "E2E")))
    payout = play(given, lambda p: payouts.confirm(p, ACT, **told))
    assert (payout.state, payout.reference, payout.transaction_id) == ("processed", "E2E", "T1")
    for found in (seen("in_transit", "E2E"), seen("processed", "E2E")):
        assert payouts.observe(payout, at(LATER), found, PAYEE) == []


def test_what_was_confirmed_by_hand_and_is_seen_at_the_provider_was_paid_twice():
    """A person wired it while it was in review, and the provider has it after all: the alarm."""
    told = {"method": "wire", "transaction_id": "T1", "amount_minor": 1_000, "currency": "USD", "paid_at": NOW}
    payout = play(in_state("review"), lambda p: payouts.confirm(p, ACT, **told), observe(seen()))
    assert (payout.state, payout.contradictions) == ("processed", (("several", ("tr_1",)),))
    by_its_number = told | {"method": "stripe", "transaction_id": "tr_1"}
    payout = play(in_state("review"), lambda p: payouts.confirm(p, ACT, **by_its_number), observe(seen()))
    assert payout.contradictions == ()
