"""Imports: a file of partners, orders or opening balances, tried first and then booked, with a result for its rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from aiohttp import web

from schemas.api_imports import ImportQuery
from schemas.errors import Fault, RejectedError
from schemas.rows import RowResult
from web.api.bodies import validated
from web.api.imports import ROWS_MAX, import_balances, import_orders, import_partners, take
from web.api.routes import FileHandler
from web.pages.doors import user_door
from web.pages.forms import Refusal
from web.pages.render import Shown
from web.pages.table import PageTable
from web.pages.uploads import FIELD, name_of, read_fields, the_file
from web.pages.visits import ROUTES, Visit
from web.streams import LONG_CALLS

import_pages = PageTable(user_door)

_LIST = "/settings/imports"
_ONE = "/settings/imports/{kind:partners|orders|balances}"
_REFUSED_SHOWN = 200
_ACCEPTED_SHOWN = 20


class Kind(NamedTuple):
    """One kind of files: the call of the API that takes them, and a file to begin with."""

    handler: FileHandler
    template: str


KINDS = {
    "partners": Kind(
        import_partners,
        "name,email,rate_type,rate_value,coupon_codes,status,tags\n"
        "Jane Doe,jane@example.com,percentage,10,JANE10|JANE,approved,blogger\n"
        "Kim Lee,kim@example.com,fixed,5.00,KIM5,invited,\n",
    ),
    "orders": Kind(
        import_orders,
        "order_id,occurred_at,currency,total,tax,shipping,coupon_code,customer_id,customer_email,customer_name\n"
        "1001,2026-11-22T10:00:00Z,USD,120.00,20.00,5.00,JANE10,c-1,ann@example.com,Ann\n"
        "1002,2026-11-22T11:30:00Z,USD,80.00,,,JANE10,c-2,,\n",
    ),
    "balances": Kind(
        import_balances,
        "partner,currency,amount,as_of,reference\n"
        "jane@example.com,USD,125.50,2026-01-01,opening-jane\n"
        "kim@example.com,USD,-3.00,2026-01-01,opening-kim\n",
    ),
}
"""The three kinds of files, by the name that they have in addresses."""


@dataclass
class Report:
    """What became of a file: all rows are counted, the first of each kind are kept to be shown."""

    name: str
    dry_run: bool
    outcomes: Counter[str] = field(default_factory=Counter)
    refused: list[RowResult] = field(default_factory=list)
    accepted: list[RowResult] = field(default_factory=list)
    refusals: int = 0
    ignored_columns: Sequence[str] = ()

    @property
    def rows(self) -> int:
        """How many rows the file has."""
        return self.outcomes.total()

    def add(self, results: Sequence[RowResult]) -> None:
        """Add the results of a batch."""
        for result in results:
            self.outcomes[result.outcome] += 1
            self.refusals += bool(result.faults)
            kept, most = (self.refused, _REFUSED_SHOWN) if result.faults else (self.accepted, _ACCEPTED_SHOWN)
            if len(kept) < most:
                kept.append(result)


@import_pages.get(_LIST)
async def show_kinds(visit: Visit) -> Shown:
    """Show what can be imported."""
    visit.session.check("admin")
    return Shown("settings/imports.html", {"kinds": list(KINDS)})


@import_pages.get(_ONE)
async def show_form(visit: Visit) -> Shown:
    """Show the form for a file."""
    return _shown(visit, None)


@import_pages.get(_LIST + "/{kind:partners|orders|balances}.csv")
async def send_template(visit: Visit) -> web.Response:
    """Send a file to begin with: the columns, and rows to be replaced."""
    kind = visit.path["kind"]
    headers = {"Content-Disposition": f'attachment; filename="{kind}.csv"'}
    return web.Response(text=KINDS[kind].template, content_type="text/csv", charset="utf-8", headers=headers)


@import_pages.post(_ONE + "/check", read=read_fields)
async def check(visit: Visit) -> Shown:
    """Try a file: decide every row and book nothing."""
    return _shown(visit, await _take(visit, dry_run=True))


@import_pages.post(_ONE, read=read_fields)
async def book(visit: Visit) -> Shown:
    """Book a file. The same file again finds that all is there."""
    return _shown(visit, await _take(visit, dry_run=False))


async def _take(visit: Visit, *, dry_run: bool) -> Report | None:
    """Return what became of the file, None where it was refused as a whole: then the page says why."""
    kind = visit.path["kind"]
    route = ROUTES[KINDS[kind].handler]
    visit.session.check(route.scope)
    query = validated(ImportQuery, {"dry_run": "true" if dry_run else "false"}, root="query")
    # An import is safe to repeat by itself, and a page that stays open sends more than one file.
    call = replace(visit.call_of(route, query), idempotency_key=None)
    report = Report(name_of(visit.request), dry_run)
    try:
        with visit.request.app[LONG_CALLS].turn(call.merchant_id):
            async with the_file(visit.request) as upload:
                report.ignored_columns = await take(call, kind, upload, report)
    except RejectedError as error:
        refusal = Refusal.of(error)
        visit.refusal = refusal._replace(message=error.message, faults={FIELD: error.message})
        return None
    return report


def _shown(visit: Visit, report: Report | None) -> Shown:
    visit.session.check("admin")
    kind = visit.path["kind"]
    visit.place = f"{_LIST}/{kind}"
    bytes_max = visit.services.options.import_body_max
    model: dict[str, Any] = {
        "kind": kind, "report": report, "rows_max": ROWS_MAX, "megabytes": bytes_max >> 20, "shown_max": _REFUSED_SHOWN,
        "column": column,
    }  # fmt: skip
    return Shown("settings/import.html", model)


def column(fault: Fault) -> str:
    """Return the column that a fault names; empty: the row as a whole."""
    return fault.path.removeprefix("$").removeprefix(".")
