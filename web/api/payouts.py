"""Payouts: where each stands and why, what people do with them, and partners to whom nothing is sent."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import msgspec

from consumers.paying import Paying
from consumers.rails import Payee
from consumers.rails.manual import check_confirmation
from ledger import partners, payout_freezes, payout_runs, payouts
from ledger.approvals import Moved
from ledger.events import Event, Recorded
from ledger.payout_events import ClawbackNetted, payout_stream
from ledger.payout_freezes import Frozen
from ledger.payout_runs import Owed
from ledger.payout_store import Name, SqlPayoutStore
from ledger.payouts import Payout as Standing
from ledger.requests import Request
from projections import read_payouts
from projections.read_payouts import PayoutFilter
from schemas.api import Because, Listing, Nothing, Page, Query, Read
from schemas.api_answers import CommissionState
from schemas.api_payouts import (
    Confirmation,
    Declaration,
    Payout,
    PayoutHold,
    PayoutHoldChange,
    PayoutPart,
    PayoutsQuery,
    PayoutStanding,
    PayoutState,
    PayoutStory,
    WriteOff,
)
from schemas.api_stories import ActedBy
from schemas.errors import IllegalMoveError, NotFoundError
from schemas.money import Money, to_minor
from schemas.payout_methods import PayoutMethod, masked
from web.api.actors import actors_of
from web.api.bodies import check_days
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, from_cursor, instant_of_cursor
from web.api.payout_runs import act_of
from web.api.payout_stories import actions_of, checkable, step_of
from web.api.routes import RouteTable
from web.payees import paying_of


class Decided(NamedTuple):
    """A payout after a command, and the position of what it wrote."""

    payout: Standing
    position: int | None


payout_calls = RouteTable("payouts")

_ONE = "/payouts/{payout_id:[^/]+}"
_CHANGES_SHOWN = 50


@payout_calls.get("/payouts", query=PayoutsQuery, answer=Page[Payout])
async def list_payouts(call: Call[None, PayoutsQuery]) -> Reply:
    """List payouts, those that were requested last first."""
    query = call.query
    check_days(query.from_, query.to)
    asked = PayoutFilter(
        partner_id=query.partner_id, state=query.status, currency=query.currency, run_id=query.run_id, rail=query.rail,
        from_on=query.from_, to_on=query.to, transaction_id=query.transaction_id,
    )  # fmt: skip
    place = from_cursor(query.cursor, str, str)
    after = (instant_of_cursor(place[0]), place[1]) if place else None
    page = await read_payouts.payouts(call.services.reads, call.merchant_id, asked, after=after, limit=query.limit)
    by = await actors_of(call, [row.cause for row in page.rows])
    data = [Payout.trusted(**shown(row, by[row.cause])) for row in page.rows]
    return Reply(Page[Payout](data=data, next_cursor=cursor_of(page.next)), page.position)


@payout_calls.get(_ONE, query=Read, answer=PayoutStory)
async def show_payout(call: Call[None, Read]) -> Reply:
    """Show a payout with its history: every event, explained, with its keys and hashes; and what may be done now.

    Scope `payouts` to see where it goes (masked).
    """
    payout_id, reads = call.path["payout_id"], call.services.reads
    found = await read_payouts.payout(reads, call.merchant_id, payout_id)
    if found.row is None:
        raise NotFoundError("payout", payout_id)
    row = found.row
    recorded = await call.run(lambda: call.services.ledger.stream(payout_stream(call.merchant_id, payout_id)))
    # The row is of a moment, and the story ends where it does.
    standing, seen = _as_of(recorded, row.version)
    by = await actors_of(call, [row.cause, *(each.event.cause for each in seen)])
    freeze = (await read_payouts.freeze(reads, call.merchant_id, row.partner_id)).row
    story = PayoutStory(
        **shown(row, by[row.cause]), netted=Money.of(standing.opened.netted_minor, row.currency),
        payee=await _payee(call, row), sends=standing.sends, partner_frozen=freeze.reason if freeze else None,
        contradictions=[told for told, _ in standing.contradictions],
        actions=actions_of(standing, act_of(call)) if "payouts" in call.key.scopes else [],
        history=[step_of(each, by[each.event.cause]) for each in seen],
    )  # fmt: skip
    return Reply(story, found.position)


@payout_calls.get(_ONE + "/commissions", query=Listing, answer=Page[PayoutPart])
async def list_payout_commissions(call: Call[None, Listing]) -> Reply:
    """List what a payout is made of: its commissions, and the clawbacks that are netted off; the sum is its amount.

    As it was reserved, and for ever so: `GET /commissions?payout_id` shows the commissions as they stand now.
    """
    payout_id = call.path["payout_id"]
    found = await read_payouts.payout(call.services.reads, call.merchant_id, payout_id)
    if found.row is None:
        raise NotFoundError("payout", payout_id)
    name, store = (call.merchant_id, payout_id), SqlPayoutStore(call.services.ledger)
    held = (await call.run(lambda: store.reservations([name])))[name]
    first = (from_cursor(call.query.cursor, int) or (0,))[0]
    shown_now = held[max(first, 0) :][: call.query.limit]
    following = first + len(shown_now)
    data = [_part(each.recorded.event) for each in shown_now]
    more = following if following < len(held) else None
    return Reply(Page[PayoutPart](data=data, next_cursor=cursor_of(more)), found.position)


@payout_calls.post(_ONE + "/approve", body=Nothing, answer=PayoutState, scope="payouts")
async def approve_payout(call: Call[Nothing, Query]) -> Reply:
    """Approve one payout, so that it is submitted; whoever made its run cannot (403 `maker_is_checker`)."""
    act = act_of(call)
    return await _decide(call, lambda payout: payouts.approve(payout, act))


@payout_calls.post(_ONE + "/cancel", body=Because, answer=PayoutState, scope="payouts")
async def cancel_payout(call: Call[Because, Query]) -> Reply:
    """Call a payout off before anything was submitted; its commissions are payable again."""
    act = act_of(call)
    return await _decide(call, lambda payout: payouts.cancel(payout, act, call.body.reason))


@payout_calls.post(_ONE + "/confirm", body=Confirmation, answer=PayoutState, scope="payouts")
async def confirm_payout(call: Call[Confirmation, Query]) -> Reply:
    """Confirm that a person paid it. The same again gives the same answer, other data is 409.

    Not while it is being submitted: what was sent may pay it too. A transaction id pays one payout.
    """
    body, act = call.body, act_of(call)
    amount_minor = to_minor(body.amount, body.currency, "$.amount")
    check_confirmation(
        method=body.method, transaction_id=body.transaction_id, paid_at=body.paid_at, now=call.now
    )  # fmt: skip

    def decide(payout: Standing) -> Sequence[Event]:
        return payouts.confirm(
            payout, act, method=body.method, transaction_id=body.transaction_id, amount_minor=amount_minor,
            currency=body.currency, paid_at=body.paid_at,
        )  # fmt: skip

    return await _decide(call, decide, confirmed=(body.method, body.transaction_id))


@payout_calls.post(_ONE + "/declare-dead", body=Declaration, answer=PayoutState, scope="payouts")
async def declare_payout_dead(call: Call[Declaration, Query]) -> Reply:
    """Declare that a payout in review was not paid and never will be: its commissions are payable again.

    Look it up at the provider first: what is paid twice because of this, nobody can take back.
    """
    act = act_of(call)
    return await _decide(call, lambda payout: payouts.declare_dead(payout, act, call.body.declared))


@payout_calls.post(_ONE + "/retry", body=Declaration, answer=PayoutState, scope="payouts")
async def retry_payout(call: Call[Declaration, Query]) -> Reply:
    """Declare that the attempt of a payout in review pays nothing, and let the next attempt begin."""
    act = act_of(call)
    return await _decide(call, lambda payout: payouts.declare_dead(payout, act, call.body.declared, retry=True))


@payout_calls.post(_ONE + "/check", body=Nothing, answer=PayoutState, scope="payouts")
async def check_payout(call: Call[Nothing, Query]) -> Reply:
    """Have the worker look at the payout now, and not only when its time has come."""
    books, name = paying_of(call.services).books, _name(call)

    def command(request: Request | None) -> Standing:
        payout = books.find(name)
        if not checkable(payout):
            raise IllegalMoveError("check", payout.state, ())
        books.store.postpone(name, payout.version, call.now)
        call.services.ledger.record([], request=request, result=payout)
        return payout

    return await call.write(command, _state)


# --- partners ---------------------------------------------------------------------------------------------------------


@payout_calls.get("/partners/{partner_id:[^/]+}/payout-standing", query=Read, answer=PayoutStanding)
async def show_payout_standing(call: Call[None, Read]) -> Reply:
    """Show whether anything is sent to a partner, why not, and who held it back or released it."""
    partner_id, reads = call.path["partner_id"], call.services.reads
    await call.run(lambda: partners.find(call.services.ledger, call.merchant_id, partner_id))
    found = await read_payouts.freeze(reads, call.merchant_id, partner_id)
    changes = await read_payouts.freeze_changes(reads, call.merchant_id, partner_id, _CHANGES_SHOWN)
    by = await actors_of(call, [each.cause for each in changes])
    standing = PayoutStanding(
        partner_id=partner_id, frozen=found.row.reason if found.row else None,
        frozen_at=found.row.frozen_at if found.row else None,
        history=[
            PayoutHoldChange(frozen=each.frozen, reason=each.reason, at=each.changed_at, by=by[each.cause])
            for each in changes
        ],
    )  # fmt: skip
    return Reply(standing, found.position)


@payout_calls.post("/partners/{partner_id:[^/]+}/hold-payouts", body=Because, answer=PayoutHold, scope="payouts")
async def hold_payouts(call: Call[Because, Query]) -> Reply:
    """Send a partner nothing from now on; what was submitted is still followed."""
    return await _change(call, payout_freezes.hold)


@payout_calls.post("/partners/{partner_id:[^/]+}/release-payouts", body=Because, answer=PayoutHold, scope="payouts")
async def release_payouts(call: Call[Because, Query]) -> Reply:
    """Let a partner be paid again, after somebody looked."""
    return await _change(call, payout_freezes.release)


@payout_calls.post("/partners/{partner_id:[^/]+}/write-off", body=WriteOff, answer=CommissionState, scope="payouts")
async def write_off(call: Call[WriteOff, Query]) -> Reply:
    """Forgive a partner a negative balance: an entry of as much, which the next payout nets off with what is owed.

    Once for what the balances show: until they show the entry, the same again is the same, and another reason is 409.
    """
    partner_id, currency = call.path["partner_id"], call.body.currency
    await call.run(lambda: partners.find(call.services.ledger, call.merchant_id, partner_id))
    found = (await read_payouts.owing(call.services.reads, call.merchant_id, partner_id, currency)).row
    owed = Owed(partner_id, currency, *((found.approved_minor, found.clawed_back_minor) if found else (0, 0)), 0)
    run = partial(
        payout_runs.write_off, call.services.ledger, call.merchant_id, owed, act_of(call), call.body.reason,
        key=str(found.last_position if found else 0),
    )  # fmt: skip
    return await call.write(lambda request: run(request=request), _entry)


# --- parts ------------------------------------------------------------------------------------------------------------


def shown(row: read_payouts.Payout, by: ActedBy) -> dict[str, Any]:
    """Return a payout's members as the API shows them; `by` made its run."""
    return {
        "id": row.payout_id,
        "run_id": row.run_id,
        "partner_id": row.partner_id,
        "amount": Money.of(row.amount_minor, row.currency),
        "rail": row.rail,
        "status": row.state,
        "reference": row.reference,
        "transaction_id": row.transaction_id,
        "returned": Money.of(row.returned_minor, row.currency),
        "reason": row.reason,
        "commissions": row.commissions,
        "attempt": row.attempt,
        "needs_approval": row.needs_approval,
        "requested_by": by,
        "requested_at": row.requested_at,
        "updated_at": row.updated_at,
        "processed_at": row.processed_at,
    }


