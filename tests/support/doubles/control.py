"""The street of doubles, steered over HTTP: `GET /` says how. For developers, new users' stories, tests that kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import aiohttp
from aiohttp import web

from tests.support.doubles.faults import FAULTS
from tests.support.doubles.paypal import PayPalDouble
from tests.support.doubles.street import Provider, Street, Webhooks, post
from tests.support.doubles.stripe import StripeDouble

HELP = """\
GET  /                                     this
GET  /paid                                 every payment of both providers, in minor units; live: it did not come back
GET  /counts                               what came in, which faults were made, whose caller died, what was told
GET  /stripe/accounts                      the connected accounts
POST /stripe/accounts/ID                   {"transfers": "active"}: let the account be, in this standing
POST /stripe/balance                       {"eur": 1000}: what is left to pay with, in minor units
POST /stripe/transfers/ID/reverse          {"amount": 250}, or {} for all of it
GET  /paypal/items                         the items, newest last
POST /paypal/items/ID                      {"status": "SUCCESS"}, UNCLAIMED, ONHOLD, FAILED, BLOCKED, RETURNED,
                                           REFUNDED, REVERSED; ID may be the payout's id
POST /paypal/items                         {"from": "PENDING", "to": ["SUCCESS", "UNCLAIMED"], "most": 20}
POST /paypal/outcome                       {"status": "SUCCESS"}: what becomes of new items at once (PENDING at first)
POST /paypal/balance                       {"balance": 1000}
POST /paypal/batches/ID/deny               {}
POST /stripe/faults, /paypal/faults        {"kind": "500", "times": 2, "of": "POST"}: of the next requests; or
                                           {"chance": 0.2, "kinds": ["time-out", "cut body"]}; GET lists the kinds
POST /stripe/slow, /paypal/slow            {"seconds": 0.5}: up to so long before and after everything that is done
POST /stripe/webhooks, /paypal/webhooks    {"to": "http://127.0.0.1:8000/hooks/stripe", "times": 2, "late_s": 5,
                                           "shuffle": true, "lost": 0.1}: tell of all that happens from now on; {} ends
POST /stripe/message, /paypal/message      {"to": "http://...", "about": "tr_1" or "ITEM1",
                                           "kind": "transfer.updated" or "SUCCEEDED", "times": 2, "late_s": 0}:
                                           send one; answered with the statuses
