"""Dead letters: what was refused and why, one by one; taken in again or put away, also many at once."""

import asyncio
from base64 import b64decode
from collections import Counter
from typing import Any, NamedTuple

from aiohttp import web

from schemas.api_answers import DeadLetter, DeadLetterStory
from schemas.api_dead_letters import BULK_MAX, DeadLetterCount, ResolutionResult
from web.api.dead_letters import (
    count_dead_letters,
    discard_dead_letter,
    list_dead_letters,
    resolve_dead_letters,
    retry_dead_letter,
    show_dead_letter,
)
from web.pages.causes import Cause, cause_of, names
from web.pages.doors import user_door
from web.pages.listings import listed
from web.pages.raw import bytes_of, lines_of
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.visits import Visit

dead_letter_pages = PageTable(user_door)

_LIST = "/dead-letters"
_ONE = "/dead-letters/{dead_letter_id:[^/]+}"
_OPEN, _ALL = "open", "all"


class Counts(NamedTuple):
    """How many dead letters there are of each status, and of each reason among those that are listed."""

    statuses: Counter[str]
    codes: list[tuple[str, int]]


@dead_letter_pages.get(_LIST)
async def show_list(visit: Visit) -> Shown:
    """Show the dead letters: the open ones, unless the address says which."""
    return await _list(visit, None)


@dead_letter_pages.post(_LIST)
async def resolve(visit: Visit) -> Shown | web.StreamResponse:
    """Take those that were ticked in again, or put them away; say of each that stays why."""
    body = visit.form.body("action", "reason") | {"dead_letter_ids": visit.form.all("ids")}
    if body.get("action") == "retry":
        body.pop("reason", None)
    done = await visit.attempt(resolve_dead_letters, body)
    if done.refusal:
        faults = dict(done.refusal.faults)
        if not body["dead_letter_ids"]:
            faults["ids"] = "tick at least one"
        visit.refusal = done.refusal._replace(faults=faults)
        return await _list(visit, None)
    if all(result.ok for result in done.body.results):
        return visit.moved(_LIST, told="letters_retried" if body["action"] == "retry" else "letters_discarded")
    return await _list(visit, done.body.results)


@dead_letter_pages.get(_ONE)
async def show_one(visit: Visit) -> Shown:
    """Show a dead letter with its message."""
    letter, known = await asyncio.gather(visit.ask(show_dead_letter, path=visit.path), names(visit))
    raw = b64decode(letter.raw_base64) if letter.raw_base64 else b""
    lines = await asyncio.to_thread(lines_of, letter.raw or "", letter.path)
    model = {
        "letter": letter, "resolution": _resolution(letter, known), "size": len(raw), "lines": lines,
        "dump": bytes_of(raw), "found": any(line.marked for line in lines or ()),
    }  # fmt: skip
    return Shown("dead_letters/one.html", model)


@dead_letter_pages.post(_ONE + "/retry")
async def retry(visit: Visit) -> Shown | web.StreamResponse:
    """Take a message in again."""
    done = await visit.attempt(retry_dead_letter, path=visit.path)
    if done.refusal:
        # The faults are those of the message, and no fields of this page.
        visit.refusal = done.refusal._replace(faults={})
        return await show_one(visit)
    return visit.moved(_address(visit), told="letter_retried")


@dead_letter_pages.post(_ONE + "/discard")
async def discard(visit: Visit) -> Shown | web.StreamResponse:
    """Put a message away."""
    done = await visit.attempt(discard_dead_letter, visit.form.body("reason"), path=visit.path)
    return await show_one(visit) if done.refusal else visit.moved(_address(visit), told="letter_discarded")


async def _list(visit: Visit, results: list[ResolutionResult] | None) -> Shown:
    visit.place = _LIST
    status = visit.query.get("status", _OPEN)
    asked: dict[str, Any] = dict(visit.query) | {"status": None if status == _ALL else status, "limit": BULK_MAX}
    counts, letters = await asyncio.gather(visit.ask(count_dead_letters), listed(visit, list_dead_letters, asked))
    model = {
        "letters": letters, "status": status, "counts": _counts(counts.data, status),
        "results": results, "ticked": visit.form.all("ids"), "file_query": _file_query(asked),
    }  # fmt: skip
    return Shown("dead_letters/list.html", model)


def _counts(counts: list[DeadLetterCount], status: str) -> Counts:
    statuses: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    for each in counts:
        statuses[each.status] += each.count
        statuses[_ALL] += each.count
        if status in (each.status, _ALL):
            codes[each.code] += each.count
    return Counts(statuses, codes.most_common())


def _file_query(asked: dict[str, Any]) -> dict[str, str]:
    return {name: str(asked[name]) for name in ("status", "code") if asked.get(name)}


def _resolution(letter: DeadLetter | DeadLetterStory, known: Any) -> tuple[str, Cause] | None:
    """Return how a letter was resolved and by whom: on record it says `earned (page/u_1@request)`."""
    if letter.resolution is None:
        return None
    what, _, cause = letter.resolution.removesuffix(")").rpartition(" (")
    return what, cause_of(cause, known)


def _address(visit: Visit) -> str:
    return f"{_LIST}/{visit.path['dead_letter_id']}"
