"""Addresses of partner dashboards: unguessable, stable, and kept nowhere."""

import hmac
from base64 import urlsafe_b64encode

from web.services import WebOptions

_MAC_BYTES = 18


def dashboard_url(options: WebOptions, merchant_id: str, partner_id: str) -> str:
    """Return the address of the partner's dashboard: the partner's id and a keyed hash that only we can make."""
    said = f"partner-dashboard\n{merchant_id}\n{partner_id}".encode()
    mac = hmac.digest(options.secret, said, "sha256")[:_MAC_BYTES]
    return f"{options.public_url.rstrip('/')}/partners/{partner_id}.{urlsafe_b64encode(mac).decode()}"
