"""What is sent and answered where dead letters are counted, and many of them are resolved at once."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.api import Answer, Body, DeadLetterStatus, FieldError, Id, Outcome, Reason

BULK_MAX = 100


class DeadLetterCount(Answer):
    """How many messages were refused for one reason, and stand like this."""

    status: DeadLetterStatus
    code: str
    count: int


class DeadLetterCounts(Answer):
    """Every status and reason of which there are dead letters."""

    data: list[DeadLetterCount]


class BulkResolution(Body):
    """The same for many dead letters: take their messages in again, or put them away."""

    action: Literal["retry", "discard"]
    dead_letter_ids: Annotated[list[Id], Field(min_length=1, max_length=BULK_MAX)] = Field(description="No id twice.")
    reason: Reason | None = Field(default=None, description="With discard, and only there.")


class ResolutionError(Answer):
    """Why a dead letter stays as it is."""

    code: str
    message: str
    errors: list[FieldError] | None = Field(default=None, description="The message's fields at fault.")


class ResolutionResult(Answer):
    """What became of one dead letter; `outcome` is what its message became when it was tried again."""

    id: str
    ok: bool
    status: DeadLetterStatus | None = None
    outcome: Outcome | None = None
    error: ResolutionError | None = None


class ResolutionResults(Answer):
    """One result per id, in order."""

    results: list[ResolutionResult]
