"""Bank transfers and reconciliation as pages: sealed into a file, uploaded by a person, settled by the bank's own."""

from hashlib import sha256

from tests.support import payouts, uploads, visitors
from tests.support.api import kept_up
from tests.support.bank import Entry, camt
from tests.support.paying_program import IBANS, paying_program

HOSTILE = '"><script>alert(1)</script>'


async def by_bank(api, *, partners=2):
    """Give acme partners who are paid by bank transfer, 10.00 EUR each, and run; return the orders' ids."""
    for number in range(partners):
        told = {"name": f"Holder {number}", "email": f"h{number}@example.com", "coupon_code": f"H{number}"}
        made = await api.partner(**told)
        await payouts.payable_to(api, made["id"], "bank", IBANS[number], name=f"Holder {number}")
        await payouts.earn(api, "100.00", coupon_code=f"H{number}", currency="EUR")
    await payouts.run(api)
    return [order["id"] for order in (await api.get("/bank-orders")).json["data"]]


async def test_a_batch_is_sealed_and_its_files_are_the_api_s(api, owner):
    """What waits becomes one file; it downloads byte for byte as the API gives it, as often as one likes."""
    ids = await by_bank(api)
    page = await owner.get("/payouts/bank")
    waiting = page.said("section[aria-labelledby=waiting] tbody code")
    assert sorted(waiting) == sorted(ids)
    assert "2 bank transfers wait for a batch" in (await owner.get("/payouts")).words
    refused = await owner.submit(page, "form.seal", execution_on="2026-11-01")
    assert (refused.status, bool(refused.one("#fault-bank-execution_on").get_text())) == (422, True)
    batch = await owner.submit(refused, "form.seal", execution_on="2026-11-25")
    assert batch.said("main > [role=status]")[0].startswith("Sealed. Download one")
    assert sorted(batch.said("section[aria-labelledby=orders] tbody th")) == sorted(ids)
    here = batch.address.partition("?")[0]
    for kind in ("xml", "csv"):
        own = await owner.get(f"{here}.{kind}")
        api_s = await api.get(f"/bank-batches/{here.rpartition('/')[2]}.{kind}")
        assert own.text == api_s.text == (await owner.get(f"{here}.{kind}")).text
        assert sha256(own.text.encode()).hexdigest() in batch.words
        assert own.headers["Content-Disposition"].startswith("attachment")
    assert "Nothing waits" in (await owner.get("/payouts/bank")).words
    again = await owner.submit(refused, "form.seal", execution_on="2026-11-25")
    assert again.address == batch.address
    assert "DE89370400440532013000" not in batch.text


async def test_a_batch_is_opened_again_only_by_a_declaration(api, owner):
    """Who knows that it was not uploaded says how; its file is not offered any more, and its payments wait again."""
    ids = await by_bank(api)
    batch = await owner.submit(await owner.get("/payouts/bank"), "form.seal", execution_on="2026-11-25")
    refused = await owner.submit(batch, "form[action$='/unseal']")
    assert (refused.status, bool(refused.one("#fault-unseal-declared").get_text())) == (422, True)
    assert "every payment in it is paid twice" in refused.words
    done = await owner.submit(refused, "form[action$='/unseal']", declared=HOSTILE)
    assert sorted(done.said("section[aria-labelledby=waiting] tbody code")) == sorted(ids)
    seen = await owner.get(batch.address.partition("?")[0])
    assert ("<script>alert" in seen.text, HOSTILE in seen.words, "Do not upload its file" in seen.words) == (
        False, True, True,
    )  # fmt: skip
    assert seen.soup.select("a[download]") == []


