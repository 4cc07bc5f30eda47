"""Merchants, partners and commissions: the commands, and what they refuse."""

from datetime import UTC, datetime, timedelta

import pytest

from ledger import approvals, dead_letters, history, merchants, partners
from ledger.application import Ledger
from ledger.events import Rate
from ledger.intake import Intake
from ledger.requests import Request
from ledger.store import RequestRepeatedError
from ledger.terms import Terms
from schemas.errors import ConflictError, IllegalMoveError, NotFoundError, RejectedError
from tests.integration.test_intake import placed, refunded, send
from tests.support.registration import HASH_KEY

NOW = datetime(2026, 11, 22, tzinfo=UTC)
WHEN = {"now": NOW, "cause": "test"}
TEN = Rate(type="percentage", bps=1_000)


@pytest.fixture
def ledger(database_url):
    """Yield a ledger with the merchant acme and nobody else."""
    ledger = Ledger(database_url, hash_key=HASH_KEY)
    merchants.register(ledger, merchant_id="acme", name="Acme", currency="USD", email="o@acme.example", **WHEN)
    yield ledger
    ledger.close()


def join(ledger, email="jane@partners.example", code="JANE10", **more):
    """Register a partner; return it."""
    told = {"merchant_id": "acme", "name": "Jane", "email": email, "rate": TEN, "coupon_code": code}
    return partners.register(ledger, **told | more, **WHEN)


def test_a_merchant_is_registered_once(ledger):
    """A slug is unique: the second registration is refused and changes nothing."""
    with pytest.raises(ConflictError, match="already"):
        merchants.register(ledger, merchant_id="acme", name="Other", currency="EUR", email="x@x.example", **WHEN)
    assert merchants.find(ledger, "acme").currency == "USD"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"currency": "XAU"}, "unknown_currency"),
        ({"time_zone": "Mars/Olympus"}, "unknown_time_zone"),
        ({"time_zone": "../../etc/passwd"}, "unknown_time_zone"),
        ({"terms": Terms(hold_days=1000)}, "bad_terms"),
        ({"terms": Terms(approval="never")}, "bad_terms"),
    ],
)
def test_a_program_that_cannot_work_is_refused(ledger, changes, code):
    """A currency, a time zone or terms that mean nothing are refused by their own code."""
    told = {"merchant_id": "bolt", "name": "Bolt", "currency": "EUR", "email": "x@x.example"}
    with pytest.raises(RejectedError) as refused:
        merchants.register(ledger, **told | changes, **WHEN)
    assert refused.value.code == code


def test_terms_are_versioned_and_no_past_commission_changes(ledger):
    """New terms are a new version in force from then on; an order placed before keeps the version of its time."""
    join(ledger)
    changed = merchants.change_terms(ledger, merchant_id="acme", changes={"approval": "manual"}, **WHEN)
    assert (changed.terms.version, changed.terms.approval) == (2, "manual")
    assert merchants.change_terms(ledger, merchant_id="acme", changes={"approval": "manual"}, **WHEN).position is None
    intake = Intake(ledger)
    send(intake, placed("old"), placed("new", occurred_at="2026-11-23T00:00:00Z"))
    versions = [ledger.stream(f"order/acme/{order_id}")[0].event.terms_version for order_id in ("old", "new")]
    assert versions == [1, 2]
    with pytest.raises(RejectedError, match="no term"):
        merchants.change_terms(ledger, merchant_id="acme", changes={"version": 9}, **WHEN)


def test_a_partner_and_its_code_are_registered_together_or_not_at_all(ledger):
    """A code that is taken refuses the whole registration: no partner is left behind without it."""
    join(ledger)
    with pytest.raises(ConflictError) as refused:
        join(ledger, email="omar@partners.example", code=" jane10 ")
    assert (refused.value.code, refused.value.path) == ("coupon_taken", "$.coupon_code")
    assert join(ledger, email="omar@partners.example", code="OMAR10").version == 1


def test_the_same_person_is_one_partner_of_a_program(ledger):
    """The same e-mail address again, whatever its case, is refused and names the partner who has it."""
    first = join(ledger)
    with pytest.raises(ConflictError, match=first.partner_id) as refused:
        join(ledger, email=" Jane@Partners.example", code=None)
    assert refused.value.code == "partner_exists"


def test_a_partner_moves_through_its_standings(ledger):
    """Applied, approved, paused, reinstated, banned: each legal move is made, an illegal one says what is legal."""
    partner_id = join(ledger, standing="applied").partner_id
    told = {"merchant_id": "acme", "partner_id": partner_id, **WHEN}
    for move, standing in (
        (partners.approve, "approved"), (partners.pause, "paused"), (partners.reinstate, "approved"),
        (partners.ban, "banned"),
    ):  # fmt: skip
        assert move(ledger, **told).standing == standing
    with pytest.raises(IllegalMoveError) as refused:
        partners.pause(ledger, **told)
    assert (refused.value.state, refused.value.legal) == ("banned", ("reinstate",))
    assert partners.find(ledger, "acme", partner_id).standing == "banned"


