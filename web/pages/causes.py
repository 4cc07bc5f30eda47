"""Who made something happen, by the cause that is on record: users and keys by their names."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from schemas.api import LIMIT_MAX
from web.api.keys import list_keys
from web.api.users import list_users
from web.pages.visits import Visit

_KINDS = {"page": "user", "api": "key", "cli": "operator"}


class Cause(NamedTuple):
    """Who acted: `kind` is user, key, operator (a command), or other (a timer, a message); `name` as people know it."""

    kind: str
    name: str
    request_id: str | None


async def names(visit: Visit) -> Mapping[str, str]:
    """Return the names of the newest users and keys by their ids; none for whoever may not see users and keys."""
    if not visit.can("admin"):
        return {}
    users, keys = await asyncio.gather(
        visit.ask(list_users, {"limit": LIMIT_MAX}), visit.ask(list_keys, {"limit": LIMIT_MAX})
    )
    named = {user.id: user.name or user.email or user.id for user in users.data}
    return named | {key.id: key.name for key in keys.data}


def cause_of(told: str, known: Mapping[str, str]) -> Cause:
    """Return who a cause (`page/<user>@<request>`, `api/<key>@<request>`, `cli/<command>`) names."""
    means, _, request_id = told.partition("@")
    way, _, who = means.partition("/")
    kind = _KINDS.get(way, "other")
    return Cause(kind, known.get(who, who or way) if kind in ("user", "key") else means, request_id or None)
