"""The rail `bank` on PostgreSQL: orders, sealed batches, what the bank tells of them."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256

import psycopg
import pytest

from consumers.rails import Accepted, Attempt, Found, Instruction, Missing, Payee, Several, Unknown
from consumers.rails.bank import BankBatches, BankRail, end_to_end_id_of
from consumers.rails.bank_file import Debtor
from consumers.rails.bank_statements import read_statement
from ledger.application import Ledger
from ledger.bank_orders import BankOrders
from ledger.sealing import KeyRing
from schemas.errors import ConflictError, CorruptionError, NotFoundError, RejectedError, RetryableError
from tests.support.bank import Entry, camt, pain002

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = date(2026, 11, 24)
IBAN = "NL91ABNA0417164300"
HAND = {"by": "user/u_grace", "now": NOW}


@pytest.fixture
def orders(database_url):
    """Yield the orders of a database of their own."""
    ledger = Ledger(database_url, hash_key=b"k" * 32)
    yield BankOrders(ledger, KeyRing([("k1", b"s" * 32)]))
    ledger.close()


@pytest.fixture
def rail(orders):
    """Return the rail."""
    return BankRail(orders)


@pytest.fixture
def batches(orders):
    """Return what seals batches."""
    return BankBatches(orders, Debtor("Acme GmbH", "DE89370400440532013000"))


def attempt(payout=1, number=1, *, merchant="acme", amount_minor=1250):
    """Return an attempt as it would be written down."""
    payout_id = f"po_{payout:016x}"
    told = Instruction(
        merchant, payout_id, "p_ada", number, f"payout-{payout_id}-{number}", amount_minor, "EUR",
        Payee(IBAN, "Ada Lovelace"),
    )  # fmt: skip
    body = BankRail(None).compose(told)
    return Attempt(told, body, sha256(body).hexdigest(), NOW, NOW + BankRail.window)


def own(payout=1):
    """Return the end-to-end id of a payout."""
    return f"po{payout:016x}"


def found(state, payout=1, **more):
    """Return an order in this state."""
    return Found(state, own(payout), 1250, "EUR", IBAN, **more)


async def sealed(rail, batches, *payouts):
    """Order and seal these payouts; returns the batch."""
    for payout in payouts:
        await rail.submit(attempt(payout))
    return batches.seal("acme", "first", execution_on=DAY, **HAND)


async def test_an_order_waits_once(rail: BankRail, batches: BankBatches) -> None:
    """However often a payout is submitted there is one order, and one payment in the batch."""
    for _ in range(3):
        assert await rail.submit(attempt()) == Accepted(found("in_transit"))
    assert await rail.look_up(attempt()) == found("in_transit")
    assert await rail.look_up(attempt(2)) == await rail.state("po9") == Missing()
    assert batches.seal("acme", "first", execution_on=DAY, **HAND).payments == 1
    assert len(end_to_end_id_of(attempt(1, 99).instruction)) <= 35


async def test_a_sealed_batch_is_the_same_for_ever(rail: BankRail, batches: BankBatches, orders: BankOrders) -> None:
    """A batch is built once: the same request, later, and every export give the same bytes."""
    batch = await sealed(rail, batches, 1, 2)
    await rail.submit(attempt(3))
    later = {"by": "user/u_grace", "now": NOW + timedelta(days=3)}
    assert batches.seal("acme", "first", execution_on=DAY, **later) == batch
    assert orders.batch("acme", batch.batch_id) == batch
    assert sha256(batch.xml).hexdigest() == batch.xml_sha256
    assert (batch.payments, batch.amount_minor, batch.xml.count(b"<CdtTrfTxInf>")) == (2, 2500, 2)
    assert batches.seal("acme", "second", execution_on=DAY, **HAND).payments == 1


async def test_two_requests_at_once_seal_nothing_twice(
    rail: BankRail, batches: BankBatches, orders: BankOrders
) -> None:
    """Of two requests at once one seals; the same request twice is one batch, another one is told to come again."""
    await rail.submit(attempt(1))
    overtaken = []

    def build(found, message_id):
        overtaken.append(batches.seal("acme", "first", execution_on=DAY, **HAND))
        return b"xml", b"csv"

    assert orders.seal("acme", "first", build, execution_on=DAY, **HAND) == overtaken[0]
    await rail.submit(attempt(2))

    def other(found, message_id):
        batches.seal("acme", "third", execution_on=DAY, **HAND)
        return b"xml", b"csv"

    with pytest.raises(RetryableError):
        orders.seal("acme", "second", other, execution_on=DAY, **HAND)
    assert (await rail.state(own(2))).state == "in_transit"


async def test_nothing_waits_twice(rail: BankRail, batches: BankBatches) -> None:
    """What is sealed is in no second batch; with nothing that waits there is none."""
    await sealed(rail, batches, 1)
    with pytest.raises(RejectedError, match="waits"):
        batches.seal("acme", "second", execution_on=DAY, **HAND)
    await rail.submit(attempt(1))
    with pytest.raises(RejectedError, match="waits"):
        batches.seal("acme", "second", execution_on=DAY, **HAND)


async def test_merchants_are_apart(rail: BankRail, batches: BankBatches, orders: BankOrders) -> None:
    """A merchant's batch has its own orders only, and nobody else reads, settles or withdraws them."""
    await rail.submit(attempt(1))
    await rail.submit(attempt(2, merchant="globex"))
    batch = batches.seal("acme", "first", execution_on=DAY, **HAND)
    assert batch.payments == 1
    for refused in (
        lambda: orders.batch("globex", batch.batch_id),
        lambda: orders.unseal("globex", batch.batch_id, declared="x", **HAND),
        lambda: orders.settle_by_hand("globex", own(1), "R1", **HAND),
        lambda: orders.withdraw("acme", own(2), NOW),
    ):
        with pytest.raises(NotFoundError):
            refused()
    told = read_statement(camt(Entry(own(1))))
    assert batches.take(told, merchant_id="globex", **HAND).became == ((own(1), "unknown"),)


