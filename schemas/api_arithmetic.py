"""How a commission was computed, step by step, so that nobody has to believe it."""

from pydantic import Field

from schemas.api import Answer, Base, FixedOnPartialRefund, Rate
from schemas.money import Money


class Arithmetic(Answer):
    """What an order earned, from its total to the rounded commission, by the terms that it was decided under."""

    total: Money = Field(description="What the customer paid.")
    tax: Money
    shipping: Money
    discount: Money = Field(description="Is off the total already; told for completeness.")
    base: Base = Field(description="What of the total counts.")
    base_amount: Money = Field(description="The total, less what does not count; never below zero.")
    rate: Rate
    exact: str = Field(description="The rate's part of the base before it was rounded.", examples=["12.34567"])
    earned: Money = Field(description="`exact`, rounded once, half up, to the currency's decimals.")
    fixed_on_partial_refund: FixedOnPartialRefund = Field(
        description="`keep`: a fixed commission stays as long as anything of the order remains; `pro_rata`: it shrinks"
        " with the order, as percentages always do."
    )
    terms_version: int
