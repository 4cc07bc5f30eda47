"""People who come in by the front door: invited, with a password, at the login."""

from typing import Any

from tests.support.api import Api
from tests.support.visitors import Shown, Visitor

GOOD = "lantern orbit pickle sedan"
WRONG = "lantern orbit pickle melon"
NEW = "harbour violin cactus frost"
KIM = "kim@example.com"


async def invited(
    api: Api, *, merchant: str = "acme", role: str = "owner", email: str = KIM, name: str = "Kim"
) -> dict[str, Any]:
    """Invite a user by the API and return its answer."""
    answer = await api.post("/users", {"name": name, "email": email, "role": role}, of=merchant)
    assert answer.status == 201, answer.text
    return dict(answer.json)


async def member(api: Api, **told: Any) -> dict[str, Any]:
    """Return a new user who set a password, and is not logged in."""
    user = await invited(api, **told)
    done = await set_password(api, user["invitation_url"])
    assert (done.status, done.location) == (303, "/login?told=password_set"), done.words
    return user


async def set_password(api: Api, address: str, password: str = GOOD) -> Shown:
    """Return the answer to the form at a link, filled in."""
    visitor = Visitor(api)
    return await visitor.submit(await visitor.get(address), password=password, again=password, follow=False)


async def log_in(
    api: Api, *, email: str = KIM, password: str = GOOD, place: str = "/login", visitor: Visitor | None = None
) -> tuple[Visitor, Shown]:
    """Return a visitor who tried to log in, and the answer."""
    visitor = visitor or Visitor(api)
    page = await visitor.get(place)
    return visitor, await visitor.submit(page, email=email, password=password, follow=False)


async def partner_path(api: Api, **change: Any) -> tuple[str, str]:
    """Register a partner, and return its id and the address of its dashboard as seen from here."""
    made = await api.partner(**change)
    return made["id"], made["dashboard_url"].removeprefix("https://ledger.example")
