"""Standard Webhooks: the ids, secrets and signatures of what is sent (https://www.standardwebhooks.com).

A webhook's secrets are derived from the hash key of the books (HKDF, RFC 5869), the webhook's id and a number that
grows with each rotation. So the database holds none, and neither does a copy of it.
"""

import base64
import hmac
from hashlib import blake2b

_SALT = b"commission-ledger webhook secrets"
_PREFIX = "whsec_"


def secret_of(hash_key: bytes, webhook_id: str, number: int) -> str:
    """Return the webhook's secret of this number: `whsec_` and 32 bytes in base64."""
    pseudorandom = hmac.digest(_SALT, hash_key, "sha256")
    # HKDF-Expand for one block: 32 bytes are all that is wanted.
    derived = hmac.digest(pseudorandom, f"{webhook_id}/{number}".encode() + b"\x01", "sha256")
    return _PREFIX + base64.b64encode(derived).decode()


def signature(secret: str, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return `v1,` and the HMAC-SHA256 of id, time stamp and body in base64."""
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def message_id(webhook_id: str, position: int) -> str:
    """Return the id of what a webhook is told of one event: the same however often it is sent."""
    return f"msg_{blake2b(f'{webhook_id}:{position}'.encode(), digest_size=16).hexdigest()}"


def webhook_id(hash_key: bytes, merchant_id: str, idempotency_key: str) -> str:
    """Return the id of the webhook that a request creates: the same request again is the same webhook."""
    digest = blake2b(f"{merchant_id}\n{idempotency_key}".encode(), key=hash_key, digest_size=10)
    return f"wh_{digest.hexdigest()}"
