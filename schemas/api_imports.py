"""What the HTTP API answers to an import: a report with a result for every row."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from schemas.api import Answer, FieldError, Query


def _yes_or_no(value: Any) -> Any:
    if value not in ("true", "false"):
        raise PydanticCustomError("not_one_of", "must be `true` or `false`")
    return value == "true"


class ImportQuery(Query):
    """How the file is to be taken."""

    dry_run: Annotated[bool, BeforeValidator(_yes_or_no)] = Field(
        default=False, description="`true`: decide every row and book nothing; the report says what would have been."
    )


class ImportResult(Answer):
    """What became of one row."""

    line: int = Field(description="The line of the file on which the row begins, from 1; the heading is line 1.")
    ok: bool
    outcome: str = Field(
        description="Partners: `registered`, `duplicate`, `refused`. Balances: `entered`, `duplicate`, `refused`."
        " Orders: as in `POST /orders`.",
        examples=["registered"],
    )
    id: str | None = Field(description="Of the partner, the order or the entry, as far as that can be told.")
    errors: list[FieldError] | None = Field(description="With `ok` false: why. `path` names the column.")


class ImportReport(Answer):
    """What became of a file: every row has its result, and the counts add up to `rows`."""

    kind: Literal["partners", "orders", "balances"]
    dry_run: bool
    rows: int
    accepted: int
    refused: int
    outcomes: dict[str, int] = Field(description="How many rows ended how.")
    ignored_columns: list[str] = Field(description="Columns that nobody knows: what stands in them was left out.")
    results: list[ImportResult]
