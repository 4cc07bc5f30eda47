"""The files for a bank, and those of a bank: what is written, what is read, what is refused."""

import csv
import io
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import sepaxml
from lxml import etree

from consumers.rails import bank_statements
from consumers.rails.bank_file import Debtor, Files, Payment, build, checked_payment
from consumers.rails.bank_statements import FILE_BYTES_MAX, Movement, Statement, read_statement
from schemas.bank_accounts import checked_bic, checked_iban, checked_name
from schemas.errors import RejectedError
from tests.support.bank import Entry, camt, pain002

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = date(2026, 11, 24)
DEBTOR = Debtor("Müller & Söhne GmbH", "DE89 3704 0044 0532 0130 00", "COBADEFFXXX")
ADA = Payment("po0123456789abcdef", 1250, "EUR", "NL91ABNA0417164300", "Ada Lovelace", "ABNANL2A")
ELODIE = Payment("po1123456789abcdef", 5, "EUR", "FR1420041010050500013M02606", "Élodie Brûlé")
NAMES = {"p": "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"}


def files(*payments: Payment, execution_on: date = DAY, message_id: str = "bb0123456789abcdef") -> Files:
    """Return the files of a batch of these payments."""
    return build(payments, DEBTOR, message_id=message_id, sealed_at=NOW, execution_on=execution_on)


def test_a_file_is_the_same_for_ever() -> None:
    """The same payments, in whichever order, are the same bytes."""
    assert files(ADA, ELODIE) == files(ELODIE, ADA)
    assert files(ADA) != files(ADA, message_id="bbother")


def test_a_second_validator_agrees() -> None:
    """The file is valid by the XSD of ISO 20022 for libxml2 too, and reads back equal."""
    root = etree.fromstring(files(ADA, ELODIE).xml)
    schema = Path(sepaxml.__file__).parent / "schemas/pain.001.001.09.xsd"
    etree.XMLSchema(etree.parse(schema)).assertValid(root)
    read = [
        (
            each.findtext("p:PmtId/p:EndToEndId", namespaces=NAMES),
            each.findtext("p:Amt/p:InstdAmt", namespaces=NAMES),
            each.find("p:Amt/p:InstdAmt", NAMES).get("Ccy"), each.findtext("p:Cdtr/p:Nm", namespaces=NAMES),
            each.findtext("p:CdtrAcct/p:Id/p:IBAN", namespaces=NAMES),
            each.findtext("p:CdtrAgt/p:FinInstnId/p:BICFI", namespaces=NAMES),
        )
        for each in root.iterfind(".//p:CdtTrfTxInf", NAMES)
    ]  # fmt: skip
    assert read == [
        (ADA.end_to_end_id, "12.50", "EUR", "Ada Lovelace", ADA.iban, ADA.bic),
        (ELODIE.end_to_end_id, "0.05", "EUR", "Elodie Brule", ELODIE.iban, None),
    ]
    told = {
        name: root.findtext(f".//p:{name}", namespaces=NAMES) for name in ("MsgId", "CreDtTm", "CtrlSum", "NbOfTxs")
    }
    assert told == {
        "MsgId": "bb0123456789abcdef", "CreDtTm": "2026-11-22T12:00:00Z", "CtrlSum": "12.55", "NbOfTxs": "2",
    }  # fmt: skip
    assert root.findtext(".//p:BtchBookg", namespaces=NAMES) == "false"


