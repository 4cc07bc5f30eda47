"""Webhooks: addresses that are told of events, their secrets (shown once), and what they were told."""

import asyncio
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from schemas.api_webhooks import Webhook
from schemas.feed_types import MEANINGS, NOT_SENT_YET
from web.api.webhooks import (
    change_webhook,
    create_webhook,
    delete_webhook,
    disable_webhook,
    enable_webhook,
    list_deliveries,
    list_webhooks,
    redeliver,
    replay_webhook,
    rotate_webhook,
    show_webhook,
    test_webhook,
)
from web.pages.doors import user_door
from web.pages.forms import Form, whole
from web.pages.listings import listed
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.visits import Visit

webhook_pages = PageTable(user_door)

_LIST = "/settings/webhooks"
_NEW = "/settings/webhooks/new"
_ONE = "/settings/webhooks/{webhook_id:[^/]+}"


def groups() -> Mapping[str, list[tuple[str, str]]]:
    """Return the types of events that a webhook can take, with what each means, by their kinds."""
    found: dict[str, list[tuple[str, str]]] = {}
    for type_, meaning in MEANINGS.items():
        if type_ not in NOT_SENT_YET:
            found.setdefault(type_.partition(".")[0], []).append((type_, meaning))
    return found


@webhook_pages.get(_LIST)
async def show_webhooks(visit: Visit) -> Shown:
    """Show the webhooks."""
    return Shown("settings/webhooks.html", {"webhooks": await listed(visit, list_webhooks)})


@webhook_pages.get(_NEW)
async def show_new(visit: Visit) -> Shown:
    """Show the form for another webhook."""
    visit.session.check("admin")
    return Shown("settings/webhook_new.html", {"groups": groups(), "chosen": _chosen(visit.form, ["*"])})


@webhook_pages.post(_NEW)
async def make(visit: Visit) -> Shown | web.StreamResponse:
    """Make a webhook, and show its secret: this once."""
    done = await visit.attempt(create_webhook, _told(visit.form))
    return await show_new(visit) if done.refusal else await _one(visit, done.body.id, done.body)


@webhook_pages.get(_ONE)
async def show_one(visit: Visit) -> Shown:
    """Show a webhook with what it was told."""
    return await _one(visit, visit.path["webhook_id"], None)


@webhook_pages.post(_ONE)
async def change(visit: Visit) -> Shown | web.StreamResponse:
    """Change what a webhook is, for what is sent from now on."""
    done = await visit.attempt(change_webhook, _told(visit.form), path=visit.path)
    return await _after(visit, done.refusal, "webhook_saved")


@webhook_pages.post(_ONE + "/rotate")
async def rotate(visit: Visit) -> Shown:
    """Give a webhook another secret, and show that: this once."""
    body = {"overlap_s": whole(visit.form.text("overlap_s"))}
    done = await visit.attempt(rotate_webhook, body, path=visit.path)
    return await _one(visit, visit.path["webhook_id"], done.body)


@webhook_pages.post(_ONE + "/test")
async def send_test(visit: Visit) -> Shown | web.StreamResponse:
    """Send a message that means nothing."""
    done = await visit.attempt(test_webhook, path=visit.path)
    return await _after(visit, done.refusal, "webhook_tested")


@webhook_pages.post(_ONE + "/enable")
async def enable(visit: Visit) -> Shown | web.StreamResponse:
    """Switch a webhook on again."""
    done = await visit.attempt(enable_webhook, path=visit.path)
    return await _after(visit, done.refusal, "webhook_enabled")


@webhook_pages.post(_ONE + "/disable")
async def disable(visit: Visit) -> Shown | web.StreamResponse:
    """Switch a webhook off."""
    done = await visit.attempt(disable_webhook, path=visit.path)
    return await _after(visit, done.refusal, "webhook_disabled")


@webhook_pages.post(_ONE + "/replay")
async def replay(visit: Visit) -> Shown | web.StreamResponse:
    """Send everything behind a position again."""
    done = await visit.attempt(replay_webhook, {"after": whole(visit.form.text("after"))}, path=visit.path)
    return await _after(visit, done.refusal, "webhook_replayed")


@webhook_pages.post(_ONE + "/delete")
async def delete(visit: Visit) -> Shown | web.StreamResponse:
    """Forget a webhook."""
    done = await visit.attempt(delete_webhook, path=visit.path)
    return await show_one(visit) if done.refusal else visit.moved(_LIST, told="webhook_deleted")


@webhook_pages.post(_ONE + "/deliveries/{delivery_id:[^/]+}/redeliver")
async def send_again(visit: Visit) -> Shown | web.StreamResponse:
    """Send one message again."""
    done = await visit.attempt(redeliver, path=visit.path)
    return await _after(visit, done.refusal, "delivery_again")


async def _after(visit: Visit, refusal: object, told: str) -> Shown | web.StreamResponse:
    if refusal:
        return await show_one(visit)
    return visit.moved(f"{_LIST}/{visit.path['webhook_id']}", told=told)


async def _one(visit: Visit, webhook_id: str, made: Any) -> Shown:
    path = {"webhook_id": webhook_id}
    visit.place = f"{_LIST}/{webhook_id}"
    found = await asyncio.gather(
        visit.ask(show_webhook, path=path), listed(visit, list_deliveries, path=path)
    )  # fmt: skip
    webhook: Webhook = found[0]
    model = {
        "webhook": webhook, "deliveries": found[1], "made": made, "groups": groups(),
        "chosen": _chosen(visit.form, webhook.types),
    }  # fmt: skip
    return Shown("settings/webhook.html", model)


def _told(form: Form) -> dict[str, Any]:
    """Return the API's body. The kinds that were ticked whole come without the types that they hold."""
    types = form.all("types")
    kinds = {each.removesuffix(".*") for each in types if each.endswith(".*")}
    kept = [each for each in types if each.endswith("*") or each.partition(".")[0] not in kinds]
    return {
        "url": form.text("url") or "",
        "types": ["*"] if "*" in types else kept,
        "description": form.text("description") or "",
    }


def _chosen(form: Form, types: list[str]) -> list[str]:
    return form.all("types") if form.has("url") else types
