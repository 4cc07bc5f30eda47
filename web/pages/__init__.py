"""The dashboards: server-rendered pages over the API's own handlers, one file a page or a family of pages."""

from typing import Any

from aiohttp import web

from web.pages.account import account_pages
from web.pages.commissions import commission_pages
from web.pages.customers import customer_pages
from web.pages.dashboard import dashboard
from web.pages.dashboard_account import dashboard_account
from web.pages.dashboard_details import dashboard_details
from web.pages.dashboard_payouts import dashboard_payouts
from web.pages.dashboard_statements import dashboard_statements
from web.pages.dead_letters import dead_letter_pages
from web.pages.downloads import downloads
from web.pages.entries import entry_pages
from web.pages.home import home
from web.pages.intake import intake_pages
from web.pages.login import exits, logins_pages
from web.pages.overview import overview
from web.pages.partner_codes import partner_code_pages
from web.pages.partner_details import partner_detail_pages
from web.pages.partner_login import partner_exits, partner_logins_pages
from web.pages.partners import partner_pages
from web.pages.payout_bank import payout_bank_pages
from web.pages.payout_reconciliation import payout_reconciliation_pages
from web.pages.payout_runs import payout_run_pages
from web.pages.payout_stories import payout_story_pages
from web.pages.payouts import payout_pages
from web.pages.payouts_by_hand import by_hand_pages
from web.pages.settings_access import access_pages
from web.pages.settings_exports import export_pages
from web.pages.settings_imports import import_pages
from web.pages.settings_keys import key_pages
from web.pages.settings_payouts import payout_method_pages
from web.pages.settings_program import program_pages
from web.pages.settings_users import user_pages
from web.pages.settings_webhooks import webhook_pages
from web.pages.stories import story_pages
from web.pages.table import PageTable

PAGES: tuple[PageTable[Any], ...] = (
    home,
    overview,
    partner_pages,
    commission_pages,
    entry_pages,
    story_pages,
    payout_pages,
    payout_run_pages,
    payout_story_pages,
    payout_bank_pages,
    payout_reconciliation_pages,
    by_hand_pages,
    partner_code_pages,
    partner_detail_pages,
    customer_pages,
    dead_letter_pages,
    intake_pages,
    program_pages,
    user_pages,
    key_pages,
    webhook_pages,
    import_pages,
    export_pages,
    payout_method_pages,
    access_pages,
    downloads,
    logins_pages,
    exits,
    account_pages,
    partner_logins_pages,
    partner_exits,
    dashboard,
    dashboard_payouts,
    dashboard_details,
    dashboard_account,
    dashboard_statements,
)


def add_pages(app: web.Application) -> None:
    """Add every page to the application."""
    for table in PAGES:
        table.add_to(app.router)