"""


def application(street: Street) -> web.Application:
    """Return what steers the street."""
    app = web.Application(middlewares=[_refusals])
    control = _Control(street)
    app.add_routes(
        [
            web.get("/", _help),
            web.get("/paid", control.paid),
            web.get("/counts", control.counts),
            web.get("/stripe/accounts", control.accounts),
            web.post("/stripe/accounts/{id}", control.account),
            web.post("/stripe/transfers/{id}/reverse", control.reverse),
            web.get("/paypal/items", control.items),
            web.post("/paypal/items", control.move_some),
            web.post("/paypal/items/{id}", control.move),
            web.post("/paypal/outcome", control.outcome),
            web.post("/paypal/batches/{id}/deny", control.deny),
            web.get("/{provider}/faults", _kinds),
            web.post("/{provider}/faults", control.fail),
            web.post("/{provider}/balance", control.balance),
            web.post("/{provider}/slow", control.slow),
            web.post("/{provider}/webhooks", control.webhooks),
            web.post("/{provider}/message", control.message),
        ]
    )
    return app


class _Control:
    """The handlers."""

    def __init__(self, street: Street) -> None:
        self._street = street

    async def paid(self, _: web.Request) -> web.Response:
        """List what was paid."""
        return web.json_response(
            [asdict(each) for provider in (self._street.stripe, self._street.paypal) for each in provider.paid()]
        )

    async def counts(self, _: web.Request) -> web.Response:
        """Tell what was counted; `mail` is what is not delivered yet, `faults left` those that nobody ran into."""
        return web.json_response(
            {
                provider.name: dict(provider.counts)
                | {"mail": len(provider.mail), "faults left": len(provider.double.faults)}
                | {f"{method} under way": number for method, number in provider.under_way.items()}
                for provider in (self._street.stripe, self._street.paypal)
            }
        )

    async def accounts(self, _: web.Request) -> web.Response:
        """List the accounts."""
        return web.json_response(list(self._stripe.accounts.values()))

    async def account(self, request: web.Request) -> web.Response:
        """Let an account be in a standing."""
        told = await _told(request)
        self._stripe.account(request.match_info["id"], told.get("transfers", "active"))
        return web.json_response(self._stripe.accounts[request.match_info["id"]])

    async def reverse(self, request: web.Request) -> web.Response:
        """Take back a transfer, or a part of it."""
        told = await _told(request)
        made = self._stripe.reverse(request.match_info["id"], told.get("amount"))
        self._street.stripe.counts["reversed"] += 1
        self._street.stripe.tell()
        return web.json_response(made)

    async def items(self, _: web.Request) -> web.Response:
        """List the items."""
        return web.json_response(self._paypal.items)

    async def move(self, request: web.Request) -> web.Response:
        """Move one item."""
        id_, told = request.match_info["id"], await _told(request)
        (item,) = (each for each in self._paypal.items if id_ in _names(each))
        self._street.paypal.move(item["payout_item_id"], told["status"])
        return web.json_response(item)

    async def move_some(self, request: web.Request) -> web.Response:
        """Move items from one status to others."""
        told = await _told(request)
        return web.json_response(
            {"moved": self._street.paypal.move_some(told["from"], told["to"], told.get("most", 10**6))}
        )

    async def outcome(self, request: web.Request) -> web.Response:
        """Say what becomes of new items."""
        self._paypal.outcome = (await _told(request))["status"]
        return web.json_response({"status": self._paypal.outcome})

    async def deny(self, request: web.Request) -> web.Response:
        """Deny a batch."""
        self._paypal.deny(request.match_info["id"])
        self._street.paypal.counts["denied"] += 1
        return web.json_response(self._paypal.batches[request.match_info["id"]])

    async def fail(self, request: web.Request) -> web.Response:
        """Make faults, of the next requests or by chance."""
        provider, told = self._provider(request), await _told(request)
        for kind in (told.get("kind"), *told.get("kinds", ())):
            if kind is not None and kind not in FAULTS:
                raise KeyError(kind)
        if "kind" in told:
            times = told.get("times", 1)
            provider.double.faults.extend(replace(FAULTS[told["kind"]], of=told.get("of")) for _ in range(times))
            provider.counts[f"fault: {told['kind']}"] += times
        provider.chance = float(told.get("chance", provider.chance))
        provider.kinds = tuple(told.get("kinds", provider.kinds))
        return web.json_response({"queued": len(provider.double.faults), "chance": provider.chance})

    async def balance(self, request: web.Request) -> web.Response:
        """Say what is left to pay with."""
        provider, told = self._provider(request), await _told(request)
        if isinstance(provider.double, StripeDouble):
            provider.double.balance = told
        else:
            provider.double.balance = told["balance"]
        return web.json_response(told)

    async def slow(self, request: web.Request) -> web.Response:
        """Say how slow the provider is."""
        provider = self._provider(request)
        provider.slow_s = float((await _told(request))["seconds"])
        return web.json_response({"seconds": provider.slow_s})

    async def webhooks(self, request: web.Request) -> web.Response:
        """Say where the provider tells what happens."""
        provider, told = self._provider(request), await _told(request)
        provider.webhooks = Webhooks(**told) if told else None
        return web.json_response(told)

    async def message(self, request: web.Request) -> web.Response:
        """Send one message, the same as often as is told."""
        provider, told = self._provider(request), await _told(request)
        at = provider.clock() - timedelta(seconds=told.get("late_s", 0))
        body, headers = provider.message(told["about"], told["kind"], at)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            statuses = [await post(session, told["to"], body, headers) for _ in range(told.get("times", 1))]
        return web.json_response({"statuses": statuses, "body": body.decode(), "headers": headers})

    def _provider(self, request: web.Request) -> Provider:
        return self._street.provider(request.match_info["provider"])

    @property
    def _stripe(self) -> StripeDouble:
        assert isinstance(self._street.stripe.double, StripeDouble)
        return self._street.stripe.double

    @property
    def _paypal(self) -> PayPalDouble:
        assert isinstance(self._street.paypal.double, PayPalDouble)
        return self._street.paypal.double


def _names(item: dict[str, Any]) -> tuple[str, str]:
    return item["payout_item_id"], item["payout_item"]["sender_item_id"]


@web.middleware
async def _refusals(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    try:
        answer: web.StreamResponse = await handler(request)
    except (KeyError, TypeError, ValueError) as error:
        return web.json_response({"error": f"{type(error).__name__}: {error}", "help": "GET /"}, status=400)
    return answer


async def _told(request: web.Request) -> dict[str, Any]:
    told = json.loads(await request.read() or b"{}")
    if not isinstance(told, dict):
        raise TypeError("the body has to be an object")
    return told


async def _help(_: web.Request) -> web.Response:
    return web.Response(text=HELP)


async def _kinds(_: web.Request) -> web.Response:
    return web.json_response(sorted(FAULTS))
