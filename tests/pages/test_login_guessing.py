"""Whoever guesses, or sends forms from elsewhere, gets nowhere and learns nothing."""

import asyncio
import re
from datetime import timedelta

import pytest

from ledger import lockouts
from ledger.passwords import Passwords
from tests.support import visitors
from tests.support.api import running
from tests.support.logins import GOOD, KIM, WRONG, invited, log_in, member, partner_path
from tests.support.visitors import Visitor
from web.api.openapi import pattern
from web.attempts import ATTEMPTS
from web.pages import PAGES

NOBODY = "nobody@example.com"


@pytest.fixture
def compared(monkeypatch):
    """Return a list that grows by one with each hash that is computed for a comparison."""
    made, verify = [], Passwords.verify

    def counted(self, stored, password):
        made.append(password)
        return verify(self, stored, password)

    monkeypatch.setattr(Passwords, "verify", counted)
    return made


def told(page, email):
    """Return what a page tells, without the address that was typed in."""
    own = {"date", "x-request-id", "content-length"}
    headers = {name: value for name, value in page.headers.items() if name.lower() not in own}
    return page.status, page.text.replace(email, "<email>"), headers


async def test_known_and_unknown_names_are_answered_alike(api, compared):
    """Wrong password, no password yet, disabled, unknown: the same page after as many hashes, and the same lock-out."""
    await member(api)
    await invited(api, email="new@example.com", name="New")
    gone = await member(api, email="gone@example.com", name="Gone")
    await api.post(f"/users/{gone['id']}/disable", {})
    compared.clear()
    shown = {}
    for email in (KIM, "new@example.com", "gone@example.com", NOBODY):
        shown[email] = []
        for _ in range(lockouts.FREE + 1):
            before = len(compared)
            _, page = await log_in(api, email=email, password=GOOD if email.startswith("gone") else WRONG)
            shown[email].append((*told(page, email), len(compared) - before))
    first = shown.pop(KIM)
    assert [status for status, *_ in first] == [422] * lockouts.FREE + [429]
    assert [count for *_, count in first] == [1] * lockouts.FREE + [0]
    assert "Try again in 30 seconds." in first[-1][1]
    for email, pages in shown.items():
        for one, other in zip(first, pages, strict=True):
            assert other == one, email


async def test_each_further_guess_waits_twice_as_long_and_a_success_forgives(api):
    """After five wrong passwords not even the right one is looked at for 30 s, then 60 s; it, or a day, forgives."""
    await member(api)
    for _ in range(lockouts.FREE):
        await log_in(api, password=WRONG)
    assert (await log_in(api))[1].status == 429
    api.now += timedelta(seconds=31)
    await log_in(api, password=WRONG)
    api.now += timedelta(seconds=31)
    assert (await log_in(api))[1].status == 429
    api.now += timedelta(seconds=30)
    assert (await log_in(api))[1].status == 303
    for _ in range(lockouts.FREE - 1):
        assert (await log_in(api, password=WRONG))[1].status == 422
    assert (await log_in(api))[1].status == 303
    for _ in range(lockouts.FREE):
        await log_in(api, password=WRONG)
    api.now += timedelta(days=1, seconds=1)
    for _ in range(lockouts.FREE - 1):
        await log_in(api, password=WRONG)
    assert (await log_in(api))[1].status == 303


async def test_many_guesses_at_once_are_as_many(api, compared):
    """However many come at the same moment, from however many processes, no more passwords are compared."""
    await member(api)
    compared.clear()
    pages = await asyncio.gather(*(log_in(api, password=f"{WRONG} {number}") for number in range(20)))
    assert len(compared) == lockouts.FREE
    assert sorted(page.status for _, page in pages) == [422] * lockouts.FREE + [429] * (20 - lockouts.FREE)


