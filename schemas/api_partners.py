"""What happened to a partner, as the API tells it."""

from datetime import datetime

from pydantic import Field

from schemas.api import Answer, Standing
from schemas.api_stories import ActedBy


class PartnerHistoryEntry(Answer):
    """One event of the partner's stream: what happened, when, why, and who did it."""

    version: int
    type: str = Field(examples=["PartnerPaused"])
    summary: str = Field(description="What happened, in a sentence.")
    occurred_at: datetime = Field(description="From when on it holds.")
    recorded_at: datetime
    cause: str
    by: ActedBy
    status: Standing | None = Field(description="The standing that it led to; null: it changed none.")
    reason: str | None


class PartnerHistory(Answer):
    """What happened to a partner, oldest first. Names and e-mails are in no event; it only says that they changed."""

    data: list[PartnerHistoryEntry]
