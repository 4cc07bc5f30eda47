"""The API under `/api/v1`: one file a resource, and the layer that makes calls and OpenAPI out of typed functions."""

from web.api.balances import balances
from web.api.commissions import commissions
from web.api.customers import customers
from web.api.dead_letters import dead_letter_calls
from web.api.intake import intake
from web.api.metrics import metrics
from web.api.orders import orders
from web.api.partners import partner_calls
from web.api.program import program

RESOURCES = (partner_calls, orders, commissions, balances, customers, metrics, program, dead_letter_calls, intake)
