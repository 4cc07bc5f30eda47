"""`dead-letters`: messages that were refused for good, with the reason; looked at, taken in again, or put away."""

import asyncio
from collections.abc import Awaitable, Iterator
from typing import Annotated, Any

import typer

from cli.clock import now
from cli.connection import Books, books
from cli.failures import REFUSED, UsageError, explain
from cli.options import Data, Json
from cli.output import complain, print_json, print_table, progress, say
from cli.pools import ask
from ledger import dead_letters as letters
from ledger.application import Ledger
from projections.read import Reads
from projections.rows import DeadLetter, Page
from schemas.api import DeadLetterStatus
from schemas.errors import NotFoundError, RejectedError

CAUSE = "cli/dead-letters"
_PAGE = 200

Merchant = Annotated[str | None, typer.Option("--merchant", help="Only this merchant's.")]
Code = Annotated[str | None, typer.Option("--code", help="Only those refused with this code.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many, the newest.")]
Status = Annotated[str, typer.Option("--status", help="open, retried, discarded or all.")]
OneId = Annotated[str, typer.Argument(metavar="ID", show_default=False)]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID...", show_default=False)]
Every = Annotated[bool, typer.Option("--all", help="All that are open (with --merchant, --code: all of those).")]

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", add_completion=False)


@app.callback()
def dead_letters() -> None:
    """Messages that were refused for good, with the reason."""


@app.command("list")
def show_list(
    *,
    status: Status = "open",
    merchant: Merchant = None,
    code: Code = None,
    limit: Limit = 50,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List dead letters, the newest first."""
    with books(data) as found:
        rows = _find(found, status, merchant, code, limit)
    if as_json:
        for row in rows:
            print_json(_document(row))
        return
    print_table(
        ("id", "received", "merchant", "from", "status", "code", "path", "reason"),
        [(r.dead_letter_id, r.received_at, r.merchant_id, _place(r), r.status, r.code, r.path, r.reason) for r in rows],
    )


@app.command()
def show(*, dead_letter_id: OneId, data: Data = None, as_json: Json = False) -> None:
    """Show one dead letter whole, with its message."""
    with books(data) as found:
        row = asyncio.run(ask(found.database_url, lambda reads: reads.dead_letter(None, dead_letter_id))).row
    if row is None:
        raise NotFoundError("dead letter", dead_letter_id)
    document = _document(row)
    if as_json:
        print_json(document)
        return
    for name, value in document.items():
        if value is not None:
            say(f"{name:15}{value}")


@app.command()
def retry(
    *, ids: Ids = None, every: Every = False, merchant: Merchant = None, code: Code = None, data: Data = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Take dead letters in again, as if their messages came now; those that are refused again stay open."""
    with books(data) as found, found.ledger() as ledger:
        chosen = _choose(found, ids, every, merchant, code)
        refused = _resolve(ledger, chosen, None, as_json=as_json)
    if refused:
        raise typer.Exit(REFUSED)


@app.command()
def discard(
    *,
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    ids: Ids = None,
    every: Every = False,
    merchant: Merchant = None,
    code: Code = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Put dead letters away, with the reason; they stay on record and stay counted."""
    if not reason.strip():
        raise UsageError("--reason: say why")
    with books(data) as found, found.ledger() as ledger:
        chosen = _choose(found, ids, every, merchant, code)
        refused = _resolve(ledger, chosen, reason, as_json=as_json)
    if refused:
        raise typer.Exit(REFUSED)


def _choose(found: Books, ids: list[str] | None, every: bool, merchant: str | None, code: str | None) -> list[str]:  # noqa: FBT001 - an option
    if bool(ids) == every:
        raise UsageError("name the dead letters by their ids, or say --all")
    if ids:
        return ids
    # The oldest first: an order before its refund.
    return [row.dead_letter_id for row in reversed(_find(found, "open", merchant, code, None))]


def _resolve(ledger: Ledger, ids: list[str], reason: str | None, *, as_json: bool) -> int:
    """Retry (or, with a reason, discard) each one and tell what became of it; returns how many were refused."""
    refused = 0
    with progress("dead letters") as advance:
        for number, dead_letter_id in enumerate(ids, 1):
            told = _resolve_one(ledger, dead_letter_id, reason)
            refused += told["status"] == "refused"
            if as_json:
                print_json(told)
            else:
                say(f"{told['dead_letter_id']}  {told['status']}  {told['told']}")
            advance(number, len(ids))
    if not as_json:
        complain(f"{len(ids) - refused} of {len(ids)} resolved")
    return refused


def _resolve_one(ledger: Ledger, dead_letter_id: str, reason: str | None) -> dict[str, Any]:
    try:
        if reason is None:
            done = letters.retry(ledger, dead_letter_id=dead_letter_id, now=now(), cause=CAUSE)
        else:
            done = letters.discard(ledger, dead_letter_id=dead_letter_id, reason=reason, now=now(), cause=CAUSE)
    except RejectedError as error:
        _, line = explain(error)
        return {"dead_letter_id": dead_letter_id, "status": "refused", "code": error.code, "told": line}
    return {"dead_letter_id": dead_letter_id, "status": done.status, "outcome": done.outcome, "told": done.resolution}


def _find(found: Books, status: str, merchant: str | None, code: str | None, limit: int | None) -> list[DeadLetter]:
    known = (*DeadLetterStatus.__args__, "all")  # type: ignore[attr-defined]
    if status not in known:
        raise UsageError(f"--status: one of {', '.join(known)}")
    rows = []
    for row in _pages(found, None if status == "all" else status, merchant):
        if code is None or row.code == code:
            rows.append(row)
        if len(rows) == limit:
            break
    return rows


def _pages(found: Books, status: str | None, merchant: str | None) -> Iterator[DeadLetter]:
    page = _page(found, status, merchant, None)
    yield from page.rows
    while page.next is not None:
        page = _page(found, status, merchant, page.next)
        yield from page.rows


def _page(found: Books, status: str | None, merchant: str | None, after: int | None) -> Page[DeadLetter, int]:
    def question(reads: Reads) -> Awaitable[Page[DeadLetter, int]]:
        return reads.dead_letters(merchant, status=status, after=after, limit=_PAGE)

    return asyncio.run(ask(found.database_url, question))


def _place(row: DeadLetter) -> str:
    return f"{row.topic}/{row.partition}@{row.position}"


def _document(row: DeadLetter) -> dict[str, Any]:
    names = (
        "dead_letter_id", "status", "merchant_id", "source", "topic", "partition", "position", "received_at", "code",
        "path", "reason", "resolved_at", "resolution", "key", "raw",
    )  # fmt: skip
    return {name: _text(getattr(row, name)) for name in names}


def _text(value: Any) -> Any:
    return bytes(value).decode("utf-8", errors="backslashreplace") if isinstance(value, bytes | memoryview) else value