def test_the_csv_says_the_same() -> None:
    """The CSV has the same payments."""
    rows = list(csv.DictReader(io.StringIO(files(ADA, ELODIE).csv.decode(), newline="")))
    assert [(row["end_to_end_id"], row["amount"], row["iban"], row["execution_on"]) for row in rows] == [
        (ADA.end_to_end_id, "12.50", ADA.iban, "2026-11-24"),
        (ELODIE.end_to_end_id, "0.05", ELODIE.iban, "2026-11-24"),
    ]


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"iban": "DE00BAD"}, "bad_iban"), ({"iban": "NL91ABNA0417164301"}, "bad_iban"), ({"iban": ""}, "bad_iban"),
        ({"iban": "NL91ABNA0417164300\n"}, "bad_iban"), ({"iban": "NL91ABNA041716430\u0660"}, "bad_iban"),
        ({"iban": "BR1800360305000010009795493C1"}, "not_sepa"),
        ({"bic": "ABNA"}, "bad_bic"), ({"bic": "DEUTDEFF"}, "bad_bic"), ({"bic": "ABNANL2A\x00"}, "bad_bic"),
        ({"amount_minor": 0}, "bad_amount"), ({"amount_minor": -1}, "bad_amount"),
        ({"amount_minor": 10**11}, "amount_too_large"),
        ({"currency": "USD"}, "unsupported_currency"), ({"currency": "eur"}, "unsupported_currency"),
        ({"name": "x" * 71}, "name_too_long"), ({"name": "ß" * 40}, "name_too_long"), ({"name": ""}, "no_name"),
        ({"name": " ... "}, "no_name"), ({"name": "🦊"}, "no_name"),
        ({"name": "Ada\nLovelace"}, "control_characters"), ({"name": "Ada\x00"}, "control_characters"),
        ({"name": "Ada\u202e"}, "control_characters"), ({"name": "Ada\u2028"}, "control_characters"),
        ({"end_to_end_id": "po_1"}, "bad_end_to_end_id"), ({"end_to_end_id": "p" * 36}, "bad_end_to_end_id"),
        ({"end_to_end_id": ""}, "bad_end_to_end_id"),
    ],
)  # fmt: skip
def test_what_no_bank_takes_is_refused(changed: dict[str, object], code: str) -> None:
    """What sepaxml would write all the same is refused before it, and a whole batch with it."""
    for refuse in (checked_payment, lambda payment: files(ELODIE, payment)):
        with pytest.raises(RejectedError) as caught:
            refuse(ADA._replace(**changed))
        assert caught.value.code == code


def test_what_no_batch_may_have_is_refused() -> None:
    """No payments, an id twice, a day that is over or far ahead are refused."""
    for code, make in {
        "no_payments": files,
        "duplicate_end_to_end_id": lambda: files(ADA, ELODIE._replace(end_to_end_id=ADA.end_to_end_id)),
        "past_date": lambda: files(ADA, execution_on=NOW.date() - timedelta(days=1)),
        "far_date": lambda: files(ADA, execution_on=NOW.date() + timedelta(days=91)),
    }.items():
        with pytest.raises(RejectedError) as caught:
            make()
        assert caught.value.code == code


def test_accounts_and_names_are_written_as_banks_print_them() -> None:
    """Spaces and small letters of an IBAN or BIC do not matter; a name loses what SEPA cannot print, never its end."""
    assert checked_iban("de89 3704 0044 0532 0130 00") == "DE89370400440532013000"
    assert checked_bic("deutdeff", "DE89370400440532013000") == "DEUTDEFF"
    assert checked_bic("AGRIMQMX", "FR1420041010050500013M02606") == "AGRIMQMX"
    assert checked_name("=Müller & Söhne") == "Muller Sohne"
    assert checked_name("O'Neill-Smith (Jr.)") == "O'Neill-Smith (Jr.)"
    assert checked_name("x" * 70) == "x" * 70


# --- what a bank sends ---


@pytest.mark.parametrize("kind", ["camt.053.001.02", "camt.053.001.08", "camt.054.001.02", "camt.054.001.08"])
@pytest.mark.parametrize("amount_at", ["entry", "amount", "details"])
def test_statements_and_notifications_are_read(kind: str, amount_at: str) -> None:
    """What was debited and booked is settled, a credit with a reason for its return came back, in each version."""
    file = camt(
        Entry("po1"), Entry("po2", amount="0.05", direction="CRDT", back="AC04", reference="BANK-2"),
        kind=kind, amount_at=amount_at,
    )  # fmt: skip
    assert read_statement(file) == Statement(
        (
            Movement("settled", "po1", "BANK-1", 1250, "EUR"),
            Movement("returned", "po2", "BANK-2", 5, "EUR", "AC04"),
        )
    )


