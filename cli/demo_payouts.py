"""How the demo's partners are paid, so that there is somebody to pay and somebody who cannot be paid yet."""

from datetime import datetime, timedelta
from typing import NamedTuple

from cli.connection import Books
from cli.demo import CAUSE, MERCHANT_ID, PARTNERS, DemoPartner
from ledger.application import Ledger
from ledger.hashes import partner_id
from ledger.payout_details import PayoutDetails
from ledger.sealing import KeyRing
from schemas.payout_methods import PayoutMethod
from schemas.payout_settings import key_of

_LONG_AGO = timedelta(days=40)


class _Paid(NamedTuple):
    """How a partner is paid (words for whoever pays by hand), and how it was before, where that was changed now."""

    to: str
    before: str | None = None


# Kofi told nobody yet; Lea changed hers, which has to cool down.
_HOW = {
    "JANE10": _Paid("IBAN of Jane Doe, in the folder of contracts"),
    "OMAR15": _Paid("Omar Haddad, by wire, account 4711"),
    "LEA-5": _Paid("Lea Keller, her new account", "Lea Keller, her account of last year"),
}


def prepare_payouts(found: Books, now: datetime) -> None:
    """Say of the demo's partners how they are paid, where nobody ever did; nothing where no key seals it."""
    settings = found.payout_settings
    if not settings.payout_details_keys:
        return
    keys = KeyRing([key_of(each.get_secret_value()) for each in settings.payout_details_keys])
    with found.ledger() as ledger:
        details = PayoutDetails(ledger, keys, timedelta(hours=settings.payout_details_cool_down_hours))
        for partner in PARTNERS:
            _tell(ledger, details, partner, now)


def _tell(ledger: Ledger, details: PayoutDetails, partner: DemoPartner, now: datetime) -> None:
    told = _HOW.get(partner.code)
    id_ = partner_id(ledger.hash_key, MERCHANT_ID, partner.email)
    if told is None or details.history(MERCHANT_ID, id_):
        return  # from an earlier start, perhaps changed or removed since: it is the user's now
    if told.before is not None:
        before = PayoutMethod(method="manual", address=told.before, name=partner.name)
        details.change(MERCHANT_ID, id_, before, by=CAUSE, now=now - _LONG_AGO)
    current = PayoutMethod(method="manual", address=told.to, name=partner.name)
    details.change(MERCHANT_ID, id_, current, by=CAUSE, now=now)
