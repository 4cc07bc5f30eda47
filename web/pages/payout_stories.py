"""One payout's page: where it stands, what happened to it, and what people can do with it."""

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from schemas.api_payouts import PayoutStory
from schemas.errors import NotFoundError
from web.api.payouts import (
    approve_payout,
    cancel_payout,
    check_payout,
    confirm_payout,
    declare_payout_dead,
    retry_payout,
    show_payout,
)
from web.api.routes import Handler
from web.pages.days import start_of_day, today
from web.pages.doors import user_door
from web.pages.forms import Form
from web.pages.names import partner_names
from web.pages.payout_runs import attempted
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.visits import Visit

payout_story_pages = PageTable(user_door)

# What all ids of payouts begin with: the other pages of payouts have addresses beside theirs.
_ONE = "/payouts/{payout_id:po_[^/]+}"
# Every action: the API's command, the fields that it takes, and the word for that it is done.
_ACTIONS: Mapping[str, tuple[Handler, tuple[str, ...], str]] = {
    "approve": (approve_payout, (), "payout_approved"),
    "cancel": (cancel_payout, ("reason",), "payout_cancelled"),
    "confirm": (confirm_payout, ("transaction_id", "paid_at", "amount", "currency", "method"), "payout_confirmed"),
    "declare-dead": (declare_payout_dead, ("declared",), "payout_declared_dead"),
    "retry": (retry_payout, ("declared",), "payout_retried"),
    "check": (check_payout, (), "payout_checked"),
}
# By which means people pay.
_MEANS = ("bank", "paypal", "stripe", "wise", "check", "cash", "other")


@payout_story_pages.get(_ONE)
async def show_one(visit: Visit) -> Shown:
    """Show a payout."""
    path = {"payout_id": visit.path["payout_id"]}
    payout: PayoutStory = await visit.ask(show_payout, path=path)
    names = await partner_names(visit, [payout.partner_id])
    model = {
        "payout": payout, "name": names[payout.partner_id], "methods": _means(payout),
        "today": today(visit).isoformat(),
    }  # fmt: skip
    return Shown("payouts/one.html", model)


@payout_story_pages.post(_ONE + "/{action:[a-z-]+}")
async def act(visit: Visit) -> Shown | web.StreamResponse:
    """Do with a payout what a person can do."""
    payout_id, action = visit.path["payout_id"], _ACTIONS.get(visit.path["action"])
    if action is None:
        raise NotFoundError("page", visit.path["action"])
    command, fields, told = action
    body = _body(visit, visit.form, fields) if fields else None
    done = await attempted(visit, command, body, {"payout_id": payout_id})
    return await show_one(visit) if done.refusal else visit.moved(f"/payouts/{payout_id}", told=told)


def _body(visit: Visit, form: Form, fields: Sequence[str]) -> dict[str, Any]:
    body = form.body(*fields)
    if "paid_at" in body:
        # The same for a form that is sent twice: the day is known, the hour is not.
        body["paid_at"] = start_of_day(visit, body["paid_at"])
    return body


def _means(payout: PayoutStory) -> list[str]:
    """Return by which means the payout may have been paid: first by its own rail, where something was sent on it."""
    first = [payout.rail] if payout.attempt else []
    return [*first, *(each for each in _MEANS if each not in first)]