def test_what_moves_nothing_is_skipped() -> None:
    """What is pending, a credit without a return, a reversal, or without our id is no movement of a payment."""
    file = camt(
        Entry("po1", status="PDNG"), Entry("po1", status="INFO"), Entry("po1", direction="CRDT"),
        Entry("po1", reversal=True), Entry(None), Entry("po1", direction="CRDT", reversal=True),
    )  # fmt: skip
    assert read_statement(file) == Statement((), (), 6)


def test_without_a_reference_the_same_entry_is_the_same() -> None:
    """Where the bank gives no reference, the same entry has the same one whenever it is told, another one another."""
    first, other = (
        read_statement(camt(Entry("po1", amount=amount, reference=None))).movements[0].reference
        for amount in ("12.50", "12.51")
    )
    assert read_statement(camt(Entry("po1", reference=None))).movements[0].reference == first != other


def test_refusals_are_read() -> None:
    """A pain.002 refuses the payments that it names, or a message as a whole."""
    told = read_statement(pain002("po1", "po2"))
    assert told.movements == (
        Movement("rejected", "po1", "RJCT po1", code="AC04"),
        Movement("rejected", "po2", "RJCT po2", code="AC04"),
    )
    assert read_statement(pain002("po1", status="ACSC")) == Statement((), (), 1)
    assert read_statement(pain002(message_id="bb1", group="RJCT")).refused_messages == ("bb1",)


BOMB = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><Document>&c;</Document>"""
SECRETS = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><Document>&a;</Document>'
NETWORK = b'<?xml version="1.0"?><!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd"><Document/>'


@pytest.mark.parametrize(
    ("file", "code"),
    [
        (BOMB, "bad_xml"), (SECRETS, "bad_xml"), (NETWORK, "bad_xml"), (b"", "bad_xml"), (b"<Document>", "bad_xml"),
        (b"\xff\xfe\x00", "bad_xml"), (b'<?xml version="1.0" encoding="nonsense"?><a/>', "bad_xml"),
        (b"<Document><BkToCstmrStmt>" + b"<a>" * 100, "bad_xml"), (b"<Document/>", "unknown_document"),
        (b"<Document><Other/></Document>", "unknown_document"), (b" " * (FILE_BYTES_MAX + 1), "too_large"),
    ],
)  # fmt: skip
def test_files_that_no_bank_sends_are_refused(file: bytes, code: str) -> None:
    """XML bombs, external entities, document types, what is no XML, nested or large without end: all are refused."""
    with pytest.raises(RejectedError) as caught:
        read_statement(file)
    assert caught.value.code == code


def test_a_file_of_too_many_elements_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small each is: they are counted as they come, wherever they stand."""
    monkeypatch.setattr(bank_statements, "_ELEMENTS_MAX", 1_000)
    for inner in (b"<a/>" * 1_000, b"<Ntry>" + b"<a/>" * 1_000 + b"</Ntry>"):
        with pytest.raises(RejectedError) as caught:
            read_statement(b"<Document><BkToCstmrStmt>" + inner + b"</BkToCstmrStmt></Document>")
        assert caught.value.code == "too_large"
    assert read_statement(camt(Entry("po1"))).movements


def test_a_wrong_amount_is_refused() -> None:
    """A file with an amount that is none is refused as a whole."""
    for amount in ("1e3", "12,50", "NaN", "12.505", "-1.00"):
        with pytest.raises(RejectedError):
            read_statement(camt(Entry("po1", amount=amount)))
