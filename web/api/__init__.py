"""The API under `/api/v1`: one file a resource, and the layer that makes calls and OpenAPI out of typed functions."""

from web.api.access_log import access_log
from web.api.balances import balances
from web.api.bank_batches import bank_batches
from web.api.bank_statements import bank_statements
from web.api.commissions import commissions
from web.api.coupons import coupons
from web.api.customers import customers
from web.api.dead_letters import dead_letter_calls
from web.api.events import feed_calls
from web.api.exports import files_of
from web.api.imports import import_calls
from web.api.intake import intake
from web.api.journal import journal_calls
from web.api.keys import keys
from web.api.metrics import metrics
from web.api.notes import notes
from web.api.orders import orders
from web.api.paid_marks import paid_marks
from web.api.partner_history import partner_history
from web.api.partners import partner_calls
from web.api.payout_details import payout_details
from web.api.payout_rails import payout_rails
from web.api.payout_reconciliation import payout_reconciliation
from web.api.payout_runs import payout_run_calls
from web.api.payouts import payout_calls
from web.api.payouts_by_hand import by_hand_calls
from web.api.program import program
from web.api.program_figures import program_figures
from web.api.routes import RouteTable
from web.api.statements import statement_calls
from web.api.users import users
from web.api.webhooks import webhook_calls

RESOURCES: tuple[RouteTable, ...] = (
    partner_calls,
    partner_history,
    coupons,
    notes,
    orders,
    commissions,
    paid_marks,
    balances,
    payout_run_calls,
    by_hand_calls,
    payout_calls,
    payout_details,
    payout_rails,
    payout_reconciliation,
    bank_batches,
    bank_statements,
    statement_calls,
    customers,
    metrics,
    program_figures,
    program,
    dead_letter_calls,
    intake,
    import_calls,
    journal_calls,
    users,
    keys,
    access_log,
    feed_calls,
    webhook_calls,
)
RESOURCES = (*RESOURCES, files_of(RESOURCES))
