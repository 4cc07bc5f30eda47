"""Customers: who brought them, whose they are now, and what they bought."""

from functools import partial
from typing import Any

from ledger import customers as assigning
from ledger.customers import Assignment
from projections import rows
from schemas.api import LIMIT_MAX, CustomersQuery, Page, Query, Read, Reassignment
from schemas.api_answers import Customer, CustomerAssignment, CustomerOrder, CustomerRevenue, CustomerStory
from schemas.errors import NotFoundError
from schemas.money import Money
from web.api.calls import Call, Reply
from web.api.cursors import cursor_of, from_cursor
from web.api.routes import RouteTable

customers = RouteTable("customers")


@customers.get("/customers", query=CustomersQuery, answer=Page[Customer])
async def list_customers(call: Call[None, CustomersQuery]) -> Reply:
    """List customers whose orders earned a commission, by id; with `partner_id` those who are the partner's now."""
    query = call.query
    place = from_cursor(query.cursor, str)
    page = await call.services.reads.customers(
        call.merchant_id, partner_id=query.partner_id, search=query.search, after=place[0] if place else None,
        limit=query.limit,
    )  # fmt: skip
    data = [Customer(**_shown(row)) for row in page.rows]
    return Reply(Page[Customer](data=data, next_cursor=cursor_of(page.next)), page.position)


@customers.get("/customers/{customer_id:[^/]+}", query=Read, answer=CustomerStory)
async def show_customer(call: Call[None, Read]) -> Reply:
    """Show a customer with the latest orders (at most 200); all of them are `GET /commissions?customer_id=`."""
    customer_id, reads = call.path["customer_id"], call.services.reads
    found = await reads.customer(call.merchant_id, customer_id)
    if found.row is None:
        raise NotFoundError("customer", customer_id)
    page = await reads.commissions(call.merchant_id, customer_id=customer_id, limit=LIMIT_MAX)
    return Reply(CustomerStory(**_shown(found.row), orders=[_order(row) for row in page.rows]), found.position)


@customers.post(
    "/customers/{customer_id:[^/]+}/reassign", body=Reassignment, answer=CustomerAssignment, scope="partners"
)
async def reassign_customer(call: Call[Reassignment, Query]) -> Reply:
    """Give a customer to another partner.

    Orders that the customer places from now on without a partner's coupon code earn for that partner, at that partner's
    rate; a code still decides where there is one. What was earned before stays where it is.
    """
    customer_id = call.path["customer_id"]
    if (await call.services.reads.customer(call.merchant_id, customer_id)).row is None:
        raise NotFoundError("customer", customer_id)
    run = partial(
        assigning.reassign, call.services.ledger, merchant_id=call.merchant_id, customer_id=customer_id,
        partner_id=call.body.partner_id, reason=call.body.reason, now=call.now, cause=call.cause,
    )  # fmt: skip
    return await call.write(lambda request: run(request=request), _state)


def _state(assignment: Assignment) -> CustomerAssignment:
    return CustomerAssignment(
        customer_id=assignment.customer_id,
        partner_id=assignment.partner_id,
        assigned_at=assignment.assigned_at,
        reason=assignment.reason,
    )


def _shown(row: rows.Customer) -> dict[str, Any]:
    return {
        "id": row.customer_id,
        "name": row.name,
        "email": row.email,
        "partner_id": row.partner_id,
        "assigned_partner_id": row.assigned_partner_id,
        "assigned_at": row.assigned_at,
        "assignment_reason": row.assignment_reason,
        "first_order_at": row.first_order_at,
        "last_order_at": row.last_order_at,
        "revenue": [_revenue(each) for each in row.revenue],
    }


def _revenue(row: rows.CustomerRevenue) -> CustomerRevenue:
    return CustomerRevenue(
        currency=row.currency,
        orders=row.orders,
        gross=Money.of(row.gross_minor, row.currency),
        refunded=Money.of(row.refunded_minor, row.currency),
        net=Money.of(row.gross_minor - row.refunded_minor, row.currency),
    )


def _order(row: rows.Commission) -> CustomerOrder:
    return CustomerOrder(
        order_id=row.order_id,
        partner_id=row.partner_id,
        status=row.state,
        occurred_at=row.occurred_at,
        total=Money.of(row.total_minor, row.currency),
        refunded=Money.of(row.total_minor - row.remaining_minor, row.currency),
        commission=Money.of(row.amount_minor, row.currency),
    )
