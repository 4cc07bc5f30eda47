"""Partners are paid, as a new user does it: by each of the four ways, through a killed worker, with an order refunded.

Worker, projector and web are processes of their own, and so are Stripe and PayPal (`tests.support.doubles`).
"""

import json
import secrets
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.support.bank import Entry, camt
from tests.support.commands import Commands
from tests.support.kcat import Kcat
from tests.support.providers import Providers
from tests.support.service import HASH_KEY, Client, Service, until
from tests.support.storefront import Outgoing

OWNER, FINANCE = "owner@acme.example", "finance@acme.example"
SETTLED_S = 60


@dataclass
class Story:
    """What the story is about: the service, its providers, the merchant's key, the partners by name."""

    service: Service
    providers: Providers
    kcat: Kcat
    folder: Path
    api: Client
    run: Commands
    partners: dict[str, str] = field(default_factory=dict)

    def cli(self, *arguments: object) -> Any:
        """Return the JSON that `payouts ...` writes."""
        done = self.run("payouts", *arguments, "--json")
        assert done.code == 0, done.err
        return done.json

    def rows(self, *arguments: object) -> list[dict[str, Any]]:
        """Return the JSON documents that `payouts ...` writes, one a line."""
        return self.run("payouts", *arguments, "--json").lines

    def refused(self, *arguments: object) -> str:
        """Return why `payouts ...` is refused."""
        done = self.run("payouts", *arguments)
        assert (done.code, done.out) == (1, "")
        return done.err

    def payouts(self) -> dict[str, dict[str, Any]]:
        """Return the newest payout of each partner, by the partner's name."""
        names = {id_: name for name, id_ in self.partners.items()}
        return {names[row["partner_id"]]: row for row in reversed(list(self.api.rows("/payouts")))}

    def balance(self, name: str) -> dict[str, str]:
        """Return what the partner's accounts say, without the currency."""
        (row,) = self.api.get("/balances", partner_id=self.partners[name])["data"]
        return {account: told["amount"] for account, told in row.items() if isinstance(told, dict)}

    def until_states(self, **states: str) -> None:
        """Wait until the newest payouts of these partners are there."""

        def there() -> bool:
            found = self.payouts()
            return {name: found[name]["status"] for name in states if name in found} == states

        until(there, f"payouts that are {states}", timeout_s=SETTLED_S)

    def publish(self, kind: str, order_id: str, **told: str) -> None:
        """Publish an event of an order as a storefront does."""
        order = {
            "type": kind, "event_id": f"{kind}-{order_id}", "merchant_id": "acme", "order_id": order_id,
            "occurred_at": datetime.now(UTC).isoformat(), "currency": "EUR", **told,
        }  # fmt: skip
        before = self.service.consumed()
        self.kcat.publish([Outgoing(f"acme/{order_id}".encode(), json.dumps(order).encode())])
        self.service.until_booked(before + 1)


@pytest.fixture
def story(database_url, broker, topic, kcat, tmp_path, capsys) -> Iterator[Story]:
    """Yield the service with a merchant whose payouts need a second person, and everything that pays."""
    with Providers(tmp_path) as providers:
        key = f"one:{b64encode(secrets.token_bytes(32)).decode()}"
        settings = {**providers.environment, "PAYOUT_DETAILS_KEYS": key, "MAIL_FOLDER": str(tmp_path / "mail")}
        with Service(database_url, broker, topic, tmp_path / "service", **settings) as service:
            run = Commands(capsys, {"DATABASE_URL": database_url, "LEDGER_HASH_KEY": HASH_KEY, **settings})
            made = run(
                "merchant",
                "create",
                "--slug",
                "acme",
                "--name",
                "Acme",
                "--currency",
                "EUR",
                "--email",
                OWNER,
                "--json",
            )
            api = service.client(made.json["api_key"])
            api.post("/users", {"name": "Fin", "email": FINANCE, "role": "finance"})
            terms = {
                "approval": "immediate", "payout_approval": "second_person",
                "minimum_payout": {"EUR": "5.00"},
            }  # fmt: skip
            assert api.ask("PATCH", "/program", terms).status == 200
            hook = f"http://127.0.0.1:{service.web.port}/hooks/paypal"
            providers.ask("/paypal/webhooks", {"to": hook, "times": 2})
            yield Story(service, providers, kcat, tmp_path, api, run)


def join(story: Story, name: str, details: dict[str, str] | None) -> None:
    """Register a partner with a coupon code of that name, who earns 10 %, and say how to pay."""
    told = {
        "name": name.title(), "email": f"{name}@partners.example", "coupon_code": name,
        "rate": {"type": "percentage", "value": "10"},
    }  # fmt: skip
    id_ = story.partners[name] = story.api.post("/partners", told)["id"]
    if details is not None:
        answer = story.api.ask("PUT", f"/partners/{id_}/payout-details", details)
        assert answer.status == 200, answer


