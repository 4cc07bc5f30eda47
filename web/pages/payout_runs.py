"""Payout runs: a preview that can be narrowed down, a run of exactly what was shown, its approval, how far it is."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple

from aiohttp import web

from schemas.api import LIMIT_MAX, Page
from schemas.api_payouts import Payout, PayoutRun, RunLine
from schemas.errors import ForbiddenError
from schemas.money import Money
from web.api.payout_runs import (
    approve_payout_run,
    cancel_payout_run,
    list_payout_runs,
    list_run_lines,
    make_payout_run,
    show_payout_run,
)
from web.api.payouts import list_payouts
from web.api.program_figures import show_program_balances
from web.api.routes import Handler
from web.pages.currencies import own_first
from web.pages.days import start_of_day, today
from web.pages.doors import user_door
from web.pages.forms import Refusal
from web.pages.listings import listed
from web.pages.names import partner_names
from web.pages.render import Shown
from web.pages.table import PageTable, see_other
from web.pages.visits import Done, Visit

payout_run_pages = PageTable(user_door)

_NEW = "/payouts/new"
_RUNS = "/payouts/runs"
_ONE = _RUNS + "/{run_id:[^/]+}"
_SHOWN_MAX = 300
# Of a longer list it is only said that it changed, not where: what was seen travels with the form.
_SEEN_MAX = 300
_TYPED = ("until", "currency", "partner_ids", "exclude")
_DIGEST_LENGTH = 32


class Criteria(NamedTuple):
    """Whom a run is for, as it was `typed`, and as the API takes it (`body`). `faults` by the name of the field."""

    typed: Mapping[str, str]
    body: Mapping[str, Any]
    only: Sequence[str]
    excluded: Sequence[str]
    currencies: Sequence[str]
    today: date
    faults: Mapping[str, str]


class Seen(NamedTuple):
    """What a preview shows, in short: of whom is paid how much, and of all lines a digest."""

    digest: str
    lines: str


class Difference(NamedTuple):
    """What a partner was to be paid when it was looked at, and is to be paid now; None: nothing."""

    partner_id: str
    before: Money | None
    now: Money | None
    reason: str


# --- a new one --------------------------------------------------------------------------------------------------------


@payout_run_pages.get(_NEW)
async def show_new(visit: Visit) -> Shown:
    """Show who would be paid by a run, and who not and why."""
    visit.session.check("payouts")
    return await _preview(visit, await _criteria(visit, visit.query))


@payout_run_pages.post(_NEW)
async def make(visit: Visit) -> Shown | web.StreamResponse:
    """Make the run that was shown; where it would be another one now, show that instead."""
    criteria = await _criteria(visit, _typed(visit))
    if visit.form.text("step") == "leave-out":
        return _left_out(visit, criteria)
    body = {**criteria.body, "cut_off": visit.form.text("cut_off")}
    earlier = await visit.answered(make_payout_run, body)
    if earlier is None:
        preview: PayoutRun | None = (await visit.attempt(make_payout_run, {**body, "dry_run": True})).body
        if preview is None or _seen(preview).digest != visit.form.text("seen"):
            return await _preview(visit, criteria, differences(visit.form.text("seen_lines"), preview))
    done = earlier or await visit.attempt(make_payout_run, body)
    if done.refusal:
        return await _preview(visit, criteria)
    return visit.moved(f"{_RUNS}/{done.body.id}", told=None if earlier else "run_made")


def _left_out(visit: Visit, criteria: Criteria) -> web.StreamResponse:
    """Return the way to the same preview without those who were ticked."""
    excluded = dict.fromkeys([*criteria.excluded, *visit.form.all("leave_out")])
    visit.place = _NEW
    return see_other(visit.address(**{**criteria.typed, "exclude": ",".join(excluded) or None}))


async def _preview(visit: Visit, criteria: Criteria, changed: Sequence[Difference] | None = None) -> Shown:
    visit.place = _NEW
    refused = visit.refusal
    done = Done(None, None) if refused else await visit.attempt(make_payout_run, {**criteria.body, "dry_run": True})
    preview: PayoutRun | None = done.body
    if done.refusal:
        criteria = criteria._replace(faults=_of_criteria(done.refusal.faults))
    lines = sorted((preview.lines or []) if preview else [], key=_most_first(visit.program.currency))
    shown = preview and preview.model_copy(update={"lines": lines, "totals": own_first(visit, preview.totals)})
    whose = [*criteria.only, *criteria.excluded, *(line.partner_id for line in _looked_at(lines))]
    model = {
        "criteria": criteria, "preview": shown, "changed": changed, "seen": _seen(preview) if preview else None,
        "names": await partner_names(visit, whose), "shown_max": _SHOWN_MAX,
    }  # fmt: skip
    return Shown("payouts/new.html", model, 409 if changed is not None else 200)


def _most_first(own: str) -> Callable[[RunLine], tuple[bool, str, Decimal, str]]:
    """Return what sorts lines: the program's own currency first, and of each the largest amounts."""

    def key(line: RunLine) -> tuple[bool, str, Decimal, str]:
        amount = line.amount
        return amount.currency != own, amount.currency, -Decimal(amount.amount), line.partner_id

    return key


