"""How a partner comes in: the address that the merchant sends, the first visit, the password; and nobody else."""

import asyncio
import hmac
import re
from base64 import urlsafe_b64encode
from datetime import timedelta
from email import message_from_bytes
from email.policy import SMTP

import pytest

from ledger import lockouts
from tests.support import visitors
from tests.support.api import NOW, running
from tests.support.keys import key_of
from tests.support.logins import GOOD, NEW, WRONG, partner_path
from tests.support.visitors import Visitor
from web.mail import Mailer, MailOptions
from web.sessions import PARTNER_COOKIE

JANE_S = ("Jane", "jane@example.com", "JANE10", "Acme", "acme", "p_")


@pytest.fixture
async def jane(api):
    """Return the id and the address of the dashboard of a new partner."""
    return await partner_path(api)


async def come_in(api, path, password=GOOD, again=None, visitor=None):
    """Return a visitor who filled in the form in front of the dashboard, and the answer."""
    visitor = visitor or Visitor(api)
    page = await visitor.get(f"{path}/login")
    told = {"password": password} | ({"again": again or password} if page.soup.select("[name=again]") else {})
    return visitor, await visitor.submit(page, **told, follow=False)


async def is_in(visitor, path):
    """Return whether the visitor is let in: who is not known is shown the login."""
    page = await visitor.get(f"{path}/login", follow=False)
    assert page.status in {200, 303}, page.words
    return page.status == 303


async def access(api, partner_id):
    """Return what the merchant is told of how the partner comes in."""
    await api.project()
    return (await api.get(f"/partners/{partner_id}")).json["dashboard_access"]


async def test_the_first_visit_sets_the_password_and_later_ones_need_it(api, jane):
    """Whoever has the address sets the password once, is in, and logs in with it from then on."""
    partner_id, path = jane
    assert await access(api, partner_id) == "link_open"
    visitor, page = await come_in(api, path, "short")
    assert "at least 12" in page.one("#fault-password").get_text()
    _, page = await come_in(api, path, GOOD, again=NEW)
    assert page.one("#fault-again").get_text() == "The two are not the same."
    visitor, page = await come_in(api, path)
    assert (page.status, page.location) == (303, path)
    cookie = page.cookies[PARTNER_COOKIE]
    assert (cookie["secure"], cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, True, "Lax", "/")
    assert await is_in(visitor, path)
    assert await access(api, partner_id) == "password_set"
    late = await Visitor(api).post(f"{path}/welcome", {"password": NEW, "again": NEW}, follow=False)
    assert (late.status, late.location) == (303, f"{path}/login")
    other, page = await come_in(api, path, WRONG)
    assert page.said("[role=alert]") == ["The password is not right."]
    assert not await is_in(other, path)
    other, page = await come_in(api, path, GOOD)
    assert page.status == 303
    assert other.cookies != visitor.cookies
    changes = [each["type"] for each in (await api.get("/access-log")).json["data"]]
    assert changes.count("partner.password_set") == 1


async def test_the_address_alone_shows_nothing(api, jane):
    """No page in front of a dashboard says whose it is: open, expired, with a password, or forgotten."""
    partner_id, path = jane
    shown = [await Visitor(api).get(f"{path}/{each}") for each in ("login", "forgot")]
    api.now += timedelta(days=30, seconds=1)
    expired = await Visitor(api).get(f"{path}/login")
    assert "expired" in expired.words
    assert await access(api, partner_id) == "link_expired"
    refused = await Visitor(api).post(f"{path}/welcome", {"password": GOOD, "again": GOOD})
    assert "expired" in refused.words
    api.now -= timedelta(days=1)
    visitor, _ = await come_in(api, path)
    shown += [expired, refused, (await come_in(api, path, WRONG))[1], await Visitor(api).get(f"{path}/login")]
    for page in shown:
        said = page.text.replace(path, "")
        assert [word for word in JANE_S if word in said] == [], page.address
    assert await is_in(visitor, path)


