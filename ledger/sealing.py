"""Personal data of payouts at rest: AES-256-GCM, under a key from the environment that is not in the database.

What is sealed says which key sealed it, so that keys can be replaced: the first one seals, the others still open, until
`ledger.payout_details.rotate` has sealed everything anew.
"""

import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.errors import CorruptionError

_FORMAT = b"\x01"
_NONCE_BYTES = 12
_ID_AT = len(_FORMAT) + 1


class KeyRing:
    """Seals with the first key, opens with any. `keys` are ids (ASCII) and 32 bytes each, at least one."""

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        if not keys:
            raise ValueError("there is no key to seal with")
        self._ciphers = {name: AESGCM(key) for name, key in keys}
        self.current = keys[0][0]
        self.ids = frozenset(self._ciphers)

    def seal(self, clear: bytes) -> bytes:
        """Return it as it may be stored: never twice the same."""
        name = self.current.encode()
        head = _FORMAT + bytes([len(name)]) + name
        nonce = os.urandom(_NONCE_BYTES)
        return head + nonce + self._ciphers[self.current].encrypt(nonce, clear, head)

    def unseal(self, sealed: bytes) -> bytes:
        """Return it as it was.

        Raises CorruptionError where a single bit of it is another, or where its key is not among ours.
        """
        name = key_id(sealed)
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise CorruptionError(f"the key {name!r} that sealed payout details is not among PAYOUT_DETAILS_KEYS")
        at = _ID_AT + len(name)
        try:
            return cipher.decrypt(sealed[at : at + _NONCE_BYTES], sealed[at + _NONCE_BYTES :], sealed[:at])
        except (InvalidTag, ValueError):
            raise CorruptionError("sealed payout details are not what was sealed") from None


def key_id(sealed: bytes) -> str:
    """Return the id of the key that sealed it. Raises CorruptionError where nothing was sealed like this."""
    name = sealed[_ID_AT : _ID_AT + sealed[1]] if len(sealed) > _ID_AT else b""
    if sealed[:1] != _FORMAT or not name.isalnum():
        raise CorruptionError("stored payout details were not sealed by us")
    return name.decode("ascii", "replace")