async def _decide(
    call: Call[Any, Any], decide: Callable[[Standing], Sequence[Event]], *, confirmed: tuple[str, str] | None = None
) -> Reply:
    books, name, act = paying_of(call.services).books, _name(call), act_of(call)

    def command(request: Request | None) -> Decided:
        done = books.decide(
            name, decide, act, confirmed=confirmed, request=request, answer=lambda payout: Decided(payout, None)
        )
        return Decided(done.payout, done.position)

    return await call.write(command, lambda decided: _state(decided.payout))


async def _change(call: Call[Because, Query], change: Callable[..., Frozen]) -> Reply:
    run = partial(
        change, call.services.ledger, call.merchant_id, call.path["partner_id"], call.body.reason, now=call.now,
        cause=call.cause,
    )  # fmt: skip
    return await call.write(
        lambda request: run(request=request),
        lambda frozen: PayoutHold(partner_id=frozen.partner_id, frozen=frozen.reason, frozen_at=frozen.frozen_at),
    )


async def _payee(call: Call[Any, Any], row: read_payouts.Payout) -> PayoutMethod | None:
    paying = call.services.paying
    if paying is None or "payouts" not in call.key.scopes:
        return None
    return await call.run(lambda: _masked(paying, (call.merchant_id, row.payout_id), row.rail))


