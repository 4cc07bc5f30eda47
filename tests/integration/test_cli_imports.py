"""`import`: files of orders and partners, on a real database."""

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from cli import imports
from ledger.application import Ledger
from ledger.intake import Intake
from tests.support import cdnow, found, oracle_program, registration
from tests.support.checker import differences
from tests.support.commands import Done
from tests.support.oracle import Message, Oracle

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HEADING = "order_id,occurred_at,currency,total,coupon_code,customer_id,customer_email"
AT = "2026-11-22T10:00:00Z"


@pytest.fixture
def ledger(run, database_url) -> Iterator[Ledger]:
    """Return the write side with the key that the commands have."""
    ledger = Ledger(database_url, hash_key=run.environment["LEDGER_HASH_KEY"].encode())
    yield ledger
    ledger.close()


@pytest.fixture
def acme(ledger) -> Ledger:
    """Return the write side with merchant acme, whose partner jane has a code."""
    partner = oracle_program.Partner("jane", (oracle_program.Rate(oracle_program.BEGINNING, "percentage", "10"),))
    codes = {"JANE10": oracle_program.held_by("jane")}
    registration.register(ledger, [oracle_program.Merchant("acme", "USD", (partner,), codes)])
    return ledger


def written(path: Path, *lines: str | bytes) -> Path:
    """Write the lines into the file and return it."""
    path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))
    return path


def faults(done: Done) -> list[tuple[int, str, str]]:
    """Return line, code and path of every fault in the errors file."""
    path = Path(done.json["errors_file"])
    with path.open(encoding="utf-8", newline="") as file:
        rows: Iterable[dict] = csv.DictReader(file) if path.suffix == ".csv" else map(json.loads, file)
        return [(int(row["line"]), row["code"], row["path"]) for row in rows]


def test_a_csv_of_orders_is_booked(run, acme, tmp_path) -> None:
    """Rows of a CSV file become orders; each refused one is in the errors file with its line, code, path and letter."""
    file = written(
        tmp_path / "orders.csv",
        HEADING,
        f"1,{AT},USD,100.00,jane10,c1,kim@example.com",
        f"2,{AT},USD,12.345,JANE10,c1,",
        "",
        f"3,{AT},USD,50.00,,,",
        f"4,{AT},USD,-1.00,JANE10,c1,",
        f'5,{AT},USD,20.00,JANE10,"a\nb",',
    )
    done = run("import", "orders", file, "--merchant", "acme", "--json")

    assert done.code == 1
    assert done.json["outcomes"] | {"ignored": 1, "earned": 1, "dead_lettered": 3} == done.json["outcomes"]
    assert faults(done) == [
        (3, "too_many_decimals", "$.total"),
        (6, "negative", "$.total"),
        (7, "control_character", "$.customer.id"),
    ]
    assert [order.stream for order in streams(acme)] == ["order/acme/1"]


def test_a_repeated_import_books_nothing(run, acme, tmp_path) -> None:
    """The same file again, also under another name, books nothing, and names the same rows that were refused."""
    lines = (HEADING, f"1,{AT},USD,100.00,JANE10,,", f"2,{AT},USD,x,JANE10,,")
    first = run("import", "orders", written(tmp_path / "a.csv", *lines), "--merchant", "acme", "--json")
    again = run("import", "orders", written(tmp_path / "b.csv", *lines), "--merchant", "acme", "--json")

    assert (first.json["rows"], again.json["rows"]) == (2, 0)
    assert again.json["booked_before_to_line"] == 3
    assert (again.code, faults(again)) == (1, faults(first))
    (letter,) = run("dead-letters", "list", "--json").lines
    run("dead-letters", "discard", letter["dead_letter_id"], "--reason", "a test")
    settled = run("import", "orders", tmp_path / "a.csv", "--merchant", "acme", "--json")
    assert (settled.code, settled.json["errors_file"]) == (0, None)
    assert not (tmp_path / "a.csv.errors.csv").exists()


