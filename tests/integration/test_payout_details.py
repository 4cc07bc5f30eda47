"""Payout details of partners on PostgreSQL: sealed, masked, cooling down, never touching what was requested."""

from datetime import UTC, datetime, timedelta

import msgspec
import psycopg
import pytest

from consumers.rails import Payee
from ledger import merchants, partners
from ledger.application import Ledger
from ledger.events import Rate
from ledger.payout_details import PayoutDetails, rotate
from ledger.payout_runs import Payable
from ledger.requests import Request
from ledger.sealing import KeyRing
from ledger.store import RequestRepeatedError
from schemas.errors import CorruptionError, NotFoundError, RejectedError
from schemas.payout_methods import PayoutMethod
from tests.support.registration import HASH_KEY

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
WHEN = {"now": NOW, "cause": "test"}
BY = {"by": "user/u_grace"}
OLD, NEW = ("k1", b"1" * 32), ("k2", b"2" * 32)
BANK = PayoutMethod(method="bank", address="NL91 ABNA 0417 1643 00", name="Ada Lovelace")
MAIL = PayoutMethod(method="paypal", address="ada@example.com")
HOURS = timedelta(hours=1)


@pytest.fixture
def ledger(database_url):
    """Yield a ledger with a merchant."""
    ledger = Ledger(database_url, hash_key=HASH_KEY)
    merchants.register(ledger, merchant_id="acme", name="Acme", currency="EUR", email="o@acme.example", **WHEN)
    yield ledger
    ledger.close()


@pytest.fixture
def ada(ledger):
    """Return the id of a partner."""
    rate = Rate(type="percentage", bps=1_000)
    told = {"merchant_id": "acme", "name": "Ada", "email": "ada@partners.example", "rate": rate}
    return partners.register(ledger, coupon_code="ADA", **told, **WHEN).partner_id


@pytest.fixture
def details(ledger):
    """Return the details, with three days to cool down."""
    return PayoutDetails(ledger, KeyRing([OLD]), timedelta(days=3))


def test_details_are_shown_masked(details: PayoutDetails, ada: str) -> None:
    """What is kept comes back masked, from the command as from the reading."""
    kept = details.change("acme", ada, BANK, **BY, now=NOW)
    assert (kept.method.address, kept.method.name) == ("NL91•••4300", "A••• L•••")
    assert details.find("acme", ada) == kept
    assert details.find("globex", ada) is None


def test_the_database_holds_nothing_in_clear(details: PayoutDetails, ada: str, database_url: str) -> None:
    """Neither account nor name stands in the table, nor in the log."""
    details.change("acme", ada, BANK, **BY, now=NOW)
    with psycopg.connect(database_url) as conn:
        (sealed,) = conn.execute("SELECT details FROM people.payout_details").fetchone()
        events = conn.execute("SELECT string_agg(state::text, '') FROM ledger.events").fetchone()[0]
    for clear in (b"NL91", b"Lovelace"):
        assert clear not in bytes(sealed)
        assert clear.decode() not in events


def test_a_change_cools_down(details: PayoutDetails, ada: str) -> None:
    """First details may be paid to at once, every other only after three days; the same again is no change."""
    assert details.payable("acme", [ada], NOW) == {ada: Payable(None, details="no_payout_details")}
    details.change("acme", ada, BANK, **BY, now=NOW)
    assert details.payable("acme", [ada], NOW) == {ada: Payable("bank")}
    details.change("acme", ada, BANK, **BY, now=NOW + HOURS)
    assert details.payable("acme", [ada], NOW + HOURS) == {ada: Payable("bank")}
    kept = details.change("acme", ada, MAIL, **BY, now=NOW + 2 * HOURS)
    assert kept.usable_at == NOW + timedelta(days=3) + 2 * HOURS
    assert details.payable("acme", [ada], NOW + 73 * HOURS) == {ada: Payable("paypal", details="details_changed")}
    assert details.payable("acme", [ada], NOW + 74 * HOURS, frozenset([ada])) == {ada: Payable("paypal", on_hold=True)}


def test_removing_and_entering_again_is_a_change(details: PayoutDetails, ada: str) -> None:
    """Whoever removes details and enters others waits as well: nobody gets round the cool-down."""
    details.change("acme", ada, BANK, **BY, now=NOW)
    details.remove("acme", ada, **BY, now=NOW)
    assert details.find("acme", ada) is None
    assert details.payable("acme", [ada], NOW) == {ada: Payable(None, details="no_payout_details")}
    assert details.payees("acme", [ada]) == {}
    details.change("acme", ada, BANK, **BY, now=NOW)
    assert details.payable("acme", [ada], NOW)[ada].details == "details_changed"
    with pytest.raises(NotFoundError):
        details.remove("acme", "p_nobody", **BY, now=NOW)


