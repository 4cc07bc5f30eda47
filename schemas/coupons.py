"""Coupon codes: one way to write each, so that a code typed by a person finds its partner."""

import unicodedata


def canonical_coupon(code: str) -> str:
    """Return the code as it is compared: without surrounding white space, upper case, Unicode NFC; empty if blank.

    Case by Unicode's full folding, then capitals: `straße`, `STRASSE` and `STRAẞE` are one code. NFC: a composed and a
    decomposed `É` are one code too. Other look-alikes (full-width or Cyrillic letters) stay different codes. The
    canonical form of a canonical form is itself; it may be longer than the code (`ß` becomes `SS`).
    """
    stripped = code.strip()
    if stripped.isascii():
        return stripped.upper()
    return _nfc(_nfc(stripped).casefold().upper())


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
