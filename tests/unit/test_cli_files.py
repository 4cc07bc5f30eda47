"""Files of rows: read as they were written, with the lines that people see in their editors."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import tables
from cli.failures import CannotError, UsageError
from cli.tables import Fault
from ledger import order_rows
from schemas.errors import RejectedError
from schemas.order_events import parse
from schemas.rows import Row, encode

PLACED = {"occurred_at": "2026-11-22T10:00:00Z", "currency": "USD", "total": "10.00"}
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NAMES = ("order_id", "total", "note")


def ignore(_: int) -> None:
    """Look at no progress."""


def read(path: Path, kind: str = "csv", required: tuple[str, ...] = ()) -> list[Row]:
    """Return all rows of the file."""
    return list(tables.rows(path, kind, required, ignore))


@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=8), delimiter=st.sampled_from(",;\t|"))
def test_csv_reads_back_as_it_was_written(tmp_path_factory, rows, delimiter) -> None:
    """Whatever is in a cell (delimiters, quotes, line breaks) comes back; empty cells and blank rows are left out."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerows([NAMES, *rows])
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    path.write_bytes(text.getvalue().encode())

    written = [
        {name: cell for name, cell in zip(NAMES, row, strict=True) if cell}
        for row in rows
        if any(c.strip() for c in row)
    ]
    assert [row.fields for row in read(path)] == written


def test_lines_are_those_of_an_editor(tmp_path) -> None:
    """A row's line is the one on which it begins, also behind blank lines and cells with line breaks."""
    path = tmp_path / "x.csv"
    path.write_bytes(b'\xef\xbb\xbforder_id,note\r\n1,"two\r\nlines"\r\n\r\n2,\r\n')

    assert [(row.line, row.fields["order_id"]) for row in read(path)] == [(2, "1"), (5, "2")]


def test_bytes_that_are_no_utf_8_stay_as_they_are(tmp_path) -> None:
    """A cell that is not UTF-8 is neither lost nor repaired: its message is refused for what it is."""
    path = tmp_path / "x.csv"
    path.write_bytes(b"order_id,occurred_at,currency,total\n\xff1,2026-11-22T10:00:00Z,USD,10.00\n")
    (message,) = order_rows.messages(read(path), "csv", "acme")

    assert b"\xff1" in message.raw
    with pytest.raises(RejectedError, match="UTF-8") as refused:
        parse(message.raw)
    assert refused.value.code == "not_utf8"


@pytest.mark.parametrize("heading", ["price", "", "order_id,order_id"])
def test_a_heading_that_cannot_be_used_is_refused(tmp_path, heading) -> None:
    """A first line without a required column, or with one name twice, is refused at once."""
    path = tmp_path / "x.csv"
    path.write_text(f"{heading}\n1,2\n")

    with pytest.raises(CannotError, match="the first line"):
        read(path, required=("order_id",))


def test_more_cells_than_columns_make_no_row(tmp_path) -> None:
    """A row with more cells than the heading has columns has no fields: nobody can tell which is which."""
    path = tmp_path / "x.csv"
    path.write_text("order_id,total\n1,1,000.00\n2,5.00,\n")

    assert [row.fields for row in read(path)] == [None, {"order_id": "2", "total": "5.00"}]


@given(told=st.dictionaries(st.sampled_from(["type", "event_id", "merchant_id", "order_id", "x"]), st.text(max_size=9)))
def test_what_a_line_leaves_out_is_filled_in(told) -> None:
    """A JSON line keeps every member that it has, and gets type, merchant and event id where it has none."""
    raw = json.dumps(told).encode()
    (message,) = order_rows.messages([Row(1, told, raw)], "jsonl", "acme")
    filled = json.loads(message.raw)

    assert {name: filled[name] for name in told} == told
    assert {"type", "event_id", "merchant_id"} <= set(filled)
    assert filled["merchant_id"] == told.get("merchant_id", "acme")


def test_the_same_row_has_the_same_event_id() -> None:
    """The event id of a row that has none depends on the row alone, and tells rows apart."""
    rows = [
        Row(line, {"order_id": name}, json.dumps({"order_id": name}).encode()) for line, name in enumerate("aab", 1)
    ]
    first, again, other = (json.loads(m.raw)["event_id"] for m in order_rows.messages(rows, "jsonl", "acme"))

    assert first == again != other


def test_a_line_keeps_what_a_second_reading_would_lose() -> None:
    """Numbers and double names in a JSON line reach the parser as they were written, to be judged there."""
    raw = b'{"order_id": "1", "order_id": "2", "total": 1e400}'
    (message,) = order_rows.messages([Row(1, {"order_id": "2"}, raw)], "jsonl", "acme")

    assert message.raw.endswith(raw[1:])


def test_flat_columns_become_the_object_that_they_stand_for() -> None:
    """Columns of the customer, the items and the metadata make an order that the topic's parser accepts."""
    cells = {
        "order_id": "1", **PLACED, "coupon_code": " jane10 ", "customer_id": "c1", "customer_email": "kim@example.com",
        "items": '[{"sku": "mug", "quantity": 2}]', "metadata.channel": "web", "unknown": "x",
    }  # fmt: skip
    (message,) = order_rows.messages([Row(2, cells, encode(list(cells.values())))], "csv", "acme")
    order = parse(message.raw)

    assert (order.merchant_id, order.coupon_code, order.customer_id) == ("acme", "JANE10", "c1")
    assert (order.total_minor, order.metadata) == (1000, {"channel": "web"})
    assert order.items_digest


def test_the_format_is_named_or_told_by_the_extension() -> None:
    """`--format` wins over the extension; with neither it is wrong usage."""
    assert tables.format_of(Path("a.CSV"), None) == "csv"
    assert tables.format_of(Path("a.ndjson"), None) == "jsonl"
    assert tables.format_of(Path("a.csv"), "jsonl") == "jsonl"
    for path, named in ((Path("a.xlsx"), None), (Path("a.csv"), "xml")):
        with pytest.raises(UsageError):
            tables.format_of(path, named)


def test_an_errors_file_is_gone_when_nothing_is_wrong_any_more(tmp_path) -> None:
    """Faults are written in the order of lines; without faults an old errors file is removed."""
    target = tmp_path / "x.csv.errors.csv"
    tables.write_faults(target, [Fault(9, "b", "$", "later"), Fault(2, "a", "$.total", "first, and quoted")])
    assert target.read_text().splitlines() == [
        "line,code,path,reason",
        '2,a,$.total,"first, and quoted"',
        "9,b,$,later",
    ]

    tables.write_faults(target, [])
    assert not target.exists()