async def test_an_address_that_is_not_quite_right_is_none(api, jane):
    """Any other address than the one that was sent is answered as a page that does not exist."""
    _, path = jane
    whose, _, mac = path.rpartition(".")
    for wrong in (
        path[:-1] + ("A" if path[-1] != "A" else "B"), path + "x", whose, whose + ".", "/dashboard/" + mac,
        path.replace("p_", "p_x"), path + "%00", path.upper(),
    ):  # fmt: skip
        for page in ("", "/login", "/forgot"):
            assert (await Visitor(api).get(wrong + page, follow=False)).status == 404, wrong
        assert (await Visitor(api).post(wrong + "/welcome", {"password": GOOD, "again": GOOD})).status == 404, wrong


async def test_of_two_first_visitors_one_comes_in(api, jane):
    """Two who set the password at the same moment: one is in, the other is told to log in, and one password is set."""
    _, path = jane
    passwords = [f"{GOOD} {number}" for number in range(4)]
    came = await asyncio.gather(*(come_in(api, path, each) for each in passwords))
    won = [number for number, (visitor, _) in enumerate(came) if PARTNER_COOKIE in visitor.cookies]
    assert len(won) == 1
    lost = [page for number, (_, page) in enumerate(came) if number not in won]
    assert all(page.status == 303 or "password was set already" in page.words for page in lost)
    inside = [(await come_in(api, path, each))[1].status for each in passwords]
    assert [number for number, status in enumerate(inside) if status == 303] == won


async def test_a_renewed_address_ends_the_old_one(api, jane):
    """The merchant renews: the old address is none, sessions and password end, and the first visit comes again."""
    partner_id, path = jane
    visitor, _ = await come_in(api, path)
    before = (await api.get("/access-log")).json["data"]
    made = await api.post(f"/partners/{partner_id}/dashboard-link", {})
    assert made.json["dashboard_access"] == "link_open"
    assert made.json["dashboard_link_expires_at"] == "2026-12-22T12:00:00Z"
    fresh = made.json["dashboard_url"].removeprefix("https://ledger.example")
    assert fresh != path
    assert (await visitor.get(f"{path}/login", follow=False)).status == 404
    assert not await is_in(visitor, fresh)
    _, page = await come_in(api, fresh, NEW)
    assert page.status == 303
    after = (await api.get("/access-log")).json["data"]
    assert [each["type"] for each in after[: len(after) - len(before)]] == [
        "partner.password_set", "partner.access_renewed",
    ]  # fmt: skip
    assert after[1]["subject"] == partner_id
    await api.project()
    told = (await api.get(f"/partners/{partner_id}")).json
    assert told["dashboard_url"] == made.json["dashboard_url"]
    entry = (await api.get("/events?types=partner.access_renewed")).json["data"][0]
    assert (entry["subject"], entry["data"]["id"]) == (f"partner/{partner_id}", partner_id)


async def test_another_partner_s_session_opens_nothing(api, jane):
    """A partner who is logged in is a stranger in front of every other dashboard, of whichever merchant."""
    partner_id, path = jane
    _, next_door = await partner_path(api, name="June", email="june@example.com", coupon_code="JUNE10")
    _, abroad = await partner_path(api, of="zenith")
    visitor, _ = await come_in(api, path)
    assert [await is_in(visitor, each) for each in (path, next_door, abroad)] == [True, False, False]
    forged = await visitors.partner(api, partner_id, merchant="zenith")
    assert not await is_in(forged, path)
    stale = await visitors.partner(api, partner_id, generation=2)
    assert not await is_in(stale, path)
    user = await visitors.user(api)
    assert not await is_in(user, path)
    assert (await visitor.get("/account", follow=False)).status == 303


async def test_a_banned_partner_sees_its_books(api, jane):
    """Whoever is banned or rejected is owed what is owed, and still comes in."""
    partner_id, path = jane
    visitor, _ = await come_in(api, path)
    assert (await api.post(f"/partners/{partner_id}/ban", {"reason": "fraud"})).status == 200
    assert await is_in(visitor, path)
    assert (await come_in(api, path))[1].status == 303


async def test_a_partner_s_password_cannot_be_guessed(api, jane):
    """After five wrong ones the right one has to wait, too; other partners do not."""
    _, path = jane
    _, other = await partner_path(api, name="June", email="june@example.com", coupon_code="JUNE10")
    for each in (path, other):
        await come_in(api, each)
    assert [(await come_in(api, path, WRONG))[1].status for _ in range(lockouts.FREE)] == [422] * lockouts.FREE
    assert (await come_in(api, path))[1].status == 429
    assert (await come_in(api, other))[1].status == 303
    api.now += timedelta(seconds=31)
    assert (await come_in(api, path))[1].status == 303


