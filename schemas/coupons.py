"""Coupon codes: one way to write each, so that a code typed by a person finds its partner."""

import unicodedata


def canonical_coupon(code: str) -> str:
    """Return the code as it is compared: without surrounding white space, upper case, Unicode NFC; empty if blank.

    Upper case by Unicode's full mapping, so `straße` and `STRASSE` are one code; NFC, so a composed and a decomposed
    `É` are one code too. Other look-alikes (full-width or Cyrillic letters) stay different codes.
    """
    stripped = code.strip()
    if stripped.isascii():
        return stripped.upper()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", stripped).upper())
