"""What the story of a commission tells beside its events: who acted, and the arithmetic step by step."""

from typing import Literal

from pydantic import Field

from schemas.api import Answer
from schemas.money import Money

ActorKind = Literal["user", "key", "message", "import", "timer", "operator", "partner", "provider"]


class ActedBy(Answer):
    """Who or what made something happen: the `cause`, looked up."""

    kind: ActorKind = Field(
        description="`user`: somebody on a page; `key`: a call with an API key; `message`: an order event of the"
        " storefront; `import`: a file of order events; `timer`: a date was reached, or a worker did it;"
        " `operator`: the command line; `partner`: the partner, on the own dashboard; `provider`: a message of Stripe."
    )
    user_id: str | None = Field(default=None, description="Also where the key is a user's.")
    user: str | None = Field(default=None, description="The user's name; null once the person was erased.")
    key_id: str | None = None
    key: str | None = Field(default=None, description="The key's name.")


class CommissionStep(Answer):
    """What is owed by the order's rule once an event of it has happened."""

    version: int = Field(description="That of the event in `history`.")
    kind: Literal["order", "refund", "cancellation", "dispute", "dispute_won"]
    remaining: Money = Field(description="What is left of the order's total.")
    unrounded: str = Field(
        examples=["10.4975"],
        description="What the rule gives before it is rounded, cut off after four more decimals than the currency has.",
    )
    owed: Money = Field(description="Rounded once, half up. In the last step: the commission with its clawbacks.")
    change: Money = Field(description="What the event changed.")
