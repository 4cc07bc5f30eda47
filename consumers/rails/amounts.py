"""What a rail can never send, whoever is paid: a currency that is not its own, a fraction or a sum that it refuses."""

from collections.abc import Callable, Mapping

from consumers.rails.bank_file import check_amount
from consumers.rails.paypal import to_paypal
from consumers.rails.stripe import to_stripe
from schemas.errors import RejectedError

_CHECKS: Mapping[str, Callable[[int, str], object]] = {
    "stripe": to_stripe,
    "paypal": to_paypal,
    "bank": check_amount,
}


def is_sent(rail: str, amount_minor: int, currency: str) -> bool:
    """Return whether the rail can send the amount; whatever is paid by hand can be. No I/O."""
    check = _CHECKS.get(rail)
    if check is None:
        return True
    try:
        check(amount_minor, currency)
    except RejectedError:
        return False
    return True
