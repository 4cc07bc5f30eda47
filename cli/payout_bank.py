"""What the bank is given, and what it tells: `payouts batches`, `batch`, `unseal`, `orders`, `withdraw`, `export`."""

from datetime import UTC
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.clock import now
from cli.desk import Desk, at_desk
from cli.exports import export_list, written_to
from cli.failures import REFUSED, UsageError
from cli.options import Data, Json
from cli.output import complain, print_json, print_table, say
from cli.payout_runs import By, Key, Merchant
from cli.payout_words import instant, money
from ledger.bank_orders import Batch
from schemas.api_bank import BankStatementReport
from web.api.bank_statements import take_statement
from web.api.payouts_by_hand import take_list

_FORMATS = ("xml", "csv")
_LIST = "payouts"

OneBatch = Annotated[str, typer.Argument(metavar="BATCH", show_default=False)]
OneOrder = Annotated[str, typer.Argument(metavar="ORDER", help="Its end-to-end id.", show_default=False)]
Out = Annotated[
    Path | None, typer.Option("--out", dir_okay=False, help="The file to write, whole or not at all; else stdout.")
]


def batch(
    *,
    execution_on: Annotated[
        str | None, typer.Option("--execution-on", metavar="DAY", help="When the bank pays; left out: today (UTC).")
    ] = None,
    key: Key = None,
    by: By = None,
    merchant: Merchant = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Seal all transfers that wait into one batch, whose files never change; `export --batch` writes them."""

    async def work(desk: Desk) -> dict[str, Any]:
        told = {"execution_on": execution_on or now().astimezone(UTC).date().isoformat()}
        return await desk.ask("POST", "/bank-batches", body=told, key=key)

    told = at_desk(work, data, merchant, by)
    if as_json:
        print_json(told)
        return
    _tell_batch(told)
    say("")
    say("Upload one of its files to your bank, once:")
    say(f"  commission-ledger payouts export --batch {told['id']} --format xml --out {told['message_id']}.xml")


def batches(
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest.")] = 20,
    merchant: Merchant = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List the batches of bank transfers, the newest first."""
    rows = _rows("/bank-batches", limit, data, merchant)
    if as_json:
        for row in rows:
            print_json(row)
        return
    shown = [
        (each["id"], instant(each["sealed_at"]), each["status"], each["payments"], money(each["amount"]),
         each["execution_on"], each["message_id"])
        for each in rows
    ]  # fmt: skip
    print_table(
        ("batch", "sealed", "status", "payments", "amount", "execution", "message"), shown, right=(3, 4), whole=(0,)
    )


def unseal(
    which: OneBatch,
    *,
    declared: Annotated[str, typer.Option("--declared", help="How you know that it was not uploaded; kept for ever.")],
    by: By = None,
    merchant: Merchant = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let the transfers of a batch wait again, because it was not uploaded to the bank."""

    async def work(desk: Desk) -> dict[str, Any]:
        body = {"declared": declared}
        return await desk.ask("POST", "/bank-batches/{batch_id}/unseal", body=body, names={"batch_id": which})

    told = at_desk(work, data, merchant, by)
    print_json(told) if as_json else _tell_batch(told)


def orders(
    *,
    state: Annotated[str | None, typer.Option("--state", help="waiting, sealed, settled, rejected, returned.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest.")] = 50,
    merchant: Merchant = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List bank transfers, the newest first."""
    rows = _rows("/bank-orders", limit, data, merchant, state=state)
    if as_json:
        for row in rows:
            print_json(row)
        return
    shown = [
        (each["id"], each["payout_id"], each["state"], money(each["amount"]), each["batch_id"], each["reference"],
         each["code"])
        for each in rows
    ]  # fmt: skip
    print_table(("order", "payout", "state", "amount", "batch", "reference", "code"), shown, right=(3,), whole=(0,))


def withdraw(
    which: OneOrder, *, by: By = None, merchant: Merchant = None, data: Data = None, as_json: Json = False
) -> None:
    """Take a transfer back that is in no batch: its payout fails, its commissions are payable again."""

    async def work(desk: Desk) -> dict[str, Any]:
        return await desk.ask("POST", "/bank-orders/{end_to_end_id}/withdraw", names={"end_to_end_id": which})

    told = at_desk(work, data, merchant, by)
    print_json(told) if as_json else say(f"{told['id']}  {told['state']}  {money(told['amount'])}")


def statement(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="camt.053, camt.054 or pain.002.")],
    *,
    by: By = None,
    merchant: Merchant = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Take what the bank tells of transfers; the same file again changes nothing. Exits 1 where something differs."""

    async def work(desk: Desk) -> BankStatementReport:
        desk.caller.check("payouts")
        return await take_statement(desk.call(), file.read_bytes())

    report = at_desk(work, data, merchant, by).model_dump(mode="json")
    if as_json:
        print_json(report)
    else:
        _tell_statement(report)
    if report["counts"].get("differs"):
        raise typer.Exit(REFUSED)


def export(
    *,
    batch: Annotated[str | None, typer.Option("--batch", metavar="BATCH", help="The file of this bank batch.")] = None,
    by_hand: Annotated[
        bool, typer.Option("--by-hand", help="What is to be paid by hand now, and where to; the access log tells it.")
    ] = False,
    out: Out = None,
    file_format: Annotated[
        str | None, typer.Option("--format", help="xml or csv of a batch; csv or jsonl of the list.")
    ] = None,
    by: By = None,
    merchant: Merchant = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Write all payouts to a file; with --batch what the bank is given, with --by-hand what a person has to pay."""
    if batch is None and not by_hand:
        if by is not None:
            raise UsageError("--by is for --batch and --by-hand")
        export_list(_LIST, (), merchant, out, file_format, data, as_json=as_json)
        return
    if as_json and out is None:
        raise UsageError("--json tells of the file that --out names; without one, the file itself is on stdout")
    if batch is None:
        _export_by_hand(out, file_format, by, merchant, data, as_json=as_json)
        return
    if by_hand:
        raise UsageError("--batch or --by-hand, and not both")
    kind = file_format or (out.suffix.lstrip(".") if out else _FORMATS[0])
    if kind not in _FORMATS:
        raise UsageError("--format xml or --format csv")

    async def work(desk: Desk) -> Batch:
        desk.caller.check("payouts")
        return desk.paying.orders.batch(desk.merchant_id, str(batch))

    found = at_desk(work, data, merchant, by)
    # Names and accounts: what a bank needs, and nobody else.
    with written_to(out, private=True) as write:
        write(found.xml if kind == "xml" else found.csv)
    digest = found.xml_sha256 if kind == "xml" else found.csv_sha256
    if as_json:
        print_json({"file": str(out), "format": kind, "batch_id": found.batch_id, "sha256": digest})
    else:
        complain(f"{found.payments:,} payments of {found.batch_id}, SHA-256 {digest}")


def _export_by_hand(
    out: Path | None, file_format: str | None, by: str | None, merchant: str | None, data: Path | None, *, as_json: bool
) -> None:
    if file_format not in (None, "csv"):
        raise UsageError("--format csv: the list of what is to be paid by hand has no other")

    async def work(desk: Desk) -> tuple[bytes, int]:
        desk.caller.check("payouts")
        return await take_list(desk.call())

    file, count = at_desk(work, data, merchant, by)
    # Where people are paid: for whoever pays them, and nobody else.
    with written_to(out, private=True) as write:
        write(file)
    if as_json:
        print_json({"file": str(out), "format": "csv", "payouts": count})
    else:
        complain(f"{count:,} payouts to be paid by hand; confirm each: commission-ledger payouts confirm PAYOUT")


def _rows(path: str, limit: int, data: Path | None, merchant: str | None, **query: str | None) -> list[dict[str, Any]]:
    async def work(desk: Desk) -> list[dict[str, Any]]:
        return [row async for row in desk.rows(path, limit=limit, query=query)]

    return at_desk(work, data, merchant)


def _tell_statement(report: dict[str, Any]) -> None:
    shown = [
        (each["end_to_end_id"], each["payout_id"], each["kind"], money(each["amount"]), each["reference"], each["code"],
         each["became"])
        for each in report["results"]
    ]  # fmt: skip
    print_table(("order", "payout", "told", "amount", "reference", "code", "became"), shown, right=(3,))
    if report["results_left_out"]:
        complain(f"and {report['results_left_out']:,} more")
    counts = ", ".join(f"{count} {became}" for became, count in report["counts"].items()) or "nothing of payouts"
    say(f"{counts}; {report['skipped']} entries are about something else")
    if report["counts"].get("differs"):
        complain("What differs changed nothing: somebody has to look at it.")


def _tell_batch(told: dict[str, Any]) -> None:
    for name, value in (
        ("batch", told["id"]),
        ("status", told["status"]),
        ("message", told["message_id"]),
        ("payments", told["payments"]),
        ("amount", money(told["amount"])),
        ("execution", told["execution_on"]),
        ("XML SHA-256", told["xml_sha256"]),
        ("CSV SHA-256", told["csv_sha256"]),
    ):
        say(f"{name:13}{value}")