async def test_waits_grow_to_a_quarter_of_an_hour(api):
    """The waits double from 30 s and end at 15 minutes, so that nobody is shut out for long by somebody else."""
    waits, name = [], b"a name"
    for _ in range(12):
        while not (wait_s := await asyncio.to_thread(lockouts.attempt, api.ledger, name, api.now)):
            pass
        waits.append(wait_s)
        api.now += timedelta(seconds=wait_s)
    assert waits == [30, 60, 120, 240, 480] + [900] * 7


async def test_an_address_that_guesses_many_names_has_to_wait(database_url):
    """Too many failures from one network address and nothing is looked at any more, whichever name is tried."""
    async with running(database_url, failures_burst=3, failures_per_s=0.001) as api:
        for number in range(3):
            assert (await log_in(api, email=f"n{number}@example.com", password=WRONG))[1].status == 422
        page = (await log_in(api, email="another@example.com", password=WRONG))[1]
        assert page.status == 429
        assert int(page.headers["Retry-After"]) > 0
        with api.ledger.connection() as conn:
            assert conn.execute("SELECT count(*) AS names FROM access.login_failures").fetchone()["names"] == 3
        assert api.client.app[ATTEMPTS].may_write(b"somebody else")


class Filled(dict):
    """Values for the parameters of an address; any, where it does not matter which."""

    def __missing__(self, name):
        return "x"


def posts():
    """Return the addresses of all forms of the site; of a parameter that is one of a few words, with the first."""
    made = {page.path for table in PAGES for page in table.pages if page.method == "POST"}
    return sorted(re.sub(r"\{\w+:([\w-]+)(\|[\w-]+)+\}", r"\1", path) for path in made)


async def test_no_form_is_taken_from_elsewhere(api, owner):
    """Every form of the site is refused that another site sends, or that has no token or another session's."""
    partner_id, dashboard = await partner_path(api)
    within = {
        "address": dashboard.rpartition("/")[2], "partner_id": partner_id, "token": "A" * 43,
        "batch_id": f"bb_{16 * '0'}", "payout_id": f"po_{16 * '0'}",
    }  # fmt: skip
    partner = await visitors.partner(api, partner_id)
    other = await visitors.user(api, role="viewer")
    foreign = visitors.fields_of((await other.get("/account")).soup.select("main form")[0])["csrf"]
    taken = []

    def look(page, place, told):
        # What is no file is none of an import's forms, before anything of it is looked at.
        refused = {403, 415} if place.startswith(("/settings/imports/", "/payouts/bank/statement")) else {403}
        taken.extend([(place, told, page.status)] if page.status not in refused else [])

    for path in posts():
        place = pattern(path).format_map(Filled(within))
        visitor = partner if place.startswith("/dashboard/") else owner
        stranger = await Visitor(api).post(place, {}, headers={"Sec-Fetch-Site": "cross-site"}, follow=False)
        assert "Set-Cookie" not in stranger.headers, "what did not come along must not be dropped"
        for headers in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
        ):
            page = await visitor.post(place, {"password": "x", "email": KIM}, headers=headers, follow=False)
            look(page, place, headers)
        if not place.startswith(("/login", "/forgot", "/reset", "/dashboard/")):
            for csrf in ({}, {"csrf": ""}, {"csrf": foreign}, {"csrf": "ü"}):
                page = await owner.post(place, csrf, follow=False)
                look(page, place, csrf)
    assert taken == []
    assert len(posts()) > 10


async def test_a_browser_that_says_only_where_a_form_came_from_is_believed(api):
    """Without `Sec-Fetch-Site` the `Origin` decides: this site's own address, or the public one, and no other."""
    await member(api)
    visitor = Visitor(api)
    form = {"email": KIM, "password": GOOD}
    here = f"http://{api.client.host}:{api.client.port}"
    for origin, status in (
        ("https://ledger.example", 303), (here, 303), ("http://ledger.example", 403), ("https://evil.example", 403),
        ("https://ledger.example.evil.example", 403), ("null", 403), ("", 403),
    ):  # fmt: skip
        page = await visitor.post("/login", form, headers={"Sec-Fetch-Site": None, "Origin": origin}, follow=False)
        assert page.status == status, origin
