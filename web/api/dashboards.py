"""Addresses of partner dashboards: unguessable, stable until they are renewed, and kept nowhere."""

import hmac
from base64 import urlsafe_b64encode

from web.services import WebOptions

_MAC_BYTES = 18


def dashboard_url(options: WebOptions, merchant_id: str, partner_id: str, generation: int) -> str:
    """Return the address of the partner's dashboard, as it is in this generation."""
    return options.public_url.rstrip("/") + dashboard_path(options, merchant_id, partner_id, generation)


def dashboard_path(options: WebOptions, merchant_id: str, partner_id: str, generation: int) -> str:
    """Return the same as seen from here: the partner's id, and a keyed hash that only we can make."""
    said = f"partner-dashboard\n{merchant_id}\n{partner_id}\n{generation}".encode()
    mac = hmac.digest(options.secret, said, "sha256")[:_MAC_BYTES]
    return f"/dashboard/{partner_id}.{urlsafe_b64encode(mac).decode()}"
