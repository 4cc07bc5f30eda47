"""Which rails there are, by what the environment says: a rail without its keys says so and cannot be chosen."""

from contextlib import AsyncExitStack
from types import TracebackType
from typing import NamedTuple, Self

import stripe

from consumers.rails import Rail
from consumers.rails.bank import BankBatches, BankRail
from consumers.rails.bank_file import Debtor, checked_debtor
from consumers.rails.limited import LimitedRail
from consumers.rails.manual import ManualRail
from consumers.rails.paypal import Credentials, PayPalClient, PayPalRail
from consumers.rails.paypal_webhooks import CERTIFICATES, PayPalWebhooks
from consumers.rails.stripe import StripeRail, close, stripe_client
from consumers.rails.stripe_accounts import StripeAccounts
from consumers.rails.stripe_webhooks import StripeWebhooks
from ledger.bank_orders import BankOrders
from ledger.payout_spending import Limits, Spending
from schemas.payout_settings import PayoutSettings

NAMES = ("stripe", "paypal", "bank", "manual")


class Standing(NamedTuple):
    """Whether a rail can be chosen; `missing` names the variables that it lacks, `off` that it is switched off."""

    name: str
    usable: bool
    missing: tuple[str, ...] = ()
    off: bool = False


class Rails:
    """The rails that there are, with what belongs to them; to be entered, which opens no connection.

    Raises RejectedError, when it is made, where the account that pays by bank transfer is none.
    """

    def __init__(self, settings: PayoutSettings, spending: Spending, orders: BankOrders | None) -> None:
        self._settings, self._spending, self._orders = settings, spending, orders
        self._stack = AsyncExitStack()
        self.rails: dict[str, Rail] = {"manual": ManualRail()}
        self.limited: list[LimitedRail] = []
        self.stripe_accounts: StripeAccounts | None = None
        self.stripe_webhooks: StripeWebhooks | None = None
        self.paypal_webhooks: PayPalWebhooks | None = None
        self.bank_batches: BankBatches | None = None
        self._debtor = _debtor(settings)

    async def __aenter__(self) -> Self:
        settings = self._settings
        if settings.stripe_api_key is not None:
            key = settings.stripe_api_key.get_secret_value()
            timeout_s = settings.stripe_timeout_s
            client = stripe_client(key, base=settings.stripe_api_base, timeout_s=timeout_s)
            self._stack.push_async_callback(close, client)
            self._add_stripe(client, timeout_s)
        if settings.paypal_client_id and settings.paypal_client_secret is not None:
            secret = settings.paypal_client_secret.get_secret_value()
            credentials = Credentials(settings.paypal_client_id, secret, settings.paypal_api_base)
            await self._add_paypal(PayPalClient(credentials, timeout_s=settings.paypal_timeout_s))
        if self._debtor is not None and self._orders is not None:
            self._add(BankRail(self._orders))
            self.bank_batches = BankBatches(self._orders, self._debtor)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def standings(self) -> list[Standing]:
        """Return of each rail whether it can be chosen, and what it lacks."""
        return [self._standing(name) for name in NAMES]

    def usable(self) -> frozenset[str]:
        """Return the rails that new payouts may go out on now, for `ledger.payout_runs.Criteria`."""
        return frozenset(standing.name for standing in self.standings() if standing.usable)

    def _standing(self, name: str) -> Standing:
        off = self._settings.is_off(name)
        return Standing(name, name in self.rails and not off, self._missing(name), off)

    def _missing(self, name: str) -> tuple[str, ...]:
        needed = {
            "stripe": ("stripe_api_key",),
            "paypal": ("paypal_client_id", "paypal_client_secret"),
            "bank": ("bank_debtor_name", "bank_debtor_iban", "payout_details_keys"),
            "manual": (),
        }[name]
        return tuple(each.upper() for each in needed if not getattr(self._settings, each))

    def _add_stripe(self, client: stripe.StripeClient, timeout_s: float) -> None:
        self._add(StripeRail(client, timeout_s=timeout_s))
        self.stripe_accounts = StripeAccounts(client, timeout_s=timeout_s)
        secrets = [secret.get_secret_value() for secret in self._settings.stripe_webhook_secrets]
        self.stripe_webhooks = StripeWebhooks(secrets) if secrets else None

    async def _add_paypal(self, client: PayPalClient) -> None:
        await self._stack.enter_async_context(client)
        self._add(PayPalRail(client))
        if self._settings.paypal_webhook_id:
            own = f"{self._settings.paypal_api_base}/v1/notifications/certs/"
            self.paypal_webhooks = PayPalWebhooks(
                client, self._settings.paypal_webhook_id, certificates=(*CERTIFICATES, own)
            )

    def _add(self, rail: Rail) -> None:
        limits = Limits(**self._settings.limits_of(rail.name))
        limited = LimitedRail(rail, self._spending, limits, off=self._settings.is_off(rail.name))
        self.rails[rail.name] = limited
        self.limited.append(limited)


def _debtor(settings: PayoutSettings) -> Debtor | None:
    if not settings.bank_debtor_name or not settings.bank_debtor_iban:
        return None
    return checked_debtor(Debtor(settings.bank_debtor_name, settings.bank_debtor_iban, settings.bank_debtor_bic))
