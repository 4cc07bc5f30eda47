"""The terms of payouts: changed and shown by the API, checked with a code and a path, old terms left as they are."""

import msgspec
import pytest

from ledger.terms import Schedule, Terms, letters_of, plain, schedule_of
from tests.support.api import NOW

ALL = ["sent", "failed", "returned"]
MONTHLY = {"every": "month", "day": 5}


async def test_the_terms_of_payouts_are_changed_like_all_terms(api):
    """A program begins without them; each change is a version, shown alike by the answer, the history and the feed."""
    before = (await api.get("/program")).json["terms"]
    assert [before[f"payout_{name}"] for name in ("approval", "schedule", "letters")] == ["none", None, ALL]
    told = {"payout_approval": "second_person", "payout_schedule": MONTHLY, "payout_letters": ["returned", "sent"]}
    changed = await api.ask("PATCH", "/program", told)
    expected = told | {"payout_letters": ["sent", "returned"], "version": before["version"] + 1}
    assert changed.json["terms"] == before | expected
    assert changed.json["next_payout_on"] == "2026-12-05"
    await api.project()
    assert (await api.get("/program")).json == changed.json
    assert (await api.get("/program/versions")).json["data"][0]["terms"] == changed.json["terms"]
    feed = (await api.get("/events?limit=200")).json["data"]
    assert [entry["data"]["terms"] for entry in feed if entry["type"] == "program.terms_changed"] == [
        changed.json["terms"]
    ]


async def test_what_changes_nothing_is_no_new_version(api):
    """The defaults said aloud, the same letters in another order, the schedule that there is: the terms stay."""
    version = (await api.get("/program")).json["terms"]["version"]
    for same in ({"payout_approval": "none"}, {"payout_letters": ALL[::-1]}, {"payout_schedule": None}):
        answer = await api.ask("PATCH", "/program", same)
        assert answer.json["terms"]["version"] == version, same


@pytest.mark.parametrize(
    "schedule",
    [MONTHLY, {"every": "week", "weekday": "sunday"}, {"every": "once", "on": f"{NOW:%Y-%m-%d}"}],
    ids=lambda told: told["every"],
)
async def test_a_schedule_is_taken_away_by_null(api, schedule):
    """Null and nothing are two things: what is left out stays."""
    await api.ask("PATCH", "/program", {"payout_schedule": schedule})
    kept = await api.ask("PATCH", "/program", {"hold_days": 3})
    assert kept.json["terms"]["payout_schedule"] == schedule
    gone = await api.ask("PATCH", "/program", {"payout_schedule": None})
    assert gone.json["terms"]["payout_schedule"] is None
    assert gone.json["next_payout_on"] is None


@pytest.mark.parametrize(
    ("told", "path"),
    [
        ({"payout_approval": "everybody"}, "$.payout_approval"),
        ({"payout_letters": ["sent", "spam"]}, "$.payout_letters[1]"),
        ({"payout_schedule": {"every": "month", "day": 29}}, "$.payout_schedule.day"),
        ({"payout_schedule": {"every": "month", "day": 0}}, "$.payout_schedule.day"),
        ({"payout_schedule": {"every": "month", "day": 5, "weekday": "monday"}}, "$.payout_schedule.weekday"),
        ({"payout_schedule": {"every": "week", "weekday": "someday"}}, "$.payout_schedule.weekday"),
        ({"payout_schedule": {"every": "week"}}, "$.payout_schedule.weekday"),
        ({"payout_schedule": {"every": "once", "on": "2026-02-30"}}, "$.payout_schedule.on"),
        ({"payout_schedule": {"every": "year"}}, "$.payout_schedule"),
        ({"payout_schedule": {"day": 5}}, "$.payout_schedule"),
        ({"payout_schedule": "monthly"}, "$.payout_schedule"),
    ],
)
async def test_terms_that_cannot_be_applied_are_refused(api, told, path):
    """The answer names the member, and nothing changes."""
    before = (await api.get("/program")).json
    refused = await api.ask("PATCH", "/program", told)
    assert refused.status == 422
    assert path in [error["path"] for error in refused.json["errors"]]
    assert (await api.get("/program")).json == before


async def test_a_day_that_is_over_is_no_schedule(api):
    """Once, on a day before today in the program's time zone, would never come."""
    refused = await api.ask("PATCH", "/program", {"payout_schedule": {"every": "once", "on": "2026-11-21"}})
    assert (refused.status, refused.code) == (422, "schedule_is_past")
    assert [error["path"] for error in refused.json["errors"]] == ["$.payout_schedule.on"]


def test_terms_that_were_stored_before_are_what_they_were():
    """Without a word about payouts: nobody has to approve, nothing is made by itself, every letter is sent."""
    stored = (
        b'{"version":1,"approval":"after_days","hold_days":30,"base":"total","fixed_on_partial_refund":"keep",'
        b'"self_referral":"skip"}'
    )
    terms = msgspec.json.decode(stored, type=Terms)
    assert msgspec.json.encode(terms) == stored
    assert (terms.payout_approval, schedule_of(terms), list(letters_of(terms))) == (msgspec.UNSET, None, ALL)
    assert plain(msgspec.structs.replace(terms, payout_approval="none", payout_letters=tuple(ALL))) == terms


def test_a_stored_schedule_says_no_more_than_it_has_to():
    """What does not belong to the kind of schedule is not in the log."""
    terms = Terms(payout_schedule=Schedule(**MONTHLY), payout_letters=())
    assert msgspec.json.encode(terms).endswith(b'"payout_schedule":{"every":"month","day":5},"payout_letters":[]}')
    assert msgspec.json.decode(msgspec.json.encode(terms), type=Terms) == terms
