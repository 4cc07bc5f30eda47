"""`payouts`: runs, payouts, the bank's files, rails and keys from the command line, on books of their own."""

import asyncio
import secrets
import stat
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from pydantic import SecretStr

from cli import payout_runs
from consumers.health import Health
from consumers.paying import Paying, paying
from consumers.payout_runs import PayoutRuns
from consumers.payout_saga import PayoutSaga
from consumers.payout_worker import PayoutWorker
from ledger import merchants, partners, users
from ledger.access import Actor, once
from ledger.application import Ledger
from ledger.events import Rate
from ledger.intake import Intake
from ledger.payouts import QUIET
from ledger.terms import SECOND_PERSON, Terms
from projections.payables import SqlPayables
from projections.runner import Projector
from schemas.payout_methods import PayoutMethod
from schemas.payout_settings import PayoutSettings
from tests.support.bank import Entry, camt
from tests.support.commands import Commands

OWNER, FINANCE, MANAGER = (f"{name}@acme.example" for name in ("owner", "finance", "manager"))
METHODS = {
    "mona": PayoutMethod(method="manual", address="cash"),
    "ben": PayoutMethod(method="bank", address="NL91ABNA0417164300", name="Ben"),
}
DEBTOR = {"BANK_DEBTOR_NAME": "Acme GmbH", "BANK_DEBTOR_IBAN": "DE89370400440532013000"}


def new_key(name: str) -> str:
    """Return a key of payout details, as PAYOUT_DETAILS_KEYS has it."""
    return f"{name}:{b64encode(secrets.token_bytes(32)).decode()}"


class Acme:
    """Merchant acme on the books; what its workers do is done when a test says so."""

    def __init__(self, run: Commands, ledger: Ledger, url: str) -> None:
        self.run, self.ledger, self._url = run, ledger, url
        self.partners: dict[str, str] = {}

    def cli(self, *arguments: object) -> Any:
        """Return the JSON of a command that succeeds."""
        done = self.run("payouts", *arguments, "--json")
        assert done.code == 0, done.err
        return done.json

    def join(self, name: str, total: str, currency: str = "EUR") -> None:
        """Register a partner of that name, who sold for so much, and earns 10 %."""
        made = partners.register(
            self.ledger, merchant_id="acme", name=name.title(), email=f"{name}@partners.example",
            rate=Rate(type="percentage", bps=1_000), coupon_code=name, now=datetime.now(UTC), cause="test",
        )  # fmt: skip
        self.partners[name] = made.partner_id
        order = {
            "type": "order.placed", "currency": currency, "total": total, "coupon_code": name, "order_id": f"o-{name}",
            "event_id": f"e-{name}", "occurred_at": datetime.now(UTC).isoformat(),
        }  # fmt: skip
        Intake(self.ledger).take_objects("acme", [order], datetime.now(UTC))

    def work(self, later: timedelta = timedelta(0)) -> None:
        """Do what workers and the projector have to do, some time later."""
        Projector(self._url).catch_up()
        asyncio.run(self._work(lambda: _now() + later))
        Projector(self._url).catch_up()

    async def _work(self, now: Callable[[], datetime]) -> None:
        async with paying(self.ledger, self._settings()) as pays:
            assert pays is not None
            health = Health()
            runs = PayoutRuns(pays, self.ledger, SqlPayables(self.ledger), health, now)
            while await runs.work():
                pass
            refresh = [rail.refresh for rail in pays.rails.limited]
            saga = PayoutSaga(pays.books, pays.rails.rails, pays.keys, now)
            worker = PayoutWorker(pays.books, saga, health, now, refresh=refresh)
            while await worker.work():
                pass

    def tell(self, name: str, method: PayoutMethod) -> None:
        """Say how a partner is paid."""

        async def change() -> None:
            async with paying(self.ledger, self._settings()) as pays:
                assert isinstance(pays, Paying)
                pays.details.change("acme", self.partners[name], method, by="test", now=_now())

        asyncio.run(change())

    def _settings(self) -> PayoutSettings:
        told = self.run.environment
        return PayoutSettings(
            payout_details_keys=tuple(SecretStr(each) for each in told["PAYOUT_DETAILS_KEYS"].split()),
            bank_debtor_name=told["BANK_DEBTOR_NAME"], bank_debtor_iban=told["BANK_DEBTOR_IBAN"],
        )  # fmt: skip


