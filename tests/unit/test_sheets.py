"""Rows of files, in and out: what was written comes back, no text is a formula, and nothing is repaired."""

import csv
import io
import tracemalloc
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.api import Answer
from schemas.api_answers import Customer, CustomerRevenue
from schemas.money import Money
from schemas.rows import ROW_MAX, FileError, fields_of, meant, neutral, table
from schemas.sheets import Sheet, listed, unlisted

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")


class Told(Answer):
    """An answer with texts, a list of texts and an amount."""

    name: str | None
    codes: list[str]
    amount: Money


def rows_of(text: bytes, kind: str = "csv", required=(), **options):
    """Return the rows of a file."""
    return list(table(io.BytesIO(text), kind, required, **options).rows)


@given(st.one_of(TEXTS, st.builds(str.__add__, st.sampled_from(("'", "''", *FORMULAS)), TEXTS)))
def test_a_neutral_text_is_no_formula_and_means_the_same(text):
    """A cell begins like a formula for no text, and is read back as the very text that it was."""
    assert not neutral(text).startswith(FORMULAS)
    assert meant(neutral(text)) == text


@given(st.lists(TEXTS.filter(bool), max_size=4))
def test_several_texts_in_one_cell_come_apart_again(texts):
    """Whatever is in them, the texts of a cell are told apart."""
    assert unlisted(listed(texts)) == texts


@given(st.lists(st.tuples(TEXTS.filter(str.strip), st.lists(TEXTS.filter(bool), max_size=3)), max_size=5))
def test_what_a_sheet_says_is_read_back(told):
    """Names and lists that were written as CSV are read as what they were, by the reader that imports have."""
    answers = [Told(name=name, codes=codes, amount=Money(amount="-3.00", currency="USD")) for name, codes in told]
    sheet = Sheet(Told)
    rows = rows_of(sheet.heading() + sheet.lines(answers))
    found = [fields_of(row, "csv") for row in rows]
    assert [(row["name"], unlisted(row.get("codes", ""))) for row in found] == told
    assert all(row["amount.amount"] == "-3.00" for row in found)


def test_a_sheet_is_rfc_4180():
    """Lines end with CR LF, quotes are doubled, and what has a comma, a quote or a line break is quoted."""
    sheet = Sheet(Told)
    answer = Told(name='a "b", c\nd', codes=["x", "y|z"], amount=Money.of(-300, "USD"))
    assert sheet.heading() == b"name,codes,amount.amount,amount.currency\r\n"
    assert sheet.lines([answer]) == b'"a ""b"", c\nd",x|y\\|z,-3.00,USD\r\n'
    assert sheet.lines([Told(name=None, codes=[], amount=Money.of(0, "JPY"))]) == b",,0,JPY\r\n"


def test_amounts_per_currency_have_a_row_each():
    """A customer with two currencies makes two rows, one with none makes one."""
    at = datetime(2026, 11, 22, tzinfo=UTC)

    def customer(*currencies):
        revenue = [
            CustomerRevenue(
                currency=each, orders=1, gross=Money.of(5, each), refunded=Money.of(0, each), net=Money.of(5, each)
            )
            for each in currencies
        ]
        told = dict.fromkeys(Customer.model_fields) | {"id": "c", "first_order_at": at, "revenue": revenue}
        return Customer.model_construct(**told)

    sheet = Sheet(Customer)
    heading = sheet.heading().decode().strip().split(",")
    rows = [
        dict(zip(heading, row, strict=True))
        for row in csv.reader(io.StringIO(sheet.lines([customer("USD", "JPY"), customer()]).decode()))
    ]
    assert [(row["id"], row["revenue.currency"], row["revenue.net.amount"]) for row in rows] == [
        ("c", "USD", "0.05"), ("c", "JPY", "5"), ("c", "", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_any_common_csv_is_read(delimiter, ending):
    """Commas, semicolons, tabs and bars are told from the heading; any line ending and a byte order mark will do."""
    lines = (delimiter.join(each) for each in (("a", "b"), ("1", ""), ("", ""), ("2", '"x"')))
    found = rows_of(b"\xef\xbb\xbf" + ending.join(lines).encode())
    assert [(row.line, row.fields) for row in found] == [(2, {"a": "1"}), (4, {"a": "2", "b": "x"})]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_row_that_is_too_long_is_left_out_in_pieces(kind):
    """A line of many megabytes is a fault of its own, is never in memory, and the row behind it is read."""
    file = io.BytesIO(b"a,b\n" + b"x" * (8 << 20) + b'\n{"a": 1}\n')
    tracemalloc.start()
    *_, long, last = table(file, kind).rows
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (long.line, long.fields, long.fault.code) == (2, None, "too_large")
    assert ROW_MAX <= len(long.raw) < ROW_MAX + 10
    assert (last.line, last.fault) == (3, None)
    assert peak < 2 << 20


def test_a_row_of_the_full_length_is_a_row():
    """A row has as many characters as a row may have, whatever its line ends with."""
    for ending in ("\n", "\r\n"):
        (row,) = rows_of(f"a{ending}{'x' * ROW_MAX}{ending}".encode())
        assert row.fault is None
        assert len(row.fields["a"]) == ROW_MAX


def test_a_quote_that_is_never_closed_takes_no_rows_with_it():
    """Where a quote stays open nobody can tell rows apart: the file is refused, with the line where it was opened."""
    text = b'a,b\n1,2\n3,"4\n5,6\n'
    with pytest.raises(FileError, match="line 3") as refused:
        rows_of(text)
    assert refused.value.code == "unclosed_quote"


def test_columns_go_by_their_other_names_too():
    """A column under an alias is the column; both at once are one column twice."""
    (row,) = rows_of(b"rate.type\nfixed\n", required=("rate_type",), aliases={"rate.type": "rate_type"})
    assert row.fields == {"rate_type": "fixed"}
    with pytest.raises(FileError) as refused:
        rows_of(b"rate.type,rate_type\n1,2\n", aliases={"rate.type": "rate_type"})
    assert refused.value.code == "duplicate_column"


def test_the_file_can_be_read_again():
    """Reading a file to its end, or not, leaves it open for the one whose it is."""
    file = io.BytesIO(b"a\n1\n2\n")
    assert len(list(table(file, "csv").rows)) == 2
    file.seek(0)
    rows = table(file, "csv").rows
    next(rows)
    rows.close()
    assert not file.closed
