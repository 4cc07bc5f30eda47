"""The API under `/api/v1`: one file a resource, and the layer that makes calls and OpenAPI out of typed functions."""

from web.api.commissions import commissions
from web.api.dead_letters import dead_letter_calls
from web.api.orders import orders
from web.api.partners import partner_calls
from web.api.program import program

RESOURCES = (partner_calls, orders, commissions, program, dead_letter_calls)
