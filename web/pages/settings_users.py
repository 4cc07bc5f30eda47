"""Users: who works for the merchant, in which role, and the links by which they set a password."""

from typing import Any

from aiohttp import web

from schemas.api import LIMIT_MAX
from web.api.keys import list_keys
from web.api.users import change_user, create_user, disable_user, enable_user, invite_user, list_users, show_user
from web.pages.doors import user_door
from web.pages.forms import Form
from web.pages.listings import listed
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.visits import Visit

user_pages = PageTable(user_door)

_LIST = "/settings/users"
_ONE = "/settings/users/{user_id:[^/]+}"


@user_pages.get(_LIST)
async def show_users(visit: Visit) -> Shown:
    """Show the users."""
    return await _shown(visit, None)


@user_pages.post(_LIST)
async def add_user(visit: Visit) -> Shown:
    """Add a user, and show the link by which the user sets a password: this once."""
    done = await visit.attempt(create_user, visit.form.body("name", "email", "role"))
    return await _shown(visit, done.body)


@user_pages.get(_ONE)
async def show_one(visit: Visit) -> Shown:
    """Show a user."""
    return await _one(visit, None)


@user_pages.post(_ONE)
async def change(visit: Visit) -> Shown | web.StreamResponse:
    """Give a user another name or role."""
    done = await visit.attempt(change_user, visit.form.body("name", "role"), path=visit.path)
    return await _one(visit, None) if done.refusal else _moved(visit, "user_saved")


@user_pages.post(_ONE + "/disable")
async def disable(visit: Visit) -> Shown | web.StreamResponse:
    """Shut a user out."""
    done = await visit.attempt(disable_user, path=visit.path)
    return await _one(visit, None) if done.refusal else _moved(visit, "user_disabled")


@user_pages.post(_ONE + "/enable")
async def enable(visit: Visit) -> Shown | web.StreamResponse:
    """Let a user in again."""
    done = await visit.attempt(enable_user, path=visit.path)
    return await _one(visit, None) if done.refusal else _moved(visit, "user_enabled")


@user_pages.post(_ONE + "/invite")
async def invite(visit: Visit) -> Shown:
    """Make a new link, and show it: this once."""
    done = await visit.attempt(invite_user, path=visit.path)
    return await _one(visit, done.body)


async def _shown(visit: Visit, made: Any) -> Shown:
    if made is not None:
        visit.form = Form.empty()
    answer = await listed(visit, list_users)
    return Shown("settings/users.html", {"users": answer, "made": made})


async def _one(visit: Visit, invited: Any) -> Shown:
    user = await visit.ask(show_user, path=visit.path)
    keys = await visit.ask(list_keys, {"limit": LIMIT_MAX})
    own = [key for key in keys.data if key.user_id == user.id and key.revoked_at is None]
    return Shown("settings/user.html", {"user": user, "keys": own, "invited": invited})


def _moved(visit: Visit, told: str) -> web.StreamResponse:
    return visit.moved(f"{_LIST}/{visit.path['user_id']}", told=told)
