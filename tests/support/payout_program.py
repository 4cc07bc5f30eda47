"""A merchant's books on PostgreSQL with all that pays partners, for tests of what a worker does about payouts."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from consumers.health import Health
from consumers.paying import Paying, paying
from consumers.payout_choosing import Wanted, prepare_run
from ledger import merchants, partners, payout_runs, payouts
from ledger.application import Ledger, following
from ledger.commissions import Act, evolve, fold, move
from ledger.events import Rate, Stream
from ledger.payout_letters import DueLetter
from ledger.terms import Terms
from projections.payables import SqlPayables
from projections.runner import Projector
from schemas.payout_methods import PayoutMethod
from schemas.payout_settings import PayoutSettings
from tests.support.payout_world import earned
from tests.support.registration import HASH_KEY

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEY = "k1:" + base64.b64encode(b"1" * 32).decode()
MAKER, CHECKER = payouts.Act(NOW, "test", "maker"), payouts.Act(NOW, "test", "checker")
_RATE = Rate(type="percentage", bps=1_000)


class PayoutProgram:
    """The program `acme`, its partners and their commissions. `now` is the clock of everybody who asks for one."""

    def __init__(self, ledger: Ledger, pays: Paying, url: str) -> None:
        self.ledger, self.paying, self.url = ledger, pays, url
        self.payables = SqlPayables(ledger)
        self.health = Health()
        self.now = NOW

    def clock(self) -> datetime:
        """Return the time."""
        return self.now

    def parts(self) -> tuple[Any, ...]:
        """Return what the services of payouts are made of."""
        return self.paying, self.ledger, self.payables, self.health, self.clock

    def partner(self, name: str, *, paid: bool = True, email: str | None = None) -> str:
        """Register a partner, who is paid by hand, and return the id."""
        found = partners.register(
            self.ledger, merchant_id="acme", name=name.title(), email=email or f"{name}@partners.example",
            coupon_code=name.upper(), rate=_RATE, now=NOW - timedelta(days=90), cause="test",
        )  # fmt: skip
        if paid:
            self.pay_by(found.partner_id, "words")
        return found.partner_id

    def pay_by(self, partner_id: str, address: str, method: str = "manual") -> None:
        """Change how the partner is paid."""
        told = PayoutMethod(method=method, address=address)  # type: ignore[arg-type]
        self.paying.details.change("acme", partner_id, told, by="test", now=self.now)

    def commission(self, order_id: str, partner_id: str, amount_minor: int = 1_000, at: datetime | None = None) -> None:
        """Put a commission on the books that was approved then."""
        at = at or NOW - timedelta(days=1)
        events = [earned(order_id, partner_id, amount_minor * 10, at)]
        order = fold(events)
        for event in move(order, "approve", Act(at, at, at.date(), "test")):
            evolve(order, event)
            events.append(event)
        self.ledger.record(following(Stream.order("acme", order_id), 0, events))

    def look(self) -> None:
        """Bring the read models up to the log."""
        Projector(self.url).catch_up()

    def prepare(self, run_id: str = "run", cut_off_at: datetime = NOW, **wanted: Any) -> payout_runs.Run:
        """Freeze a run."""
        terms = merchants.find(self.ledger, "acme").terms
        return prepare_run(
            self.paying, self.payables, "acme", run_id, terms, Wanted(cut_off_at, **wanted), MAKER
        )  # fmt: skip

    def terms(self, **changes: Any) -> Terms:
        """Change the terms, and return them."""
        return merchants.change_terms(
            self.ledger, merchant_id="acme", changes=changes, now=self.now, cause="test"
        ).terms  # fmt: skip

    def rows(self, run_id: str = "run") -> list[tuple[str, int, str]]:
        """Return partner, amount and state of every payout of a run."""
        return self.asked(
            "SELECT partner_id, amount_minor, state FROM ledger.payouts WHERE run_id = %s ORDER BY partner_id", run_id
        )

    def runs(self) -> list[tuple[str, str]]:
        """Return id and state of every run, in order."""
        return self.asked("SELECT run_id, state FROM ledger.payout_runs ORDER BY prepared_at, run_id")

    def asked(self, query: str, *values: Any) -> list[Any]:
        """Return the rows of a query."""
        with self.ledger.connection() as conn:
            return [tuple(row.values()) for row in conn.execute(query, values)]  # type: ignore[call-overload]

    def lines(self, run_id: str = "run") -> dict[str, str]:
        """Return of each partner of a run why it is in or out."""
        found = self.paying.books.store.lines("acme", run_id, waiting=False)
        return {line.partner_id: line.reason for line in found}

    def letters(self) -> list[DueLetter]:
        """Return every letter that was written down, in order."""
        return [
            DueLetter(*row)
            for row in self.asked(
                f"SELECT {', '.join(DueLetter._fields)} FROM people.payout_letters ORDER BY told_at, number, to_id"  # noqa: S608 - our own words
            )
        ]

    def outcomes(self) -> list[tuple[str, str | None]]:
        """Return kind and outcome of every letter."""
        return self.asked("SELECT kind, outcome FROM people.payout_letters ORDER BY told_at, number, to_id")

    def only(self) -> tuple[str, str]:
        """Return the name of the only payout."""
        ((payout_id,),) = self.asked("SELECT payout_id FROM ledger.payouts")
        return "acme", payout_id

    def confirm(self, transaction_id: str = "wire-1") -> None:
        """Confirm the only payout as paid."""
        payout = self.paying.books.find(self.only())
        act = MAKER._replace(at=self.now)
        self.paying.books.decide(
            self.only(),
            lambda found: payouts.confirm(
                found, act, method="wire", transaction_id=transaction_id, currency=payout.opened.currency,
                amount_minor=payout.opened.amount_minor, paid_at=self.now,
            ),
            act,
            confirmed=("wire", transaction_id),
        )  # fmt: skip


@asynccontextmanager
async def payout_program(url: str, *, time_zone: str = "UTC", **settings: Any) -> AsyncIterator[PayoutProgram]:
    """Lend the program, with nobody in it."""
    told = PayoutSettings(payout_details_keys=(SecretStr(KEY),), **settings)
    ledger = Ledger(url, hash_key=HASH_KEY)
    try:
        merchants.register(
            ledger, merchant_id="acme", name="Acme", currency="USD", email="owner@acme.example", time_zone=time_zone,
            now=NOW - timedelta(days=100), cause="test",
        )  # fmt: skip
        async with paying(ledger, told) as pays:
            assert pays is not None
            yield PayoutProgram(ledger, pays, url)
    finally:
        ledger.close()