def board_stripe(story: Story, name: str) -> None:
    """Have the partner enter the details at Stripe, and come back."""
    place = f"/partners/{story.partners[name]}/payout-details/stripe"
    link = story.api.post(place, {})["url"]
    assert not story.api.post(f"{place}/check", {})["payable"]
    assert story.providers.fill_in(link).startswith("http")
    assert story.api.post(f"{place}/check", {})["payable"]


def open_program(story: Story) -> None:
    """Have five partners who are paid in four ways, or in none, and one who earns too little; each sold something."""
    join(story, "stella", None)
    board_stripe(story, "stella")
    join(story, "pia", {"method": "paypal", "address": "pia@partners.example"})
    join(story, "ben", {"method": "bank", "address": "DE02120300000000202051", "name": "Ben Söhne"})
    join(story, "mona", {"method": "manual", "address": "cash, on Fridays"})
    join(story, "nina", None)
    join(story, "lou", {"method": "manual", "address": "cash, on Fridays"})
    for number, (name, total) in enumerate(
        (("stella", "500.00"), ("pia", "400.00"), ("ben", "300.00"), ("mona", "200.00"), ("nina", "100.00"),
         ("lou", "10.00"))
    ):  # fmt: skip
        story.publish("order.placed", f"o-{number}", total=total, coupon_code=name)


def approved_run(story: Story) -> str:
    """Preview a run, make it, and approve it as somebody else; returns its id."""
    shown = story.cli("preview")
    names = {id_: name for name, id_ in story.partners.items()}
    assert {names[line["partner_id"]]: (line["reason"], line["rail"]) for line in shown["lines"]} == {
        "stella": ("payable", "stripe"), "pia": ("payable", "paypal"), "ben": ("payable", "bank"),
        "mona": ("payable", "manual"), "nina": ("no_payout_details", None), "lou": ("below_minimum", "manual"),
    }  # fmt: skip
    assert story.api.get("/payout-runs")["data"] == []
    run = story.cli("run", "--yes", "--by", OWNER, "--key", "november")
    again = story.cli("run", "--yes", "--by", OWNER, "--key", "november")
    assert (run["id"], run["totals"][0]["amount"]["amount"]) == (again["id"], "140.00")
    assert "somebody else has to" in story.refused("approve", run["id"], "--by", OWNER)
    story.until_states(stella="requested", pia="requested", ben="requested", mona="requested")
    assert story.balance("stella")["in_payout"] == "50.00"
    assert story.cli("approve", run["id"], "--by", FINANCE)["status"] == "approved"
    return str(run["id"])


def test_partners_are_paid_in_four_ways(story: Story) -> None:
    """Every partner gets exactly what is owed, once, by a killed worker too; books, providers and `verify` agree."""
    open_program(story)
    # Stripe will do what it is told, and its answer will never come.
    story.providers.ask("/stripe/faults", {"kind": "time-out", "of": "POST"})
    run_id = approved_run(story)
    story.until_states(stella="submitting", pia="submitted", ben="submitted", mona="approved")
    until(lambda: len(story.providers.paid()) == 2, "a transfer whose answer does not come")
    story.service.worker.kill()
    tell_of_the_transfer(story)
    story.service.worker.start()

    story.until_states(stella="processed", pia="submitted", ben="submitted", mona="approved")
    settle_paypal(story)
    settle_bank(story)
    settle_by_hand(story)
    story.until_states(stella="processed", pia="processed", ben="processed", mona="processed")
    books_agree(story, run_id)
    refund_and_net(story)
    assert story.run("verify").code == 0
    nothing_is_told(story)


def nothing_is_told(story: Story) -> None:
    """No log line holds what somebody is paid to, or a key."""
    secrets_ = (
        "acct_1",
        "pia@partners.example",
        "DE02120300000000202051",
        "S\u00f6hne",
        "Sohne",
        "on Fridays",
        "sk_test",
    )
    for log in (story.folder / "service").glob("*.log"):
        text = log.read_text()
        assert [told for told in secrets_ if told in text] == [], log


def tell_of_the_transfer(story: Story) -> None:
    """Have Stripe tell of the transfer, twice: the web process keeps the message while no worker is there."""
    (transfer,) = [each["reference"] for each in story.providers.paid().values() if each["provider"] == "stripe"]
    hook = f"http://127.0.0.1:{story.service.web.port}/hooks/stripe"
    told = {"to": hook, "about": transfer, "kind": "transfer.created", "times": 2}
    assert story.providers.ask("/stripe/message", told)["statuses"] == [200, 200]