def _masked(paying: Paying, name: Name, rail: str) -> PayoutMethod | None:
    sealed = paying.books.store.payee(name)
    if sealed is None:
        return None
    payee = msgspec.json.decode(paying.keys.unseal(sealed), type=Payee)
    return masked(
        PayoutMethod.model_construct(method=cast("Any", rail), address=payee.address, name=payee.name, routing="")
    )


def _as_of(recorded: Sequence[Recorded], version: int) -> tuple[Standing, Sequence[Recorded]]:
    seen = [each for each in recorded if each.originator_version <= version]
    return payouts.fold(each.event for each in seen), seen


def _name(call: Call[Any, Any]) -> Name:
    return call.merchant_id, call.path["payout_id"]


def _state(payout: Standing) -> PayoutState:
    opened = payout.opened
    return PayoutState(
        id=opened.payout_id, status=payout.state, amount=Money.of(opened.amount_minor, opened.currency)
    )  # fmt: skip


def _part(event: Any) -> PayoutPart:
    return PayoutPart.trusted(
        order_id=event.order_id, kind="clawback" if isinstance(event, ClawbackNetted) else "commission",
        amount=Money.of(event.amount_minor, event.currency),
    )  # fmt: skip


def _entry(moved: Moved) -> CommissionState:
    return CommissionState(
        order_id=moved.order_id, status=moved.state, commission=Money.of(moved.amount_minor, moved.currency)
    )