def _looked_at(lines: Sequence[RunLine]) -> list[RunLine]:
    """Return the lines that are shown: so many of those who are in, and of each reason to be out."""
    shown: dict[str, int] = {}
    found = []
    for line in lines:
        shown[line.reason] = shown.get(line.reason, 0) + 1
        if shown[line.reason] <= _SHOWN_MAX:
            found.append(line)
    return found


# --- what was asked for -----------------------------------------------------------------------------------------------


def _is_typed(name: str) -> bool:
    return name in _TYPED or name.startswith("minimum.")


def _typed(visit: Visit) -> dict[str, str]:
    """Return what the form brings of the criteria, by the names that they have in an address."""
    body = visit.form.body(*_TYPED)
    return body | {f"minimum.{currency}": value for currency, value in visit.form.body().get("minimum", {}).items()}


async def _criteria(visit: Visit, told: Mapping[str, str]) -> Criteria:
    typed = {name: value for name, value in told.items() if _is_typed(name)}
    balances = own_first(visit, (await visit.ask(show_program_balances)).data)
    minimum = {name.partition(".")[2]: value for name, value in typed.items() if name.startswith("minimum.")}
    only, excluded = _ids(typed.get("partner_ids")), _ids(typed.get("exclude"))
    body: dict[str, Any] = {"exclude_partner_ids": excluded}
    if only:
        body["partner_ids"] = only
    if "currency" in typed:
        body["currency"] = typed["currency"]
    if minimum:
        # What is not typed is as the terms say.
        body["minimum"] = dict(visit.program.terms.minimum_payout) | minimum
    if "until" in typed:
        body["cut_off"] = _end_of(visit, typed["until"])
    currencies = [balance.currency for balance in balances] or [visit.program.currency]
    return Criteria(typed, body, only, excluded, currencies, today(visit), {})


def _ids(told: str | None) -> list[str]:
    return list(dict.fromkeys(each.strip() for each in (told or "").split(",") if each.strip()))


def _end_of(visit: Visit, typed: str) -> str:
    """Return the end of a day that is over, and now for today; what is neither is left for the API to refuse."""
    try:
        day = date.fromisoformat(typed)
    except ValueError:
        return typed
    if day == today(visit):
        return visit.now.isoformat()
    return start_of_day(visit, (day + timedelta(days=1)).isoformat())


def _of_criteria(faults: Mapping[str, str]) -> dict[str, str]:
    """Return the faults by the fields of the form, whose names are not all those of the body."""
    own = {"cut_off": "until", "exclude_partner_ids": "exclude"}
    return {own.get(name, name): message for name, message in faults.items()}


# --- what was shown ---------------------------------------------------------------------------------------------------


