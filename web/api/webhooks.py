"""Webhooks: addresses that are told of events, what they were told, and what came of it."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import Any

from ledger import webhooks
from projections import read_webhooks
from schemas.api import Listing, Nothing, Page, Query
from schemas.api_webhooks import (
    Attempt,
    DeliveriesQuery,
    Delivery,
    DeliveryState,
    Enabling,
    NewWebhook,
    Replay,
    Rotation,
    Webhook,
    WebhookChange,
    WebhookWithSecret,
)
from schemas.errors import NotFoundError
from schemas.webhook_addresses import parse_address
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, from_cursor
from web.api.events import check_types
from web.api.routes import RouteTable

webhook_calls = RouteTable("webhooks")

_ONE = "/webhooks/{webhook_id:[^/]+}"


@webhook_calls.get("/webhooks", query=Listing, answer=Page[Webhook], scope="admin")
async def list_webhooks(call: Call[None, Listing]) -> Reply:
    """List the webhooks, oldest first."""
    place = from_cursor(call.query.cursor, int)
    page = await read_webhooks.webhooks(
        call.services.reads, call.merchant_id, after=place[0] if place else None, limit=call.query.limit
    )
    data = [Webhook(**_shown(row)) for row in page.rows]
    return Reply(Page[Webhook](data=data, next_cursor=cursor_of(page.next)), page.position)


@webhook_calls.post("/webhooks", body=NewWebhook, answer=WebhookWithSecret, status=HTTPStatus.CREATED, scope="admin")
async def create_webhook(call: Call[NewWebhook, Query]) -> Reply:
    """Have an address told of events from now on.

    The answer holds the secret that signs what is sent, this once: a repeated Idempotency-Key does not show it again.
    """
    body = call.body
    _check_url(call, body.url)
    check_types(tuple(body.types), "$.types")
    return await _write(
        call, webhooks.create, _with_secret, kept=_without_secret, url=body.url, types=body.types,
        description=body.description,
    )  # fmt: skip


@webhook_calls.get(_ONE, query=Query, answer=Webhook, scope="admin")
async def show_webhook(call: Call[None, Query]) -> Reply:
    """Show a webhook."""
    return Reply(Webhook(**_shown(await _found(call))))


@webhook_calls.patch(_ONE, body=WebhookChange, answer=Webhook, scope="admin")
async def change_webhook(call: Call[WebhookChange, Query]) -> Reply:
    """Change a webhook's address, types or description, for what is sent from now on."""
    body = call.body
    if body.url is not None:
        _check_url(call, body.url)
    if body.types is not None:
        check_types(tuple(body.types), "$.types")
    return await _write(
        call, webhooks.change, _plain, webhook_id=call.path["webhook_id"], url=body.url, types=body.types,
        description=body.description,
    )  # fmt: skip


@webhook_calls.delete(_ONE, scope="admin")
async def delete_webhook(call: Call[None, Query]) -> Reply:
    """Forget a webhook, and the log of what it was told."""
    deleted = await call.run(
        lambda: webhooks.delete(
            call.services.ledger, merchant_id=call.merchant_id, webhook_id=call.path["webhook_id"], now=call.now,
            cause=call.cause,
        )
    )  # fmt: skip
    return Reply(None, deleted.position)


@webhook_calls.post(_ONE + "/rotate", body=Rotation, body_required=False, answer=WebhookWithSecret, scope="admin")
async def rotate_webhook(call: Call[Rotation, Query]) -> Reply:
    """Give a webhook a new secret, which is shown this once.

    Until the overlap is over each message carries two signatures, one by each secret.
    """
    overlap = timedelta(seconds=call.body.overlap_s)
    return await _write(
        call, webhooks.rotate, _with_secret, kept=_without_secret, webhook_id=call.path["webhook_id"], overlap=overlap
    )


@webhook_calls.post(_ONE + "/test", body=Nothing, answer=Webhook, scope="admin")
async def test_webhook(call: Call[Nothing, Query]) -> Reply:
    """Send a webhook the message `webhook.tested`, whatever types it takes."""
    return await _write(call, webhooks.send_test, _plain, webhook_id=call.path["webhook_id"])


@webhook_calls.post(_ONE + "/enable", body=Enabling, body_required=False, answer=Webhook, scope="admin")
async def enable_webhook(call: Call[Enabling, Query]) -> Reply:
    """Switch a webhook on again: it is told what waits, and then what happened meanwhile."""
    return await _write(
        call, webhooks.enable, _plain, webhook_id=call.path["webhook_id"], after=call.body.after
    )  # fmt: skip