def settle_paypal(story: Story) -> None:
    """Have PayPal pay, and tell."""
    payout = story.payouts()["pia"]
    story.providers.ask(f"/paypal/items/{payout['id']}", {"status": "SUCCESS"})


def settle_bank(story: Story) -> None:
    """Seal a batch, fetch its file twice, and import what the bank says of it, twice."""
    batch = story.cli("batch", "--by", FINANCE)
    files = [story.folder / name for name in ("one.xml", "two.xml")]
    for file in files:
        assert story.run("payouts", "export", "--batch", batch["id"], "--out", file).code == 0
    assert [sha256(file.read_bytes()).hexdigest() for file in files] == [batch["xml_sha256"]] * 2
    (order,) = story.rows("orders")
    assert f"<EndToEndId>{order['id']}</EndToEndId>".encode() in files[0].read_bytes()
    statement = story.folder / "camt.xml"
    statement.write_bytes(camt(Entry(order["id"], amount="30.00", reference="BANK-30")))
    became = [story.cli("statement", statement)["results"][0]["became"] for _ in range(2)]
    assert became == ["settled", "known"]


def settle_by_hand(story: Story) -> None:
    """Say that a payout was paid by hand; the same again changes nothing, other data is refused."""
    payout = story.payouts()["mona"]
    told = ("confirm", payout["id"], "--transaction-id", "CASH-1", "--method", "cash", "--by", FINANCE)
    paid_at = ("--paid-at", datetime.now(UTC).isoformat())
    assert "amount_differs" in story.refused(*told, *paid_at, "--amount", "19.99")
    for _ in range(2):
        assert story.cli(*told, *paid_at, "--amount", "20.00 EUR")["status"] == "processed"
    other = ("confirm", payout["id"], "--transaction-id", "CASH-2", "--amount", "20.00 EUR")
    assert "confirmed_otherwise" in story.refused(*other)


def books_agree(story: Story, run_id: str) -> None:
    """Payouts, balances, statements, the providers' own truth and the comparison with them say the same."""
    story.service.until_read()
    payouts, paid = story.payouts(), story.providers.paid()
    assert {row["id"] for row in story.rows("list", "--status", "processed")} == {row["id"] for row in payouts.values()}
    assert {name: row["amount"]["amount"] for name, row in payouts.items()} == {
        "stella": "50.00", "pia": "40.00", "ben": "30.00", "mona": "20.00"
    }  # fmt: skip
    assert {payouts[name]["id"]: minor for name, minor in (("stella", 5_000), ("pia", 4_000))} == {
        payout_id: each["amount_minor"] for payout_id, each in paid.items()
    }
    assert payouts["stella"]["transaction_id"] == paid[payouts["stella"]["id"]]["reference"]
    assert payouts["mona"]["transaction_id"] == "CASH-1"
    for name, row in payouts.items():
        found = story.balance(name)
        assert (found["paid"], found["in_payout"], found["payable"]) == (row["amount"]["amount"], "0.00", "0.00")
    shown = story.cli("show", run_id)
    assert (shown["payouts"], shown["waiting"]) == ({"processed": 4}, 0)
    history = [step["type"] for step in story.cli("show", payouts["stella"]["id"])["history"]]
    assert history[:3] == ["PayoutRequested", "PayoutApproved", "PayoutSubmissionStarted"]
    assert history.count("PayoutSubmissionStarted") == history.count("PayoutProcessed") == 1
    assert story.cli("reconcile")["open"] == []


def refund_and_net(story: Story) -> None:
    """Refund an order that was paid out: the partner owes it, is in no run, and gets less the next time."""
    story.publish("order.refunded", "o-0", refund_id="r-1", amount="200.00")
    found = story.balance("stella")
    assert (found["paid"], found["clawed_back"], found["payable"]) == ("50.00", "-20.00", "-20.00")
    (line,) = [each for each in story.cli("preview")["lines"] if each["partner_id"] == story.partners["stella"]]
    assert (line["included"], line["reason"], line["amount"]["amount"]) == (False, "negative_balance", "-20.00")
    story.publish("order.placed", "o-9", total="600.00", coupon_code="stella")
    run = story.cli("run", "--yes", "--partner", "stella@partners.example", "--by", FINANCE)
    story.cli("approve", run["id"], "--by", OWNER)
    story.until_states(stella="processed")
    until(lambda: story.payouts()["stella"]["run_id"] == run["id"], "the second payout")
    story.until_states(stella="processed")
    story.service.until_read()
    assert story.payouts()["stella"]["amount"]["amount"] == "40.00"
    found = story.balance("stella")
    assert (found["paid"], found["clawed_back"], found["payable"]) == ("90.00", "0.00", "0.00")
