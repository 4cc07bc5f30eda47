"""What all pages have in common: who is let in, what the headers say, errors for people."""

import pytest

from tests.support import visitors
from tests.support.api import running


async def test_who_is_not_logged_in_is_led_to_the_login_and_back(api):
    """A page that was asked for by a stranger is remembered by the way to the login."""
    stranger = visitors.Visitor(api)
    page = await stranger.get("/partners?search=jane", follow=False)
    assert page.status == 303
    assert page.location == "/login?next=%2Fpartners%3Fsearch%3Djane"


async def test_a_page_allows_nothing_but_its_own_files(owner):
    """No script or style but those from this server's files can run, and nobody frames the page."""
    page = await owner.get("/partners")
    assert page.status == 200
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["X-Robots-Tag"] == "noindex, nofollow"
    assert page.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert not [each for each in page.soup.select("script") if not each.get("src")]
    assert not page.soup.select("[style], style")


async def test_what_is_not_there_is_told_to_people_as_a_page_and_to_programs_as_a_problem(owner):
    """A browser gets a page with the request's id, a program the problem that the API answers with."""
    page = await owner.get("/no-such-page")
    assert (page.status, page.one("h1").get_text()) == (404, "Not Found")
    assert page.headers["X-Request-Id"] in page.words
    problem = await owner.get("/no-such-page", headers={"Accept": "application/json"})
    assert (problem.status, problem.headers["Content-Type"]) == (404, "application/problem+json; charset=utf-8")


@pytest.mark.parametrize("told", ["<script>alert(1)</script>", "no_such_word", "__class__"])
async def test_an_address_cannot_make_a_page_say_something(owner, told):
    """Only words that the site knows become a sentence on the page."""
    page = await owner.get("/partners?told=" + told)
    assert page.said("[role=status]") == []
    assert told not in page.text


async def test_a_list_is_had_as_a_file_with_the_filters_of_the_page(api, owner):
    """The file behind a list is the API's own, of the same merchant and with the same filters."""
    await api.partner()
    await api.partner(name="Kim", email="kim@example.com", coupon_code="KIM10")
    await api.project()
    page = await owner.get("/partners?search=kim")
    file = await owner.get(str(page.one(".files a[href*=csv]")["href"]))
    assert file.headers["Content-Type"].startswith("text/csv")
    assert "kim@example.com" in file.text
    assert "jane@example.com" not in file.text
    assert (await visitors.Visitor(api).get("/files/partners.csv", follow=False)).status == 303


async def test_without_tls_no_browser_is_told_to_insist_on_it(database_url):
    """Where the service is reached by plain HTTP, on this machine, the next visit comes by plain HTTP as well."""
    async with running(database_url, public_url="http://127.0.0.1:8000") as api:
        page = await visitors.Visitor(api).get("/login")
        assert page.status == 200
        assert "Strict-Transport-Security" not in page.headers
