"""How a user comes in: link, password, login, logout; and whom nobody lets in."""

from datetime import timedelta
from urllib.parse import urlencode

import pytest

from tests.support import visitors
from tests.support.logins import GOOD, NEW, WRONG, invited, log_in, member
from tests.support.visitors import Visitor
from web.pages.login import HOME, local_address
from web.sessions import USER_COOKIE


async def test_an_invitation_becomes_a_login(api):
    """A new user sets a password by the link, logs in with it, is who they are, and is out after the logout."""
    user = await invited(api, role="manager")
    stranger = Visitor(api)
    page = await stranger.get(user["invitation_url"])
    assert "kim@example.com" in page.words
    page = await stranger.submit(page, password=GOOD, again=GOOD)
    assert page.said("[role=status]") == ["Your password is set. Log in with it."]
    visitor, done = await log_in(api, email=" KIM@Example.com ")
    assert (done.status, done.location) == (303, "/overview")
    page = await visitor.get("/account")
    assert "manager" in page.words
    assert page.one("input[name=name]")["value"] == "Kim"
    page = await visitor.submit(page, ".who form")
    assert page.said("[role=status]") == ["You are logged out."]
    assert (await visitor.get("/account", follow=False)).location == "/login?next=%2Faccount"


async def test_the_cookie_of_a_session_cannot_be_read_sent_elsewhere_or_set_by_neighbours(api):
    """The session's cookie is `__Host-`, Secure, HttpOnly, SameSite=Lax, of the whole site, and 256 bits of chance."""
    await member(api)
    _, done = await log_in(api)
    cookie = done.cookies[USER_COOKIE]
    assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Lax")
    assert (cookie["path"], cookie["domain"]) == ("/", "")
    assert len(cookie.value) == 43
    page = await Visitor(api, {USER_COOKIE: cookie.value}).get("/account")
    out = await Visitor(api, {USER_COOKIE: cookie.value}).submit(page, ".who form", follow=False)
    gone = out.cookies[USER_COOKIE]
    assert (gone.value, gone["max-age"], gone["secure"], gone["path"]) == ("", "0", True, "/")


async def test_a_token_from_before_the_login_or_after_the_logout_opens_nothing(api):
    """A session is new at each login, the one before ends, and a cookie that was kept is worth nothing after that."""
    await member(api)
    planted = "A" * 43
    visitor, _ = await log_in(api, visitor=Visitor(api, {USER_COOKIE: planted}))
    first = visitor.cookies[USER_COOKIE]
    assert first != planted
    assert (await Visitor(api, {USER_COOKIE: planted}).get("/account", follow=False)).status == 303
    page = await Visitor(api).get("/login")
    visitor.cookies = {USER_COOKIE: first}
    await visitor.submit(page, email="kim@example.com", password=GOOD)
    second = visitor.cookies[USER_COOKIE]
    assert second != first
    assert (await Visitor(api, {USER_COOKIE: first}).get("/account", follow=False)).status == 303
    await visitor.submit(await visitor.get("/account"), ".who form")
    assert (await Visitor(api, {USER_COOKIE: second}).get("/account", follow=False)).status == 303


async def test_another_role_and_being_shut_out_are_in_force_at_once(api):
    """A session has the role of this moment; a disabled user's sessions and links end, and come back with nobody."""
    user = await member(api, role="owner")
    visitor, _ = await log_in(api)
    link = (await api.post(f"/users/{user['id']}/invite", {})).json["invitation_url"]
    await api.ask("PATCH", f"/users/{user['id']}", {"role": "viewer"})
    assert "viewer" in (await visitor.get("/account")).one(".who").get_text()
    await api.post(f"/users/{user['id']}/disable", {})
    assert (await visitor.get("/account", follow=False)).status == 303
    assert (await Visitor(api).get(link)).status == 410
    refused = (await log_in(api))[1]
    assert refused.said("[role=alert]") == ["The e-mail address or the password is not right."]
    await api.post(f"/users/{user['id']}/enable", {})
    assert (await visitor.get("/account", follow=False)).status == 303
    assert (await Visitor(api).get(link)).status == 410
    assert (await log_in(api))[1].status == 303


