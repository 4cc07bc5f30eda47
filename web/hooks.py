"""Where providers send their messages: `/hooks/stripe` and `/hooks/paypal`, without a key of ours.

Nothing that they say is believed. A message whose signature is right is a hint to look, kept in the inbox before it is
answered with 200; what is forged, replayed or not readable is answered with 400 and repeats nothing of what was sent.
"""

import asyncio
from functools import partial

import structlog
from aiohttp import web

from consumers.paying import Paying
from consumers.rails.messages import BODY_BYTES_MAX, Message
from schemas.errors import NotFoundError, RejectedError
from web.api.bodies import read_body
from web.api.calls import THREADS
from web.limits import Buckets, address_of
from web.payees import recheck
from web.problems import MalformedError, TooManyRequestsError
from web.request_ids import request_id_of
from web.services import SERVICES, WebOptions

_log = structlog.get_logger(__name__)

PREFIX = "/hooks"


class Refusals:
    """Messages that were refused, by the address they came from. Their own: nobody is kept from logging in by them."""

    def __init__(self, options: WebOptions) -> None:
        self._buckets = Buckets(per_s=options.failures_per_s, burst=options.failures_burst)

    def check(self, request: web.Request) -> None:
        """Refuse an address from which too many came, before anything is looked at: TooManyRequestsError."""
        wait_s = self._buckets.look(address_of(request.remote), _now_s()).wait_s
        if wait_s:
            raise TooManyRequestsError("too_many_failures", "too many messages from here were refused", wait_s)

    def count(self, request: web.Request) -> None:
        """Count a message that was refused."""
        self._buckets.spend(address_of(request.remote), _now_s())


REFUSALS = web.AppKey("refused_messages", Refusals)


def add_hooks(app: web.Application) -> None:
    """Let providers send their messages to the application."""
    app[REFUSALS] = Refusals(app[SERVICES].options)
    app.router.add_post(f"{PREFIX}/stripe", take_stripe)
    app.router.add_post(f"{PREFIX}/paypal", take_paypal)


async def take_stripe(request: web.Request) -> web.Response:
    """Take a message of Stripe: 404 where no secret is set, 400 where it is forged, 503 where it has to come again."""
    services = request.app[SERVICES]
    hooks = services.paying.rails.stripe_webhooks if services.paying else None
    if services.paying is None or hooks is None:
        raise NotFoundError("thing named", "stripe")
    body = await _body(request)
    try:
        # A few microseconds: whoever is refused often is told so, but a message of Stripe's own is always taken, though
        # behind a proxy all have one address.
        message = hooks.read(body, request.headers.get("Stripe-Signature"), services.now())
    except RejectedError as error:
        raise _refused(request, "stripe", error) from None
    return await _kept(request, services.paying, message)


async def take_paypal(request: web.Request) -> web.Response:
    """Take a message of PayPal: it is asked for the item that the message names. As `take_stripe`."""
    services = request.app[SERVICES]
    hooks = services.paying.rails.paypal_webhooks if services.paying else None
    if services.paying is None or hooks is None:
        raise NotFoundError("thing named", "paypal")
    # Before it is looked at: that costs calls of PayPal.
    request.app[REFUSALS].check(request)
    body = await _body(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        message = await hooks.read(body, headers, services.now())
    except RejectedError as error:
        raise _refused(request, "paypal", error) from None
    return await _kept(request, services.paying, message)


async def _kept(request: web.Request, paying: Paying, message: Message) -> web.Response:
    """Keep what the message hints at, and answer once it is kept. Raises RetryableError."""
    services, threads = request.app[SERVICES], request.app[THREADS]
    is_new = None
    if message.payment is not None:
        is_new = await threads.run(partial(paying.books.store.keep_hint, message.payment, services.now()))
    elif message.account_id is not None:
        cause = f"hook/{message.provider}@{request_id_of(request)}"
        await recheck(services, threads, message.account_id, cause)
    _log.info("message of a provider", provider=message.provider, id=message.event_id, kind=message.kind, new=is_new)
    return web.Response()


async def _body(request: web.Request) -> bytes:
    options = request.app[SERVICES].options
    return await read_body(request, bytes_max=BODY_BYTES_MAX, wait_s=options.body_wait_s)


def _refused(request: web.Request, provider: str, error: RejectedError) -> RejectedError:
    """Return the refusal: its code, and nothing of the message, which may be anybody's."""
    refusals = request.app[REFUSALS]
    _log.warning("message refused", provider=provider, code=error.code, request_id=request_id_of(request))
    refusals.check(request)
    refusals.count(request)
    return MalformedError(error.code, error.message)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
