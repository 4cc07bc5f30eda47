"""What webhooks are told: made out from the log, taken by a sender for a while, finished or tried again.

A delivery is a row from the moment on at which its webhook's position passed the event, in one transaction; so nothing
is left out, whoever dies when. A sender takes what is due for the length of a lease; what a dead one had falls due
again.
Per subject only the oldest that waits is ever due: a subject stays in order, and blocks nobody but itself. Whatever
changes what is due locks the webhook's row first, or two at once would each overlook what the other adds.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any, NamedTuple

from psycopg import Cursor
from psycopg.rows import DictRow

from ledger.application import Ledger
from ledger.feed import PROGRAM_AND_HEAD, WINDOW, FeedRow, entry_of, topics_of
from ledger.signatures import message_id, secret_of
from schemas.api_feed import FeedEntry, WebhookTold
from schemas.feed_types import matches

# One transaction makes out so many, and one webhook may have so many waiting: what is beyond waits in the log.
FILL_EVENTS = 500
WAITING_MAX = 10_000

FIRST_DELAY = timedelta(seconds=10)
DELAY_MAX = timedelta(hours=4)
_DOUBLINGS_MAX = 20

GONE = 410
_OK = range(200, 300)


class Target(NamedTuple):
    """A webhook that is switched on. `behind`: the log holds events that it was not looked at for."""

    webhook_id: str
    failing: bool
    behind: bool


class Claim(NamedTuple):
    """A delivery that is ours to make until the lease is over. `secrets` sign, the present one first."""

    webhook_id: str
    merchant_id: str
    position: int
    attempt: int
    tries: int
    delivery_id: str
    url: str
    secrets: tuple[str, ...]
    body: bytes
    first_at: datetime


class Outcome(NamedTuple):
    """What came of an attempt: the status with the beginning of the answer, or the error that there was instead."""

    latency_ms: int
    status: int | None = None
    answer: str | None = None
    error: str | None = None

    @property
    def is_ok(self) -> bool:
        """Whether the receiver has it."""
        return self.error is None and self.status in _OK


class Patience(NamedTuple):
    """How long failures are borne: a delivery is given up, a webhook is switched off."""

    retry_for: timedelta = timedelta(days=3)
    disable_after: timedelta = timedelta(days=5)


def targets(ledger: Ledger) -> list[Target]:
    """Return every webhook that is switched on."""
    with ledger.connection() as conn:
        return [Target(**row) for row in conn.execute(_TARGETS, prepare=True)]


def fill(ledger: Ledger, webhook_id: str, now: datetime) -> bool:
    """Make out what the webhook is to be told next; return whether there is more to make out at once."""
    with ledger.connection() as conn, conn.transaction(), conn.cursor() as curs:
        curs.execute(_FILLABLE, (webhook_id,))
        webhook = curs.fetchone()
        if webhook is None or _is_full(curs, webhook_id):
            return False
        curs.execute("SELECT set_config('ledger.merchant_id', %s, true)", (webhook["merchant_id"],))
        asked = {"after": webhook["position"], "topics": topics_of((*webhook["types"], "webhook.*"))}
        # The head first: what is recorded between the two would otherwise lie behind us, and nobody had looked at it.
        curs.execute(PROGRAM_AND_HEAD)
        log = curs.fetchone()
        assert log is not None  # noqa: S101 - one row, always
        curs.execute(WINDOW, asked | {"window": FILL_EVENTS})
        rows = [FeedRow(row["position"], row["stream"], row["topic"], row["state"]) for row in curs.fetchall()]
        told = [
            entry_of(row, webhook["merchant_id"], log["currency"]) for row in rows if row.state is not None
        ]  # fmt: skip
        _make_out(curs, webhook, [entry for entry in told if _is_for(entry, webhook_id, webhook["types"])], now)
        full = len(rows) == FILL_EVENTS
        last = rows[-1].position if rows else 0
        reached = last if full else max(last, log["head"])
        curs.execute("UPDATE webhooks.endpoints SET position = %s WHERE webhook_id = %s", (reached, webhook_id))
        return full


def claim(ledger: Ledger, frees: Sequence[tuple[str, int]], now: datetime, lease: timedelta) -> list[Claim]:
    """Take what is due now, at most so many of each webhook, for the length of the lease; the body as it is sent."""
    with ledger.connection() as conn:
        rows = conn.execute(
            _CLAIM,
            {"ids": [id_ for id_, _ in frees], "frees": [free for _, free in frees], "now": now, "until": now + lease},
            prepare=True,
        ).fetchall()
    return [_claimed(ledger, row, now) for row in rows]


def finish(
    ledger: Ledger, taken: Claim, outcome: Outcome, now: datetime, random: Random, patience: Patience
) -> str | None:
    """Write down what came of the attempt, and when the next one is; return why the webhook is to be switched off.

    That is `gone`, `failing`, or None: it is not. What somebody else has taken meanwhile is left alone.
    """
    with ledger.connection() as conn, conn.transaction(), conn.cursor() as curs:
        webhook = lock(curs, taken.webhook_id)
        if webhook is None or not _is_ours(curs, taken):
            return None
        curs.execute(
            "INSERT INTO webhooks.attempts (webhook_id, position, number, merchant_id, at, latency_ms, status, answer,"
            " error) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (taken.webhook_id, taken.position, taken.attempt, taken.merchant_id, now, *outcome),
        )
        over = taken.first_at + patience.retry_for
        if outcome.is_ok or now >= over:
            _close(curs, taken, "delivered" if outcome.is_ok else "failed", now)
        else:
            due_at = min(now + backoff(taken.tries, random), over)
            curs.execute(
                "UPDATE webhooks.deliveries SET due_at = %s WHERE webhook_id = %s AND position = %s",
                (due_at, taken.webhook_id, taken.position),
            )
        settle_all(curs, taken.webhook_id, now, taken.position)
        return _note_health(curs, webhook, outcome, now, patience)


def release(ledger: Ledger, taken: Claim, now: datetime) -> None:
    """Give back what was not finished: it is due at once, for whoever comes."""
    with ledger.connection() as conn, conn.transaction(), conn.cursor() as curs:
        if lock(curs, taken.webhook_id) is not None and _is_ours(curs, taken):
            curs.execute(
                "UPDATE webhooks.deliveries SET due_at = %s, tries = tries - 1 WHERE webhook_id = %s AND position = %s",
                (now, taken.webhook_id, taken.position),
            )
            settle_all(curs, taken.webhook_id, now, taken.position)


def prune(ledger: Ledger, before: datetime, limit: int) -> int:
    """Forget deliveries that were finished before then, at most so many; return how many."""
    with ledger.connection() as conn:
        return conn.execute(
            "DELETE FROM webhooks.deliveries WHERE (webhook_id, position) IN (SELECT webhook_id, position"
            " FROM webhooks.deliveries WHERE finished_at < %s ORDER BY finished_at LIMIT %s)",
            (before, limit),
        ).rowcount


def backoff(tries: int, random: Random) -> timedelta:
    """Return how long to wait after so many tries: any time up to a limit that doubles (full jitter)."""
    doublings = min(max(tries - 1, 0), _DOUBLINGS_MAX)
    return min(FIRST_DELAY * (1 << doublings), DELAY_MAX) * random.random()


def body_of(entry: FeedEntry) -> bytes:
    """Return what is sent of an entry: the feed's own, with the `timestamp` that Standard Webhooks asks for."""
    stamp = entry.model_dump_json(include={"occurred_at"})
    return entry.model_dump_json().encode()[:-1] + b',"timestamp":' + stamp.encode()[len('{"occurred_at":') :]


