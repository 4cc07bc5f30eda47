"""Users: who works for the merchant, in which role."""

from http import HTTPStatus
from typing import Any

from ledger import users as commands
from projections import access
from schemas.api import Listing, Nothing, Page, Query, Read
from schemas.api_access import NewUser, User, UserChange
from schemas.errors import NotFoundError
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, from_cursor
from web.api.routes import RouteTable

users = RouteTable("users and keys")


@users.get("/users", query=Listing, answer=Page[User], scope="admin")
async def list_users(call: Call[None, Listing]) -> Reply:
    """List the merchant's users, newest first."""
    place = from_cursor(call.query.cursor, int)
    page = await call.services.reads.users(call.merchant_id, before=place[0] if place else None, limit=call.query.limit)
    return Reply(Page[User](data=[_shown(row) for row in page.rows], next_cursor=cursor_of(page.next)))


@users.get("/users/{user_id:[^/]+}", query=Read, answer=User, scope="admin")
async def show_user(call: Call[None, Read]) -> Reply:
    """Show a user."""
    found = await call.services.reads.user(call.merchant_id, call.path["user_id"])
    if found.row is None:
        raise NotFoundError("user", call.path["user_id"])
    return Reply(_shown(found.row))


@users.post("/users", body=NewUser, answer=User, status=HTTPStatus.CREATED, scope="admin")
async def create_user(call: Call[NewUser, Query]) -> Reply:
    """Add a user. What the user may do with a key of their own follows from the role."""
    body = call.body
    return await call.write(
        lambda request: commands.create(
            call.services.ledger, merchant_id=call.merchant_id, name=body.name, email=body.email, role=body.role,
            now=call.now, by=call.actor, request=request,
        ),
        _shown,
    )  # fmt: skip


@users.patch("/users/{user_id:[^/]+}", body=UserChange, answer=User, scope="admin")
async def change_user(call: Call[UserChange, Query]) -> Reply:
    """Change a user's name or role. The last owner stays one."""
    body = call.body
    return await call.write(
        lambda _: commands.change(
            call.services.ledger, merchant_id=call.merchant_id, user_id=call.path["user_id"], name=body.name,
            role=body.role, now=call.now, by=call.actor,
        ),
        _shown,
    )  # fmt: skip


@users.post("/users/{user_id:[^/]+}/disable", body=Nothing, answer=User, scope="admin")
async def disable_user(call: Call[Nothing, Query]) -> Reply:
    """Shut a user and the user's keys out, at once. The last owner stays."""
    return await _switch(call, commands.disable)


@users.post("/users/{user_id:[^/]+}/enable", body=Nothing, answer=User, scope="admin")
async def enable_user(call: Call[Nothing, Query]) -> Reply:
    """Let a user and the user's keys in again."""
    return await _switch(call, commands.enable)


async def _switch(call: Call[Any, Any], command: Any) -> Reply:
    return await call.write(
        lambda request: command(
            call.services.ledger, merchant_id=call.merchant_id, user_id=call.path["user_id"], now=call.now,
            by=call.actor, request=request,
        ),
        _shown,
    )  # fmt: skip


def _shown(user: commands.User | access.User) -> User:
    return User(
        id=user.user_id, name=user.name, email=user.email, role=user.role, created_at=user.created_at,
        disabled_at=user.disabled_at,
    )  # fmt: skip
