"""Letters about payouts: what partners are told of theirs, and whoever may approve a run that waits for it."""

from datetime import datetime

from consumers.payout_letters import PayoutTold, RunTold
from web.api.dashboards import dashboard_url
from web.letters import written
from web.mail import Letter, Mailer
from web.pages.formats import LOCALE_DEFAULT, locale_of, money
from web.services import WebOptions


class PayoutPost:
    """Writes letters about payouts, and hands them to the mailer."""

    def __init__(self, mailer: Mailer, options: WebOptions) -> None:
        self._mailer, self._options = mailer, options

    async def send(self, to: str, told: PayoutTold | RunTold, key: str, told_at: datetime) -> None:
        """Write the letter and send it; see `consumers.payout_letters.Post`."""
        letter = self._of_run(to, told) if isinstance(told, RunTold) else self._of_payout(to, told)
        await self._mailer.deliver(letter, key, told_at)

    def _of_run(self, to: str, told: RunTold) -> Letter:
        address = f"{self._options.public_url}/payouts/runs/{told.run_id}"
        return written("payout_approval.txt", to, told.program, partners=told.partners, address=address)

    def _of_payout(self, to: str, told: PayoutTold) -> Letter:
        return written(
            f"payout_{told.kind}.txt",
            to,
            told.program,
            name=told.name,
            amount=money(told.amount, locale_of(LOCALE_DEFAULT)),
            rail=told.rail,
            payee=told.payee,
            transaction_id=told.transaction_id,
            address=dashboard_url(self._options, told.merchant_id, told.partner_id, told.generation),
        )
