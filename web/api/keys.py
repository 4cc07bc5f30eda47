"""API keys: what opens a merchant's books, made, exchanged and taken back by those who may."""

from datetime import timedelta
from http import HTTPStatus
from typing import Any

from ledger import keys as commands
from ledger.access import SCOPES
from projections import access
from schemas.api import Listing, Page, Query
from schemas.api_access import CallingKey, Key, MadeKey, NewKey, Rotation
from schemas.errors import NotFoundError
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, from_cursor
from web.api.routes import RouteTable
from web.keys import ApiKey

keys = RouteTable("users and keys")


@keys.get("/key", query=Query, answer=CallingKey, scope=None)
async def show_calling_key(call: Call[None, Query]) -> Reply:
    """Show the key that makes the call: whose it is, and what it may do."""
    key = call.key
    if not isinstance(key, ApiKey):
        raise NotFoundError("key", "of a visitor who is logged in")
    return Reply(
        CallingKey(
            id=key.key_id, name=key.name, merchant_id=key.merchant_id, user_id=key.user_id, role=key.role,
            scopes=[scope for scope in SCOPES if scope in key.scopes], expires_at=key.expires_at,
        )
    )  # fmt: skip


@keys.get("/keys", query=Listing, answer=Page[Key], scope="admin")
async def list_keys(call: Call[None, Listing]) -> Reply:
    """List the merchant's API keys, newest first, with those that were revoked or have expired."""
    place = from_cursor(call.query.cursor, int)
    page = await call.services.reads.keys(call.merchant_id, before=place[0] if place else None, limit=call.query.limit)
    data = [Key(**_shown(row)) for row in page.rows]
    return Reply(Page[Key](data=data, next_cursor=cursor_of(page.next)))


@keys.post("/keys", body=NewKey, answer=MadeKey, status=HTTPStatus.CREATED, scope="admin")
async def create_key(call: Call[NewKey, Query]) -> Reply:
    """Make an API key, which is shown this once.

    With a `user_id` it is that user's: it can do what both its scopes and the user's role allow, and nothing once the
    user is disabled. A repeated Idempotency-Key does not show the key again.
    """
    body = call.body
    return await call.write(
        lambda request: commands.create(
            call.services.ledger, merchant_id=call.merchant_id, name=body.name, scopes=body.scopes,
            user_id=body.user_id, expires_at=body.expires_at, now=call.now, by=call.actor, request=request,
        ),
        _made,
        kept=_made_before,
    )  # fmt: skip


@keys.post("/keys/{key_id:[^/]+}/rotate", body=Rotation, answer=MadeKey, status=HTTPStatus.CREATED, scope="admin")
async def rotate_key(call: Call[Rotation, Query]) -> Reply:
    """Exchange a key for a new one with the same name, scopes, user and expiry.

    The old key goes on working for `overlap_s`, and no longer than it would have. A repeated Idempotency-Key does not
    show the new key again.
    """
    return await call.write(
        lambda request: commands.rotate(
            call.services.ledger, merchant_id=call.merchant_id, key_id=call.path["key_id"],
            overlap=timedelta(seconds=call.body.overlap_s), now=call.now, by=call.actor, request=request,
        ),
        _made,
        kept=_made_before,
    )  # fmt: skip


@keys.delete("/keys/{key_id:[^/]+}", scope="admin")
async def revoke_key(call: Call[None, Query]) -> Reply:
    """Make a key worthless, at once and for good; it stays in the list."""
    await call.run(
        lambda: commands.revoke(
            call.services.ledger, merchant_id=call.merchant_id, key_id=call.path["key_id"], now=call.now, by=call.actor
        )
    )
    return Reply(None)


def _shown(key: commands.Key | access.Key) -> dict[str, Any]:
    return {
        "id": key.key_id,
        "name": key.name,
        "scopes": key.scopes,
        "user_id": key.user_id,
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
        "rotated_from": key.rotated_from,
    }


def _made(new: commands.NewKey) -> MadeKey:
    return MadeKey(**_shown(new.key), api_key=new.token.get_secret_value())


def _made_before(new: commands.NewKey) -> MadeKey:
    return MadeKey(**_shown(new.key), api_key=None)
