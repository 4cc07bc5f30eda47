"""A partner's events as a story: what happened, when, why, and who did it."""

from collections.abc import Callable
from typing import Any, TypeAlias

from ledger import history
from ledger.directory import STANDING_AFTER
from ledger.events import (
    Event,
    PartnerApproved,
    PartnerBanned,
    PartnerDetailsChanged,
    PartnerPaused,
    PartnerRegistered,
    PartnerReinstated,
    PartnerRejected,
    Rate,
    RateChanged,
    topic_of,
)
from ledger.history import HistoryEntry
from schemas.api import Read
from schemas.api_partners import PartnerHistory, PartnerHistoryEntry
from schemas.api_stories import ActedBy
from schemas.errors import NotFoundError
from web.api.actors import actors_of
from web.api.calls import Call, Reply
from web.api.partners import currency_of
from web.api.rates import value_of
from web.api.routes import RouteTable

partner_history = RouteTable("partners")

_BEGAN = {"approved": "Registered", "invited": "Invited", "applied": "Applied"}
_FIELDS = {"name": "the name", "email": "the e-mail address", "tags": "the tags"}


@partner_history.get("/partners/{partner_id:[^/]+}/history", query=Read, answer=PartnerHistory)
async def show_history(call: Call[None, Read]) -> Reply:
    """Show what happened to a partner: each standing with its reason, each change, and who made it."""
    partner_id, reads, currency = call.path["partner_id"], call.services.reads, await currency_of(call)
    found = await reads.partner(call.merchant_id, partner_id, now=call.now)
    if found.row is None:
        raise NotFoundError("partner", partner_id)
    told = await call.run(lambda: history.of_partner(call.services.ledger, call.merchant_id, partner_id))
    # The log may be ahead of the read models: the story ends where the list of partners does.
    entries = [entry for entry in told if entry.position <= found.position]
    actors = await actors_of(call, {entry.event.cause for entry in entries})
    data = [_shown(entry, actors[entry.event.cause], currency) for entry in entries]
    return Reply(PartnerHistory(data=data), found.position)


def _shown(entry: HistoryEntry, by: ActedBy, currency: str) -> PartnerHistoryEntry:
    event = entry.event
    standing = event.standing if isinstance(event, PartnerRegistered) else STANDING_AFTER.get(type(event))
    return PartnerHistoryEntry(
        version=entry.version,
        type=topic_of(event),
        summary=_summary(event, currency),
        occurred_at=event.occurred_at,
        recorded_at=event.recorded_at,
        cause=event.cause,
        by=by,
        status=standing,
        reason=getattr(event, "reason", None) or None,
    )


def _summary(event: Event, currency: str) -> str:
    tell = _SENTENCES.get(type(event))
    return tell(event, currency) if tell else topic_of(event)


def _rate(rate: Rate, currency: str) -> str:
    return (
        f"{value_of(rate, currency)} {currency} an order" if rate.type == "fixed" else f"{value_of(rate, currency)} %"
    )


def _registered(event: PartnerRegistered, currency: str) -> str:
    return f"{_BEGAN.get(event.standing, event.standing)}, with a rate of {_rate(event.rate, currency)}."


def _changed(event: PartnerDetailsChanged, _: str) -> str:
    fields = " and ".join(_FIELDS.get(field, field) for field in event.fields)
    return f"{fields[:1].upper()}{fields[1:]} changed."


_Tell: TypeAlias = Callable[[Any, str], str]
_SENTENCES: dict[type[Event], _Tell] = {
    PartnerRegistered: _registered,
    PartnerApproved: lambda _event, _currency: "Approved: earns from then on.",
    PartnerRejected: lambda event, _: f"Rejected: {event.reason}",
    PartnerPaused: lambda event, _: f"Paused: {event.reason}",
    PartnerReinstated: lambda _event, _currency: "Reinstated: earns again.",
    PartnerBanned: lambda event, _: f"Banned: {event.reason}",
    PartnerDetailsChanged: _changed,
    RateChanged: lambda event, currency: f"The rate became {_rate(event.rate, currency)}.",
}
