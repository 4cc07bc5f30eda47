"""Who acted: the causes of events, looked up. A cause says which way somebody came in, never a name."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from projections.actors import Name, names
from schemas.api_stories import ActedBy, ActorKind
from web.api.calls import Call

_MESSAGE_PARTS = 3
_BY_THEMSELVES: Mapping[str, ActorKind] = {
    "timer": "timer", "cli": "operator", "dashboard": "partner", "hook": "provider", "payouts": "timer",
}  # fmt: skip


class _Means(NamedTuple):
    kind: ActorKind
    id: str


async def actors_of(call: Call[Any, Any], causes: Iterable[str]) -> Mapping[str, ActedBy]:
    """Return who acted for each of the causes, with the names of keys and users as they are now."""
    means = {cause: _means(cause) for cause in causes}
    keys = {each.id for each in means.values() if each.kind == "key"}
    users = {each.id for each in means.values() if each.kind == "user"}
    found = await names(call.services.reads, call.merchant_id, keys=keys, users=users)
    by_id = {(name.key_id or name.user_id): name for name in found}
    return {cause: _shown(each, by_id.get(each.id)) for cause, each in means.items()}


def _means(cause: str) -> _Means:
    """Return what a cause names: `api/<key>@..`, `page/<user>@..`, `cli/<user>@..`, `timer/..`, or a place."""
    place = cause.partition("@")[0]
    first, *others = place.split("/")
    if first == "cli" and others and others[0].startswith("u_"):
        # An operator who acted in somebody's name.
        return _Means("user", others[0])
    if first in _BY_THEMSELVES:
        return _Means(_BY_THEMSELVES[first], "")
    if len(others) + 1 >= _MESSAGE_PARTS:
        return _Means("import" if first == "import" else "message", "")
    if first == "api" and others:
        return _Means("key", others[0])
    if first == "page" and others:
        return _Means("user", others[0])
    return _Means("operator", "")


def _shown(means: _Means, name: Name | None) -> ActedBy:
    if means.kind == "user":
        return ActedBy(kind="user", user_id=means.id, user=name.user_name if name else None)
    if means.kind != "key":
        return ActedBy(kind=means.kind)
    if name is None:
        return ActedBy(kind="key", key_id=means.id)
    return ActedBy(kind="key", key_id=means.id, key=name.key_name, user_id=name.user_id, user=name.user_name)