def lock(curs: Cursor[DictRow], webhook_id: str) -> DictRow | None:
    """Lock the webhook's row until the end of the transaction and return it, None where it is gone."""
    curs.execute(
        "SELECT webhook_id, status, failing_since FROM webhooks.endpoints WHERE webhook_id = %s FOR UPDATE",
        (webhook_id,),
    )
    return curs.fetchone()


def restart(curs: Cursor[DictRow], webhook_id: str, now: datetime) -> None:
    """Let all that waits begin anew, as if it had never been tried."""
    curs.execute(
        "UPDATE webhooks.deliveries SET tries = 0, first_at = NULL, due_at = NULL"
        " WHERE webhook_id = %s AND status = 'waiting'",
        (webhook_id,),
    )
    settle_all(curs, webhook_id, now)


def settle_all(curs: Cursor[DictRow], webhook_id: str, now: datetime, position: int | None = None) -> None:
    """Let the oldest that waits of each subject be due, and no other; with a position, of its subject alone."""
    curs.execute(_SETTLE, {"webhook_id": webhook_id, "now": now, "position": position})


def _is_full(curs: Cursor[DictRow], webhook_id: str) -> bool:
    curs.execute(_WAITING, (webhook_id, WAITING_MAX))
    row = curs.fetchone()
    return row is not None and row["n"] >= WAITING_MAX


