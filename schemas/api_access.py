"""Bodies and answers about who may come in: users, API keys, and the record of their changes."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.api import Answer, Body, Email, Id, Instant, JsonInt, Name, Scope

OVERLAP_MAX_S = 7 * 24 * 60 * 60

Role = Literal["owner", "finance", "manager", "viewer"]
Scopes = Annotated[list[Scope], Field(min_length=1, max_length=5, examples=[["read", "orders:write"]])]

_ROLES = (
    "`owner`: everything; `finance`: `read`, `payouts`; `manager`: `read`, `orders:write`, `partners`;"
    " `viewer`: `read`."
)


class NewUser(Body):
    """A user to be added."""

    name: Name
    email: Email = Field(description="Unique among your users, whatever its case.")
    role: Role = Field(description=_ROLES)


class UserChange(Body):
    """What is to change of a user; members that are left out (or null) stay."""

    name: Name | None = None
    role: Role | None = Field(default=None, description="In force at once, also for the user's keys.")


class User(Answer):
    """Somebody who works for the merchant. Name and e-mail are null where nobody told them, or once erased."""

    id: str
    name: str | None
    email: str | None
    role: Role
    created_at: datetime
    disabled_at: datetime | None = Field(description="Not null: the user, and the user's keys, are shut out.")


class InvitedUser(User):
    """A user, and the link by which the user sets a password."""

    invitation_url: str | None = Field(
        description="Works once, shown this once and kept nowhere. Null in the answer to a repeated Idempotency-Key:"
        " whoever missed it renews the invitation."
    )
    invitation_expires_at: datetime


class NewKey(Body):
    """An API key to be made."""

    name: Name = Field(description="What it is for.")
    scopes: Scopes = Field(description="At most those of the key that asks, and of the role of its user.")
    user_id: Id | None = Field(default=None, description="Whose it is; left out: nobody's, a machine's.")
    expires_at: Instant | None = None


class Rotation(Body):
    """How long the old key goes on working beside the new one."""

    overlap_s: Annotated[JsonInt, Field(ge=0, le=OVERLAP_MAX_S)] = Field(
        description="Seconds, up to 7 days; 0: not at all."
    )


class Key(Answer):
    """An API key, without its secret. What was revoked or has expired stays in the list."""

    id: str
    name: str
    scopes: list[Scope] = Field(description="What it was given; of a user's key, the role may leave less.")
    user_id: str | None
    created_at: datetime
    created_by: str = Field(description="As `cause` in events: the key and the request that made it.")
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")
    revoked_at: datetime | None
    rotated_from: str | None = Field(description="The key whose place it took.")


class MadeKey(Key):
    """A new API key."""

    api_key: str | None = Field(
        description="The key itself, shown this once and kept nowhere. Null in the answer to a repeated"
        " Idempotency-Key: whoever missed it revokes this key and makes another."
    )


class CallingKey(Answer):
    """The key that the call was made with."""

    id: str
    name: str
    merchant_id: str
    scopes: list[Scope] = Field(description="What it may do.")
    user_id: str | None
    role: Role | None = Field(description="That of its user.")
    expires_at: datetime | None


class AccessChange(Answer):
    """One change of a user, a key or a partner's way in, or a taking of the payment list: who, what, when."""

    at: datetime
    type: str = Field(examples=["key.created"])
    subject: str = Field(description="The id of the user, key or partner, or the name of the file that was taken.")
    details: dict[str, Any]
    cause: str = Field(
        description="`api/<key>@<request id>`, `page/<user>@<request id>`, `dashboard/<partner>@<request id>`, or the"
        " command that an operator ran."
    )
    key_id: str | None = Field(description="The key that was used.")
    user_id: str | None = Field(description="The user who was logged in, or whose key it was.")
