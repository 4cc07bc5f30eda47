"""Bank transfers through the API: batches whose files never change, and what the bank tells by file."""

from hashlib import sha256
from io import BytesIO
from pathlib import Path

import psycopg
import pytest
import sepaxml
from lxml import etree

from consumers.rails.bank_statements import FILE_BYTES_MAX
from tests.support.api import PAYOUTS, running
from tests.support.bank import Entry, camt, pain002
from tests.support.payouts import earn, later, payouts, run, work

IBANS = ("NL91ABNA0417164300", "FR1420041010050500013M02606", "DE89370400440532013000")
SEAL = {"execution_on": "2026-11-24"}
XML = {"Content-Type": "application/xml"}


@pytest.fixture
async def api(database_url):
    """Yield the application with payouts by bank."""
    async with running(database_url) as found:
        yield found


async def waiting(api, *totals, of="acme"):
    """Let as many partners be paid by bank, and return their transfers, which wait, in order of the partners."""
    for number, total in enumerate(totals):
        code = f"{of}{number}".upper()
        partner = await api.partner(email=f"{code}@example.com", coupon_code=code, of=of)
        body = {"method": "bank", "name": "Ada Lovelace", "address": IBANS[number]}
        answer = await api.ask("PUT", f"/partners/{partner['id']}/payout-details", body, of=of)
        assert answer.status == 200, answer.text
        await earn(api, total, of=of, coupon_code=code, currency="EUR")
    await run(api, of=of)
    orders = (await api.get("/bank-orders", params={"state": "waiting"}, of=of)).json["data"]
    assert len(orders) == len(totals)
    return sorted(orders, key=lambda order: order["amount"]["amount"])


async def told(api, file, *, of="acme", headers=XML):
    """Return the answer to a file of the bank."""
    return await api.post("/bank-statements", of=of, data=file, headers=headers)


async def download(api, path, **options):
    """Return headers and bytes of a file."""
    address, headers = f"/api/v1{path}", {"Authorization": f"Bearer {api.keys['acme']}", **options}
    async with api.client.get(address, headers=headers) as response:
        return response.status, response.headers, await response.read()


async def test_a_batch_is_paid_as_its_files_say(api) -> None:
    """What waits is sealed once; the statement settles it, a return is owed again, a refusal is payable again."""
    orders = await waiting(api, "100.00", "200.00", "300.00")
    batch = await api.post("/bank-batches", SEAL, headers={"Idempotency-Key": "first"})
    assert (batch.status, batch.json["payments"], batch.json["amount"]) == (
        201, 3, {"amount": "60.00", "currency": "EUR"},
    )  # fmt: skip
    again = await api.post("/bank-batches", SEAL, headers={"Idempotency-Key": "first"})
    assert (again.json, again.headers["Idempotency-Replayed"]) == (batch.json, "true")
    nothing = await api.post("/bank-batches", SEAL)
    assert (nothing.status, nothing.code) == (422, "nothing_waits")

    paid, back, refused = orders
    later(api)
    file = camt(
        Entry(paid["id"], "10.00", reference="R1"), Entry(back["id"], "20.00", reference="R2"),
        Entry("SUPPLIER", "7.00"),
    )  # fmt: skip
    answer = await told(api, file)
    assert (answer.status, answer.json["counts"]) == (200, {"settled": 2, "unknown": 1})
    assert answer.json["sha256"] == sha256(file).hexdigest()
    assert {each["payout_id"] for each in answer.json["results"]} == {paid["payout_id"], back["payout_id"], None}
    assert (await told(api, pain002(refused["id"]))).json["results"][0]["became"] == "rejected"
    await work(api)
    returned = camt(Entry(back["id"], "20.00", direction="CRDT", back="AC04", reference="R3"))
    assert (await told(api, returned)).json["counts"] == {"returned": 1}
    later(api)
    await work(api)
    found = {each["id"]: each["status"] for each in await payouts(api)}
    assert [found[each["payout_id"]] for each in orders] == ["processed", "returned", "failed"]
    shown = (await api.get(f"/bank-batches/{batch.json['id']}")).json
    assert shown["orders"] == {"rejected": 1, "returned": 1, "settled": 1}
    headers = XML | {"Idempotency-Key": "monday"}
    again = await told(api, file, headers=headers)
    assert again.json["counts"] == {"known": 2, "unknown": 1}
    assert (await told(api, file, headers=headers)).headers["Idempotency-Replayed"] == "true"
    assert (await told(api, returned, headers=headers)).code == "idempotency_key_reused"


