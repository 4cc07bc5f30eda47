"""`payouts reconcile`, `resolve`, `move-in`: whether the books and the providers agree, and what people found out."""

from datetime import timedelta
from typing import Annotated, Any

import typer

from cli.clock import now
from cli.connection import Books
from cli.desk import MEANS, with_paying
from cli.failures import REFUSED
from cli.options import Data, Json
from cli.output import complain, print_json, print_table, say
from cli.payout_words import instant, money
from consumers.paying import Paying
from consumers.payout_reconciliation import Report, compare_from, moved_in, rails_to_compare
from consumers.payout_reconciliation import reconcile as compare_rail
from ledger.application import Ledger
from ledger.payout_findings import Kept
from web.api.payout_reconciliation import shown

By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who does it.")]
Declared = Annotated[str, typer.Option("--declared", help="Who found that out, and how; kept for ever.")]


def reconcile(
    *,
    rail: Annotated[str | None, typer.Option("--rail", help="Only this one; left out: all that can be asked.")] = None,
    days: Annotated[int | None, typer.Option("--days", min=1, max=365, help="So far back; left out: 35.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Compare payouts with what their providers have, of all merchants; exits 1 where something does not agree."""

    async def work(found: Books, ledger: Ledger, paying: Paying) -> list[Report]:
        del found, ledger
        at = now()
        since = await compare_from(paying, at, days)
        rails = [rail] if rail else rails_to_compare(paying)
        return [await compare_rail(paying, each, since, at + timedelta(seconds=1), at, by=MEANS) for each in rails]

    reports = with_paying(work, data)
    opened = [
        {"merchant_id": kept.finding.merchant_id, **shown(kept).model_dump(mode="json")}
        for report in reports
        for kept in report.open
    ]
    if as_json:
        print_json({"rails": [_document(each) for each in reports], "open": opened})
    else:
        _tell(reports, opened)
    if opened or not all(each.complete for each in reports):
        raise typer.Exit(REFUSED)


def resolve(
    finding: Annotated[str, typer.Argument(metavar="FINDING", show_default=False)],
    *,
    declared: Declared,
    by: By = MEANS,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Say what a finding was, and what was done about it; who is frozen stays frozen until `release`."""

    async def work(found: Books, ledger: Ledger, paying: Paying) -> Kept:
        del found, ledger
        return paying.findings.resolve(finding, declared=declared, by=by, now=now())

    told = shown(with_paying(work, data)).model_dump(mode="json")
    print_json(told) if as_json else say(f"{told['id']}  resolved {instant(told['resolved_at'])}")


def move_in(
    *,
    declared: Declared,
    by: By = MEANS,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let payouts go out of a database that was restored or copied, once all rails were compared from before it was."""

    async def work(found: Books, ledger: Ledger, paying: Paying) -> dict[str, Any]:
        del found, ledger
        return (await moved_in(paying, by=by, declared=declared, now=now()))._asdict()

    told = with_paying(work, data)
    if as_json:
        print_json(told)
        return
    say(f"payouts are at home here since {told['moved_in_at']:%Y-%m-%d %H:%M}Z, by {told['moved_in_by']}")


def _document(report: Report) -> dict[str, Any]:
    return {
        "rail": report.rail, "compares": report.compares, "since": report.since, "until": report.until,
        "complete": report.complete, "reason": report.reason, **report.counts._asdict(), "hints": report.hints,
        "resolved": report.resolved,
    }  # fmt: skip


def _tell(reports: list[Report], opened: list[dict[str, Any]]) -> None:
    if not reports:
        say("there is no rail whose provider could be asked")
        return
    print_table(
        ("rail", "compared", "since", "matched", "ours only", "theirs only", "differing", "several"),
        [(each.rail, each.compares.replace("_", " "), each.since, *each.counts) for each in reports],
        right=(3, 4, 5, 6, 7),
    )
    for each in reports:
        if each.reason is not None:
            complain(f"{each.rail}: not complete, the provider did not answer everything: {each.reason}")
        if each.hints:
            say(f"{each.rail}: the worker looks at {each.hints} payouts that moved")
    if not opened:
        say("nothing is open")
        return
    say("")
    rows = [
        (each["id"], each["merchant_id"], each["rail"], each["kind"].replace("_", " "), each["reason"],
         each["payout_id"], each["partner_id"], money(each["ours"]), money(each["theirs"]),
         ", ".join(each["references"]), instant(each["first_seen_at"]))
        for each in opened
    ]  # fmt: skip
    headings = (
        "finding", "merchant", "rail", "what", "why", "payout", "partner", "ours", "theirs", "references", "first seen"
    )  # fmt: skip
    print_table(headings, rows, right=(7, 8), whole=(0,))
