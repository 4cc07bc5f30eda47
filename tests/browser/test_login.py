"""Coming in with a real browser: its cookies, what it says of where a form came from, and how the pages look."""

import re
from datetime import timedelta
from urllib.parse import urlsplit

from playwright.async_api import expect

from tests.support import visitors
from tests.support.logins import GOOD, KIM, invited, member, partner_path
from web.sessions import PARTNER_COOKIE, USER_COOKIE

REFUSED = r"status of 422"


async def test_a_new_user_sets_a_password_logs_in_and_out(site, browse, look, faults):
    """From the link to the account and out again, by the keyboard's Enter; what is refused is told beside the field."""
    faults.allow(REFUSED)
    user = await invited(site)
    page = await browse()
    await page.goto(urlsplit(user["invitation_url"]).path)
    await expect(page.get_by_role("heading", name="Set a password")).to_be_visible()
    await look(page, "login-reset")
    await page.get_by_label("New password").fill("password1234")
    await page.get_by_label("The same again").fill("password1234")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("too easy to guess")).to_be_visible()
    await expect(page.get_by_label("New password")).to_have_attribute("aria-invalid", "true")
    await look(page, "login-reset-refused")
    for label in ("New password", "The same again"):
        await page.get_by_label(label).fill(GOOD)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_have_text("Your password is set. Log in with it.")
    await look(page, "login")
    await page.get_by_label("E-mail address").fill(KIM)
    await page.get_by_label("Password").fill("wrong")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("The e-mail address or the password is not right.")
    await look(page, "login-refused")
    await page.get_by_label("Password").fill(GOOD)
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile(r"/overview"))
    (cookie,) = [each for each in await page.context.cookies() if each["name"] == USER_COOKIE]
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, True, "Lax", "/")
    assert await page.evaluate("() => document.cookie") == ""
    await page.goto("/account")
    await look(page, "account")
    await page.get_by_role("button", name="Log out", exact=True).click()
    await expect(page.get_by_role("status")).to_have_text("You are logged out.")
    assert [each for each in await page.context.cookies() if each["name"] == USER_COOKIE] == []


SEND = """([place, fields]) => {
    const form = Object.assign(document.createElement("form"), { method: "post", action: place })
    for (const [name, value] of Object.entries(fields)) {
        form.append(Object.assign(document.createElement("input"), { name, value }))
    }
    document.body.append(form)
    form.submit()
}"""


async def test_a_form_on_another_site_does_nothing(site, browse, faults):
    """Another origin's page that sends our forms with the visitor's browser changes nothing, and logs nobody out."""
    faults.allow(r"status of 403")
    page = await browse(await visitors.user(site))
    ours = str(site.client.make_url("/"))
    evil = ours.replace("127.0.0.1", "localhost") + "evil"
    document = "<!doctype html><title>evil</title><body>"
    await page.route(evil, lambda route: route.fulfill(body=document, content_type="text/html"))
    for place, fields, heading in (
        ("logout", {}, "Forbidden"),
        ("account/name", {"name": "Eve"}, "Overview"),
        ("login", {"email": KIM, "password": GOOD}, "Forbidden"),
    ):
        await page.goto(evil)
        async with page.expect_navigation():
            await page.evaluate(SEND, [ours + place, fields])
        await expect(page.get_by_role("heading", name=heading)).to_be_visible()
    await page.goto(ours + "account")
    assert await page.get_by_label("Name").input_value() == "Owner"


async def test_a_partner_s_first_visit(site, browse, look):
    """A partner opens the address, sets a password, is in, and comes back with it; expired and forgotten look well."""
    _, path = await partner_path(site)
    _, other = await partner_path(site, name="June", email="june@example.com", coupon_code="JUNE10")
    page = await browse()
    await page.goto(path)
    await look(page, "dashboard-welcome")
    for label in ("New password", "The same again"):
        await page.get_by_label(label).fill(GOOD)
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile(re.escape(path) + "$"))
    assert [each["name"] for each in await page.context.cookies()] == [PARTNER_COOKIE]
    again = await browse()
    await again.goto(path)
    await look(again, "dashboard-login")
    await again.get_by_label("Password").fill(GOOD)
    await again.keyboard.press("Enter")
    await expect(again).to_have_url(re.compile(re.escape(path) + "$"))
    stranger = await browse()
    await stranger.goto(path + "/forgot")
    await look(stranger, "dashboard-forgot")
    site.now += timedelta(days=31)
    await stranger.goto(other)
    await expect(stranger.get_by_role("heading", name="This address has expired")).to_be_visible()
    await look(stranger, "dashboard-expired")


async def test_pages_before_the_login_without_scripts(site, browse, look):
    """Login, choice of program and a lost password work without any script."""
    await member(site)
    await member(site, merchant="zenith")
    page = await browse(java_script_enabled=False)
    await page.goto("/login?next=/account")
    await page.get_by_label("E-mail address").fill(KIM)
    await page.get_by_label("Password").fill(GOOD)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("heading", name="Which program?")).to_be_visible()
    await page.get_by_role("button", name="Zenith").click()
    await expect(page.get_by_role("heading", name="Your account")).to_be_visible()
    lost = await browse()
    await lost.goto("/login")
    await lost.get_by_role("link", name="Password forgotten?").click()
    await look(lost, "forgot")