async def test_the_bank_s_file_settles_and_names_what_does_not_fit(api, owner):
    """Each movement says what became of it, first what a person has to look at; the same file again changes nothing."""
    first, second = await by_bank(api)
    await owner.submit(await owner.get("/payouts/bank"), "form.seal", execution_on="2026-11-25")
    entries = (
        Entry(first, "10.00", reference="B-1"), Entry(second, "11.00", reference="B-2"),
        Entry("nobodys", "1.00", reference="B-3"),
    )  # fmt: skip
    page = await owner.get("/payouts/bank")
    told = await uploads.send(owner, page, f"{HOSTILE}.xml", camt(*entries))
    assert told.status == 200
    assert "<script>alert" not in told.text
    found = {row[0]: row[1] for row in cells(told)}
    assert found[first] == "✓ paid"
    assert found[second] == "! not as it was ordered: nothing was changed, look at it"
    assert found["nobodys"] == "! no payment of yours: nothing was changed"
    assert "2 movements do not fit" in told.words
    await payouts.work(api)
    assert "paid" in (await owner.get("/payouts/all?status=processed")).words
    again = await uploads.send(owner, page, "same.xml", camt(*entries))
    assert {row[0]: row[1] for row in cells(again)}[first] == "known already"
    bomb = b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'
    for name, content in (("bomb.xml", bomb), ("empty.xml", b""), ("no.xml", b"\xff\xfe"), ("", b"")):
        refused = await uploads.send(owner, page, name, content)
        assert refused.status == 422, name
        assert refused.one("#fault-file").get_text(), name


def cells(page):
    """Return the cells of the movements."""
    rows = page.soup.select("section[aria-label=Movements] tbody tr")
    return [[" ".join(cell.get_text(" ").split()) for cell in row.select("th, td")] for row in rows]


async def test_an_order_that_is_in_no_file_is_taken_back(api, owner):
    """Then its payout fails, and what it would have paid is payable again."""
    (only,) = await by_bank(api, partners=1)
    page = await owner.get("/payouts/bank")
    done = await owner.submit(page, f"form[action='/payouts/bank/orders/{only}/withdraw']")
    assert done.said("main > [role=status]")[0].startswith("Taken back.")
    payouts.later(api)
    await payouts.work(api)
    assert "Nothing waits" in (await owner.get("/payouts/bank")).words
    assert (await api.get("/payouts?status=failed")).json["data"]


async def test_another_s_batches_are_as_none_at_all(api, owner):
    """Batches, files and orders of another merchant are 404, to look at and to move."""
    (only,) = await by_bank(api, partners=1)
    batch = await owner.submit(await owner.get("/payouts/bank"), "form.seal", execution_on="2026-11-25")
    here = batch.address.partition("?")[0]
    other = await visitors.user(api, merchant="zenith")
    page = await other.get("/payouts/bank")
    csrf = {"csrf": str(page.one(".who [name=csrf]")["value"]), "once": "x", "declared": "d"}
    for address in (here, f"{here}.xml", f"{here}.csv", "/payouts/bank/bb_0", "/payouts/bank/bb_0.xml"):
        assert (await other.get(address)).status == 404, address
    for address in (f"{here}/unseal", f"/payouts/bank/orders/{only}/withdraw", "/payouts/bank/orders/none/withdraw"):
        assert (await other.post(address, csrf)).status == 404, address
    manager = await visitors.user(api, role="manager")
    for address in (here, f"{here}.xml", "/payouts/bank"):
        assert (await manager.get(address)).status == 403, address


async def test_what_does_not_agree_is_told_and_settled_by_a_declaration(database_url):
    """A payment that the provider does not show is told in words, with what to do; settled, it is closed."""
    async with paying_program(database_url) as program, kept_up(database_url):
        api = program.api
        jane = (await api.partner())["id"]
        await payouts.payable_to(api, jane, "stripe", program.stripe.account("acct_jane"))
        await payouts.earn(api, "100.00")
        await payouts.run(api)
        program.stripe.transfers.clear()
        await program.compare("stripe")
        owner, viewer = await visitors.user(api), await visitors.user(api, role="viewer")
        assert "1 difference to a provider" in (await owner.get("/payouts")).words
        assert "1 difference" in (await owner.get("/overview")).words
        page = await viewer.get("/payouts/reconciliation")
        assert "the provider has no such payment" in page.words
        assert page.soup.select("main form") == []
        page = await owner.get("/payouts/reconciliation")
        refused = await owner.submit(page, "form[action$='/resolve']")
        assert (refused.status, len(refused.soup.select(".fault"))) == (422, 1)
        done = await owner.submit(refused, "form[action$='/resolve']", declared=HOSTILE)
        assert ("<script>alert" in done.text, "All of it agrees" in done.words) == (False, True)
        assert HOSTILE in done.one("#settled").get_text()
