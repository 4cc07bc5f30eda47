"""Payouts are compared with what the providers have: what differs is found, kept, and told; nothing is decided."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from consumers.health import Health
from consumers.payout_reconciliation import reconcile
from consumers.payout_reconciling import PayoutReconciling
from ledger.payout_findings import Counts
from ledger.payout_store import Hint
from schemas.errors import ConflictError, NotFoundError, RejectedError
from tests.support.doubles.faults import FAULTS
from tests.support.payout_office import QUIET, Office, town

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@pytest.fixture
async def office(database_url):
    """Yield an office with both providers."""
    async with town(database_url) as found:
        yield found


def told(report):
    """Return what is open, in words."""
    return [(kept.finding.kind, kept.finding.reason, kept.finding.partner_id) for kept in report.open]


async def test_what_agrees_is_matched(office: Office) -> None:
    """Payouts that a provider has as we do are matched, also beyond the edge of the time that is asked for."""
    for partner, rail in (("ada", "stripe"), ("bob", "paypal"), ("eve", "stripe")):
        office.earn(partner)
        await office.pay(f"run-{partner}", {partner: rail})
    office.paypal.move("ITEM1", "SUCCESS")
    await office.work(HOUR)
    for rail, matched in (("stripe", 2), ("paypal", 1)):
        report = await office.compare(rail)
        assert (report.complete, report.counts, report.open) == (True, Counts(matched=matched), [])
    # The transfers were made before the time that is asked for; what happened to the payouts was in it.
    report = await reconcile(
        office.paying, "stripe", office.clock.now - HOUR, office.clock.now, office.clock.now + timedelta(seconds=1)
    )
    assert report.counts == Counts(matched=2)


async def test_what_only_we_know_of(office: Office) -> None:
    """A payout that its provider does not show is found once, and agrees again when it does."""
    office.earn("ada")
    await office.pay("run", {"ada": "stripe"})
    hidden = office.stripe.transfers.pop()
    for _ in range(2):
        report = await office.compare("stripe")
        assert (told(report), report.counts) == ([("ours_only", "not_shown", "ada")], Counts(ours_only=1))
        office.pass_time(HOUR)
    office.stripe.transfers.append(hidden)
    report = await office.compare("stripe")
    assert (report.open, report.resolved, report.counts) == ([], 1, Counts(matched=1))


async def test_what_only_they_know_of_freezes_its_partner(office: Office) -> None:
    """A payment that is on no books stops the payouts of the partner whose it is, until somebody says what it was."""
    office.earn("ada")
    await office.pay("run", {"ada": "stripe"})
    lost = office.stripe.transfers[0]
    told_of = {"payout_id": "po_00000000000000ff", "merchant_id": "acme", "partner_id": "ada", "attempt": "1"}
    office.stripe.transfers.append(lost | {"id": "tr_9", "metadata": told_of})
    report = await office.compare("stripe")
    assert told(report) == [("theirs_only", "not_in_books", "ada")]
    assert (office.frozen("ada"), report.counts) == ("theirs_only", Counts(matched=1, theirs_only=1))
    office.earn("ada", 2_000)
    office.request("later", {"ada": "stripe"})
    await office.work()
    assert len(office.stripe.transfers) == 2
    # It does not go away by itself, however long it lies back.
    office.pass_time(40 * DAY)
    assert told(await office.compare("stripe")) == [("theirs_only", "not_in_books", "ada")]


async def test_a_finding_is_resolved_by_a_declaration(office: Office) -> None:
    """Whoever finds out what it was declares it, once: it stays resolved, and freezes nobody any more."""
    told_of = {"payout_id": "po_00000000000000ff", "merchant_id": "acme", "partner_id": "ada"}
    office.earn("ada")
    await office.pay("run", {"ada": "stripe"})
    office.stripe.transfers.append(office.stripe.transfers[0] | {"id": "tr_9", "metadata": told_of})
    (kept,) = (await office.compare("stripe")).open
    findings, now = office.paying.findings, office.clock.now
    with pytest.raises(NotFoundError):
        findings.resolve(kept.finding_id, declared="mine", by="user/zoe", now=now, merchant_id="zenith")
    for _ in range(2):
        resolved = findings.resolve(kept.finding_id, declared="paid by hand", by="lou", now=now, merchant_id="acme")
        assert (resolved.declared, resolved.resolved_by) == ("paid by hand", "lou")
    with pytest.raises(ConflictError):
        findings.resolve(kept.finding_id, declared="something else", by="user/lou", now=now)
    assert office.frozen("ada") == "theirs_only"
    office.paying.books.store.unfreeze("acme", "ada")
    office.pass_time(HOUR)
    assert (await office.compare("stripe")).open == []
    assert office.frozen("ada") is None


async def test_a_transfer_of_somebody_else_is_the_operators(office: Office) -> None:
    """A transfer that names no payout of ours belongs to no merchant, and freezes nobody."""
    office.earn("ada")
    await office.pay("run", {"ada": "stripe"})
    foreign = {"id": "tr_9", "metadata": {"merchant_id": "acme", "partner_id": "ada"}, "transfer_group": None}
    office.stripe.transfers.append(office.stripe.transfers[0] | foreign)
    (kept,) = (await office.compare("stripe")).open
    assert (kept.finding.reason, kept.finding.merchant_id, office.frozen("ada")) == ("not_ours", None, None)
    office.stripe.reverse("tr_9")
    office.pass_time(HOUR)
    assert (await office.compare("stripe")).open == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"amount": 999}, "amount"), ({"currency": "eur"}, "currency"), ({"destination": "acct_bob"}, "payee")],
)
async def test_what_differs_is_found_and_alarms(office: Office, change: dict[str, object], reason: str) -> None:
    """Another amount, currency or payee than ours is found, and the saga freezes the partner."""
    office.earn("ada")
    ids = await office.pay("run", {"ada": "stripe"})
    office.stripe.transfers[0].update(change)
    report = await office.compare("stripe")
    assert (told(report), report.hints) == ([("differing", reason, "ada")], 1)
    await office.work()
    assert (office.frozen("ada"), office.payout(ids["ada"]).contradictions) == ("differs", (("differs", ("tr_1",)),))


async def test_two_payments_for_one_payout(office: Office) -> None:
    """Two payments for one payout are several, whatever attempt or hand they are of."""
    office.earn("ada")
    ids = await office.pay("run", {"ada": "stripe"})
    office.stripe.transfers.append(office.stripe.transfers[0] | {"id": "tr_2"})
    report = await office.compare("stripe")
    assert (told(report), report.counts) == ([("several", "several", "ada")], Counts(several=1))
    await office.work()
    assert (office.frozen("ada"), len(office.payout(ids["ada"]).contradictions)) == ("several", 1)


async def test_what_the_books_can_learn_is_a_hint_for_the_saga(office: Office) -> None:
    """A payment whose answer was lost, and money that came back, are no findings: the saga adopts them."""
    office.stripe.faults.append(replace(FAULTS["time-out"], of="POST"))
    office.earn("ada")
    ids = await office.pay("run", {"ada": "stripe"})
    assert office.payout(ids["ada"]).state == "submitting"
    report = await office.compare("stripe")
    assert (report.counts, report.hints, report.open) == (Counts(matched=1), 1, [])
    await office.work()
    assert office.payout(ids["ada"]).state == "processed"
    office.stripe.reverse("tr_1", 250)
    office.pass_time(HOUR)
    assert (await office.compare("stripe")).hints == 1
    await office.work()
    assert office.payout(ids["ada"]).returned_minor == 250
    office.pass_time(HOUR)
    assert (await office.compare("stripe")).hints == 0


async def test_what_failed_and_was_paid_all_the_same(office: Office) -> None:
    """A payment of a payout that failed is a difference, and the saga raises the alarm."""
    office.stripe.balance["usd"] = 0
    office.earn("ada")
    ids = await office.pay("run", {"ada": "stripe"})
    assert office.payout(ids["ada"]).state == "failed"
    office.stripe.balance["usd"] = 10**9
    office.earn("bob")
    await office.pay("other", {"bob": "stripe"})
    paid = office.stripe.transfers[0]
    metadata = paid["metadata"] | {"payout_id": ids["ada"], "partner_id": "ada"}
    changes = {"id": "tr_8", "metadata": metadata, "destination": "acct_ada", "transfer_group": f"payout_{ids['ada']}"}
    office.stripe.transfers.append(paid | changes)
    assert told(await office.compare("stripe")) == [("differing", "paid_after_all", "ada")]
    await office.work()
    assert office.frozen("ada") == "processed_after_failed"


@pytest.mark.parametrize("name", ["500", "time-out", "429", "cut body"])
async def test_a_provider_that_does_not_answer_makes_it_incomplete(office: Office, name: str) -> None:
    """What a provider did not answer is neither matched nor resolved; it is asked again soon, and says so."""
    office.earn("ada")
    await office.pay("run", {"ada": "stripe"})
    hidden = office.stripe.transfers.pop()
    assert len((await office.compare("stripe", days=1)).open) == 1
    office.stripe.transfers.append(hidden)
    office.pass_time(HOUR)
    office.stripe.faults.extend(replace(FAULTS[name]) for _ in range(99))
    report = await office.compare("stripe", days=1)
    assert (report.complete, report.counts, len(report.open), report.resolved) == (False, Counts(), 1, 0)
    office.stripe.faults.clear()
    office.pass_time(HOUR)
    assert (await office.compare("stripe", days=1)).counts == Counts(matched=1)


async def test_a_piece_of_the_list_is_asked_for_again(office: Office) -> None:
    """One fault in the middle of a long list costs one more question, and nothing else."""
    office.earn("ada")
    await office.pay("run", {"ada": "stripe"})
    office.stripe.faults.append(replace(FAULTS["500"]))
    assert (await office.compare("stripe", days=3)).counts == Counts(matched=1)


async def test_long_lists_and_clocks_that_differ(office: Office) -> None:
    """Pages follow on each other, each payment is taken once, and a provider's clock may be ahead of ours."""
    office.earn("ada")
    await office.pay("run", {"ada": "stripe"})
    made = office.stripe.transfers[0]
    early = [made | {"id": f"tr_f{number}", "metadata": {}} for number in range(230)]
    ahead = int((office.clock.now + timedelta(minutes=30)).timestamp())
    office.stripe.transfers += [*early, made | {"id": "tr_ahead", "metadata": {}, "created": ahead}]
    report = await office.compare("stripe", days=1)
    assert report.counts == Counts(matched=1, theirs_only=231)