def _now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def acme(run, database_url) -> Iterator[Acme]:
    """Yield acme, whose payouts need a second person: Mona is paid by hand, Ben by bank, Nina nobody knows how."""
    run.environment |= {"PAYOUT_DETAILS_KEYS": new_key("one"), **DEBTOR}
    ledger = Ledger(database_url, hash_key=run.environment["LEDGER_HASH_KEY"].encode())
    found = Acme(run, ledger, database_url)
    terms = Terms(approval="immediate", payout_approval=SECOND_PERSON)
    merchants.register(
        ledger, merchant_id="acme", name="Acme", currency="EUR", email=OWNER, terms=terms, now=_now(), cause="test"
    )
    for email, role in ((FINANCE, "finance"), (MANAGER, "manager")):
        once(ledger, None, lambda curs, email=email, role=role: users.add(
            curs, "acme", role, role.title(), email, _now(), Actor("test")
        ))  # fmt: skip
    for name, total in (("mona", "200.00"), ("ben", "300.00"), ("nina", "100.00")):
        found.join(name, total)
    for name, method in METHODS.items():
        found.tell(name, method)
    found.work()
    yield found
    ledger.close()


def requested(acme: Acme) -> str:
    """Return the id of a run that was made and approved, with its payouts requested and sent."""
    made = acme.cli("run", "--yes", "--by", OWNER)
    acme.work()
    acme.cli("approve", made["id"], "--by", FINANCE)
    acme.work()
    return str(made["id"])


def payout_of(acme: Acme, name: str) -> dict[str, Any]:
    """Return the partner's newest payout."""
    return dict(acme.run("payouts", "list", "--partner", f"{name}@partners.example", "--json").lines[0])


def test_a_preview_says_who_and_why_not(acme) -> None:
    """A preview shows each partner by name with amount, rail and reason, and leaves nothing behind."""
    head = acme.ledger.head()
    told = acme.run("payouts", "preview")
    assert told.code == 0
    lines = {line.split()[1]: line for line in told.out.splitlines() if line.startswith("p_")}
    assert "20.00 EUR" in lines["Mona"]
    assert "in" in lines["Mona"].split()
    assert "no payout details" in lines["Nina"]
    assert acme.cli("preview", "--minimum", "EUR=25")["partners_in"] == 1
    shown = acme.cli("preview", "--exclude", "ben@partners.example", "--currency", "EUR")
    assert [total["amount"]["amount"] for total in shown["totals"]] == ["20.00"]
    assert acme.cli("preview", "--partner", acme.partners["nina"])["partners_in"] == 0
    assert acme.cli("preview", "--cut-off", "2026-01-01T00:00:00Z")["lines"] == []
    assert acme.run("payouts", "runs", "--json").lines == []
    assert acme.ledger.head() == head


def test_a_run_is_made_by_one_and_approved_by_another(acme) -> None:
    """The maker of a run cannot approve it, nor can a manager; who did what is on record by name of the user."""
    made = acme.cli("run", "--yes", "--by", OWNER)
    assert (made["needs_approval"], made["waiting"]) == (True, 2)
    for email, word in ((OWNER, "maker_is_checker"), (MANAGER, "scope_missing"), ("x@acme.example", "not_found")):
        done = acme.run("payouts", "approve", made["id"], "--by", email)
        assert (done.code, done.out) == (1, "")
        assert word in done.err
    assert acme.cli("approve", made["id"], "--by", FINANCE)["status"] == "approved"
    acme.work()
    shown = acme.cli("show", made["id"])
    assert (shown["approved_by"]["kind"], shown["approved_by"]["user"]) == ("user", "Finance")
    assert {line["partner_id"] for line in shown["lines"] if line["included"]} == {
        acme.partners["mona"], acme.partners["ben"]
    }  # fmt: skip
    assert "approved by Finance" in acme.run("payouts", "show", made["id"]).out
    (row,) = acme.run("payouts", "runs", "--json").lines
    assert row["payouts"] == {"approved": 1, "submitted": 1}


def test_the_same_command_happens_once(acme) -> None:
    """With a key of its own, a run that is made again is the same run, and other criteria under it are refused."""
    made = [acme.cli("run", "--yes", "--key", "november")["id"] for _ in range(2)]
    assert made[0] == made[1]
    other = acme.run("payouts", "run", "--yes", "--key", "november", "--currency", "EUR")
    assert (other.code, "idempotency_key_reused" in other.err) == (1, True)
    assert len(acme.run("payouts", "runs", "--json").lines) == 1


