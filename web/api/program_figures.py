"""A program as a whole: its partners by what they made, what all of them are owed, what waits for somebody."""

from projections.program_figures import PartnerFigures as PartnerRow
from projections.program_figures import ProgramBalance as BalanceRow
from schemas.api import Read
from schemas.api_answers import Revenue
from schemas.api_figures import (
    Owing,
    PartnerEarnings,
    PartnerFigures,
    PartnerMetrics,
    PartnerMetricsQuery,
    ProgramBalance,
    ProgramBalances,
    Waiting,
)
from schemas.money import Money
from web.api.calls import Call, Reply
from web.api.metrics import range_of
from web.api.routes import RouteTable

program_figures = RouteTable("metrics")


@program_figures.get("/metrics/partners", query=PartnerMetricsQuery, answer=PartnerMetrics)
async def rank_partners(call: Call[None, PartnerMetricsQuery]) -> Reply:
    """Show the partners who made the most in some days."""
    query = call.query
    currency, first, last = await range_of(call)
    position, rows = await call.services.reads.partner_figures(
        call.merchant_id, currency=currency, from_on=first, to_on=last, sort=query.sort, limit=query.limit
    )
    data = [_shown(row, currency) for row in rows]
    return Reply(PartnerMetrics(from_=first, to=last, currency=currency, sort=query.sort, data=data), position)


@program_figures.get("/program/balances", query=Read, answer=ProgramBalances)
async def show_program_balances(call: Call[None, Read]) -> Reply:
    """Show what all partners are owed and were paid together, per currency."""
    position, rows = await call.services.reads.program_balances(call.merchant_id)
    return Reply(ProgramBalances(data=[_balance(row) for row in rows]), position)


@program_figures.get("/waiting", query=Read, answer=Waiting)
async def show_waiting(call: Call[None, Read]) -> Reply:
    """Show what waits for somebody: applications, dead letters, held commissions, negative balances, payouts."""
    found = await call.services.reads.waiting(call.merchant_id)
    row = found.row
    assert row is not None  # noqa: S101 - counts there are always
    owing = [
        Owing(partner_id=each.partner_id, name=each.name, payable=Money.of(each.payable_minor, each.currency))
        for each in row.owing
    ]
    answer = Waiting(
        partners_applied=row.partners_applied,
        dead_letters_open=row.dead_letters_open,
        commissions_held=row.commissions_held,
        balances_negative=row.balances_negative,
        payout_runs_to_approve=row.payout_runs_to_approve,
        payout_run_missed_on=row.payout_run_missed_on,
        payouts_in_review=row.payouts_in_review,
        payout_findings_open=row.payout_findings_open,
        owing=owing,
        behind_since=row.behind_since,
    )
    return Reply(answer, found.position)


def _shown(row: PartnerRow, currency: str) -> PartnerFigures:
    def money(minor: int) -> Money:
        return Money.of(minor, currency)

    return PartnerFigures(
        partner_id=row.partner_id,
        name=row.name,
        revenue=Revenue(
            gross=money(row.gross_minor),
            refunded=money(row.refunded_minor),
            net=money(row.gross_minor - row.refunded_minor),
        ),
        commissions=PartnerEarnings(
            earned=money(row.earned_minor), paid=money(row.paid_minor), outstanding=money(row.outstanding_minor)
        ),
        conversions=row.conversions,
    )


def _balance(row: BalanceRow) -> ProgramBalance:
    def money(minor: int) -> Money:
        return Money.of(minor, row.currency)

    return ProgramBalance(
        currency=row.currency,
        first_on=row.first_on,
        pending=money(row.pending_minor),
        approved=money(row.approved_minor),
        held=money(row.held_minor),
        in_payout=money(row.in_payout_minor),
        paid=money(row.paid_minor),
        clawed_back=money(row.clawed_back_minor),
        payable=money(row.approved_minor + row.clawed_back_minor),
    )
