"""Webhooks: addresses of a merchant that are told of its events. Who sends, and when: `ledger.deliveries`."""

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg import Cursor
from psycopg.rows import DictRow

from ledger.application import ATTEMPTS, Ledger, following
from ledger.deliveries import lock, restart, settle_all
from ledger.events import Stream, WebhookChanged
from ledger.requests import Request
from ledger.signatures import secret_of, webhook_id
from ledger.store import VersionConflictError
from schemas.errors import ConflictError, NotFoundError, RejectedError, RetryableError

WEBHOOKS_MAX = 20

_COLUMNS = (
    "webhook_id, merchant_id, url, types, description, status, reason, position AS reached, secret_number,"
    " previous_until, failing_since, created_at"
)
_FIND = f"SELECT {_COLUMNS} FROM webhooks.endpoints WHERE merchant_id = %s AND webhook_id = %s"  # noqa: S608 - our own words


class Webhook(NamedTuple):
    """A webhook as it stands. `reached`: up to which position of the log its deliveries are made out.

    `secret` only where it is new; `position` is that of the event that a command wrote.
    """

    webhook_id: str
    merchant_id: str
    url: str
    types: Sequence[str]
    description: str
    status: str
    reason: str | None
    reached: int
    secret_number: int
    previous_until: datetime | None
    failing_since: datetime | None
    created_at: datetime
    secret: str | None = None
    position: int | None = None


class Redelivered(NamedTuple):
    """A delivery that is sent again."""

    delivery_id: str
    position: int | None = None


def find(ledger: Ledger, merchant_id: str, id_: str) -> Webhook:
    """Return the merchant's webhook. Raises NotFoundError."""
    with ledger.connection() as conn:
        row = conn.execute(_FIND, (merchant_id, id_)).fetchone()
    if row is None:
        raise NotFoundError("webhook", id_)
    return Webhook(**row)


def create(
    ledger: Ledger,
    *,
    merchant_id: str,
    url: str,
    types: Sequence[str],
    description: str,
    now: datetime,
    cause: str,
    request: Request | None = None,
) -> Webhook:
    """Add a webhook, which is told of what happens from now on, and return it with its secret.

    Raises ConflictError `too_many_webhooks`.
    """
    # Without a key a repeated request is another request, and makes another webhook.
    key = request.idempotency_key if request else secrets.token_hex(16)
    id_ = webhook_id(ledger.hash_key, merchant_id, key)
    secret = secret_of(ledger.hash_key, id_, 1)
    webhook = Webhook(
        id_, merchant_id, url, list(types), description, "enabled", None, 0, 1, None, None, now, secret
    )  # fmt: skip

    def after(curs: Cursor[DictRow], position: int | None) -> None:
        # Under the lock of the log, so that two at once cannot both be the last that is allowed.
        curs.execute("SELECT count(*) AS n FROM webhooks.endpoints WHERE merchant_id = %s", (merchant_id,))
        row = curs.fetchone()
        if row and row["n"] >= WEBHOOKS_MAX:
            raise ConflictError("too_many_webhooks", f"at most {WEBHOOKS_MAX} webhooks; delete one first")
        curs.execute(
            "INSERT INTO webhooks.endpoints (webhook_id, merchant_id, url, types, description, position, created_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            (id_, merchant_id, url, list(types), description, position, now),
        )

    events = following(Stream.notice(merchant_id, "webhook", id_), 0, [_changed(webhook, "created", now, cause)])
    position = ledger.record(events, after=after, request=request, result=webhook)
    return webhook._replace(reached=position or 0, position=position)


def change(
    ledger: Ledger,
    *,
    merchant_id: str,
    webhook_id: str,
    url: str | None = None,
    types: Sequence[str] | None = None,
    description: str | None = None,
    now: datetime,
    cause: str,
    request: Request | None = None,
) -> Webhook:
    """Change what is given, for what is sent from now on, and return the webhook. Raises NotFoundError."""

    def decide(webhook: Webhook) -> Webhook:
        return webhook._replace(
            url=webhook.url if url is None else url,
            types=webhook.types if types is None else list(types),
            description=webhook.description if description is None else description,
        )

    return _act(ledger, "changed", merchant_id, webhook_id, decide, now, cause, request)