def test_another_merchants_partner_does_not_exist(ledger):
    """A partner is found under its own merchant only."""
    merchants.register(ledger, merchant_id="bolt", name="Bolt", currency="EUR", email="x@x.example", **WHEN)
    partner_id = join(ledger).partner_id
    with pytest.raises(NotFoundError):
        partners.pause(ledger, merchant_id="bolt", partner_id=partner_id, **WHEN)


def test_a_code_goes_from_hand_to_hand_and_each_order_is_of_its_time(ledger):
    """A code that is revoked and given to somebody else: each order earns for who held it when it was placed."""
    jane, omar = join(ledger), join(ledger, email="omar@partners.example", code=None)
    later = NOW + timedelta(days=1)
    told = {"merchant_id": "acme", "code": "jane10", "cause": "test"}
    partners.revoke_coupon(ledger, **told, partner_id=jane.partner_id, now=NOW)
    with pytest.raises(NotFoundError):
        partners.revoke_coupon(ledger, **told, partner_id=jane.partner_id, now=NOW)
    partners.assign_coupon(ledger, **told, partner_id=omar.partner_id, now=later)
    intake = Intake(ledger)
    times = ("2026-11-20T00:00:00Z", "2026-11-22T12:00:00Z", "2026-11-23T12:00:00Z")
    results = send(intake, *[placed(str(n), occurred_at=at) for n, at in enumerate(times)]).results
    assert [result.outcome for result in results] == ["earned", "ignored", "earned"]
    holders = [ledger.stream(f"order/acme/{n}")[0].event.partner_id for n in (0, 2)]
    assert holders == [jane.partner_id, omar.partner_id]


def test_a_request_that_is_repeated_happens_once(ledger):
    """The same idempotency key: the second command writes nothing, and the first answer can be found."""
    request = Request("acme", "k-1", b"sha", lambda partner: (201, partner.partner_id.encode()))
    first = join(ledger, request=request)
    with pytest.raises(RequestRepeatedError):
        join(ledger, email="omar@partners.example", code="OMAR10", request=request)
    assert ledger.answered_before("acme", "k-1") == (b"sha", 201, first.partner_id.encode(), first.position)


def test_what_is_due_is_approved_once_and_as_of_the_instant_it_was_due(ledger):
    """The timer approves what is due and pending, however late and however often it runs."""
    join(ledger)
    intake = Intake(ledger)
    send(
        intake,
        placed("1"),
        placed("2", occurred_at="2026-11-22T00:00:00Z"),
        placed("3"),
        refunded("3", amount="100.00"),
    )
    orders = [("acme", order_id) for order_id in ("1", "2", "3", "unknown")]
    due_at = datetime(2026, 12, 20, 10, tzinfo=UTC)
    assert approvals.approve_due(ledger, orders, due_at - timedelta(seconds=1), "timer") == 0
    late = due_at + timedelta(hours=5)
    assert approvals.approve_due(ledger, orders, late, "timer") == 1
    assert approvals.approve_due(ledger, orders, late, "timer") == 0
    approved = history.of_order(ledger, "acme", "1")[-1].event
    assert (approved.occurred_at, approved.recorded_at, str(approved.occurred_on)) == (due_at, late, "2026-12-20")


def test_a_commission_is_held_and_released_by_hand(ledger):
    """Hold, release, reject and reopen by hand; another merchant's commission does not exist."""
    join(ledger)
    send(Intake(ledger), placed())
    told = {"merchant_id": "acme", "order_id": "1", **WHEN}
    assert approvals.hold(ledger, **told, reason="look").state == "held"
    assert approvals.release(ledger, **told).state == "pending"
    assert approvals.approve(ledger, **told).state == "approved"
    assert approvals.reject(ledger, **told, reason="fraud").state == "rejected"
    assert approvals.reopen(ledger, **told, reason="mistake").state == "approved"
    with pytest.raises(IllegalMoveError):
        approvals.release(ledger, **told)
    with pytest.raises(NotFoundError):
        approvals.approve(ledger, **told | {"merchant_id": "bolt"})


def test_a_dead_letter_that_is_discarded_stays_on_record(ledger):
    """A discarded letter keeps its message and its reason, and cannot be resolved again or by another merchant."""
    send(Intake(ledger), placed(currency="EUR", order_id="1"), refunded("1", currency="USD"))
    join(ledger)
    send(Intake(ledger), placed("2"), refunded("2", currency="EUR"))
    with ledger.connection() as conn:
        letter = conn.execute("SELECT dead_letter_id FROM ledger.dead_letters").fetchone()["dead_letter_id"]
    told = {"dead_letter_id": letter, "reason": "a test order", **WHEN}
    with pytest.raises(NotFoundError):
        dead_letters.discard(ledger, **told, merchant_id="bolt")
    assert dead_letters.discard(ledger, **told, merchant_id="acme").status == "discarded"
    with pytest.raises(ConflictError, match="discarded already"):
        dead_letters.discard(ledger, **told, merchant_id="acme")
    with ledger.connection() as conn:
        row = conn.execute("SELECT status, resolution, raw FROM ledger.dead_letters").fetchone()
    assert (row["status"], row["resolution"]) == ("discarded", "a test order (test)")
    assert bytes(row["raw"]) == refunded("2", currency="EUR")