def test_an_import_that_was_cut_off_goes_on(run, acme, tmp_path, monkeypatch) -> None:
    """Where an import was killed between two batches, the next one goes on behind the last line that was booked."""
    rows = [f"{number},{AT},USD,10.00,JANE10,," for number in range(1, 11)]
    file = written(tmp_path / "orders.csv", HEADING, *rows)
    monkeypatch.setattr(imports, "_BATCH_ROWS", 4)
    take, taken = Intake.take, []

    def killed(intake, source, messages, now, *, after):
        if len(taken) == 2:
            raise KeyboardInterrupt
        taken.append(messages)
        return take(intake, source, messages, now, after=after)

    with monkeypatch.context() as patched:
        patched.setattr(Intake, "take", killed)
        assert run("import", "orders", file, "--merchant", "acme").code == 130
    done = run("import", "orders", file, "--merchant", "acme", "--json")

    assert (done.json["booked_before_to_line"], done.json["rows"], done.code) == (9, 2, 0)
    assert len(streams(acme)) == 10


def test_one_file_is_imported_by_one_at_a_time(run, acme, tmp_path, monkeypatch) -> None:
    """Two imports of one file at once: the second is refused where it meets the first, and nothing is booked twice."""
    file = written(tmp_path / "orders.csv", HEADING, f"1,{AT},USD,10.00,JANE10,,")
    position = Intake.position
    monkeypatch.setattr(Intake, "position", lambda *_: None)
    assert run("import", "orders", file, "--merchant", "acme").code == 0
    second = run("import", "orders", file, "--merchant", "acme")

    assert second.code == 1
    assert "somebody else" in second.err
    monkeypatch.setattr(Intake, "position", position)
    assert run("intake", "--json").json["partitions"][0]["consumed"] == 1


def test_real_orders_add_up_to_the_cent(run, ledger, tmp_path) -> None:
    """An import of real purchases, with refunds, repetitions and garbage, ends as the independent model says."""
    merchant = cdnow.program()
    registration.register(ledger, [merchant])
    outgoing = cdnow.messages(list(cdnow.purchases(cdnow.EXTRACT_FILE, 600)))
    file = written(tmp_path / "orders.jsonl", *(value for _, value in outgoing))
    done = run("import", "orders", file, "--json")
    topic = done.json["source"].removeprefix("import/")
    told = [Message(topic, 0, line, value, "import") for line, (_, value) in enumerate(outgoing, 1)]
    books = Oracle([merchant]).take_all(told).books()

    assert differences(books, found.tables([order.events for order in streams(ledger)])) == []
    expected = {key: row for key, row in books.intake.items() if key[0] == "import"}
    (partition,) = run("intake", "--json").json["partitions"]
    assert partition["consumed"] == len(outgoing)
    assert {name: partition[name] for name in done.json["outcomes"]} == done.json["outcomes"]
    assert all(
        partition[name] == value for row in expected.values() for name, value in row.items() if name in partition
    )
    assert {line for line, *_ in faults(done)} == {letter[3] for letter in books.dead_letters}


def test_rows_of_another_merchant_stop_the_file(run, acme, tmp_path) -> None:
    """With --merchant, a file that has a row of another merchant is refused before anything is booked."""
    file = written(
        tmp_path / "orders.jsonl",
        json.dumps({"order_id": "1", "occurred_at": AT, "currency": "USD", "total": "1.00", "coupon_code": "JANE10"}),
        json.dumps({"merchant_id": "bolt", "order_id": "2"}),
    )
    done = run("import", "orders", file, "--merchant", "acme")

    assert done.code == 1
    assert "line 2" in done.err
    assert streams(acme) == []


def test_a_file_that_is_something_else_is_refused(run, acme, tmp_path) -> None:
    """A CSV without the columns, an unknown format and a merchant that does not exist: nothing is booked."""
    del acme
    other = written(tmp_path / "other.csv", "sku,price", "mug,1.00")
    assert "order_id" in run("import", "orders", other, "--merchant", "acme").err
    assert run("import", "orders", written(tmp_path / "orders.xlsx", "x"), "--merchant", "acme").code == 2
    assert run("import", "orders", other, "--merchant", "nobody").code == 1
    assert run("import", "orders", tmp_path / "missing.csv", "--merchant", "acme").code == 2
    assert run("intake", "--json").json["partitions"] == []


PARTNERS = (
    "name,email,coupon_code,rate_type,rate_value,status",
    "Jane,jane@example.com,JANE10,percentage,10,",
    "Omar,omar@example.com,OMAR5,fixed,5.00,applied",
)


