"""Connected accounts: how a partner comes to be paid by Stripe. Only the account itself proves that it can be."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

import stripe
from stripe.params import AccountCreateParams, AccountLinkCreateParams

from schemas.errors import RejectedError, RetryableError

S = TypeVar("S")
T = TypeVar("T")


class Standing(NamedTuple):
    """Whether an account can be paid. `transfers` is the word of Stripe, `blocked_by` what it waits for."""

    account_id: str
    payable: bool
    transfers: str
    blocked_by: str | None = None


class StripeAccounts:
    """Accounts and their onboarding. Every call raises RetryableError where Stripe gave no definite answer."""

    def __init__(self, client: stripe.StripeClient, *, timeout_s: float = 30.0) -> None:
        self._client, self._timeout_s = client, timeout_s

    async def create(self, partner_id: str, email: str | None = None) -> str:
        """Return the id of the account that is opened for the partner, which the caller keeps.

        It is the same one for the same partner as long as Stripe remembers the key, a day at least. Raises
        RejectedError `provider_refused`, RetryableError.
        """
        told: AccountCreateParams = {
            "type": "express",
            "capabilities": {"transfers": {"requested": True}},
            "metadata": {"partner_id": partner_id},
        }
        if email is not None:
            told["email"] = email
        made = self._client.v1.accounts.create_async(told, {"idempotency_key": f"acct-{partner_id}"})
        return await self._asked(made, _account_id)

    async def link(self, account_id: str, *, key: str, return_url: str, refresh_url: str) -> str:
        """Return an address where the partner may enter its details; it works once and for a few minutes.

        `key` is new for each link. Raises RejectedError `provider_refused`, RetryableError.
        """
        told: AccountLinkCreateParams = {
            "account": account_id,
            "type": "account_onboarding",
            "return_url": return_url,
            "refresh_url": refresh_url,
        }
        made = self._client.v1.account_links.create_async(told, {"idempotency_key": key})
        return await self._asked(made, lambda link: str(link.url))

    async def standing(self, account_id: str) -> Standing:
        """Return whether the account can be paid, as Stripe says now: not that somebody came back from the link.

        Raises RejectedError `provider_refused`, RetryableError.
        """
        return await self._asked(self._client.v1.accounts.retrieve_async(account_id), _standing)

    async def _asked(self, question: Awaitable[S], read: Callable[[S], T]) -> T:
        try:
            async with asyncio.timeout(self._timeout_s):
                return read(await question)
        except stripe.InvalidRequestError as error:
            raise RejectedError("provider_refused", f"Stripe refused: {error.user_message}") from None
        except Exception as error:
            raise RetryableError(f"Stripe gave no answer: {type(error).__name__}") from error


def _account_id(account: stripe.Account) -> str:
    if account.object != "account":
        raise ValueError("the answer is not an account")
    return str(account.id)


def _standing(account: stripe.Account) -> Standing:
    transfers = str(getattr(account.capabilities, "transfers", None) or "unrequested")
    blocked = getattr(account.requirements, "disabled_reason", None)
    return Standing(_account_id(account), transfers == "active", transfers, None if blocked is None else str(blocked))
