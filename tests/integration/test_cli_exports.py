"""`export`: lists as files, whole or not at all; and `import` of what was exported, of balances, and as a dry run."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from ledger import merchants, partners
from ledger.application import Ledger
from ledger.events import Rate
from ledger.intake import Intake
from projections.read import Reads
from projections.runner import Projector

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def ledger(run, database_url) -> Iterator[Ledger]:
    """Return the write side with merchant acme, partner Jane and 450 orders, all of them in the read models."""
    ledger = Ledger(database_url, hash_key=run.environment["LEDGER_HASH_KEY"].encode())
    about = {"merchant_id": "acme", "now": NOW, "cause": "test"}
    merchants.register(ledger, name="Acme", currency="USD", email="a@acme.example", **about)
    rate = Rate(type="percentage", bps=1000)
    partners.register(ledger, name="Jane", email="jane@example.com", rate=rate, coupon_code="JANE", **about)
    order = {"type": "order.placed", "currency": "USD", "total": "10.00", "coupon_code": "JANE"}
    at = {"occurred_at": "2026-11-22T10:00:00Z"}
    Intake(ledger).take_objects(
        "acme", [order | at | {"order_id": f"o{number}", "event_id": f"e{number}"} for number in range(450)], NOW
    )
    Projector(database_url).catch_up()
    yield ledger
    ledger.close()


@pytest.mark.usefixtures("ledger")
def test_a_list_is_written_whole(run, tmp_path) -> None:
    """A list of several pages is in the file, filtered as in the API, in the format that its name tells."""
    done = run("export", "commissions", "--status", "pending", "--out", tmp_path / "all.csv")
    assert (done.code, done.out) == (0, "")
    assert "450 rows" in done.err
    with (tmp_path / "all.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["order_id"] for row in rows} == {f"o{number}" for number in range(450)}
    assert {row["commission.amount"] for row in rows} == {"1.00"}
    told = run("export", "commissions", "--out", tmp_path / "all.jsonl", "--json").json
    assert (told["rows"], told["format"], told["merchant"]) == (450, "jsonl", "acme")
    assert run("export", "commissions", "--status=paid", "--format", "jsonl").out == ""
    (balance,) = run("export", "balances", "--format", "jsonl", "--merchant", "acme").lines
    assert balance["pending"] == {"amount": "450.00", "currency": "USD"}
    assert len(run("export", "journal", "--from", "2026-11-22").out.splitlines()) == 451


@pytest.mark.usefixtures("ledger")
def test_a_file_that_fails_is_not_there(run, tmp_path, monkeypatch) -> None:
    """Where an export breaks off, nothing stands under the file's name, and nothing is left beside it."""
    read, calls = Reads.commissions, []

    async def failing(self, *arguments, **options):
        calls.append(options)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return await read(self, *arguments, **options)

    monkeypatch.setattr(Reads, "commissions", failing)
    assert run("export", "commissions", "--out", tmp_path / "all.csv").code == 130
    assert list(tmp_path.iterdir()) == []


WRONG = [
    (("orders",), 2, "there is no list"),
    (("balances", "--status", "paid"), 2, "no such filter"),
    (("commissions", "--status", "due"), 2, "--status"),
    (("commissions", "--from"), 2, "needs a value"),
    (("commissions", "paid"), 2, "paid"),
    (("commissions", "--format", "xml"), 2, "csv"),
    (("commissions", "--json"), 2, "--out"),
    (("commissions", "--merchant", "nobody"), 1, "nobody"),
    (("commissions", "--out", "missing/x.csv"), 1, "folder"),
]


@pytest.mark.usefixtures("ledger")
def test_a_wrong_call_is_explained(run) -> None:
    """What cannot be exported is told in one line that names what is wrong."""
    for arguments, code, words in WRONG:
        done = run("export", *arguments)
        assert (done.code, done.out) == (code, "")
        assert words in done.err
        assert len(done.err.splitlines()) == 1


def test_what_was_exported_can_be_imported(run, ledger, tmp_path) -> None:
    """The file of one merchant's partners registers the same partners with another."""
    merchants.register(
        ledger, merchant_id="bolt", name="Bolt", currency="USD", email="b@bolt.example", now=NOW, cause="test"
    )
    file = tmp_path / "partners.csv"
    run("export", "partners", "--merchant", "acme", "--out", file)
    assert run("export", "partners").code == 2
    rehearsed = run("import", "partners", file, "--merchant", "bolt", "--dry-run", "--json")
    done = run("import", "partners", file, "--merchant", "bolt", "--json")
    again = run("import", "partners", file, "--merchant", "bolt", "--json")
    assert [each.json["outcomes"]["registered"] for each in (rehearsed, done, again)] == [1, 1, 0]
    assert (done.json["ignored_columns"], again.json["outcomes"]["duplicate"]) == ([], 1)


def test_balances_are_imported_once(run, ledger, tmp_path) -> None:
    """A file of opening balances is entered once, its refused rows are in the errors file, a dry run writes nothing."""
    file = tmp_path / "balances.csv"
    file.write_text(
        "partner,currency,amount,as_of,colour\n"
        "jane@example.com,USD,12.00,2026-01-31,red\n"
        "jane@example.com,USD,x,2026-01-31,\n"
    )
    head = ledger.head()
    arguments = ("import", "balances", file, "--merchant", "acme", "--json")
    rehearsed, head_then, done, again = run(*arguments, "--dry-run"), ledger.head(), run(*arguments), run(*arguments)
    assert (head_then, rehearsed.json["dry_run"]) == (head, True)
    assert rehearsed.json["outcomes"] == done.json["outcomes"] == {"entered": 1, "duplicate": 0, "refused": 1}
    assert again.json["outcomes"] == {"entered": 0, "duplicate": 1, "refused": 1}
    assert (done.code, done.json["ignored_columns"]) == (1, ["colour"])
    (fault,) = csv.DictReader(io.StringIO((tmp_path / "balances.csv.errors.csv").read_text()))
    assert (fault["line"], fault["code"], fault["path"]) == ("3", "malformed", "$.amount")


def test_a_dry_run_of_orders_books_nothing(run, ledger, tmp_path) -> None:
    """`--dry-run` decides every row of a file of orders and writes none, nor any dead letter."""
    file = tmp_path / "orders.jsonl"
    order = {"order_id": "n1", "occurred_at": "2026-11-22T10:00:00Z", "currency": "USD", "total": "1.00"}
    file.write_text("\n".join(json.dumps(order | change) for change in ({"coupon_code": "JANE"}, {"total": "x"})))
    head = ledger.head()
    done = run("import", "orders", file, "--merchant", "acme", "--dry-run", "--json")
    assert (done.code, ledger.head()) == (1, head)
    assert done.json["outcomes"] == {"earned": 1, "dead_lettered": 1}
    assert run("dead-letters", "list", "--json").lines == []
