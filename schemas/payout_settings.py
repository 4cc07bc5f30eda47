"""What an operator may set by environment about payouts: keys of providers, switches, limits, keys of payout details.

Only `cli` reads it. A rail without its keys is not there; a rail that is switched off sends nothing, whatever else is
set.
"""

import base64
import binascii
import json
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr, StringConstraints, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from schemas.errors import RejectedError
from schemas.money import to_minor

SEALING_KEY_BYTES = 32
_KEY_ID_LENGTH_MAX = 16

Address = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#]+(/[^\s?#]*[^\s/?#])?$")]
Seconds = Annotated[float, Field(gt=0, le=120, allow_inf_nan=False)]


def _amounts(value: object) -> object:
    """Return minor units by currency of `{"EUR": "1000.00"}`."""
    told = json.loads(value) if isinstance(value, str) else value
    if not isinstance(told, dict):
        raise ValueError('must be amounts by currency: {"EUR": "1000.00"}')  # noqa: TRY004 - pydantic wants this one
    try:
        return {currency: to_minor(str(amount), currency, "$") for currency, amount in told.items()}
    except RejectedError as error:
        raise ValueError(error.message) from error


def _list(value: object) -> object:
    return value.split() if isinstance(value, str) else value


AmountsMinor = Annotated[dict[str, int], NoDecode, BeforeValidator(_amounts)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_list)]


class PayoutSettings(BaseSettings):
    """The environment of payouts, checked; each field is a variable of the same name in capitals.

    Empty counts as not set. Limits are JSON, decimal amounts by currency; a currency that is not named has no limit,
    and a limit of 0 lets nothing through. Secrets never show in a message or a log line.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True, case_sensitive=False
    )

    # Stops every rail at once, and each of them alone: what was sent is still followed.
    payouts_off: bool = False
    stripe_off: bool = False
    paypal_off: bool = False
    bank_off: bool = False

    stripe_api_key: SecretStr | None = None
    # Several, separated by spaces, while one is being replaced by another.
    stripe_webhook_secrets: Secrets = ()
    stripe_api_base: Address = "https://api.stripe.com"
    stripe_timeout_s: Seconds = 30.0

    paypal_client_id: str | None = None
    paypal_client_secret: SecretStr | None = None
    # The id that PayPal gave to our webhook: it is part of what is signed.
    paypal_webhook_id: str | None = None
    paypal_api_base: Address = "https://api-m.paypal.com"
    paypal_timeout_s: Seconds = 30.0

    # Whose account pays by bank transfer. Without all of them there is no bank rail.
    bank_debtor_name: str | None = None
    bank_debtor_iban: str | None = None
    bank_debtor_bic: str | None = None

    stripe_payout_max: AmountsMinor = {}
    stripe_partner_day_max: AmountsMinor = {}
    stripe_day_max: AmountsMinor = {}
    paypal_payout_max: AmountsMinor = {}
    paypal_partner_day_max: AmountsMinor = {}
    paypal_day_max: AmountsMinor = {}
    bank_payout_max: AmountsMinor = {}
    bank_partner_day_max: AmountsMinor = {}
    bank_day_max: AmountsMinor = {}

    # `id:key` with 32 bytes in base64, separated by spaces. The first one seals, the others still open what they
    # sealed.
    payout_details_keys: Secrets = ()
    # How long after a change of somebody's payout details nothing new is paid to them.
    payout_details_cool_down_hours: Annotated[float, Field(ge=0, le=24 * 90, allow_inf_nan=False)] = 72.0

    @field_validator("payout_details_keys")
    @classmethod
    def _check_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        ring = [key_of(each.get_secret_value()) for each in keys]
        if len({name for name, _ in ring}) != len(ring):
            raise ValueError("two keys have the same id")
        return keys

    def limits_of(self, rail: str) -> dict[str, dict[str, int]]:
        """Return the rail's limits in minor units by currency: `payout`, `partner_day`, `day`."""
        return {name: getattr(self, f"{rail}_{name}_max", {}) for name in ("payout", "partner_day", "day")}

    def is_off(self, rail: str) -> bool:
        """Return whether nothing may be sent on the rail."""
        return self.payouts_off or bool(getattr(self, f"{rail}_off", False))


def key_of(told: str) -> tuple[str, bytes]:
    """Return id and bytes of one key as it is written in the environment. Raises ValueError, without the key in it."""
    name, _, text = told.partition(":")
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not (name.isascii() and name.isalnum() and len(name) <= _KEY_ID_LENGTH_MAX) or len(key) != SEALING_KEY_BYTES:
        raise ValueError("a key is an id of letters and digits, a colon, and 32 bytes in base64")
    return name, key
