"""The merchant's program and its terms."""

import msgspec

from ledger import merchants
from ledger.events import Terms
from ledger.merchants import Merchant
from schemas import api_answers
from schemas.api import ProgramChange, Query, Read
from schemas.api_answers import Program
from web.api.calls import Call, Reply
from web.api.routes import RouteTable
from web.problems import NotYetError

program = RouteTable("program")


@program.get("/program", query=Read, answer=Program)
async def show_program(call: Call[None, Read]) -> Reply:
    """Show the program and the terms that were decided last."""
    found = await call.services.reads.program(call.merchant_id)
    if found.row is None:
        # The key proves that there is one: it is too new for the read models.
        raise NotYetError("the read models do not know this program yet")
    row = found.row
    # The terms in the read model are the event's JSON, which leaves out what has its default.
    terms = msgspec.convert(row.terms, Terms)
    return Reply(_shown(Merchant(row.merchant_id, row.name, row.currency, row.time_zone, terms)), found.position)


@program.patch("/program", body=ProgramChange, answer=Program)
async def change_program(call: Call[ProgramChange, Query]) -> Reply:
    """Change the terms.

    The new version holds for orders placed from now on; commissions keep the terms that they were decided under.
    """
    changes = call.body.model_dump(exclude_none=True)
    return await call.write(
        lambda request: merchants.change_terms(
            call.services.ledger, merchant_id=call.merchant_id, changes=changes, now=call.now, cause=call.cause,
            request=request,
        ),
        _shown,
    )  # fmt: skip


def _shown(merchant: Merchant) -> Program:
    terms = merchant.terms
    return Program(
        merchant_id=merchant.merchant_id,
        name=merchant.name,
        currency=merchant.currency,
        time_zone=merchant.time_zone,
        terms=api_answers.Terms(
            version=terms.version,
            approval=terms.approval,
            hold_days=terms.hold_days,
            base=terms.base,
            fixed_on_partial_refund=terms.fixed_on_partial_refund,
            self_referral=terms.self_referral,
        ),
    )
