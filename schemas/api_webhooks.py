"""Bodies and answers of the webhooks' API."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.api import NO_CONTROL, POSITION_MAX, Answer, Body, JsonInt, Listing
from schemas.webhook_addresses import URL_LENGTH_MAX

OVERLAP_S_MAX = 7 * 86_400
OVERLAP_S_DEFAULT = 86_400
TYPES_MAX = 60

WebhookUrl = Annotated[
    str,
    StringConstraints(min_length=1, max_length=URL_LENGTH_MAX),
    Field(
        examples=["https://shop.example.com/hooks/ledger"],
        description="https, on the public internet; no user, password or fragment.",
    ),
]
WebhookTypes = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=64)]],
    Field(
        min_length=1,
        max_length=TYPES_MAX,
        examples=[["commission.*", "partner.banned"]],
        description="Types of events, kinds of them (`partner.*`), or `*` for all.",
    ),
]
Description = Annotated[str, StringConstraints(max_length=200, pattern=NO_CONTROL)]
Position = Annotated[JsonInt, Field(ge=0, le=POSITION_MAX)]
WebhookStatus = Literal["enabled", "disabled"]
DeliveryStatus = Literal["waiting", "delivered", "failed"]


class NewWebhook(Body):
    """An address to be told of events from now on."""

    url: WebhookUrl
    types: WebhookTypes
    description: Description = ""


class WebhookChange(Body):
    """What is to change; members that are left out (or null) stay."""

    url: WebhookUrl | None = None
    types: WebhookTypes | None = None
    description: Description | None = None


class Rotation(Body):
    """How long the secret before signs as well, so that the receiver can learn the new one."""

    overlap_s: Annotated[JsonInt, Field(ge=0, le=OVERLAP_S_MAX)] = OVERLAP_S_DEFAULT


class Enabling(Body):
    """From where on."""

    after: Position | None = Field(
        default=None, description="Leave out what happened up to this position; left out: nothing is left out."
    )


class Replay(Body):
    """From where on."""

    after: Position = Field(description="Everything behind this position is sent again, under the ids that it had.")


class DeliveriesQuery(Listing):
    """Which deliveries."""

    status: DeliveryStatus | None = None


class Webhook(Answer):
    """An address that is told of events."""

    id: str
    url: str
    types: list[str]
    description: str
    status: WebhookStatus
    reason: str | None = Field(
        description="Why it is switched off: `by_hand`, `gone` (answered 410), `failing` (for days)."
    )
    position: int = Field(description="Up to this position of the log it was looked at what there is to tell.")
    failing_since: datetime | None = Field(description="Since then nothing but failures.")
    previous_secret_until: datetime | None = Field(description="Until then the secret before signs as well.")
    created_at: datetime


class WebhookWithSecret(Webhook):
    """A webhook with its secret, which is shown this once."""

    secret: str | None = Field(
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        description="Signs what is sent. Null where the Idempotency-Key had its answer before: rotate it then.",
    )


class Attempt(Answer):
    """One time that it was sent: the status of the answer and how it begins, or the error there was instead."""

    number: int
    at: datetime
    latency_ms: int
    status: int | None
    answer: str | None = Field(description="The first 1,024 bytes.")
    error: str | None


class Delivery(Answer):
    """What a webhook was, or is to be, told of one event."""

    id: str = Field(description="The header `webhook-id`: the same however often it is sent.")
    position: int
    type: str
    subject: str
    status: DeliveryStatus
    created_at: datetime
    next_attempt_at: datetime | None = Field(
        description="Null where there is none, or where an earlier event of the same subject has to be told first."
    )
    finished_at: datetime | None
    attempts: list[Attempt] = Field(description="The last 50, oldest first.")


class DeliveryState(Answer):
    """A delivery that is sent again."""

    id: str
    status: DeliveryStatus