def rotate(
    ledger: Ledger,
    *,
    merchant_id: str,
    webhook_id: str,
    overlap: timedelta,
    now: datetime,
    cause: str,
    request: Request | None = None,
) -> Webhook:
    """Give the webhook a new secret and return it with it; the one before signs as well until the overlap is over.

    Raises NotFoundError.
    """

    def decide(webhook: Webhook) -> Webhook:
        number = webhook.secret_number + 1
        secret = secret_of(ledger.hash_key, webhook_id, number)
        return webhook._replace(secret_number=number, previous_until=now + overlap, secret=secret)

    return _act(ledger, "rotated", merchant_id, webhook_id, decide, now, cause, request)


def send_test(
    ledger: Ledger, *, merchant_id: str, webhook_id: str, now: datetime, cause: str, request: Request | None = None
) -> Webhook:
    """Send the webhook a message that says nothing, and return it. Raises NotFoundError, ConflictError `disabled`."""

    def decide(webhook: Webhook) -> Webhook:
        if webhook.status != "enabled":
            raise ConflictError("disabled", "this webhook is switched off; enable it first")
        return webhook

    return _act(ledger, "tested", merchant_id, webhook_id, decide, now, cause, request, always=True)


def disable(
    ledger: Ledger,
    *,
    merchant_id: str,
    webhook_id: str,
    reason: str = "by_hand",
    now: datetime,
    cause: str,
    request: Request | None = None,
) -> Webhook:
    """Send nothing to the webhook any more, and return it; what waits goes on waiting.

    `reason`: `by_hand`, `gone` (its receiver said so) or `failing` (for days). Raises NotFoundError.
    """

    def decide(webhook: Webhook) -> Webhook:
        return webhook if webhook.status == "disabled" else webhook._replace(status="disabled", reason=reason)

    return _act(ledger, "disabled", merchant_id, webhook_id, decide, now, cause, request)


def enable(
    ledger: Ledger,
    *,
    merchant_id: str,
    webhook_id: str,
    after: int | None = None,
    now: datetime,
    cause: str,
    request: Request | None = None,
) -> Webhook:
    """Send again, and return the webhook: what waits, and then what happened meanwhile.

    With `after` what stands between where it stopped and that position is left out. Raises NotFoundError, RejectedError
    `unknown_position`.
    """
    _check_position(ledger, after)

    def decide(webhook: Webhook) -> Webhook:
        if webhook.status == "enabled":
            return webhook
        reached = max(webhook.reached, after or 0)
        return webhook._replace(status="enabled", reason=None, failing_since=None, reached=reached)

    def beside(curs: Cursor[DictRow]) -> None:
        restart(curs, webhook_id, now)

    return _act(ledger, "enabled", merchant_id, webhook_id, decide, now, cause, request, beside=beside)


def delete(ledger: Ledger, *, merchant_id: str, webhook_id: str, now: datetime, cause: str) -> Webhook:
    """Forget the webhook, and what was sent to it; returns it as it was. Raises NotFoundError."""

    def beside(curs: Cursor[DictRow]) -> None:
        curs.execute("DELETE FROM webhooks.endpoints WHERE webhook_id = %s", (webhook_id,))

    return _act(ledger, "deleted", merchant_id, webhook_id, lambda webhook: webhook, now, cause, None, beside=beside,
                always=True)  # fmt: skip


