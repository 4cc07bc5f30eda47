"""The program's terms: those in force, how they are changed, and every version that ever held."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aiohttp import web

from schemas.api import LIMIT_MAX
from schemas.api_answers import ProgramVersion, Terms
from web.api.program import change_program, list_versions
from web.pages.causes import Cause, cause_of, names
from web.pages.doors import user_door
from web.pages.forms import Form, Refusal, whole
from web.pages.listings import listed
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.visits import Visit

program_pages = PageTable(user_door)

_CHOICES = ("approval", "base", "fixed_on_partial_refund", "self_referral", "payout_approval")
_LIMITS = ("max_orders_per_customer", "max_months_per_customer")
_CURRENCY = re.compile("[A-Z]{3}", re.ASCII)
# Each kind of schedule has a field of its own for its day.
_SCHEDULE_FIELDS = {
    "payout_schedule.day": "payout_schedule.month.day",
    "payout_schedule.weekday": "payout_schedule.week.weekday",
    "payout_schedule.on": "payout_schedule.once.on",
}
_NEW_CURRENCY, _NEW_AMOUNT = "minimum_new_currency", "minimum_new_amount"


class Version(NamedTuple):
    """A version of the terms, who decided it, and the members that it changed (all of them in the first one)."""

    told: ProgramVersion
    by: Cause
    before: Terms | None
    changed: Sequence[str]


@program_pages.get("/settings")
async def show_terms(visit: Visit) -> Shown:
    """Show the terms and their versions."""
    answer, known = await asyncio.gather(
        listed(visit, list_versions, {"limit": LIMIT_MAX, "cursor": visit.query.get("cursor")}), names(visit)
    )
    least = visit.program.terms.minimum_payout
    model = {
        "terms": visit.program.terms,
        "currencies": sorted({visit.program.currency, *least}),
        "versions": _versions(answer.data, known),
        "next_cursor": answer.next_cursor,
    }
    return Shown("settings/program.html", model)


@program_pages.post("/settings")
async def change_terms(visit: Visit) -> Shown | web.StreamResponse:
    """Put other terms in force."""
    done = await visit.attempt(change_program, _change(visit.form))
    if done.refusal:
        visit.refusal = _beside_what_was_typed(visit.form, done.refusal)
        return await show_terms(visit)
    return visit.moved("/settings", told="terms_saved")


def _versions(told: Sequence[ProgramVersion], known: Mapping[str, str]) -> list[Version]:
    found = []
    for number, version in enumerate(told):
        before = told[number + 1].terms if number + 1 < len(told) else None
        members = [name for name in Terms.model_fields if name != "version"]
        changed = [name for name in members if before is None or getattr(before, name) != getattr(version.terms, name)]
        found.append(Version(version, cause_of(version.cause, known), before, changed))
    return found


def _change(form: Form) -> dict[str, Any]:
    """Return the API's body: limits that were left empty are taken away, and so are minimums."""
    body: dict[str, Any] = {name: form.text(name) for name in _CHOICES}
    body["hold_days"] = whole(form.text("hold_days"))
    body |= {name: whole(form.text(name)) for name in _LIMITS}
    body |= {"payout_schedule": _schedule(form), "payout_letters": form.all("payout_letters")}
    least = dict(form.body().get("minimum_payout", {}))
    new = form.text(_NEW_CURRENCY)
    if new is not None or form.text(_NEW_AMOUNT) is not None:
        least[(new or "").upper()] = form.text(_NEW_AMOUNT) or ""
    return body | {"minimum_payout": least}


def _schedule(form: Form) -> dict[str, Any] | None:
    """Return the days of payouts, of which only the field that belongs to the choice counts."""
    every = form.text("payout_schedule.every")
    if every is None:
        return None
    told: dict[str, Any] = {"every": every}
    for name in ("day", "weekday", "on"):
        typed = form.text(f"payout_schedule.{every}.{name}")
        if typed is not None:
            told[name] = whole(typed) if name == "day" else typed
    return told


def _beside_what_was_typed(form: Form, refusal: Refusal) -> Refusal:
    """Return the refusal with what is wrong at the fields in which it was typed: the added minimum, the days."""
    currency = form.text(_NEW_CURRENCY) or ""
    faults = {}
    for told, message in refusal.faults.items():
        name = _SCHEDULE_FIELDS.get(told, told)
        if form.has(name) or not name.startswith("minimum_payout"):
            faults[name] = message
        elif "currency" in message or not _CURRENCY.fullmatch(currency.upper()):
            faults[_NEW_CURRENCY] = message
        else:
            faults[_NEW_AMOUNT] = message
    return refusal._replace(faults=faults)
