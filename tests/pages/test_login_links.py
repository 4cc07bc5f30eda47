"""Links that set a password: who gets one, what it does, how often, how long; and the letters that they travel in."""

import re
import unicodedata
from datetime import timedelta
from email import message_from_bytes
from email.policy import SMTP

import pytest

from tests.support.api import NOW, running
from tests.support.logins import GOOD, KIM, NEW, invited, log_in, member, set_password
from tests.support.visitors import Visitor
from web.mail import Mailer, MailOptions

LINK = re.compile(r"https://ledger\.example(/reset/[\w-]{43})\s")
SAID = "If somebody here has this address, a letter with a link is on its way. The link works for an hour, once."


@pytest.fixture
async def post(database_url, tmp_path):
    """Yield the application with mail that is written to a folder, as `api.folder`; `api.mail` sends it."""
    mail = Mailer(MailOptions("ledger@example.com", folder=tmp_path / "mail"), lambda: NOW)
    async with running(database_url, mail=mail) as api:
        api.mail, api.folder = mail, tmp_path / "mail"
        yield api
        await mail.close()


async def letters(api):
    """Return the letters that were written, in any order, once all are."""
    await api.mail.settled()
    files = sorted(api.folder.glob("*.eml")) if api.folder.exists() else []
    return [message_from_bytes(file.read_bytes(), policy=SMTP) for file in files]


async def ask(api, email):
    """Return the answer to whoever says that they forgot a password."""
    visitor = Visitor(api)
    return await visitor.submit(await visitor.get("/forgot"), email=email)


def links(found):
    """Return the addresses, as seen from here, of the links in the letters."""
    return [link for letter in found for link in LINK.findall(letter.get_content())]


async def test_a_forgotten_password_is_set_anew_by_a_letter(post):
    """A letter goes to whoever has the address, and its link sets a password, once; nobody else is told anything."""
    api = post
    await member(api)
    here, _ = await log_in(api)
    pages = [await ask(api, email) for email in (KIM.upper(), "nobody@example.com", "a,b@example.com")]
    assert {page.said("[role=status]")[0] for page in pages} == {SAID}
    assert len({page.text for page in pages}) == 1
    (letter,) = [each for each in await letters(api) if each["Subject"] == "Your password for Acme"]
    assert (letter["To"], letter["From"], letter["Auto-Submitted"]) == (KIM, "ledger@example.com", "auto-generated")
    (link,) = links([letter])
    for _ in range(3):
        page = await Visitor(api).get(link)
        assert (page.status, page.headers["Referrer-Policy"]) == (200, "no-referrer")
    assert (await set_password(api, link, NEW)).status == 303
    assert (await here.get("/account", follow=False)).status == 303
    assert [(await log_in(api, password=each))[1].status for each in (GOOD, NEW)] == [422, 303]
    assert (await Visitor(api).get(link)).status == 410
    assert (await Visitor(api).post(link, {"password": GOOD, "again": GOOD})).status == 410


async def test_a_link_ends_with_its_time_and_with_the_password_that_another_sets(post):
    """A reset works for an hour, an invitation for 72; a password that was set makes all other links worthless."""
    api = post
    user = await invited(api)
    await ask(api, KIM)
    reset = next(link for link in links(await letters(api)) if link not in user["invitation_url"])
    api.now += timedelta(minutes=61)
    assert (await Visitor(api).get(reset)).status == 410
    assert (await Visitor(api).get(user["invitation_url"])).status == 200
    api.now += timedelta(hours=71)
    assert (await Visitor(api).get(user["invitation_url"])).status == 410
    renewed = (await api.post(f"/users/{user['id']}/invite", {})).json
    again = (await api.post(f"/users/{user['id']}/invite", {})).json
    assert (await Visitor(api).get(renewed["invitation_url"])).status == 410
    await ask(api, KIM)
    shown = {link: (await Visitor(api).get(link)).status for link in links(await letters(api))}
    (late,) = [link for link, status in shown.items() if status == 200 and link not in again["invitation_url"]]
    assert (await set_password(api, again["invitation_url"])).status == 303
    assert (await Visitor(api).get(late)).status == 410
    for token in ("A" * 43, "x", "%00", "%2E%2E", "A" * 5_000):
        assert (await Visitor(api).get(f"/reset/{token}", follow=False)).status in {303, 400, 404, 410}, token[:9]


async def test_an_invitation_is_shown_once_and_sent(post):
    """The answer to `POST /users` has the link, a repeated one has not, and the user is written to once."""
    api = post
    headers = {"Idempotency-Key": "invite-kim"}
    body = {"name": "Kim", "email": KIM, "role": "viewer"}
    first, again = [await api.post("/users", body, headers=headers) for _ in range(2)]
    assert (first.status, again.status) == (201, 201)
    assert again.json == first.json | {"invitation_url": None}
    (letter,) = await letters(api)
    assert letter["Subject"] == "You are invited to Acme"
    assert links([letter]) == [first.json["invitation_url"].removeprefix("https://ledger.example")]
    assert (await api.post(f"/users/{first.json['id']}/invite", {}, headers={"Idempotency-Key": "i2"})).json[
        "invitation_url"
    ] != first.json["invitation_url"]
    assert [change["type"] for change in (await api.get("/access-log")).json["data"][:2]] == [
        "user.invited", "user.created",
    ]  # fmt: skip
    await api.post(f"/users/{first.json['id']}/disable", {})
    assert (await api.post(f"/users/{first.json['id']}/invite", {})).code == "user_disabled"


async def test_a_weak_password_is_refused_and_the_link_stays_good(api):
    """What is short, common, or made of the person's own name, address or program is refused, and uses nothing up."""
    user = await invited(api, name="Kim Possible", email="kim.possible@acme.example")
    for weak, reason in (
        ("x" * 11, "at least 12"), ("password1234", "too easy"), ("Kim Possible 1", "too easy"),
        ("kim.possible@acme.example", "too easy"), ("acmeacmeacme", "too easy"), ("y" * 129, "at most 128"),
    ):  # fmt: skip
        page = await set_password(api, user["invitation_url"], weak)
        assert page.status == 422, weak
        assert reason in page.one("#fault-password").get_text()
        assert weak not in page.text.replace("kim.possible@acme.example", "", 2)
    good = " ünïcödé pässwörd "
    assert (await set_password(api, user["invitation_url"], good)).status == 303
    for told, status in ((good, 303), (good.strip(), 422), (unicodedata.normalize("NFD", good), 303)):
        assert (await log_in(api, email="kim.possible@acme.example", password=told))[1].status == status


async def test_nobody_is_flooded_with_letters(post):
    """Three letters an hour go to one person, whoever asks how often."""
    api = post
    await member(api)
    before = len(await letters(api))
    for _ in range(6):
        assert (await ask(api, KIM)).said("[role=status]") == [SAID]
    assert len(await letters(api)) - before == 3


async def test_without_mail_the_operator_is_asked(api):
    """Where no mail is sent the page says whom to ask, and offers no form."""
    await member(api)
    page = await Visitor(api).get("/forgot")
    assert "commission-ledger user link --merchant" in page.words
    assert not page.soup.select("form")
    assert (await Visitor(api).post("/forgot", {"email": KIM})).status == 200
