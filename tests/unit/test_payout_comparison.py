"""When a payout and what its provider has agree, and what it is where they do not."""

import pytest

from consumers.payout_comparison import compare
from consumers.rails import Found
from ledger.payout_findings import Finding, Ours

OURS = Ours("po_1", "acme", "ada", "USD", 1_000, "processed", 1, "tr_1", 0, None)
SHOWN = Found("processed", "tr_1", 1_000, "USD", "acct_ada")
DEAD = SHOWN._replace(state="returned", reference="tr_0", returned_minor=1_000)


def told(ours: Ours, *theirs: Found) -> tuple[str | None, str | None]:
    """Return what came of the comparison (`matched`, the reason of a finding, None), and the hint."""
    verdict = compare("stripe", ours, "acct_ada", theirs)
    found = verdict.finding
    return (found.reason if found else "matched" if verdict.matched else None), verdict.hint


@pytest.mark.parametrize(
    ("changes", "theirs", "expected"),
    [
        ({}, [SHOWN], ("matched", None)),
        ({}, [DEAD, SHOWN], ("matched", None)),
        ({}, [SHOWN._replace(payee="ACCT_ada")], ("matched", None)),
        ({}, [SHOWN._replace(payee=None)], ("matched", None)),
        ({}, [], ("not_shown", None)),
        ({}, [DEAD], ("not_shown", None)),
        ({"state": "submitted"}, [], ("not_shown", None)),
        ({"state": "submitting", "reference": None}, [], (None, None)),
        ({"state": "submitting", "reference": None}, [SHOWN], ("matched", "tr_1")),
        ({"state": "requested", "reference": None, "attempt": 0}, [SHOWN], ("matched", "tr_1")),
        ({"state": "submitted"}, [SHOWN], ("matched", "tr_1")),
        ({"state": "submitted"}, [SHOWN._replace(state="in_transit")], ("matched", None)),
        ({"state": "review", "reference": None}, [], (None, None)),
        ({"state": "failed", "reference": None}, [], (None, None)),
        ({"state": "failed", "reference": None}, [DEAD], ("matched", None)),
        ({"state": "failed"}, [SHOWN], ("paid_after_all", "tr_1")),
        ({"state": "cancelled", "attempt": 0}, [SHOWN], ("paid_after_all", "tr_1")),
        ({}, [SHOWN._replace(amount_minor=999)], ("amount", "tr_1")),
        ({}, [SHOWN._replace(currency="EUR")], ("currency", "tr_1")),
        ({}, [SHOWN._replace(payee="acct_bob")], ("payee", "tr_1")),
        ({}, [SHOWN, SHOWN._replace(reference="tr_2")], ("several", "tr_1")),
        ({}, [SHOWN._replace(reference="tr_2")], ("several", "tr_2")),
        ({"method": "wire", "reference": "W1", "attempt": 0}, [], (None, None)),
        ({"method": "wire", "reference": "W1"}, [SHOWN], ("several", "tr_1")),
        ({"method": "stripe"}, [SHOWN], ("matched", None)),
        ({}, [SHOWN._replace(returned_minor=400)], ("matched", "tr_1")),
        ({"state": "returned", "returned_minor": 400}, [SHOWN._replace(returned_minor=400)], ("matched", None)),
        ({"state": "returned", "returned_minor": 400}, [SHOWN], ("returned", "tr_1")),
        ({}, [SHOWN._replace(state="returned")], ("matched", "tr_1")),
        ({}, [SHOWN._replace(state="failed")], ("not_paid", "tr_1")),
    ],
)  # fmt: skip
def test_what_agrees_and_what_does_not(
    changes: dict[str, object], theirs: list[Found], expected: tuple[str | None, str | None]
) -> None:
    """What the books can still learn is a hint, what contradicts them a finding, what they need not know nothing."""
    assert told(OURS._replace(**changes), *theirs) == expected  # type: ignore[arg-type]


def test_a_finding_has_the_same_id_for_ever() -> None:
    """What is only theirs is known by the payment, all else by the payout and what is wrong with it."""
    found = compare("stripe", OURS, None, [SHOWN._replace(amount_minor=1)]).finding
    assert found is not None
    assert found.finding_id == found._replace(reason="payee", theirs=None, references=("tr_7",)).finding_id
    theirs = Finding("stripe", "theirs_only", "not_ours", references=("tr_1",))
    assert theirs.finding_id != theirs._replace(references=("tr_2",)).finding_id
    assert theirs.finding_id == theirs._replace(reason="not_in_books", payout_id="po_1").finding_id