def test_former_details_leave_who_and_when(details: PayoutDetails, ada: str, database_url: str) -> None:
    """Of former details there remains who changed them and when, and nothing that could be paid to."""
    details.change("acme", ada, BANK, by="user/u_grace", now=NOW)
    details.change("acme", ada, MAIL, by="partner", now=NOW + HOURS)
    assert [(each.number, each.changed_by) for each in details.history("acme", ada)] == [
        (1, "user/u_grace"),
        (2, "partner"),
    ]
    with psycopg.connect(database_url) as conn:
        assert conn.execute("SELECT count(details) FROM people.payout_details").fetchone() == (1,)


def test_a_payee_is_sealed_for_the_rail(details: PayoutDetails, ada: str) -> None:
    """A run gets each payee sealed, in the words of the rails, and keeps it whatever changes later."""
    details.change("acme", ada, BANK, **BY, now=NOW)
    sealed = details.payees("acme", [ada, "p_nobody"])
    assert list(sealed) == [ada]
    details.change("acme", ada, MAIL, **BY, now=NOW)
    payee = msgspec.json.decode(KeyRing([OLD]).unseal(sealed[ada]), type=Payee)
    assert payee == Payee("NL91ABNA0417164300", "Ada Lovelace", "")


def test_a_row_in_anothers_place_is_found_out(details: PayoutDetails, ada: str, database_url: str) -> None:
    """Details that were put in another partner's row by hand are corruption, and are not paid to."""
    details.change("acme", ada, BANK, **BY, now=NOW)
    with psycopg.connect(database_url) as conn:
        conn.execute("UPDATE people.payout_details SET partner_id = 'p_eve'")
    with pytest.raises(CorruptionError):
        details.payees("acme", ["p_eve"])


def test_what_is_wrong_is_refused(details: PayoutDetails, ada: str) -> None:
    """An unknown partner, another merchant's, or an address that is none are refused and change nothing."""
    for merchant, partner in (("acme", "p_nobody"), ("globex", ada)):
        with pytest.raises(NotFoundError):
            details.change(merchant, partner, BANK, **BY, now=NOW)
    with pytest.raises(RejectedError):
        details.change("acme", ada, BANK.model_copy(update={"address": "NL91"}), **BY, now=NOW)
    assert details.history("acme", ada) == []


def test_a_request_happens_once(details: PayoutDetails, ada: str) -> None:
    """The answer is kept with the change, in one transaction: the same request again changes nothing."""
    request = Request("acme", "key-1", b"0" * 32, lambda kept: (200, kept.method.address.encode()))
    details.change("acme", ada, BANK, **BY, now=NOW, request=request)
    answer = details._ledger.answered_before("acme", "key-1")
    assert (answer.status, answer.body.decode()) == (200, "NL91•••4300")
    with pytest.raises(RequestRepeatedError):
        details.change("acme", ada, MAIL, **BY, now=NOW, request=request)
    assert len(details.history("acme", ada)) == 1


def test_keys_are_replaced(ledger: Ledger, details: PayoutDetails, ada: str, database_url: str) -> None:
    """After a rotation the former key opens nothing any more, and is not needed."""
    details.change("acme", ada, BANK, **BY, now=NOW)
    with psycopg.connect(database_url) as conn:
        payee = KeyRing([OLD]).seal(b"payee")
        conn.execute("INSERT INTO people.payout_payees VALUES ('acme', 'po_1', %s, %s)", (ada, payee))
    both = KeyRing([NEW, OLD])
    assert rotate(ledger, both, limit=1) == 1
    assert rotate(ledger, both) == 1
    assert rotate(ledger, both) == 0
    only_new = PayoutDetails(ledger, KeyRing([NEW]), timedelta())
    assert only_new.find("acme", ada) == details_of(only_new, ada)
    with pytest.raises(CorruptionError, match="k2"):
        details.find("acme", ada)


def test_what_changes_meanwhile_is_not_overwritten(
    ledger: Ledger, details: PayoutDetails, ada: str, database_url: str
) -> None:
    """A rotation does not write back what it read before somebody else changed it."""
    details.change("acme", ada, BANK, **BY, now=NOW)
    other = KeyRing([OLD]).seal(b"other")

    class Slow(KeyRing):
        """Is overtaken while it seals."""

        def seal(self, clear):
            """Let somebody else write first."""
            with psycopg.connect(database_url) as conn:
                conn.execute("UPDATE people.payout_details SET details = %s", (other,))
            return super().seal(clear)

    rotate(ledger, Slow([NEW, OLD]))
    with psycopg.connect(database_url) as conn:
        assert bytes(conn.execute("SELECT details FROM people.payout_details").fetchone()[0]) == other


def details_of(details: PayoutDetails, partner_id: str) -> object:
    """Return the details as they were kept first."""
    found = details.find("acme", partner_id)
    assert found is not None
    assert (found.number, found.method.address) == (1, "NL91•••4300")
    return found
