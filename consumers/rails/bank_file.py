"""The files that a bank is given: pain.001.001.09 and CSV. The same payments at the same time are the same bytes."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, fromstring, tostring

from sepaxml import SepaTransfer
from sepaxml.validation import ValidationError, try_valid_xml

from schemas.bank_accounts import checked_bic, checked_iban, checked_name
from schemas.errors import CorruptionError, RejectedError
from schemas.money import to_decimal_string

SCHEMA = "pain.001.001.09"
CURRENCY = "EUR"
# What the scheme lets a single credit transfer be.
AMOUNT_MINOR_MAX = 99_999_999_999
ID_LENGTH_MAX = 35
AHEAD_MAX = timedelta(days=90)
_NAMESPACE = f"{{urn:iso:std:iso:20022:tech:xsd:{SCHEMA}}}"


class Debtor(NamedTuple):
    """Whose account pays."""

    name: str
    iban: str
    bic: str | None = None


class Payment(NamedTuple):
    """One credit transfer. Personal data."""

    end_to_end_id: str
    amount_minor: int
    currency: str
    iban: str
    name: str
    bic: str | None = None


class Files(NamedTuple):
    """What is handed out for a batch: the bytes, for ever."""

    xml: bytes
    csv: bytes


def checked_debtor(debtor: Debtor) -> Debtor:
    """Return the debtor as it is written into files. Raises RejectedError as `schemas.bank_accounts` does."""
    iban = checked_iban(debtor.iban)
    return Debtor(checked_name(debtor.name), iban, checked_bic(debtor.bic, iban) if debtor.bic else None)


def check_amount(amount_minor: int, currency: str) -> None:
    """Refuse what SEPA does not pay: RejectedError `bad_amount`, `amount_too_large`, `unsupported_currency`."""
    if currency != CURRENCY:
        raise RejectedError.at("$.currency", "unsupported_currency", "SEPA pays euros and nothing else")
    if amount_minor <= 0:
        raise RejectedError.at("$.amount", "bad_amount", "must be more than 0")
    if amount_minor > AMOUNT_MINOR_MAX:
        raise RejectedError.at("$.amount", "amount_too_large", "is more than a SEPA payment can be")


def checked_payment(payment: Payment) -> Payment:
    """Return the payment as it is written into files.

    Raises RejectedError `bad_amount`, `amount_too_large`, `unsupported_currency`, `bad_end_to_end_id`, and as
    `schemas.bank_accounts` does.
    """
    check_amount(payment.amount_minor, payment.currency)
    own = payment.end_to_end_id
    if not (own.isascii() and own.isalnum() and len(own) <= ID_LENGTH_MAX):
        raise RejectedError.at("$.end_to_end_id", "bad_end_to_end_id", "must be at most 35 letters and digits")
    iban = checked_iban(payment.iban)
    bic = checked_bic(payment.bic, iban) if payment.bic else None
    return payment._replace(iban=iban, bic=bic, name=checked_name(payment.name))


def build(
    payments: Sequence[Payment], debtor: Debtor, *, message_id: str, sealed_at: datetime, execution_on: date
) -> Files:
    """Return the files of a batch: a function of what is told and of nothing else.

    Raises RejectedError `no_payments`, `duplicate_end_to_end_id`, `past_date`, `far_date`, and as `checked_payment` and
    `checked_debtor` do; CorruptionError where what was written is not valid by the XSD.
    """
    if not payments:
        raise RejectedError("no_payments", "there is nothing to pay")
    if len({payment.end_to_end_id for payment in payments}) < len(payments):
        raise RejectedError("duplicate_end_to_end_id", "two payments have the same end-to-end id")
    if execution_on < sealed_at.astimezone(UTC).date():
        raise RejectedError.at("$.execution_on", "past_date", "the day of execution is over")
    if execution_on > sealed_at.astimezone(UTC).date() + AHEAD_MAX:
        raise RejectedError.at("$.execution_on", "far_date", f"is more than {AHEAD_MAX.days} days ahead")
    checked = sorted(checked_payment(payment) for payment in payments)
    debtor = checked_debtor(debtor)
    xml = _xml(checked, debtor, message_id, sealed_at, execution_on)
    return Files(xml, _csv(checked, execution_on))


def _xml(
    payments: Sequence[Payment], debtor: Debtor, message_id: str, sealed_at: datetime, execution_on: date
) -> bytes:
    # `batch` puts all of a day into one block; the words that the library draws by lot are replaced below.
    config: dict[str, Any] = {"name": debtor.name, "IBAN": debtor.iban, "currency": CURRENCY, "batch": True}
    config |= {"BIC": debtor.bic} if debtor.bic else {}
    transfer = SepaTransfer(config, schema=SCHEMA, clean=False)
    for payment in payments:
        told: dict[str, Any] = {
            "name": payment.name, "IBAN": payment.iban, "amount": payment.amount_minor, "execution_date": execution_on,
            "description": payment.end_to_end_id, "endtoend_id": payment.end_to_end_id,
        }  # fmt: skip
        transfer.add_payment(told | ({"BIC": payment.bic} if payment.bic else {}))
    root = fromstring(transfer.export(validate=False))  # noqa: S314 - of what we wrote ourselves
    _set(root, "MsgId", message_id)
    _set(root, "PmtInfId", f"{message_id}1")
    _set(root, "CreDtTm", f"{sealed_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
    # Each payment is booked by itself: only then does the bank's statement name it.
    _set(root, "BtchBookg", "false")
    xml: bytes = b'<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, "utf-8") + b"\n"
    try:
        try_valid_xml(xml, SCHEMA)
    except ValidationError as error:
        raise CorruptionError("the bank file is not valid by its XSD") from error
    return xml


def _set(root: Element, name: str, text: str) -> None:
    (found,) = root.iter(_NAMESPACE + name)
    found.text = text


def _csv(payments: Sequence[Payment], execution_on: date) -> bytes:
    written = io.StringIO(newline="")
    writer = csv.writer(written)
    writer.writerow(["end_to_end_id", "execution_on", "name", "iban", "bic", "amount", "currency"])
    for payment in payments:
        amount = to_decimal_string(payment.amount_minor, payment.currency)
        row = (payment.end_to_end_id, execution_on, payment.name, payment.iban, payment.bic or "", amount)
        writer.writerow([*row, payment.currency])
    return written.getvalue().encode()