def replay(
    ledger: Ledger,
    *,
    merchant_id: str,
    webhook_id: str,
    after: int,
    request: Request | None = None,
) -> Webhook:
    """Send everything behind the position again, in order and under the same ids, and return the webhook.

    Raises NotFoundError, RejectedError `unknown_position`.
    """
    _check_position(ledger, after)
    webhook = find(ledger, merchant_id, webhook_id)
    webhook = webhook._replace(reached=min(webhook.reached, after))

    def beside(curs: Cursor[DictRow]) -> None:
        lock(curs, webhook_id)
        curs.execute(
            "UPDATE webhooks.endpoints SET position = least(position, %s) WHERE webhook_id = %s", (after, webhook_id)
        )

    ledger.record([], beside=beside, request=request, result=webhook)
    return webhook


def redeliver(
    ledger: Ledger,
    *,
    merchant_id: str,
    webhook_id: str,
    delivery_id: str,
    now: datetime,
    request: Request | None = None,
) -> Redelivered:
    """Send one message again, under the same id, and return it; one that waits is sent at once.

    Raises NotFoundError.
    """
    find(ledger, merchant_id, webhook_id)
    found = Redelivered(delivery_id)

    def beside(curs: Cursor[DictRow]) -> None:
        lock(curs, webhook_id)
        curs.execute(
            "UPDATE webhooks.deliveries SET status = 'waiting', due_at = %s, tries = 0, first_at = NULL,"
            " finished_at = NULL WHERE webhook_id = %s AND delivery_id = %s",
            (now, webhook_id, delivery_id),
        )
        if curs.rowcount != 1:
            raise NotFoundError("delivery", delivery_id)
        settle_all(curs, webhook_id, now)

    ledger.record([], beside=beside, request=request, result=found)
    return found


def _act(
    ledger: Ledger,
    change: str,
    merchant_id: str,
    id_: str,
    decide: Callable[[Webhook], Webhook],
    now: datetime,
    cause: str,
    request: Request | None,
    *,
    beside: Callable[[Cursor[DictRow]], None] | None = None,
    always: bool = False,
) -> Webhook:
    """Record what `decide` makes of the webhook, and return it; what changes nothing writes nothing (but `always`)."""
    stream = Stream.notice(merchant_id, "webhook", id_)
    for _ in range(ATTEMPTS):
        before = find(ledger, merchant_id, id_)
        after = decide(before)
        if after == before and not always:
            ledger.record([], request=request, result=after)
            return after
        events = following(stream, len(ledger.stream(stream)), [_changed(after, change, now, cause)])

        def write(curs: Cursor[DictRow], before: Webhook = before, after: Webhook = after) -> None:
            lock(curs, id_)
            _write(curs, before, after)
            if beside is not None:
                beside(curs)

        try:
            position = ledger.record(events, beside=write, request=request, result=after)
        except VersionConflictError:
            continue
        return after._replace(position=position)
    raise RetryableError("somebody else changes this webhook at the same time")


def _changed(webhook: Webhook, change: str, now: datetime, cause: str) -> WebhookChanged:
    return WebhookChanged(
        merchant_id=webhook.merchant_id, occurred_at=now, recorded_at=now, cause=cause, webhook_id=webhook.webhook_id,
        change=change, reason=webhook.reason if change == "disabled" else None,
    )  # fmt: skip


# Only what a command changed: the rest moves meanwhile.
_WRITABLE = {
    "url": "url", "types": "types", "description": "description", "status": "status", "reason": "reason",
    "reached": "position", "secret_number": "secret_number", "previous_until": "previous_until",
    "failing_since": "failing_since",
}  # fmt: skip


def _write(curs: Cursor[DictRow], before: Webhook, after: Webhook) -> None:
    changed = [name for name in _WRITABLE if getattr(before, name) != getattr(after, name)]
    if changed:
        columns = ", ".join(f"{_WRITABLE[name]} = %s" for name in changed)
        values: list[Any] = [getattr(after, name) for name in changed]
        curs.execute(f"UPDATE webhooks.endpoints SET {columns} WHERE webhook_id = %s", [*values, after.webhook_id])  # noqa: S608 - our own words


def _check_position(ledger: Ledger, position: int | None) -> None:
    if position is not None and position > (head := ledger.head()):
        raise RejectedError.at("$.after", "unknown_position", f"the log ends at {head}")