def _seen(preview: PayoutRun) -> Seen:
    """Return what the preview shows, to be compared with what it would show later."""
    told = "\n".join(
        f"{line.partner_id} {line.amount.currency} {line.amount.amount} {line.included} {line.rail}"
        for line in sorted(preview.lines or [], key=lambda line: (line.partner_id, line.amount.currency))
        if line.included
    )
    sums = "\n".join(f"{each.currency} {each.partners} {each.amount.amount}" for each in preview.totals)
    digest = sha256(f"{told}\n\n{sums}".encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
    included = [line for line in preview.lines or [] if line.included]
    lines = [f"{line.partner_id} {line.amount.currency} {line.amount.amount}" for line in included]
    return Seen(digest, "\n".join(lines) if len(lines) <= _SEEN_MAX else "")


def differences(before: str | None, now: PayoutRun | None) -> list[Difference]:
    """Return what is different from what was seen, partner by partner; nothing where that is not known."""
    if not before or now is None:
        return []
    were: dict[tuple[str, str], Money] = {}
    for line in before.splitlines():
        partner_id, _, amount = line.strip().partition(" ")
        currency, _, amount = amount.partition(" ")
        if _is_amount(currency, amount):
            were[partner_id, currency] = Money(amount=amount, currency=currency)
    found = []
    for each in now.lines or []:
        owner = (each.partner_id, each.amount.currency)
        then, is_now = were.pop(owner, None), each.amount if each.included else None
        if then != is_now:
            found.append(Difference(each.partner_id, then, is_now, each.reason))
    return found + [Difference(owner[0], then, None, "nothing_payable") for owner, then in were.items()]


def _is_amount(currency: str, amount: str) -> bool:
    try:
        Money.model_validate({"amount": amount, "currency": currency})
    except ValueError:
        return False
    return True


# --- runs -------------------------------------------------------------------------------------------------------------


@payout_run_pages.get(_RUNS)
async def show_runs(visit: Visit) -> Shown:
    """Show all runs, the newest first."""
    return Shown("payouts/runs.html", {"runs": await listed(visit, list_payout_runs)})


@payout_run_pages.get(_ONE)
async def show_one(visit: Visit) -> Shown:
    """Show a run: how far it is, and its list as it was frozen."""
    visit.place = f"{_RUNS}/{visit.path['run_id']}"
    path, refused = {"run_id": visit.path["run_id"]}, visit.refusal
    run: PayoutRun = await visit.ask(show_payout_run, path=path)
    lines: Page[RunLine] = await listed(visit, list_run_lines, path=path)
    # What a form was refused for comes before what is wrong with the address.
    visit.refusal = refused or visit.refusal
    run = run.model_copy(update={"totals": own_first(visit, run.totals)})
    payouts = await _payouts(visit, run, lines)
    names = await partner_names(visit, [line.partner_id for line in lines.data])
    return Shown("payouts/run.html", {"run": run, "lines": lines, "payouts": payouts, "names": names})


@payout_run_pages.post(_ONE + "/approve")
async def approve(visit: Visit) -> Shown | web.StreamResponse:
    """Approve a run, so that its payouts are sent."""
    return await _moved(visit, approve_payout_run, None, "run_approved")


@payout_run_pages.post(_ONE + "/cancel")
async def cancel(visit: Visit) -> Shown | web.StreamResponse:
    """Call a run off."""
    return await _moved(visit, cancel_payout_run, visit.form.body("reason"), "run_cancelled")


async def _moved(
    visit: Visit, handler: Handler, body: Mapping[str, Any] | None, told: str
) -> Shown | web.StreamResponse:
    done = await attempted(visit, handler, body, {"run_id": visit.path["run_id"]})
    if done.refusal:
        return await show_one(visit)
    return visit.moved(f"{_RUNS}/{visit.path['run_id']}", told=told)


async def attempted(visit: Visit, handler: Handler, body: Mapping[str, Any] | None, path: Mapping[str, str]) -> Done:
    """Run a command as `Visit.attempt` does; that the maker is not the checker is told on the page as well.

    Raises what `Visit.attempt` raises beside that.
    """
    try:
        return await visit.attempt(handler, body, path=path)
    except ForbiddenError as error:
        if error.code != "maker_is_checker":
            raise
        visit.refusal = Refusal.of(error)
        return Done(None, visit.refusal)


async def _payouts(visit: Visit, run: PayoutRun, lines: Page[RunLine]) -> Mapping[str, Payout]:
    """Return the payouts of the lines by their ids, as far as they are among the first of the run."""
    wanted = {line.payout_id for line in lines.data if line.payout_id}
    if not wanted:
        return {}
    page: Page[Payout] = await visit.ask(list_payouts, {"run_id": run.id, "limit": LIMIT_MAX})
    return {payout.id: payout for payout in page.data if payout.id in wanted}
