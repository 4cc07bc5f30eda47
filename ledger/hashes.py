"""Keyed hashes and ids: deterministic, and no way back to a person without the key."""

import base64
from hashlib import blake2b


def email_hash(hash_key: bytes, email: str) -> str:
    """Return the keyed hash by which the same e-mail address is recognised, whatever its case: 32 hex digits.

    BLAKE2's own keyed mode (RFC 7693) takes keys of up to 64 bytes, and half the time of HMAC.
    """
    return blake2b(email.strip().casefold().encode(), key=hash_key, digest_size=16).hexdigest()


def partner_id(hash_key: bytes, merchant_id: str, email: str) -> str:
    """Return the id of the partner with this e-mail in this program; the same person again is the same id."""
    told = f"{merchant_id}\n{email.strip().casefold()}".encode()
    digest = blake2b(told, key=hash_key, digest_size=10).digest()
    return f"p_{base64.b32encode(digest).decode().lower()}"


def dead_letter_id(source: str, topic: str, partition: int, position: int) -> str:
    """Return the id of the dead letter of one message: that of its position."""
    place = f"{source}/{topic}/{partition}@{position}".encode()
    return f"dl_{blake2b(place, digest_size=10).hexdigest()}"


def entry_id(hash_key: bytes, merchant_id: str, *told: str) -> str:
    """Return the id of a commission that is entered by hand: the same request (or row of a file) is the same entry.

    Keyed, so that no storefront can guess an id and publish an order under it first.
    """
    digest = blake2b("\n".join((merchant_id, *told)).encode(), key=hash_key, digest_size=8)
    return f"manual-{digest.hexdigest()}"


def run_id(merchant_id: str, *told: str) -> str:
    """Return the id of the payout run that this asks for (a key, a day of the schedule): `pr_` + 16 hex."""
    digest = blake2b("\n".join((merchant_id, *told)).encode(), digest_size=8)
    return f"pr_{digest.hexdigest()}"
