"""Bodies and answers about how partners are paid: payout details, Stripe's onboarding, the rails that there are."""

from datetime import datetime

from pydantic import Field

from schemas.api import Answer
from schemas.api_stories import ActedBy
from schemas.payout_methods import PayoutMethod

PayoutDetailsChange = PayoutMethod
"""How a partner is to be paid from now on: `method`, `address`, `name`, `routing`."""


class MaskedMethod(Answer):
    """How somebody is paid, as it is shown: enough to recognise, too little to use."""

    method: str = Field(examples=["bank"], description="`stripe`, `paypal`, `bank` or `manual`.")
    address: str = Field(examples=["DE89•••3000"])
    name: str = Field(examples=["J••• D•••"])
    routing: str = Field(description="The BIC of a bank, the kind of a PayPal address; else empty.")


class DetailsChange(Answer):
    """A change of somebody's payout details: who, when and to which method; never to what."""

    number: int = Field(description="Counts from 1.")
    method: str | None = Field(description="Null: removed, or replaced since.")
    changed_at: datetime
    changed_by: str = Field(description="The cause: by which request, and who made it.")
    by: ActedBy = Field(description="Who changed it: `changed_by`, looked up.")


class PayoutDetails(Answer):
    """How a partner is paid, masked. What was requested before a change goes where it was requested to go."""

    partner_id: str
    method: MaskedMethod | None = Field(description="Null: nobody knows how to pay the partner.")
    changed_at: datetime | None
    changed_by: str | None
    usable_at: datetime | None = Field(
        description="From when new payouts go there: a change has to cool down, the very first details need not."
    )
    is_cooling: bool = Field(description="Whether that is still to come, so that nothing new is paid to the partner.")
    history: list[DetailsChange] = Field(description="Every change, the oldest first.")


class StripeLink(Answer):
    """Where the partner enters its details at Stripe."""

    url: str | None = Field(
        description="Works once and for a few minutes: whoever is late asks for another one. Null in the answer to a"
        " repeated Idempotency-Key."
    )


class StripeStanding(Answer):
    """What Stripe says of the partner's account now; only `payable` makes it the way the partner is paid."""

    account: str | None = Field(description="Masked; null: none was opened.", examples=["acct_•••8XyZ"])
    payable: bool
    transfers: str | None = Field(description="Stripe's own word for whether transfers can be made to it.")
    blocked_by: str | None = Field(description="What Stripe waits for.")
    details: PayoutDetails


class RailLimits(Answer):
    """How much may go out, by currency; a currency that is not named has no limit."""

    payout: dict[str, str] = Field(description="In one payout.", examples=[{"EUR": "1000.00"}])
    partner_day: dict[str, str] = Field(description="To one partner in a day (UTC).")
    day: dict[str, str] = Field(description="In a day (UTC), of all partners together.")


class PayoutRail(Answer):
    """One way for money to leave. Keys, switches and limits are the operator's; here they are told."""

    name: str
    usable: bool = Field(description="Whether new payouts may go out on it now.")
    missing: list[str] = Field(description="The variables of the environment that it lacks.")
    off: bool = Field(description="Whether it is switched off. What was sent before is still followed.")
    reason: str | None = Field(description="Why it is switched off, where somebody said so.")
    webhooks: bool = Field(description="Whether messages of the provider are taken; without them, it is asked.")
    limits: RailLimits


class PayoutRails(Answer):
    """Every rail. Without a key that seals payout details none is usable."""

    data: list[PayoutRail]