async def test_a_failed_build_seals_nothing(rail: BankRail, batches: BankBatches) -> None:
    """Where a file cannot be built nothing is sealed, and the orders wait."""
    await rail.submit(attempt())
    with pytest.raises(RejectedError, match="over"):
        batches.seal("acme", "first", execution_on=date(2026, 11, 21), **HAND)
    assert batches.seal("acme", "first", execution_on=DAY, **HAND).payments == 1


async def test_a_statement_settles(rail: BankRail, batches: BankBatches) -> None:
    """A booked debit with our id and the amount settles the payout, once, and says where to look."""
    await sealed(rail, batches, 1, 2)
    applied = batches.take(read_statement(camt(Entry(own(1)), Entry("someone", reference="B9"))), **HAND)
    assert applied.became == ((own(1), "settled"), ("someone", "unknown"))
    assert [(hint.payout_id, hint.reference) for hint in applied.hints] == [(f"po_{1:016x}", own(1))]
    assert await rail.state(own(1)) == found("processed")
    assert await rail.state(own(2)) == found("in_transit", 2)
    # The same file again, and the statement after the notification, which has a reference of its own.
    for again in (camt(Entry(own(1))), camt(Entry(own(1), reference="STMT-7"), kind="camt.053.001.08")):
        applied = batches.take(read_statement(again), **HAND)
        assert (applied.became, applied.hints) == (((own(1), "known"),), ())


async def test_what_differs_changes_nothing(rail: BankRail, batches: BankBatches) -> None:
    """Another amount or another currency is shown to a person and changes nothing."""
    await sealed(rail, batches, 1)
    for entry in (Entry(own(1), amount="12.51"), Entry(own(1), currency="CHF")):
        applied = batches.take(read_statement(camt(entry)), **HAND)
        assert (applied.became, applied.hints) == (((own(1), "differs"),), ())
    assert await rail.state(own(1)) == found("in_transit")


async def test_what_was_booked_goes_into_no_batch_any_more(rail: BankRail, batches: BankBatches) -> None:
    """An order that waits and that the bank has booked was uploaded all the same: it is settled, and never sealed."""
    await rail.submit(attempt(3))
    short = read_statement(camt(Entry(own(3), amount="12.49")))
    assert batches.take(short, **HAND).became == ((own(3), "differs"),)
    assert batches.take(read_statement(camt(Entry(own(3)))), **HAND).became == ((own(3), "settled"),)
    assert await rail.state(own(3)) == found("processed", 3)
    with pytest.raises(RejectedError, match="waits"):
        batches.seal("acme", "first", execution_on=NOW.date(), by="lou", now=NOW)


async def test_what_comes_back_is_a_running_total(rail: BankRail, batches: BankBatches) -> None:
    """What came back is told in all: in parts, before it was booked, by two files, and never more than paid."""
    await sealed(rail, batches, 1, 2)
    back = {"direction": "CRDT", "back": "AC04"}
    both = camt(Entry(own(1), reference="R1", **back), Entry(own(1), reference="B1"))
    assert [what for _, what in batches.take(read_statement(both), **HAND).became] == ["settled", "returned"]
    assert await rail.state(own(1)) == found("returned", returned_minor=1250, code="AC04")
    again = camt(Entry(own(1), reference="STMT-R1", **back), kind="camt.053.001.08")
    assert batches.take(read_statement(again), **HAND).became == ((own(1), "known"),)
    for number, what in enumerate(("returned", "returned", "differs")):
        part = camt(Entry(own(2), amount="6.00", reference=f"P{number}", **back))
        assert batches.take(read_statement(part), **HAND).became == ((own(2), what),)
    assert await rail.state(own(2)) == found("processed", 2, returned_minor=1200, code="AC04")


async def test_a_refusal_releases_that_payout_only(rail: BankRail, batches: BankBatches) -> None:
    """A pain.002 ends the payments that it names; one that was booked is not ended by it."""
    batch = await sealed(rail, batches, 1, 2, 3)
    assert batches.take(read_statement(pain002(own(1))), **HAND).became == ((own(1), "rejected"),)
    assert await rail.state(own(1)) == found("failed", code="AC04")
    assert await rail.state(own(2)) == found("in_transit", 2)
    batches.take(read_statement(camt(Entry(own(2)))), **HAND)
    whole = batches.take(read_statement(pain002(message_id=batch.message_id, group="RJCT")), **HAND)
    assert dict(whole.became) == {own(1): "differs", own(2): "differs", own(3): "rejected"}


