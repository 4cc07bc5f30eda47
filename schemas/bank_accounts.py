"""Accounts and names as banks take them: IBAN and BIC that are right, names in the characters of SEPA."""

import re
import unicodedata

from schwifty import BIC, IBAN
from schwifty.exceptions import SchwiftyException
from text_unidecode import unidecode

from schemas.errors import RejectedError

NAME_LENGTH_MAX = 70
_BETWEEN_WORDS = re.compile(r"[^A-Za-z0-9/\-?:().,'+]+")
_AROUND = " /-?:.,'+"


_WHY = {
    "InvalidChecksumDigits": "its check digits do not fit, so something is mistyped",
    "InvalidBBANChecksum": "its check digits do not fit, so something is mistyped",
    "InvalidLength": "it is too long or too short",
    "InvalidCountryCode": "it does not name a country",
}


def _why(error: SchwiftyException) -> str:
    return _WHY.get(type(error).__name__, "it has letters or digits where none belong")


def checked_iban(text: str, path: str = "$.iban") -> str:
    """Return the IBAN without spaces, in capitals.

    Raises RejectedError `bad_iban` (length, country, check digits), `not_sepa` (an account outside of SEPA).
    """
    if not text.isascii() or _has_control(text):
        raise RejectedError.at(path, "bad_iban", "has characters that no IBAN has")
    try:
        iban = IBAN(text)
    except SchwiftyException as error:
        raise RejectedError.at(path, "bad_iban", f"is not an IBAN: {_why(error)}") from None
    if not iban.in_sepa_zone:
        raise RejectedError.at(path, "not_sepa", "is the IBAN of an account outside of SEPA")
    return str(iban.compact)


def checked_bic(text: str, iban: str, path: str = "$.bic") -> str:
    """Return the BIC in capitals. Whether a bank has it is not asked: registers are never complete.

    Raises RejectedError `bad_bic` also where it is of another country than the IBAN.
    """
    if not text.isascii() or _has_control(text):
        raise RejectedError.at(path, "bad_bic", "has characters that no BIC has")
    try:
        bic = BIC(text)
    except SchwiftyException as error:
        raise RejectedError.at(path, "bad_bic", f"is not a BIC: {_why(error)}") from None
    if bic.country_code != iban[:2] and (iban[:2], bic.country_code) not in _SHARED:
        raise RejectedError.at(path, "bad_bic", "is of another country than the IBAN")
    return str(bic.compact)


# Territories whose banks have the BIC of one country and the IBAN of another.
_SHARED = frozenset(
    (iban, bic)
    for iban, bics in {
        "FR": ("GF", "GP", "MQ", "RE", "PF", "TF", "YT", "NC", "BL", "MF", "PM", "WF", "MC"),
        "GB": ("IM", "JE", "GG"),
    }.items()
    for bic in bics
)


def checked_name(text: str, path: str = "$.name") -> str:
    """Return the name in the characters of SEPA (Söhne: Sohne), never cut.

    Raises RejectedError `control_characters`, `no_name`, `name_too_long` (more than 70 characters).
    """
    if _has_control(text):
        raise RejectedError.at(path, "control_characters", "has control characters")
    name = _BETWEEN_WORDS.sub(" ", unidecode(unicodedata.normalize("NFC", text))).strip(_AROUND)
    if not name:
        raise RejectedError.at(path, "no_name", "has no letter that a bank could print")
    if max(len(text), len(name)) > NAME_LENGTH_MAX:
        raise RejectedError.at(path, "name_too_long", f"is longer than {NAME_LENGTH_MAX} characters")
    return name


def _has_control(text: str) -> bool:
    return any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in text)