async def test_paypal_is_asked_payout_by_payout(office: Office) -> None:
    """PayPal has no list: each payout is looked up by its batch, in every state that it can be in."""
    for partner in ("ada", "bob", "eve"):
        office.earn(partner)
        await office.pay(f"run-{partner}", {partner: "paypal"})
    for item in ("ITEM1", "ITEM2", "ITEM3"):
        office.paypal.move(item, "SUCCESS")
    await office.work(HOUR)
    office.paypal.move("ITEM1", "FAILED")
    office.paypal.move("ITEM2", "REVERSED")
    report = await office.compare("paypal")
    assert told(report) == [("differing", "not_paid", "ada")]
    assert (report.counts, report.hints) == (Counts(matched=2, differing=1), 2)
    await office.work()
    assert (office.frozen("ada"), office.states()["bob"]) == ("failed_after_processed", ["returned"])


async def test_a_webhook_of_a_payout_that_we_do_not_know(office: Office) -> None:
    """PayPal's word of a payout that is on no books shows it as theirs only, and freezes whoever a run names for it."""
    office.earn("ada")
    ids = await office.pay("run", {"ada": "paypal"})
    item = office.paypal.items[0]
    item["payout_item"] = item["payout_item"] | {"sender_item_id": "po_00000000000000ff"}
    store = office.paying.books.store
    store.keep_hint(Hint("paypal", "WH-1", "po_00000000000000ff", "BATCH1"), office.clock.now)
    store.keep_hint(Hint("paypal", "WH-2", ids["ada"], "BATCH1"), office.clock.now)
    report = await office.compare("paypal")
    (kept,) = report.open
    assert (kept.finding.reason, kept.finding.payout_id) == ("not_in_books", "po_00000000000000ff")
    assert kept.finding.merchant_id is None