async def test_a_session_ends_when_nobody_uses_it_and_after_a_month_of_use(api):
    """Twelve hours without a page, or 30 days, and the browser is logged out; what is over is removed at a login."""
    await member(api)
    idle, _ = await log_in(api)
    used, _ = await log_in(api)
    begun = api.now
    while api.now < begun + timedelta(days=30):
        assert (await used.get("/account", follow=False)).status == 200, api.now - begun
        api.now += timedelta(hours=11, minutes=58)
    api.now = begun + timedelta(days=30, seconds=1)
    assert (await used.get("/account", follow=False)).status == 303
    assert (await idle.get("/account", follow=False)).status == 303
    await log_in(api)
    with api.ledger.connection() as conn:
        assert conn.execute("SELECT count(*) AS left FROM access.sessions").fetchone()["left"] == 1


async def test_the_way_back_after_the_login_leads_nowhere_else(api):
    """Whoever came from a page of ours is led back to it, and nobody to another site."""
    await member(api)
    for place, led in (
        ("/partners?search=ja%26ne", "/partners?search=ja%26ne"),
        ("https://evil.example/", "/overview"),
        ("//evil.example", "/overview"),
    ):
        _, done = await log_in(api, place="/login?" + urlencode({"next": place}))
        assert (done.status, done.location) == (303, led)


async def test_one_address_in_two_programs_is_asked_which(api):
    """Where the password is right for several accounts one is chosen; what proves it cannot be made up, and ages."""
    await member(api)
    await member(api, merchant="zenith", role="viewer")
    visitor, page = await log_in(api)
    assert page.said("main button") == ["Acme", "Zenith"]
    ticket = page.soup.select("button[name=choice]")[1]["value"]
    forged = page.soup.select("button[name=choice]")[0]["value"].partition(".")[0] + "." + ticket.partition(".")[2]
    for wrong in (forged, ticket[:-4] + "AAA=", "", "x.y", "a", "ü.ü"):
        refused = await visitor.post("/login/as", {"choice": wrong}, follow=False)
        assert (refused.status, refused.said("[role=alert]")) == (422, ["That took too long. Log in again."]), wrong
    done = await visitor.post("/login/as", {"choice": ticket, "next": "/partners"}, follow=False)
    assert done.location == "/partners"
    assert "viewer" in (await visitor.get("/account")).one(".who").get_text()
    api.now += timedelta(minutes=6)
    assert (await visitor.post("/login/as", {"choice": ticket})).status == 422


async def test_a_password_that_is_another_s_in_one_program_opens_the_other_alone(api):
    """Of two accounts with one address, the one whose password it is opens without a question."""
    await member(api)
    await invited(api, merchant="zenith")
    visitor, done = await log_in(api)
    assert done.location == "/overview"
    assert (await visitor.get("/account")).one(".program").get_text().endswith("Acme")


async def test_one_s_own_sessions_are_shown_and_ended(api):
    """The account shows each browser, ends one or all of them, and none of anybody else."""
    await member(api)
    await member(api, email="lee@example.com", name="Lee", role="viewer")
    here, _ = await log_in(api)
    phone = Visitor(api)
    phone.headers["User-Agent"] = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1"
    await log_in(api, visitor=phone)
    other, _ = await log_in(api, email="lee@example.com")
    page = await here.get("/account")
    assert sorted(page.said("table th[scope=row]")) == ["Chrome, Linux (this one)", "Safari, iPhone"]
    form = 'form[action="/account/sessions/end"]'
    theirs = visitors.fields_of((await other.get("/account")).soup.select("main form")[0])
    assert (await here.post("/account/sessions/end", {"csrf": theirs["csrf"], "session": "00"})).status == 403
    foreign = visitors.digest_of(other.cookies[USER_COOKIE]).hex()
    for wrong in (foreign, "zz", ""):
        told = visitors.fields_of(page.one(form)) | {"session": wrong}
        assert (await here.post("/account/sessions/end", told)).status == 200
    assert (await other.get("/account", follow=False)).status == 200
    assert (await phone.get("/account", follow=False)).status == 200
    page = await here.submit(page, form)
    assert page.said("[role=status]") == ["That browser is logged out."]
    assert (await phone.get("/account", follow=False)).status == 303
    await log_in(api, visitor=phone)
    await here.submit(await here.get("/account"), 'main form[action="/logout-everywhere"]')
    assert [(await each.get("/account", follow=False)).status for each in (here, phone, other)] == [303, 303, 200]