def test_partners_are_registered_once(run, tmp_path) -> None:
    """A file of partners registers them; the same file again finds them all there; their orders earn."""
    run("merchant", "create", "--slug", "acme", "--name", "Acme", "--currency", "USD", "--email", "a@acme.example")
    file = written(tmp_path / "partners.csv", *PARTNERS)
    first = run("import", "partners", file, "--merchant", "acme", "--json")
    again = run("import", "partners", file, "--merchant", "acme", "--json")

    assert (first.code, first.json["outcomes"]) == (0, {"registered": 2, "duplicate": 0, "refused": 0})
    assert (again.code, again.json["outcomes"]) == (0, {"registered": 0, "duplicate": 2, "refused": 0})
    orders = written(tmp_path / "o.csv", HEADING, f"1,{AT},USD,10.00,jane10,,", f"2,{AT},USD,10.00,OMAR5,,")
    outcomes = run("import", "orders", orders, "--merchant", "acme", "--json").json["outcomes"]
    assert (outcomes["earned"], outcomes["skipped"]) == (1, 1)


@pytest.mark.parametrize(
    ("row", "code", "path"),
    [
        ("Jane,jane@example.com,JANE10,percentage,11,", "partner_differs", "$.rate_value"),
        ("Janet,jane@example.com,JANE10,percentage,10,", "partner_differs", "$.name"),
        ("Jane,jane@example.com,OTHER,percentage,10,", "partner_differs", "$.coupon_code"),
        ("Eve,eve@example.com,jane10,percentage,10,", "coupon_taken", "$.coupon_code"),
        ("Eve,nobody,EVE,percentage,10,", "malformed", "$.email"),
        ("Eve,eve@example.com,EVE,percentage,101,", "out_of_range", "$.rate_value"),
        ("Eve,eve@example.com,EVE,share,10,", "not_one_of", "$.rate_type"),
        ("Eve,eve@example.com,EVE,fixed,5.001,", "too_many_decimals", "$.rate_value"),
        ("Eve,eve@example.com,EVE,percentage,10,sleeping", "not_one_of", "$.status"),
        (",eve@example.com,EVE,percentage,10,", "missing", "$.name"),
        ("Eve,eve@example.com,EVE,percentage,10,,more", "not_an_object", "$"),
    ],
)
def test_a_partner_row_at_fault_is_named(run, tmp_path, row, code, path) -> None:
    """A row that cannot be, or tells otherwise than the books, is named by its column; its neighbour is registered."""
    run("merchant", "create", "--slug", "acme", "--name", "Acme", "--currency", "USD", "--email", "a@acme.example")
    run("import", "partners", written(tmp_path / "first.csv", *PARTNERS[:2]), "--merchant", "acme")
    done = run(
        "import", "partners", written(tmp_path / "p.csv", PARTNERS[0], row, PARTNERS[2]), "--merchant", "acme", "--json"
    )

    assert (done.code, done.json["outcomes"]) == (1, {"registered": 1, "duplicate": 0, "refused": 1})
    assert faults(done) == [(2, code, path)]


def test_partners_come_as_json_lines_too(run, tmp_path, database_url) -> None:
    """JSON lines may be flat as a CSV's columns, or have the shape that the API takes."""
    run("merchant", "create", "--slug", "acme", "--name", "Acme", "--currency", "USD", "--email", "a@acme.example")
    flat = {"name": "Jane", "email": "jane@example.com", "rate_type": "percentage", "rate_value": "10"}
    nested = {
        "name": "Omar",
        "email": "omar@example.com",
        "rate": {"type": "fixed", "value": "5.00"},
        "note": "kept out",
    }
    wrong = {"name": "Eve", "email": "eve@example.com", "rate": {"type": "fixed", "value": 5}}
    file = written(tmp_path / "p.jsonl", *map(json.dumps, (flat, nested, wrong)))
    done = run("import", "partners", file, "--merchant", "acme", "--json")

    assert done.json["outcomes"]["registered"] == 2
    assert faults(done) == [(3, "not_a_string", "$.rate.value")]
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM people.partners").fetchone() == (2,)


class Stream(list):
    """The events of an order's stream; `stream` is its name."""

    stream: str
    events: list


def streams(ledger: Ledger) -> list[Stream]:
    """Return every order's stream, in the order of their names."""
    with ledger.connection() as connection:
        query = "SELECT DISTINCT originator_id FROM ledger.events WHERE starts_with(originator_id, 'order/') ORDER BY 1"
        names = [row["originator_id"] for row in connection.execute(query)]
    found_streams = []
    for name, recorded in ledger.streams(names).items():
        stream = Stream()
        stream.stream, stream.events = name, [one.event for one in recorded]
        found_streams.append(stream)
    return found_streams