def _is_for(entry: FeedEntry, webhook_id: str, types: Sequence[str]) -> bool:
    """Return whether the webhook is told: by its types, but of a test where it is the one that is tested."""
    if isinstance(entry, WebhookTold) and entry.type == "webhook.tested":
        return entry.data.webhook_id == webhook_id
    return any(matches(wanted, entry.type) for wanted in types)  # type: ignore[attr-defined]


def _make_out(curs: Cursor[DictRow], webhook: DictRow, entries: Sequence[Any], now: datetime) -> None:
    if not entries:
        return
    id_ = webhook["webhook_id"]
    columns: list[list[Any]] = [
        [entry.position for entry in entries],
        [message_id(id_, entry.position) for entry in entries],
        [entry.type for entry in entries],
        [entry.subject for entry in entries],
    ]
    curs.execute(_MAKE_OUT, [id_, webhook["merchant_id"], now, *columns])
    settle_all(curs, id_, now)


def _claimed(ledger: Ledger, row: DictRow, now: datetime) -> Claim:
    id_, number = row["webhook_id"], row["secret_number"]
    numbers = [number]
    if row["previous_until"] is not None and now < row["previous_until"]:
        numbers.append(number - 1)
    event = FeedRow(row["position"], row["stream"], row["topic"], row["state"])
    return Claim(
        webhook_id=id_,
        merchant_id=row["merchant_id"],
        position=row["position"],
        attempt=row["attempts"],
        tries=row["tries"],
        delivery_id=row["delivery_id"],
        url=row["url"],
        secrets=tuple(secret_of(ledger.hash_key, id_, each) for each in numbers),
        body=body_of(entry_of(event, row["merchant_id"], row["currency"])),
        first_at=row["first_at"],
    )


def _is_ours(curs: Cursor[DictRow], taken: Claim) -> bool:
    """Whether nobody took the delivery after us: the number of the attempt is the fence."""
    curs.execute(
        "SELECT 1 FROM webhooks.deliveries"
        " WHERE webhook_id = %s AND position = %s AND attempts = %s AND status = 'waiting' FOR UPDATE",
        (taken.webhook_id, taken.position, taken.attempt),
    )
    return curs.fetchone() is not None


def _close(curs: Cursor[DictRow], taken: Claim, status: str, now: datetime) -> None:
    curs.execute(
        "UPDATE webhooks.deliveries SET status = %s, due_at = NULL, finished_at = %s"
        " WHERE webhook_id = %s AND position = %s",
        (status, now, taken.webhook_id, taken.position),
    )


def _note_health(
    curs: Cursor[DictRow], webhook: DictRow, outcome: Outcome, now: datetime, patience: Patience
) -> str | None:
    since = None if outcome.is_ok else webhook["failing_since"] or now
    if since != webhook["failing_since"]:
        curs.execute(
            "UPDATE webhooks.endpoints SET failing_since = %s WHERE webhook_id = %s", (since, webhook["webhook_id"])
        )
    if outcome.status == GONE:
        return "gone"
    return "failing" if since is not None and now - since >= patience.disable_after else None