async def test_files_are_the_same_for_ever(api) -> None:
    """A download again is the same bytes, with their hash; pain.001 is valid by its XSD for a second validator."""
    orders = await waiting(api, "100.00", "200.00")
    batch = (await api.post("/bank-batches", SEAL)).json
    place = f"/bank-batches/{batch['id']}"
    status, headers, xml = await download(api, f"{place}.xml")
    assert (status, sha256(xml).hexdigest()) == (200, batch["xml_sha256"])
    assert headers["ETag"] == f'"{batch["xml_sha256"]}"'
    assert headers["Content-Disposition"] == f'attachment; filename="{batch["id"]}.xml"'
    schema = Path(sepaxml.__file__).parent / "schemas/pain.001.001.09.xsd"
    etree.XMLSchema(etree.parse(schema)).assertValid(etree.fromstring(xml))
    later(api)
    assert (await download(api, f"{place}.xml"))[2] == xml
    assert (await download(api, f"{place}.xml", **{"If-None-Match": headers["ETag"]}))[::2] == (304, b"")
    csv = (await download(api, f"{place}.csv"))[2]
    assert sha256(csv).hexdigest() == batch["csv_sha256"]
    for each in orders:
        assert each["id"].encode() in xml
        assert each["id"].encode() in csv


async def test_where_accounts_are_told(api) -> None:
    """Only the two files of a batch have accounts in them: no other answer, and nothing in the database in clear."""
    await waiting(api, "100.00")
    batch = (await api.post("/bank-batches", SEAL)).json
    answers = [(await api.get(each)).text for each in ("/bank-orders", "/bank-batches", f"/bank-batches/{batch['id']}")]
    answers += [(await api.get(f"/{name}.{end}")).text for name in ("bank-orders", "bank-batches") for end in ("csv",)]
    with psycopg.connect(api.database_url) as conn:
        answers += [
            str(conn.execute("SELECT string_agg(t::text, '') FROM people.bank_orders AS t").fetchone()),
            str(conn.execute("SELECT string_agg(t::text, '') FROM people.bank_batches AS t").fetchone()),
        ]
    assert [word for word in (IBANS[0], "Lovelace") for text in answers if word in text] == []


async def test_unsealing_needs_a_declaration(api) -> None:
    """Without one it is 422; with one all waits again, once; never once the bank told of a payment in it."""
    (order,) = await waiting(api, "100.00")
    batch = (await api.post("/bank-batches", SEAL)).json
    place = f"/bank-batches/{batch['id']}/unseal"
    for body in ({}, {"declared": ""}, {"declared": "  "}):
        answer = await api.post(place, body)
        assert (answer.status, answer.json["errors"][0]["path"]) == (422, "$.declared")
    undone = await api.post(place, {"declared": "Ann saw that the portal refused it"})
    assert (undone.json["status"], undone.json["declared"]) == ("unsealed", "Ann saw that the portal refused it")
    assert (await api.post(place, {"declared": "again"})).code == "unsealed_before"
    assert (await download(api, f"/bank-batches/{batch['id']}.xml"))[0] == 200
    second = (await api.post("/bank-batches", SEAL)).json
    assert second["message_id"] != batch["message_id"]
    await told(api, camt(Entry(order["id"], "10.00")))
    answer = await api.post(f"/bank-batches/{second['id']}/unseal", {"declared": "I think so"})
    assert (answer.status, answer.code) == (409, "bank_knows_it")
    listed = await api.get("/bank-batches", params={"status": "unsealed"})
    assert [each["id"] for each in listed.json["data"]] == [batch["id"]]


async def test_what_waits_can_be_withdrawn(api) -> None:
    """A transfer in no batch is taken back, and its payout is payable again; one in a batch is not."""
    first, second = await waiting(api, "100.00", "200.00")
    taken = await api.post(f"/bank-orders/{first['id']}/withdraw")
    assert (taken.status, taken.json["state"], taken.json["code"]) == (200, "rejected", "withdrawn")
    await api.post("/bank-batches", SEAL)
    answer = await api.post(f"/bank-orders/{second['id']}/withdraw")
    assert (answer.status, answer.code) == (409, "not_waiting")
    later(api)
    await work(api)
    found = {each["id"]: each["status"] for each in await payouts(api)}
    assert (found[first["payout_id"]], found[second["payout_id"]]) == ("failed", "submitted")


async def test_a_person_settles_by_hand(api) -> None:
    """What somebody saw on the statement settles a payment under a reference that no other has; the same again too."""
    first, second = await waiting(api, "100.00", "200.00")
    assert (await api.post(f"/bank-orders/{first['id']}/settle", {"reference": "R1"})).code == "not_sealed"
    await api.post("/bank-batches", SEAL)
    for _ in range(2):
        settled = await api.post(f"/bank-orders/{first['id']}/settle", {"reference": "R1"})
        assert (settled.status, settled.json["state"], settled.json["reference"]) == (200, "settled", "R1")
    assert (await api.post(f"/bank-orders/{second['id']}/settle", {"reference": "R1"})).code == "reference_used"
    for reference in ("", "a\nb", " x", "x" * 129):
        answer = await api.post(f"/bank-orders/{second['id']}/settle", {"reference": reference})
        assert (answer.status, answer.json["errors"][0]["path"]) == (422, "$.reference")
    later(api)
    await work(api)
    found = {each["id"]: each["status"] for each in await payouts(api)}
    assert (found[first["payout_id"]], found[second["payout_id"]]) == ("processed", "submitted")


