"""What may be done about how one partner is paid: by the merchant through the API, by the partner on the dashboard.

Nothing here shows more than what is masked. A partner is written to when something was changed.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar

import structlog

from consumers.paying import Paying
from consumers.rails.stripe_accounts import StripeAccounts
from ledger import merchants, partner_logins
from ledger.access import Actor
from ledger.payout_details import Change, Details
from ledger.stripe_accounts import Account, StripeAccountBook
from schemas.errors import ConflictError, NotFoundError, RejectedError
from schemas.payout_methods import PayoutMethod, masked
from web.letters import payout_details_changed
from web.mail import Letter
from web.services import Services
from web.threads import Threads

_log = structlog.get_logger(__name__)

_LINK_KEY_BYTES = 16
_Result = TypeVar("_Result")


class Standing(NamedTuple):
    """How a partner is paid, everything that was changed, and the account at Stripe where there is one."""

    details: Details | None
    history: list[Change]
    account: Account | None


def paying_of(services: Services) -> Paying:
    """Return what pays partners. Raises ConflictError `payouts_not_set_up` where nothing seals how they are paid."""
    if services.paying is None:
        raise ConflictError("payouts_not_set_up", "the operator has to set PAYOUT_DETAILS_KEYS before anybody is paid")
    return services.paying


@dataclass(frozen=True, kw_only=True)
class Payee:
    """One partner as somebody who is paid. `by` is who acts now: a merchant's key or user, or the partner."""

    services: Services
    threads: Threads
    merchant_id: str
    partner_id: str
    by: Actor
    now: datetime

    @property
    def paying(self) -> Paying:
        """What pays the partner. Raises ConflictError `payouts_not_set_up`."""
        return paying_of(self.services)

    @property
    def accounts(self) -> StripeAccountBook:
        """The accounts that were opened at Stripe."""
        return StripeAccountBook(self.services.ledger, self.paying.keys)

    async def standing(self) -> Standing:
        """Return how the partner is paid, masked. Raises NotFoundError where there is no such partner."""
        details, accounts = self.paying.details, self.accounts

        def look() -> Standing:
            partner_logins.find(self.services.ledger, self.merchant_id, self.partner_id)
            return Standing(
                details.find(self.merchant_id, self.partner_id),
                details.history(self.merchant_id, self.partner_id),
                accounts.find(self.merchant_id, self.partner_id),
            )

        return await self._run(look)

    async def change(self, told: PayoutMethod) -> Details:
        """Have the partner paid that way from now on; what was requested before stays as it is.

        Raises NotFoundError, RejectedError `needs_onboarding` (an account at Stripe comes from there),
        `rail_not_there`, and as `ledger.payout_details.PayoutDetails.change` does.
        """
        paying = self.paying
        await self._run(partial(partner_logins.find, self.services.ledger, self.merchant_id, self.partner_id))
        if told.method == "stripe":
            message = "an account at Stripe is opened there: make a link for it"
            raise RejectedError.at("$.method", "needs_onboarding", message)
        self._check_rail(paying, told.method)
        change = partial(paying.details.change, self.merchant_id, self.partner_id, told, by=self.by, now=self.now)
        details = await self._changed(change)
        assert details is not None  # noqa: S101 - whoever changes them has them
        return details

    async def remove(self) -> None:
        """Forget how the partner is paid. Raises NotFoundError where nobody knows."""
        remove = self.paying.details.remove
        await self._run(partial(remove, self.merchant_id, self.partner_id, by=self.by, now=self.now))
        self._write_to(None)

    async def link(self, *, return_url: str, refresh_url: str) -> str:
        """Return where the partner enters its details at Stripe: an address that works once, for a few minutes.

        The account is opened the first time, and only then. Raises NotFoundError, RejectedError `rail_not_there`,
        `provider_refused`, RetryableError.
        """
        await self._run(partial(partner_logins.find, self.services.ledger, self.merchant_id, self.partner_id))
        stripe = self._stripe()
        account = await self._run(partial(self.accounts.find, self.merchant_id, self.partner_id))
        if account is None:
            opened = await stripe.create(self.partner_id)
            keep = partial(self.accounts.keep, self.merchant_id, self.partner_id, opened)
            account = await self._run(partial(keep, by=self.by.cause, now=self.now))
        await self._run(partial(self.accounts.want, self.merchant_id, self.partner_id))
        key = f"link-{self.partner_id}-{secrets.token_hex(_LINK_KEY_BYTES)}"
        return await stripe.link(account.account_id, key=key, return_url=return_url, refresh_url=refresh_url)

    async def check(self) -> Standing:
        """Ask Stripe whether the partner's account can be paid, and make it the way the partner is paid if so.

        Nothing else proves it: not that the partner came back. An account that cannot be paid any more is no longer
        the way. Raises NotFoundError where no account was opened, RejectedError as `link`, RetryableError.
        """
        account = await self._run(partial(self.accounts.find, self.merchant_id, self.partner_id))
        if account is None:
            raise NotFoundError("account at Stripe of partner", self.partner_id)
        said = await self._stripe().standing(account.account_id)
        account = await self._run(partial(self.accounts.told, account, said.transfers, said.blocked_by, self.now))
        if said.payable:
            await self._adopt(account)
        else:
            await self._put_off(account)
        return await self.standing()

    async def _adopt(self, account: Account) -> None:
        await self._changed(partial(self.paying.details.adopt, account, by=self.by, now=self.now))

    async def _changed(self, change: Callable[[], Details | None]) -> Details | None:
        """Return the details after the change; where they are others than before the partner is written to."""
        find = partial(self.paying.details.find, self.merchant_id, self.partner_id)
        before, after = await self._run(lambda: (find(), change()))
        if after is not None and (before is None or before.number != after.number):
            self._write_to(after)
        return after

    async def _put_off(self, account: Account) -> None:
        """Where the partner was paid there until now, wait until that is possible again."""
        details = await self._run(partial(self.paying.details.find, account.merchant_id, account.partner_id))
        if details is None or details.method.method != "stripe":
            return
        remove = self.paying.details.remove
        await self._run(partial(remove, self.merchant_id, self.partner_id, by=self.by, now=self.now, waits=True))
        self._write_to(None)

    def _stripe(self) -> StripeAccounts:
        paying = self.paying
        self._check_rail(paying, "stripe")
        found = paying.rails.stripe_accounts
        assert found is not None  # noqa: S101 - it is there with the rail
        return found

    @staticmethod
    def _check_rail(paying: Paying, method: str) -> None:
        (rail,) = (each for each in paying.rails.standings() if each.name == method)
        if rail.name not in paying.rails.rails:
            message = f"nobody can be paid by {method} here: the operator has to set {', '.join(rail.missing)}"
            raise RejectedError.at("$.method", "rail_not_there", message)

    def _write_to(self, details: Details | None) -> None:
        """Tell the partner, where mail is set up and the address is known: whoever it was, the partner should know."""
        if self.services.mail is not None:
            self.services.mail.soon(partial(self._letters, details))

    async def _letters(self, details: Details | None) -> list[Letter]:
        ledger = self.services.ledger
        login = await self._run(partial(partner_logins.find, ledger, self.merchant_id, self.partner_id))
        if login.email is None:
            return []
        program = await self._run(partial(merchants.find, ledger, self.merchant_id))
        return [payout_details_changed(login.email, program.name, details, self.now)]

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        return await self.threads.run(work)


async def recheck(services: Services, threads: Threads, account_id: str, cause: str) -> bool:
    """Ask Stripe about an account that it says has changed; returns whether it is one of ours.

    Raises RetryableError where Stripe does not answer: the message comes again.
    """
    book = StripeAccountBook(services.ledger, paying_of(services).keys)
    account = await threads.run(partial(book.owner, account_id))
    if account is None:
        return False
    payee = Payee(
        services=services, threads=threads, merchant_id=account.merchant_id, partner_id=account.partner_id,
        by=Actor(cause, frozenset()), now=services.now(),
    )  # fmt: skip
    try:
        await payee.check()
    except RejectedError as error:
        _log.warning("an account at Stripe cannot be looked at", partner_id=account.partner_id, code=error.code)
    return True


def shown_account(account: Account) -> dict[str, Any]:
    """Return what is shown of a partner's account at Stripe: `account` masked, `payable`, `transfers`, `blocked_by`."""
    return {
        "account": masked(PayoutMethod(method="stripe", address=account.account_id)).address,
        "payable": account.transfers == "active",
        "transfers": account.transfers,
        "blocked_by": account.blocked_by,
    }