@webhook_calls.post(_ONE + "/disable", body=Nothing, answer=Webhook, scope="admin")
async def disable_webhook(call: Call[Nothing, Query]) -> Reply:
    """Switch a webhook off; what it was not told yet waits."""
    return await _write(call, webhooks.disable, _plain, webhook_id=call.path["webhook_id"])


@webhook_calls.post(_ONE + "/replay", body=Replay, answer=Webhook, scope="admin")
async def replay_webhook(call: Call[Replay, Query]) -> Reply:
    """Send everything behind a position again, in order and under the same ids."""
    run = partial(
        webhooks.replay, call.services.ledger, merchant_id=call.merchant_id, webhook_id=call.path["webhook_id"],
        after=call.body.after,
    )  # fmt: skip
    return await call.write(lambda request: run(request=request), _plain)


@webhook_calls.get(_ONE + "/deliveries", query=DeliveriesQuery, answer=Page[Delivery], scope="admin")
async def list_deliveries(call: Call[None, DeliveriesQuery]) -> Reply:
    """List what a webhook was told, newest events first, with each attempt and its answer."""
    query, webhook = call.query, await _found(call)
    place = from_cursor(query.cursor, int)
    page = await read_webhooks.deliveries(
        call.services.reads, call.merchant_id, webhook.webhook_id, status=query.status,
        before=place[0] if place else None, limit=query.limit,
    )  # fmt: skip
    data = [_delivery(row) for row in page.rows]
    return Reply(Page[Delivery](data=data, next_cursor=cursor_of(page.next)), page.position)


@webhook_calls.post(
    _ONE + "/deliveries/{delivery_id:[^/]+}/redeliver", body=Nothing, answer=DeliveryState, scope="admin"
)
async def redeliver(call: Call[Nothing, Query]) -> Reply:
    """Send one message again, under the same id."""
    run = partial(
        webhooks.redeliver, call.services.ledger, merchant_id=call.merchant_id, webhook_id=call.path["webhook_id"],
        delivery_id=call.path["delivery_id"], now=call.now,
    )  # fmt: skip
    return await call.write(
        lambda request: run(request=request), lambda found: DeliveryState(id=found.delivery_id, status="waiting")
    )


async def _write(
    call: Call[Any, Any],
    command: Callable[..., webhooks.Webhook],
    answer: Callable[[webhooks.Webhook], Webhook],
    *,
    kept: Callable[[webhooks.Webhook], Webhook] | None = None,
    **details: Any,
) -> Reply:
    run = partial(
        command, call.services.ledger, merchant_id=call.merchant_id, now=call.now, cause=call.cause, **details
    )
    return await call.write(lambda request: run(request=request), answer, kept=kept)


async def _found(call: Call[Any, Any]) -> read_webhooks.Webhook:
    webhook_id = call.path["webhook_id"]
    found = await read_webhooks.webhook(call.services.reads, call.merchant_id, webhook_id)
    if found is None:
        raise NotFoundError("webhook", webhook_id)
    return found


def _check_url(call: Call[Any, Any], url: str) -> None:
    parse_address(url, allow_private=call.services.options.webhook_allow_private)


def _shown(webhook: webhooks.Webhook | read_webhooks.Webhook) -> dict[str, Any]:
    return {
        "id": webhook.webhook_id,
        "url": webhook.url,
        "types": list(webhook.types),
        "description": webhook.description,
        "status": webhook.status,
        "reason": webhook.reason,
        "position": webhook.reached,
        "failing_since": webhook.failing_since,
        "previous_secret_until": webhook.previous_until,
        "created_at": webhook.created_at,
    }


def _plain(webhook: webhooks.Webhook) -> Webhook:
    return Webhook(**_shown(webhook))


def _with_secret(webhook: webhooks.Webhook) -> WebhookWithSecret:
    return WebhookWithSecret(**_shown(webhook), secret=webhook.secret)


def _without_secret(webhook: webhooks.Webhook) -> WebhookWithSecret:
    return WebhookWithSecret(**_shown(webhook), secret=None)


def _delivery(row: read_webhooks.Delivery) -> Delivery:
    return Delivery(
        id=row.delivery_id, position=row.position, type=row.type, subject=row.subject, status=row.status,
        created_at=row.created_at, next_attempt_at=row.due_at, finished_at=row.finished_at,
        attempts=[Attempt(**attempt) for attempt in row.attempts],
    )  # fmt: skip
