"""Keyed hashes and ids: deterministic, and no way back to a person without the key."""

import base64
import hashlib
import hmac


def email_hash(hash_key: bytes, email: str) -> str:
    """Return the keyed hash by which the same e-mail address is recognised, whatever its case: 32 hex digits."""
    return hmac.digest(hash_key, email.strip().casefold().encode(), "sha256").hex()[:32]


def partner_id(hash_key: bytes, merchant_id: str, email: str) -> str:
    """Return the id of the partner with this e-mail in this program; the same person again is the same id."""
    told = f"{merchant_id}\n{email.strip().casefold()}".encode()
    digest = hmac.digest(hash_key, told, "sha256")[:10]
    return f"p_{base64.b32encode(digest).decode().lower()}"


def dead_letter_id(source: str, topic: str, partition: int, position: int) -> str:
    """Return the id of the dead letter of one message: that of its position."""
    place = f"{source}/{topic}/{partition}@{position}".encode()
    return f"dl_{hashlib.blake2b(place, digest_size=10).hexdigest()}"
