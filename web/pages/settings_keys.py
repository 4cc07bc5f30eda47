"""API keys: made, exchanged and taken back; a key itself is shown on the answer to its form, and never again."""

import asyncio
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from aiohttp import web

from ledger.access import SCOPES
from schemas.api import LIMIT_MAX
from schemas.api_access import Key, User
from web.api.keys import create_key, list_keys, revoke_key, rotate_key
from web.api.users import list_users
from web.pages.causes import Cause, cause_of
from web.pages.doors import user_door
from web.pages.forms import Form, whole
from web.pages.listings import listed
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.visits import Visit

key_pages = PageTable(user_door)

_LIST = "/settings/keys"
_ONE = "/settings/keys/{key_id:[^/]+}"


class Listed(NamedTuple):
    """A key in the list: whether it opens anything, whose it is, and who made it."""

    key: Key
    state: str
    user: User | None
    made_by: Cause


@key_pages.get(_LIST)
async def show_keys(visit: Visit) -> Shown:
    """Show the keys."""
    return await _shown(visit, None)


@key_pages.post(_LIST)
async def make_key(visit: Visit) -> Shown:
    """Make a key, and show it: this once."""
    done = await visit.attempt(create_key, _new_key(visit.form, visit.zone))
    return await _shown(visit, done.body)


@key_pages.post(_ONE + "/rotate")
async def rotate(visit: Visit) -> Shown:
    """Exchange a key for a new one, and show that: this once."""
    body = {"overlap_s": whole(visit.form.text("overlap_s"))}
    done = await visit.attempt(rotate_key, body, path=visit.path)
    return await _shown(visit, done.body)


@key_pages.post(_ONE + "/revoke")
async def revoke(visit: Visit) -> Shown | web.StreamResponse:
    """Make a key worthless."""
    done = await visit.attempt(revoke_key, path=visit.path)
    return await _shown(visit, None) if done.refusal else visit.moved(_LIST, told="key_revoked")


async def _shown(visit: Visit, made: Any) -> Shown:
    visit.place = _LIST
    if made is not None:
        visit.form = Form.empty()
    keys, users = await asyncio.gather(
        listed(visit, list_keys), visit.ask(list_users, {"limit": LIMIT_MAX})
    )  # fmt: skip
    by_id = {user.id: user for user in users.data}
    named = {user.id: user.name or user.email or user.id for user in users.data}
    shown = [_listed(key, by_id, named | {each.id: each.name for each in keys.data}, visit.now) for key in keys.data]
    model = {
        "keys": shown, "next_cursor": keys.next_cursor, "users": users.data, "scopes": SCOPES, "made": made,
        "tomorrow": (visit.now.astimezone(visit.zone) + timedelta(days=1)).date(),
    }  # fmt: skip
    return Shown("settings/keys.html", model)


def _listed(key: Key, users: Mapping[str, User], named: Mapping[str, str], now: datetime) -> Listed:
    user = None if key.user_id is None else users.get(key.user_id)
    state = "enabled"
    if key.revoked_at is not None:
        state = "revoked"
    elif key.expires_at is not None and key.expires_at <= now:
        state = "expired"
    elif user is not None and user.disabled_at is not None:
        state = "disabled"
    return Listed(key, state, user, cause_of(key.created_by, named))


def _new_key(form: Form, zone: ZoneInfo) -> dict[str, Any]:
    body: dict[str, Any] = form.body("name", "user_id")
    body["scopes"] = form.all("scopes")
    if form.text("expires_at"):
        body["expires_at"] = _end_of(form.text("expires_at") or "", zone)
    return body


def _end_of(day: str, zone: ZoneInfo) -> str:
    """Return the instant at which the day is over; what is no day stays what it is, for the API to say so."""
    try:
        after = date.fromisoformat(day) + timedelta(days=1)
        return datetime.combine(after, time(), zone).isoformat()
    except (ValueError, OverflowError):
        return day