async def test_every_rail_once_a_day_in_one_worker(office: Office) -> None:
    """Of all workers one compares a rail, once a day, and sooner where it was not complete; people are told."""
    office.earn("ada")
    await office.pay("run", {"ada": "stripe"})
    office.stripe.transfers.pop()
    health = Health("broker")
    health.up("broker")
    workers = [PayoutReconciling(office.paying, health, lambda: office.clock.now) for _ in range(3)]
    reports = await asyncio.gather(*(worker.work() for worker in workers))
    assert sorted(report.rail for some in reports for report in some) == ["bank", "paypal", "stripe"]
    await workers[0].work()
    assert "1 findings are open: pf_" in health.alive()["look_into"]["reconciliation"]
    assert health.ready
    office.pass_time(DAY - HOUR)
    assert await workers[0].work() == []
    office.pass_time(HOUR)
    office.stripe.faults.extend(replace(FAULTS["500"]) for _ in range(200))
    assert [report.complete for report in await workers[1].work()] == [True, True, False]
    office.stripe.faults.clear()
    office.pass_time(timedelta(minutes=15))
    assert [report.rail for report in await workers[2].work()] == ["stripe"]


async def test_what_cannot_be_compared(office: Office) -> None:
    """Payouts by hand, a rail without keys, and a time that ends before it begins are refused with a reason."""
    now = office.clock.now
    for rail, code in (("manual", "nothing_to_compare"), ("gold", "unknown_rail"), ("stripe", "bad_time")):
        with pytest.raises(RejectedError) as caught:
            await reconcile(office.paying, rail, now, now, now)
        assert caught.value.code == code
    assert QUIET
