"""Users: who works for the merchant, in which role, and the links by which they set a password."""

from functools import partial
from http import HTTPStatus
from typing import Any

from ledger import logins, merchants
from ledger import users as commands
from projections import access
from schemas.api import Listing, Nothing, Page, Query, Read
from schemas.api_access import InvitedUser, NewUser, User, UserChange
from schemas.errors import NotFoundError
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, from_cursor
from web.api.routes import RouteTable
from web.letters import invitation, reset_address
from web.mail import Letter

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


@users.post("/users", body=NewUser, answer=InvitedUser, status=HTTPStatus.CREATED, scope="admin")
async def create_user(call: Call[NewUser, Query]) -> Reply:
    """Add a user. What the user may do, on pages and with a key of their own, follows from the role.

    The invitation is a link that sets the user's password; where mail is set up the user is written to as well. A
    repeated Idempotency-Key does not show the link again.
    """
    body = call.body
    reply = await call.write(
        lambda request: logins.create(
            call.services.ledger, merchant_id=call.merchant_id, name=body.name, email=body.email, role=body.role,
            now=call.now, by=call.actor, request=request,
        ),
        lambda made: _invited(call, made),
        kept=lambda made: _invited(call, made).model_copy(update={"invitation_url": None}),
    )  # fmt: skip
    _write_to(call, reply)
    return reply


@users.post(
    "/users/{user_id:[^/]+}/invite", body=Nothing, answer=InvitedUser, status=HTTPStatus.CREATED, scope="admin"
)  # fmt: skip
async def invite_user(call: Call[Nothing, Query]) -> Reply:
    """Make a new link that sets the user's password, also for one who has forgotten it.

    Links from before are worthless. Where mail is set up the user is written to as well. A repeated Idempotency-Key
    does not show the link again.
    """
    reply = await call.write(
        lambda request: logins.invite(
            call.services.ledger, merchant_id=call.merchant_id, user_id=call.path["user_id"], now=call.now,
            by=call.actor, request=request,
        ),
        lambda made: _invited(call, made),
        kept=lambda made: _invited(call, made).model_copy(update={"invitation_url": None}),
    )  # fmt: skip
    _write_to(call, reply)
    return reply


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
    """Shut a user and the user's keys out, at once: the user is logged out everywhere. The last owner stays."""
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
    return User(**_members(user))


def _members(user: commands.User | access.User) -> dict[str, Any]:
    return {
        "id": user.user_id,
        "name": user.name,
        "email": user.email,
        "role": user.role,
        "created_at": user.created_at,
        "disabled_at": user.disabled_at,
    }


def _invited(call: Call[Any, Any], made: logins.Invitation) -> InvitedUser:
    return InvitedUser(
        **_members(made.user),
        invitation_url=reset_address(call.services.options.public_url, made.token.get_secret_value()),
        invitation_expires_at=made.expires_at,
    )


def _write_to(call: Call[Any, Any], reply: Reply) -> None:
    """Send the invitation that was made just now, where mail is set up; a repeated request sends nothing."""
    made = reply.body
    if call.services.mail is None or not isinstance(made, InvitedUser) or made.email is None:
        return
    to, address = made.email, made.invitation_url or ""

    async def write() -> list[Letter]:
        program = await call.run(partial(merchants.find, call.services.ledger, call.merchant_id))
        return [invitation(to, program.name, address)]

    call.services.mail.soon(write)
