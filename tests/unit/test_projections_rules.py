"""Small rules of the read side that need no database."""

from datetime import date

import pytest

from ledger.events import EVENT_TYPES
from ledger.payout_events import PAYOUT_EVENTS, ClawbackMoved
from projections import schema, statements
from projections.figures import stretches
from projections.read import place
from projections.verify import _spans

# Told in the feed and by webhooks; what they are about is kept in tables of its own.
ABOUT_NONE = {"AccessChanged", "DeadLetterDiscarded", "DeadLetterOpened", "DeadLetterRetried", "WebhookChanged"} | {
    kind.__name__ for kind in PAYOUT_EVENTS if not issubclass(kind, ClawbackMoved)
}


def test_every_read_model_has_its_sql_beside_its_fold():
    """One read model is one `.py` beside one `.sql` with its table and at least one statement that applies a batch."""
    for model in schema.MODELS:
        assert statements.section(model.name, "table").count("CREATE TABLE") == len(model.tables)
        assert statements.applying(model.name)
        __import__(f"projections.{model.name}")


def test_headings_name_kinds_of_events():
    """A heading may name a base class, and means every event below it."""
    found = statements.sections("commissions")["apply early: open"].topics
    assert found == {"CommissionEarned", "CommissionSkipped", "CommissionEntered"}


def test_every_event_is_about_some_read_model_or_known_to_be_about_none():
    """No topic is forgotten: an event that no statement is about is one that changes nothing anybody reads."""
    covered = {
        topic
        for model in schema.MODELS
        for statement in statements.applying(model.name)
        for topic in statement.topics or ()
    }
    assert set(EVENT_TYPES) - covered == ABOUT_NONE


def test_a_changed_rule_or_statement_changes_the_fingerprint(monkeypatch):
    """Read models are told to be out of date when their SQL, the facts' or the posting rules change."""
    (balances,) = schema.named(["balances"])
    before = schema.fingerprint(balances)
    assert before == schema.fingerprint(balances) != schema.fingerprint(schema.named(["revenue"])[0])
    with monkeypatch.context() as patched:
        patched.setattr(statements, "text", lambda name: f"-- {name}")
        assert schema.fingerprint(balances) != before
    monkeypatch.setattr(schema, "RULES", {})
    assert schema.fingerprint(balances) != before


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ("day", 33),
        ("week", [(28, 1), (2, 8), (9, 15), (16, 22), (23, 1)]),
        ("month", [(28, 31), (1, 28), (1, 1)]),
    ],
)
def test_stretches_are_cut_at_the_days_asked_for(interval, expected):
    """Weeks begin on Monday, months on the first; the first and the last stretch may be shorter."""
    found = stretches(date(2026, 1, 28), date(2026, 3, 1), interval)
    if interval == "day":
        assert len(found) == expected
    else:
        assert [(first.day, last.day) for first, last in found] == expected
    assert found[0][0] == date(2026, 1, 28)
    assert found[-1][1] == date(2026, 3, 1)


def test_stretches_of_nothing_are_refused():
    """Days in the wrong order and unknown intervals are errors, not empty answers."""
    with pytest.raises(ValueError, match="before the first"):
        stretches(date(2026, 2, 1), date(2026, 1, 31), "day")
    with pytest.raises(ValueError, match="no interval 'year'"):
        stretches(date(2026, 1, 1), date(2026, 1, 31), "year")


def test_places_are_in_the_order_of_days_before_that_of_positions():
    """All orders of a day lie between the day's place and the place behind it, also before 1970."""
    for day in (date(1969, 12, 31), date(1970, 1, 1), date(2026, 11, 22), date(2199, 12, 31)):
        first, behind = place(day), place(day, after=True)
        assert behind - first == 2**40
        assert (first & (2**40 - 1)) == 0
        assert -(2**62) < first < behind < 2**62


def test_spans_cover_all_ids_once():
    """However the sample fell, every id is in exactly one span."""
    spans = _spans("shop", ["b", "a", "d", "a", "c", "ß", "z"], 2)
    assert (spans[0].low, spans[-1].high) == ("", None)
    assert [span.high for span in spans[:-1]] == [span.low for span in spans[1:]]
    assert all(span.high is None or span.low < span.high for span in spans)