class Terminal:
    """A terminal, as far as `isatty` goes."""

    def isatty(self) -> bool:
        """Return that it is one."""
        return True


@pytest.mark.parametrize(("answer", "runs"), [(True, 1), (False, 0)])
def test_a_person_is_asked_first(acme, monkeypatch, answer, runs) -> None:
    """On a terminal the list is shown, and a run is made only where it is agreed to; a script has to say --yes."""
    refused = acme.run("payouts", "run")
    assert (refused.code, refused.out) == (2, "")
    assert "--yes" in refused.err
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(payout_runs.typer, "confirm", lambda _: answer)
    done = acme.run("payouts", "run")
    assert (done.code, "Mona" in done.out) == (0, True)
    assert ("nothing was done" in done.out) is not answer
    assert len(acme.run("payouts", "runs", "--json").lines) == runs


def test_a_payout_by_hand_is_confirmed_once(acme) -> None:
    """A payout is confirmed with exactly its amount, by a number that no other has; the same again changes nothing."""
    requested(acme)
    payout = payout_of(acme, "mona")
    told = ("confirm", payout["id"], "--transaction-id", "W-1", "--paid-at", _now().isoformat(), "--amount")
    for amount, word in (("19.00", "amount_differs"), ("20.00 USD", "amount_differs"), ("twenty", "--amount")):
        done = acme.run("payouts", *told, amount)
        assert (done.code in (1, 2), word in done.err) == (True, True), done.err
    assert acme.cli(*told, "20.00")["status"] == acme.cli(*told, "20.00 EUR")["status"] == "processed"
    other = acme.run("payouts", *told[:3], "W-2", "--amount", "20.00")
    assert "confirmed_otherwise" in other.err
    story = acme.run("payouts", "show", payout["id"])
    assert "W-1" in story.out
    assert "cash" not in story.out
    assert acme.run("verify").code == 0


def test_the_bank_is_given_the_same_bytes(acme, tmp_path) -> None:
    """A sealed batch is written as often as one likes, the same each time; a statement settles its payout once."""
    requested(acme)
    batch = acme.cli("batch", "--by", FINANCE)
    assert (batch["payments"], batch["amount"]["amount"]) == (1, "30.00")
    assert "nothing_waits" in acme.run("payouts", "batch").err
    for kind in ("xml", "csv"):
        files = [tmp_path / f"{number}.{kind}" for number in range(2)]
        for file in files:
            assert acme.run("payouts", "export", "--batch", batch["id"], "--out", file).code == 0
        assert {sha256(file.read_bytes()).hexdigest() for file in files} == {batch[f"{kind}_sha256"]}
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    (order,) = acme.run("payouts", "orders", "--state", "sealed", "--json").lines
    told = tmp_path / "camt.xml"
    told.write_bytes(camt(Entry(order["id"], "29.00")))
    differs = acme.run("payouts", "statement", told)
    assert (differs.code, "differs" in differs.out) == (1, True)
    told.write_bytes(camt(Entry(order["id"], "30.00"), Entry("SOMETHINGELSE", "1.00", reference="B-2")))
    assert acme.cli("statement", told, "--by", FINANCE)["counts"] == {"settled": 1, "unknown": 1}
    assert acme.cli("statement", told)["counts"] == {"known": 1, "unknown": 1}
    acme.work()
    assert payout_of(acme, "ben")["status"] == "processed"
    assert "bank_knows_it" in acme.run("payouts", "unseal", batch["id"], "--declared", "not uploaded").err
    assert "bad_xml" in acme.run("payouts", "statement", tmp_path / "0.csv").err


def test_a_transfer_that_waits_is_taken_back(acme) -> None:
    """A batch that was not uploaded is opened again; a transfer in none is withdrawn, and its money payable again."""
    requested(acme)
    batch = acme.cli("batch")
    assert acme.cli("unseal", batch["id"], "--declared", "the portal was down")["status"] == "unsealed"
    (order,) = acme.run("payouts", "orders", "--json").lines
    assert (order["state"], order["batch_id"]) == ("waiting", None)
    assert acme.cli("withdraw", order["id"])["state"] == "rejected"
    acme.work(QUIET)
    assert payout_of(acme, "ben")["status"] == "failed"
    assert acme.cli("preview", "--partner", "ben@partners.example")["partners_in"] == 1