async def test_who_leaves_is_out(api, jane):
    """A logout ends this session, with its token; the one from everywhere ends all."""
    partner_id, path = jane
    await come_in(api, path)
    one, two, three = [(await come_in(api, path))[0] for _ in range(3)]
    csrf = await _csrf(api, one)
    kept = dict(one.cookies)
    assert (await one.post(f"{path}/logout", {}, follow=False)).status == 403
    page = await one.post(f"{path}/logout", {"csrf": csrf})
    assert page.said("[role=status]") == ["You are logged out."]
    assert not await is_in(Visitor(api, kept), path)
    assert await is_in(two, path)
    await two.post(f"{path}/logout-everywhere", {"csrf": await _csrf(api, two)})
    assert not await is_in(three, path)
    assert (await three.post(f"{path}/logout", {}, follow=False)).location == f"{path}/login?told=logged_out"
    del partner_id


async def test_a_forgotten_password_is_set_anew_by_a_letter_to_the_partner(database_url, tmp_path):
    """The letter goes to the partner's own address; its link works once, in front of this dashboard alone."""
    mail = Mailer(MailOptions("ledger@example.com", folder=tmp_path), lambda: NOW)
    async with running(database_url, mail=mail) as api:
        _, path = await partner_path(api)
        _, other = await partner_path(api, name="June", email="june@example.com", coupon_code="JUNE10")
        for each in (path, other):
            unset = await _forgot(api, each)
            assert "is on its way" in unset.words
        await mail.settled()
        assert list(tmp_path.glob("*.eml")) == [], "nobody has set a password that could be forgotten"
        here, _ = await come_in(api, path)
        await come_in(api, other)
        await _forgot(api, path)
        await mail.settled()
        (file,) = tmp_path.glob("*.eml")
        letter = message_from_bytes(file.read_bytes(), policy=SMTP)
        assert (letter["To"], file.stat().st_mode & 0o777) == ("jane@example.com", 0o600)
        (link,) = re.findall(r"https://ledger\.example(\S+)", letter.get_content())
        token = link.rpartition("/")[2]
        assert link == f"{path}/reset/{token}"
        for wrong in (f"{other}/reset/{token}", f"/reset/{token}"):
            assert (await Visitor(api).get(wrong)).status == 410
            assert (await Visitor(api).post(wrong, {"password": NEW, "again": NEW})).status == 410
        visitor = Visitor(api)
        page = await visitor.submit(await visitor.get(link), password=NEW, again=NEW)
        assert page.said("[role=status]") == ["Your password is set. Log in with it."]
        assert not await is_in(here, path)
        assert [(await come_in(api, path, each))[1].status for each in (GOOD, NEW)] == [422, 303]
        assert (await Visitor(api).get(link)).status == 410


async def test_only_who_manages_partners_sees_their_addresses(api, jane):
    """Whoever has an open address can come in first: it is told to keys with the scope `partners`, and to no other."""
    partner_id, path = jane
    await api.project()
    for scopes in (["read"], ["read", "payouts"], ["read", "partners"]):
        api.keys["some"] = key_of(api.ledger, "acme", scopes)
        shown = (await api.get(f"/partners/{partner_id}", of="some")).json["dashboard_url"]
        assert shown == (f"https://ledger.example{path}" if "partners" in scopes else None)
        listed = await api.get("/partners.csv", of="some")
        assert (path in listed.text) is ("partners" in scopes)
        renewed = await api.post("/partners/p_none/dashboard-link", {}, of="some")
        assert renewed.status == (404 if "partners" in scopes else 403)


async def _forgot(api, path):
    visitor = Visitor(api)
    return await visitor.submit(await visitor.get(f"{path}/forgot"))


async def _csrf(api, visitor):
    """Return the token of the forms of a partner's pages."""
    session = visitors.digest_of(visitor.cookies[PARTNER_COOKIE])
    secret = b"secret of the tests"
    return urlsafe_b64encode(hmac.digest(secret, b"form\n" + session, "sha256")).decode().rstrip("=")