async def test_the_password_is_changed_by_whoever_knows_it(api):
    """A new password needs the old one, ends all other sessions and renews this one; refused ones change nothing."""
    await member(api)
    here, _ = await log_in(api)
    there, _ = await log_in(api)
    form = 'form[action="/account/password"]'
    page = await here.get("/account")
    for told, fault in (
        ({"current": WRONG, "password": NEW, "again": NEW}, {"current": "is not right"}),
        ({"current": GOOD, "password": NEW, "again": NEW + "x"}, {"again": "The two are not the same."}),
        (
            {"current": GOOD, "password": "short", "again": "short"},
            {"password": "must have at least 12 characters"},
        ),
        (
            {"current": GOOD, "password": "kim@example.com kim", "again": "kim@example.com kim"},
            {"password": "too easy"},
        ),
        ({"current": "", "password": NEW, "again": NEW}, {"current": "is needed"}),
    ):
        refused = await here.submit(page, form, **told)
        assert refused.status == 422
        assert {
            each["id"].removeprefix("fault-"): each.get_text() for each in refused.soup.select(".fault")
        }.keys() == fault.keys()
        assert next(iter(fault.values())) in refused.words
        assert not {each.get("value") for each in refused.soup.select("input[type=password]")} - {""}
    before = here.cookies[USER_COOKIE]
    page = await here.submit(page, form, current=GOOD, password=NEW, again=NEW)
    assert page.said("[role=status]") == ["Your password is changed, and you are logged out everywhere else."]
    assert here.cookies[USER_COOKIE] != before
    assert (await there.get("/account", follow=False)).status == 303
    assert (await Visitor(api, {USER_COOKIE: before}).get("/account", follow=False)).status == 303
    assert (await log_in(api))[1].status == 422
    assert (await log_in(api, password=NEW))[1].status == 303


async def test_one_s_own_name_is_one_s_own_to_change(api):
    """Every role can change its own name, which is recorded, and a name that is none is shown again with the reason."""
    viewer = await visitors.user(api, role="viewer")
    page = await viewer.get("/account")
    refused = await viewer.submit(page, 'form[action="/account/name"]', name=" ")
    assert refused.status == 422
    hostile = "<script>alert('x')</script>"
    page = await viewer.submit(page, 'form[action="/account/name"]', name=hostile)
    assert page.said("[role=status]") == ["Saved."]
    assert page.one("input[name=name]")["value"] == hostile
    assert "<script>alert" not in page.text
    change = (await api.get("/access-log")).json["data"][0]
    assert (change["type"], change["user_id"], change["key_id"]) == ("user.renamed", change["subject"], None)
    assert change["cause"].startswith(f"page/{change['user_id']}@")


@pytest.mark.parametrize(
    "told",
    [
        None,
        "",
        "partners",
        "https://evil.example/",
        "javascript:alert(1)",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "/\t/evil.example",
        "\n//evil.example",
        " //evil.example",
        "/partners\r\nSet-Cookie: a=b",
        "/login?next=/login",
        "//[",
        "/" + "a" * 2_000,
    ],
)
def test_what_is_no_address_of_a_page_of_ours_is_the_first_page(told):
    """Nothing that a browser could take for another site, a header or an endless way becomes the way back."""
    assert local_address(told) == HOME


def test_addresses_of_our_pages_stay_as_they_are():
    """Queries, escapes and other scripts in an address of ours survive the way there and back."""
    for told, led in (
        ("/partners?search=a%26b&status=paused", "/partners?search=a%26b&status=paused"),
        ("/commissions/a%2Fb%3Fc", "/commissions/a%2Fb%3Fc"),
        ("/customers?search=kůň", "/customers?search=k%C5%AF%C5%88"),
    ):
        assert local_address(told) == led