def test_what_a_rail_never_sends_is_in_no_run(acme) -> None:
    """A partner who is paid by a transfer of euros is out of a run of dollars, and the reason says so."""
    acme.join("dora", "100.00", "USD")
    acme.tell("dora", METHODS["ben"])
    acme.work()
    (line,) = acme.cli("preview", "--partner", "dora@partners.example")["lines"]
    assert (line["included"], line["reason"]) == (False, "unsupported_amount")


def test_a_partner_is_held_and_released(acme) -> None:
    """Nothing is paid to a partner who is held, until somebody releases them; each says why."""
    assert acme.cli("hold", "mona@partners.example", "--reason", "a question")["frozen"] == "a question"
    (line,) = acme.cli("preview", "--partner", "mona@partners.example")["lines"]
    assert (line["included"], line["reason"]) == (False, "frozen")
    assert acme.cli("release", acme.partners["mona"], "--reason", "answered", "--by", FINANCE)["frozen"] is None
    assert acme.cli("preview", "--partner", "mona@partners.example")["partners_in"] == 1
    assert acme.run("payouts", "hold", "nobody@x.example", "--reason", "x").code == 2


def test_a_run_is_called_off(acme) -> None:
    """A run that is called off gives everything back, as a payout alone does; what is over cannot be called off."""
    made = acme.cli("run", "--yes")
    acme.work()
    assert acme.cli("cancel", payout_of(acme, "ben")["id"], "--reason", "later")["status"] == "cancelled"
    assert acme.cli("cancel", made["id"], "--reason", "wrong month")["status"] == "cancelled"
    acme.work()
    assert payout_of(acme, "mona")["status"] == "cancelled"
    assert "illegal_move" in acme.run("payouts", "cancel", made["id"], "--reason", "again").err
    assert acme.cli("preview")["partners_in"] == 2


def test_rails_say_what_they_lack(acme) -> None:
    """`rails` names the variables that a rail lacks, its limits, and why it is off; `switch` holds for new runs too."""
    acme.run.environment["BANK_DAY_MAX"] = '{"EUR": "1000.00"}'
    rows = {each["name"]: each for each in acme.run("payouts", "rails", "--json").lines}
    assert rows["stripe"]["missing"] == ["STRIPE_API_KEY"]
    assert rows["bank"]["limits"]["day"] == {"EUR": "1000.00"}
    assert "1000.00 EUR a day" in acme.run("payouts", "rails").out
    acme.cli("switch", "off", "bank", "--reason", "the bank is away", "--by", "Olga")
    assert "the bank is away" in acme.run("payouts", "rails").out
    lines = {line["partner_id"]: line["reason"] for line in acme.cli("preview")["lines"]}
    assert (lines[acme.partners["ben"]], lines[acme.partners["mona"]]) == ("rail_off", "payable")
    assert acme.cli("switch", "on", "bank")["changed"]
    assert not acme.cli("switch", "on", "bank")["changed"]
    assert acme.cli("preview")["partners_in"] == 2


def test_keys_are_replaced(acme) -> None:
    """After `rotate-keys` the new key alone opens everything, and before it the old one is still needed."""
    requested(acme)
    old, new = acme.run.environment["PAYOUT_DETAILS_KEYS"], new_key("two")
    acme.run.environment["PAYOUT_DETAILS_KEYS"] = new
    refused = acme.run("payouts", "show", payout_of(acme, "mona")["id"])
    assert (refused.code, "PAYOUT_DETAILS_KEYS" in refused.err) == (1, True)
    assert old.split(":")[1] not in refused.err
    acme.run.environment["PAYOUT_DETAILS_KEYS"] = f"{new} {old}"
    assert acme.cli("rotate-keys")["sealed_anew"] >= len(METHODS) * 2
    assert acme.cli("rotate-keys")["sealed_anew"] == 0
    acme.run.environment["PAYOUT_DETAILS_KEYS"] = new
    assert acme.cli("show", payout_of(acme, "mona")["id"])["payee"]["method"] == "manual"


