"""Somebody with a browser: pages by HTTP, forms filled in as they stand in the page, cookies carried by hand.

aiohttp's own jar drops `Secure` cookies over plain HTTP, which browsers do not on 127.0.0.1.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http.cookies import SimpleCookie
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from bs4 import BeautifulSoup, Tag

from ledger import logins, sessions
from ledger.access import Actor, once
from ledger.sessions import Origin
from tests.support.api import Api
from web.sessions import PARTNER_COOKIE, USER_COOKIE

BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0 Safari/537.36",
    "Accept": "text/html",
    "Accept-Language": "en-US",
}
HERE = Origin("127.0.0.1", "Chrome, Linux")


@dataclass
class Shown:
    """One page as it came, at its address (path and query)."""

    address: str
    status: int
    headers: Mapping[str, str]
    text: str
    cookies: SimpleCookie

    @cached_property
    def soup(self) -> BeautifulSoup:
        """The page, parsed."""
        return BeautifulSoup(self.text, "html.parser")

    @property
    def words(self) -> str:
        """Everything that can be read on the page, with single spaces."""
        return " ".join(self.soup.get_text(" ").split())

    def one(self, selector: str) -> Tag:
        """Return the only element that the CSS selector finds."""
        found = self.soup.select(selector)
        assert len(found) == 1, f"{len(found)} elements are {selector!r} at {self.address} ({self.status})"
        return found[0]

    def said(self, selector: str) -> list[str]:
        """Return the text of each element that the CSS selector finds."""
        return [" ".join(each.get_text(" ").split()) for each in self.soup.select(selector)]

    @property
    def location(self) -> str:
        """Where the answer sends the visitor."""
        return self.headers["Location"]


@dataclass
class Visitor:
    """One browser. `cookies` are what it would send."""

    api: Api
    cookies: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=lambda: dict(BROWSER))

    async def get(self, address: str, *, follow: bool = True, headers: Mapping[str, str] | None = None) -> Shown:
        """Return the page at an address, the one that it leads to in the end unless told not to `follow`."""
        return await self._led(await self.send("GET", address, headers=headers), follow=follow)

    async def post(
        self,
        address: str,
        fields: Mapping[str, str | list[str]],
        *,
        follow: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Shown:
        """Send a form of one's own making, as a page of the site would; `headers` change what is said beside it."""
        told = {"Sec-Fetch-Site": "same-origin"} | dict(headers or {})
        told = {name: value for name, value in told.items() if value is not None}
        told["Content-Type"] = "application/x-www-form-urlencoded"
        sent = urlencode(dict(fields), doseq=True)
        return await self._led(await self.send("POST", address, sent, told), follow=follow)

    async def submit(
        self, page: Shown, selector: str = "main form", *, follow: bool = True, **filled: str | list[str] | None
    ) -> Shown:
        """Send the only form of the page that the selector finds, with its hidden and chosen fields.

        What is `filled` takes the place of what stands there (None: the field is not sent); a dot in a field's name is
        written as two underscores. A field that the form does not have is a fault of the test.
        """
        form = page.one(selector)
        fields = fields_of(form)
        names = {str(each["name"]) for each in form.select("[name]")}
        for name, value in filled.items():
            name = name.replace("__", ".")  # noqa: PLW2901 - a keyword cannot have a dot
            assert name in names, f"the form has no field {name!r}, but {sorted(names)}"
            fields.pop(name, None)
            if value is not None:
                fields[name] = value
        address = urljoin(page.address, str(form.get("action") or page.address))
        if str(form.get("method", "get")).lower() == "post":
            return await self.post(address, fields, follow=follow)
        query = urlencode(fields, doseq=True)
        return await self.get(f"{urlsplit(address).path}?{query}", follow=follow)

    async def _led(self, page: Shown, *, follow: bool) -> Shown:
        for _ in range(5):
            if not follow or page.status not in (302, 303, 307):
                return page
            page = await self.send("GET", urljoin(page.address, page.location))
        raise AssertionError(f"led on and on, at last to {page.address}")

    async def send(
        self,
        method: str,
        address: str,
        sent: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Shown:
        """Return the answer to one request, wherever it leads; its cookies are kept."""
        told = self.headers | dict(headers or {})
        if self.cookies:
            told["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        local = urlsplit(address)._replace(scheme="", netloc="").geturl()
        async with self.api.client.request(method, local, data=sent, headers=told, allow_redirects=False) as answer:
            page = Shown(local, answer.status, answer.headers, await answer.text(), SimpleCookie())
            for header in answer.headers.getall("Set-Cookie", []):
                page.cookies.load(header)
        self._keep(page.cookies)
        return page

    def _keep(self, told: SimpleCookie) -> None:
        for name, morsel in told.items():
            if morsel["max-age"] == "0":
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.value


def fields_of(form: Tag) -> dict[str, str | list[str]]:
    """Return what a browser would send of the form, had nobody touched it (but for its buttons)."""
    fields: dict[str, str | list[str]] = {}
    for each in form.select("input[name], select[name], textarea[name]"):
        name = str(each["name"])
        kind = str(each.get("type", "text")).lower()
        if each.has_attr("disabled") or kind in ("submit", "button", "file"):
            continue
        if each.name == "select":
            chosen = each.select("option[selected]") or each.select("option")[:1]
            fields[name] = [str(option.get("value", option.get_text())) for option in chosen]
        elif kind in ("checkbox", "radio"):
            if each.has_attr("checked"):
                fields.setdefault(name, [])
                fields[name] = [*fields[name], str(each.get("value", "on"))]
        else:
            value = each.get_text() if each.name == "textarea" else str(each.get("value", ""))
            # Several fields of one name are all sent.
            fields[name] = value if name not in fields else [*_all(fields[name]), value]
    return fields


def _all(values: str | list[str]) -> list[str]:
    return [values] if isinstance(values, str) else values


def digest_of(token: str) -> bytes:
    """Return what is stored of a session's token."""
    return sessions.digest(token)


def query_of(address: str) -> dict[str, str]:
    """Return what stands behind an address's question mark."""
    return dict(parse_qsl(urlsplit(address).query))


async def user(api: Api, *, merchant: str = "acme", role: str = "owner") -> Visitor:
    """Return somebody who is logged in as a new user of the merchant's with this role; without a password's cost."""
    mail = f"{role}-{api.order_number}@{merchant}.example"
    api.order_number += 1

    def begin() -> str:
        made = logins.create(
            api.ledger, merchant_id=merchant, name=role.title(), email=mail, role=role, now=api.now, by=Actor("test")
        )
        return begin_session(api, merchant, made.user.user_id)

    return Visitor(api, {USER_COOKIE: await asyncio.to_thread(begin)})


def begin_session(api: Api, merchant: str, user_id: str) -> str:
    """Begin a session of a user who is there, and return its token."""
    return once(
        api.ledger,
        None,
        lambda curs: sessions.start_user(
            curs, merchant_id=merchant, user_id=user_id, came=HERE, replaces=None, now=api.now
        ),
    ).get_secret_value()


async def partner(api: Api, partner_id: str, *, merchant: str = "acme", generation: int = 1) -> Visitor:
    """Return a partner who is logged in to their dashboard; without a password's cost."""

    def begin() -> str:
        return once(
            api.ledger,
            None,
            lambda curs: sessions.start_partner(
                curs, merchant_id=merchant, partner_id=partner_id, generation=generation, came=HERE, replaces=None,
                now=api.now,
            ),
        ).get_secret_value()  # fmt: skip

    return Visitor(api, {PARTNER_COOKIE: await asyncio.to_thread(begin)})
