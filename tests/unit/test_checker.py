"""The checker must not be blind: whatever figure is wrong, it says so."""

from __future__ import annotations

import copy

import pytest

from tests.support.checker import TABLES, differences, lost, unaccounted
from tests.support.oracle import Books, Message, Oracle
from tests.support.storefront import Outgoing, Sent, Storefront, lay_out, sample_program


@pytest.fixture(scope="module")
def books() -> Books:
    """Books with something in every table."""
    program = sample_program()
    return Oracle(program).take_all(lay_out(Storefront(7, program).take(600), 2)).books()


def told(books: Books) -> dict:
    """Return what a system would say that agrees with the books."""
    found = {name: copy.deepcopy(getattr(books, where)) for name, (where, _, _) in TABLES.items()}
    return {**found, "dead_letters": sorted(books.dead_letters)}


def test_the_same_is_no_difference(books):
    """A system that says what the oracle says has no difference."""
    assert differences(books, told(books)) == []


@pytest.mark.parametrize("table", TABLES)
def test_every_figure_counts(books, table):
    """Each column of each row that is changed is found, and named with what it should be."""
    found = told(books)[table]
    assert found
    for key, row in found.items():
        for column, value in row.items():
            wrong = {**found, key: {**row, column: value + 1 if isinstance(value, int) else "wrong"}}
            sentences = differences(books, {table: wrong})
            assert any(f"{column} is " in line and f"should be {value!r}" in line for line in sentences), (key, column)


@pytest.mark.parametrize("table", TABLES)
def test_every_row_counts(books, table):
    """A row that is missing is found, and so is one that should not be there."""
    found = told(books)[table]
    for key in [key for key, row in found.items() if any(row.values())]:
        [sentence] = differences(books, {table: {other: row for other, row in found.items() if other != key}})
        assert "is missing" in sentence
    strange = {**found, ("nobody",): {**row_of(found), "consumed": 1, "earned": 1}}
    assert any("should not be there" in line for line in differences(books, {table: strange}))


def row_of(found: dict) -> dict:
    """Return some row with figures in it, with no counts that would not add up."""
    return {name: 0 if table_counts(name) else value for name, value in next(iter(found.values())).items()}


def table_counts(name: str) -> bool:
    """Return whether the column is one of the counts of a position."""
    return name in {"consumed", "earned", "adjusted", "skipped", "ignored", "duplicate", "dead_lettered"}


def test_a_column_that_is_not_told(books):
    """A row that leaves a figure out has not said that it is right."""
    found = told(books)["balances"]
    key = next(iter(found))
    del found[key]["payable"]
    assert ["payable is not told" in line for line in differences(books, {"balances": found})] == [True]


def test_dead_letters_one_by_one(books):
    """A dead letter that is missing, doubled, elsewhere or under another code is found."""
    letters = told(books)["dead_letters"]
    first = letters[0]
    for wrong, sentence in (
        (letters[1:], "is missing"),
        ([*letters, first], "should not be there twice"),
        ([*letters, (*first[:3], 10**9, first[4])], "should not be there"),
        ([*letters[1:], (*first[:4], "other_code")], "should not be there"),
    ):
        assert any(sentence in line for line in differences(books, {"dead_letters": wrong}))


def test_zeros_may_be_missing(books):
    """A balance of nothing and no balance are the same; an order of nothing is an order."""
    found = told(books)
    found["balances"]["acme", "nobody", "USD"] = dict.fromkeys(next(iter(found["balances"].values())), 0)
    assert differences(books, found) == []


def test_it_names_the_first_and_counts_the_others(books):
    """A table that is all wrong is told in a few lines."""
    lines = differences(books, {"commissions": {}}, limit=3)
    assert len(lines) == 4
    assert lines[-1] == f"commissions: {len(books.orders) - 3} more differences"


@pytest.mark.parametrize("found", [{}, {"balance": {}}])
def test_comparing_nothing_is_an_error(books, found):
    """A test that compares nothing, or a table with a slip in its name, fails."""
    with pytest.raises(ValueError, match="nothing to compare"):
        differences(books, found)


def test_outcomes_add_up_to_what_was_consumed(books):
    """At any instant, whatever the oracle says, consumed is the sum of the outcomes."""
    positions = told(books)["positions"]
    assert unaccounted(positions) == []
    key = next(iter(positions))
    positions[key]["consumed"] += 1
    assert len(unaccounted(positions)) == 1


def test_what_the_broker_took_must_be_there():
    """A message that was acknowledged lies where the broker said; one that was not may lie anywhere."""
    sent = {
        0: Sent(Outgoing(None, b"a"), ("orders", 0, 0)),
        1: Sent(Outgoing(None, b"b"), ("orders", 0, 1)),
        2: Sent(Outgoing(None, b"c"), ("orders", 0, 2)),
        3: Sent(Outgoing(None, b"d"), None),
    }
    assert lost(sent, [Message("orders", 0, 0, b"a"), Message("orders", 0, 1, b"x")]) == [
        "message 1 was taken at orders/0/1, where another one lies",
        "message 2 was taken at orders/0/2, where nothing lies",
    ]