async def test_a_later_attempt_has_its_own_id(rail: BankRail, batches: BankBatches) -> None:
    """After a refusal the next attempt is another payment; while one is alive the look-up shows it."""
    await sealed(rail, batches, 1)
    assert await rail.look_up(attempt(1, 2)) == found("in_transit")
    batches.take(read_statement(pain002(own(1))), **HAND)
    assert await rail.look_up(attempt(1, 1)) == found("failed", code="AC04")
    assert await rail.look_up(attempt(1, 2)) == Missing()
    made = await rail.submit(attempt(1, 2))
    assert made.found.reference == f"{own(1)}A2"
    assert (await rail.look_up(attempt(1, 1))).reference == f"{own(1)}A2"
    await rail.submit(attempt(1, 3))
    assert await rail.look_up(attempt(1, 3)) == Several((f"{own(1)}A2", f"{own(1)}A3"))


async def test_by_hand_needs_a_reference_of_its_own(rail: BankRail, batches: BankBatches, orders: BankOrders) -> None:
    """A person settles a sealed order with a reference that settles no other; the same again changes nothing."""
    await rail.submit(attempt(3))
    with pytest.raises(ConflictError, match="waiting"):
        orders.settle_by_hand("acme", own(3), "R3", **HAND)
    await sealed(rail, batches, 1, 2)
    assert orders.settle_by_hand("acme", own(1), "R1", **HAND).became == ((own(1), "settled"),)
    assert orders.settle_by_hand("acme", own(1), "R1", **HAND).became == ((own(1), "known"),)
    with pytest.raises(ConflictError, match="another order"):
        orders.settle_by_hand("acme", own(2), "R1", **HAND)
    assert await rail.state(own(1)) == found("processed")
    assert await rail.state(own(2)) == found("in_transit", 2)


async def test_unsealing_needs_a_declaration(rail: BankRail, batches: BankBatches, orders: BankOrders) -> None:
    """A batch is opened again only by a declaration that it was not uploaded, and never once the bank told of it."""
    batch = await sealed(rail, batches, 1, 2)
    with pytest.raises(RejectedError, match="not uploaded"):
        orders.unseal("acme", batch.batch_id, declared="  ", **HAND)
    orders.unseal("acme", batch.batch_id, declared="lost the file", **HAND)
    with pytest.raises(ConflictError, match="before"):
        orders.unseal("acme", batch.batch_id, declared="lost the file", **HAND)
    assert orders.batch("acme", batch.batch_id).xml == batch.xml
    second = batches.seal("acme", "second", execution_on=DAY, **HAND)
    assert (second.payments, second.message_id == batch.message_id) == (2, False)
    batches.take(read_statement(camt(Entry(own(1)))), **HAND)
    with pytest.raises(ConflictError, match="told"):
        orders.unseal("acme", second.batch_id, declared="lost the file", **HAND)


async def test_only_what_waits_can_be_withdrawn(rail: BankRail, batches: BankBatches, orders: BankOrders) -> None:
    """An order in no batch can be taken back, and is then failed; one that is sealed cannot."""
    await rail.submit(attempt(1))
    hint = orders.withdraw("acme", own(1), NOW)
    assert hint.payout_id == f"po_{1:016x}"
    assert await rail.state(own(1)) == found("failed", code="withdrawn")
    await sealed(rail, batches, 2)
    with pytest.raises(ConflictError, match="sealed"):
        orders.withdraw("acme", own(2), NOW)


async def test_the_database_holds_no_account_in_clear(rail: BankRail, batches: BankBatches, database_url: str) -> None:
    """Neither IBAN nor name stands in the database, and a changed byte of a file is told, not handed out."""
    batch = await sealed(rail, batches, 1)
    with psycopg.connect(database_url) as conn:
        rows = conn.execute(
            "SELECT body::text FROM people.bank_orders UNION ALL SELECT xml::text FROM people.bank_batches"
        )
        text = "".join(bytes.fromhex(row[0][2:]).decode("latin-1") for row in rows)
        assert IBAN not in text
        assert "Lovelace" not in text
        conn.execute("UPDATE people.bank_batches SET xml = set_byte(xml, 60, get_byte(xml, 60) # 1)")
    with pytest.raises(CorruptionError):
        rail._orders.batch("acme", batch.batch_id)


async def test_a_database_that_is_away_is_unknown() -> None:
    """Where our own database does not answer the outcome is unknown, as with any provider."""
    ledger = Ledger("postgresql://127.0.0.1:1/x", hash_key=b"k" * 32)
    rail = BankRail(BankOrders(ledger, KeyRing([("k1", b"s" * 32)])))
    asked = await asyncio.gather(rail.submit(attempt()), rail.look_up(attempt()), rail.state("po1"))
    assert [type(each) for each in asked] == [Unknown] * 3
    ledger.close()