def test_the_books_are_compared(acme, tmp_path) -> None:
    """`reconcile` ends with 1 while something is open, and with 0 once somebody said what it was."""
    requested(acme)
    assert acme.cli("reconcile")["open"] == []
    assert "matched" in acme.run("payouts", "reconcile", "--rail", "bank").out
    assert "nothing_to_compare" in acme.run("payouts", "reconcile", "--rail", "manual").err
    assert "unknown_rail" in acme.run("payouts", "reconcile", "--rail", "pigeon").err
    assert "not_found" in acme.run("payouts", "resolve", "pf_0", "--declared", "nothing").err


def test_all_payouts_are_a_file(acme, tmp_path) -> None:
    """`export` writes the payouts as the API's file has them, and `export payouts` is the same."""
    requested(acme)
    file = tmp_path / "payouts.csv"
    assert acme.run("payouts", "export", "--out", file).code == 0
    text = file.read_bytes().decode()
    assert text == acme.run("export", "payouts").out
    assert len(text.splitlines()) == 3


def test_what_is_to_be_paid_by_hand_is_a_file(acme, tmp_path) -> None:
    """`export --by-hand` tells where to pay, to its owner alone, and who took it; a user may, whose role pays."""
    requested(acme)
    file = tmp_path / "pay.csv"
    done = acme.run("payouts", "export", "--by-hand", "--out", file, "--by", FINANCE)
    assert (done.code, done.out, "1 payouts to be paid by hand" in done.err) == (0, "", True)
    head, line = file.read_bytes().decode().splitlines()
    assert head.endswith("amount,currency,name,pay_to,requested_at")
    assert line.split(",")[2:7] == ["Mona", "20.00", "EUR", "", "cash"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert acme.run("payouts", "export", "--by-hand").out.splitlines()[1] == line
    refused = acme.run("payouts", "export", "--by-hand", "--by", MANAGER)
    assert (refused.code, refused.out, "scope_missing" in refused.err) == (1, "", True)
    with acme.ledger.connection() as conn:
        rows = conn.execute("SELECT cause FROM access.changes WHERE type = 'payouts.by_hand_taken' ORDER BY sequence")
        causes = [row["cause"].partition("@")[0].partition("_")[0] for row in rows]
    assert causes == ["cli/u", "cli/payouts"]


WRONG = [
    (("preview", "--minimum", "EUR50"), 2, "EUR=50"),
    (("preview", "--minimum", "EUR=x"), 2, "--minimum"),
    (("preview", "--partner", "x@y.example"), 2, "x@y.example"),
    (("preview", "--cut-off", "today"), 2, "--cut-off"),
    (("preview", "--cut-off", (_now() + timedelta(days=1)).isoformat()), 1, "in_the_future"),
    (("preview", "--merchant", "nobody"), 1, "nobody"),
    (("list", "--status", "gone"), 2, "--status"),
    (("show", "po_0"), 1, "po_0"),
    (("show", "pr_0"), 1, "pr_0"),
    (("switch", "off", "bank"), 2, "--reason"),
    (("switch", "off", "pigeon", "--reason", "x"), 2, "pigeon"),
    (("cancel", "pr_0", "--reason", " "), 2, "--reason"),
    (("export", "--batch", "bb_0", "--format", "pdf"), 2, "xml"),
    (("export", "--batch", "bb_0", "--by-hand"), 2, "--by-hand"),
    (("export", "--by-hand", "--format", "xml"), 2, "csv"),
    (("export", "--by", OWNER), 2, "--by"),
]


def test_a_wrong_call_is_explained(acme) -> None:
    """What cannot be done is told in one line on stderr that names the option or the thing at fault."""
    for arguments, code, words in WRONG:
        done = acme.run("payouts", *arguments)
        assert (done.code, done.out) == (code, ""), (arguments, done)
        assert words in done.err
        assert len(done.err.splitlines()) == 1


def test_without_a_key_nobody_is_paid(acme) -> None:
    """Where no key seals payout details, every command that would need one says which variable is missing."""
    del acme.run.environment["PAYOUT_DETAILS_KEYS"]
    for arguments in (("preview",), ("rails",), ("rotate-keys",), ("reconcile",)):
        done = acme.run("payouts", *arguments)
        assert (done.code, "PAYOUT_DETAILS_KEYS" in done.err) == (1, True)
    assert acme.run("payouts", "list", "--json").lines == []