_TARGETS = """
SELECT
    endpoint.webhook_id,
    endpoint.failing_since IS NOT NULL AS failing,
    coalesce((
        SELECT event.notification_id FROM ledger.events AS event
        WHERE
            hashtextextended(split_part(event.originator_id, '/', 2), 0) = hashtextextended(endpoint.merchant_id, 0)
        ORDER BY event.notification_id + 0 DESC LIMIT 1
    ) > endpoint.position, false) AS behind
FROM webhooks.endpoints AS endpoint
WHERE endpoint.status = 'enabled'
ORDER BY endpoint.webhook_id"""
_FILLABLE = """
SELECT webhook_id, merchant_id, types, position FROM webhooks.endpoints
WHERE webhook_id = %s AND status = 'enabled' FOR UPDATE SKIP LOCKED"""
_WAITING = """
SELECT count(*) AS n FROM (
    SELECT 1 FROM webhooks.deliveries WHERE webhook_id = %s AND status = 'waiting' LIMIT %s
) AS waiting"""
# What was told before, and is passed again (a replay), waits again.
_MAKE_OUT = """
INSERT INTO webhooks.deliveries AS old (webhook_id, merchant_id, created_at, position, delivery_id, type, subject)
SELECT %s, %s, %s, told.* FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[]) AS told
ON CONFLICT (webhook_id, position) DO UPDATE
SET status = 'waiting', finished_at = NULL, tries = 0, first_at = NULL
WHERE old.status <> 'waiting'"""
_SETTLE = """
WITH oldest AS (
    SELECT DISTINCT ON (subject) subject, position
    FROM webhooks.deliveries
    WHERE
        webhook_id = %(webhook_id)s AND status = 'waiting'
        AND (
            %(position)s::bigint IS NULL
            OR subject = (
                SELECT subject FROM webhooks.deliveries
                WHERE webhook_id = %(webhook_id)s AND position = %(position)s
            )
        )
    ORDER BY subject, position
)
UPDATE webhooks.deliveries AS told
SET due_at = CASE WHEN told.position = oldest.position THEN %(now)s::timestamptz END
FROM oldest
WHERE
    told.webhook_id = %(webhook_id)s AND told.status = 'waiting' AND told.subject = oldest.subject
    AND (told.due_at IS NOT NULL) <> (told.position = oldest.position)"""
_CLAIM = """
WITH due AS (
    SELECT found.webhook_id, found.position
    FROM unnest(%(ids)s::text[], %(frees)s::int[]) AS free (webhook_id, deliveries)
    JOIN webhooks.endpoints AS endpoint ON endpoint.webhook_id = free.webhook_id AND endpoint.status = 'enabled'
    CROSS JOIN LATERAL (
        SELECT told.webhook_id, told.position FROM webhooks.deliveries AS told
        WHERE told.webhook_id = free.webhook_id AND told.due_at <= %(now)s
        ORDER BY told.due_at, told.position LIMIT free.deliveries
        FOR UPDATE SKIP LOCKED
    ) AS found
),
taken AS (
    UPDATE webhooks.deliveries AS told
    SET
        attempts = told.attempts + 1, tries = told.tries + 1, due_at = %(until)s,
        first_at = coalesce(told.first_at, %(now)s)
    FROM due
    WHERE told.webhook_id = due.webhook_id AND told.position = due.position
    RETURNING told.*
)
SELECT
    taken.webhook_id, taken.merchant_id, taken.position, taken.attempts, taken.tries, taken.delivery_id, taken.first_at,
    endpoint.url, endpoint.secret_number, endpoint.previous_until,
    event.originator_id AS stream, event.topic, event.state::text AS state,
    opening.state ->> 'currency' AS currency
FROM taken
JOIN webhooks.endpoints AS endpoint USING (webhook_id)
JOIN ledger.events AS event ON event.notification_id = taken.position
JOIN ledger.events AS opening
    ON opening.originator_id = 'merchant/' || taken.merchant_id AND opening.originator_version = 1
ORDER BY taken.position"""