async def test_what_does_not_fit_changes_nothing(api) -> None:
    """Another amount or currency, or a payment in no batch, is told first, and the payment stays as it was."""
    order, waits = await waiting(api, "100.00", "200.00")
    await api.post(f"/bank-orders/{waits['id']}/withdraw")
    await api.post("/bank-batches", SEAL)
    wrong = camt(Entry("OTHER"), Entry(order["id"], "10.01"), Entry(order["id"], "10.00", currency="USD"))
    answer = (await told(api, wrong)).json
    assert [each["became"] for each in answer["results"]] == ["differs", "differs", "unknown"]
    assert (await api.get("/bank-orders", params={"payout_id": order["payout_id"]})).json["data"][0][
        "state"
    ] == "sealed"


async def test_hints_are_kept_with_what_they_are_about(api) -> None:
    """The hint to look at a payout is written in the transaction of the movement: a stop behind it loses nothing."""
    (order,) = await waiting(api, "100.00")
    await api.post("/bank-batches", SEAL)
    await told(api, camt(Entry(order["id"], "10.00", reference="R1")))
    with psycopg.connect(api.database_url) as conn:
        kept = conn.execute("SELECT payout_id, reference FROM ledger.payout_hints").fetchall()
    assert kept == [(order["payout_id"], order["id"])]


BOMB = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;">]><a>&lol2;</a>"""
OUTSIDE = b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>"""
REFUSED = [
    (BOMB, "bad_xml", "$"), (OUTSIDE, "bad_xml", "$"), (b"", "bad_xml", "$"), (b"no xml", "bad_xml", "$"),
    (b"\xff\xfe\x00", "bad_xml", "$"), (b"<Document><BkToCstmrStmt>" + b"<a>" * 100, "bad_xml", "$"),
    (b"<Document/>", "unknown_document", "$"), (b"<html><body/></html>", "unknown_document", "$"),
    (camt(Entry("po1", "1e3")), "not_a_decimal", "$.Ntry[0].Amt"),
]  # fmt: skip


async def test_files_that_no_bank_sends_are_refused(api) -> None:
    """Bombs, external entities, nesting, other documents, wrong amounts: 422 with code, path and reason."""
    for file, code, path in REFUSED:
        answer = await told(api, file)
        assert (answer.status, answer.code) == (422, code), answer.text
        assert [each["path"] for each in answer.json["errors"]] == [path]
        assert answer.json["errors"][0]["message"]
        assert "root:" not in answer.text
    answer = await told(api, camt(), headers={"Content-Type": "application/json"})
    assert (answer.status, answer.code) == (415, "unsupported_media_type")
    headers = XML | {"Content-Length": str(FILE_BYTES_MAX + 1)}
    assert (await told(api, BytesIO(b" " * (FILE_BYTES_MAX + 1)), headers=headers)).status == 413


async def test_a_wrong_day_is_refused(api) -> None:
    """A day that is over, one that is too far away, and what is no day are 422 at `$.execution_on`."""
    await waiting(api, "100.00")
    for day, code in (("2026-11-21", "past_date"), ("2027-11-22", "far_date"), ("soon", "not_a_date")):
        answer = await api.post("/bank-batches", {"execution_on": day})
        assert answer.status == 422
        assert [(each["path"], each["code"]) for each in answer.json["errors"]] == [("$.execution_on", code)]


async def test_each_merchant_has_its_own(api) -> None:
    """Nobody sees, seals, settles or refuses another merchant's transfers, also not by refusing its whole message."""
    (order,) = await waiting(api, "100.00")
    batch = (await api.post("/bank-batches", SEAL)).json
    await waiting(api, "50.00", of="zenith")
    for name in ("", ".xml", ".csv"):
        assert (await api.get(f"/bank-batches/{batch['id']}{name}", of="zenith")).status == 404
    hers = await told(api, pain002(message_id=batch["message_id"], group="RJCT"), of="zenith")
    assert hers.json["results"] == []
    hers = await told(api, camt(Entry(order["id"], "10.00")), of="zenith")
    assert [(each["became"], each["payout_id"]) for each in hers.json["results"]] == [("unknown", None)]
    mine = await told(api, pain002(message_id=batch["message_id"], group="RJCT"))
    assert mine.json["counts"] == {"rejected": 1}


async def test_without_an_account_there_is_no_bank(database_url) -> None:
    """Where the operator has set up no account that pays, sealing and statements say so."""
    none = PAYOUTS.model_copy(update={"bank_debtor_iban": None})
    async with running(database_url, payouts=none) as api:
        for answer in (await api.post("/bank-batches", SEAL), await told(api, camt())):
            assert (answer.status, answer.code) == (409, "rail_not_there")
        assert (await api.get("/bank-batches")).json["data"] == []
