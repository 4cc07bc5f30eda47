"""PayPal's webhooks. The signature covers no more than a CRC-32 of the body, for which another body is found at once.

So it only keeps strangers out: of the body nothing is believed but the id of an item, which PayPal is then asked for.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from consumers.rails.messages import Message, check_size, check_time, payout_id_of, read, refuse, text
from consumers.rails.paypal import PayPalClient, PayPalRail
from ledger.payout_store import Hint
from schemas.errors import RetryableError

# Where PayPal keeps its certificates, whichever of its addresses our calls go to.
CERTIFICATES = (
    "https://api.paypal.com/v1/notifications/certs/",
    "https://api.sandbox.paypal.com/v1/notifications/certs/",
)
_CERTIFICATES_KEPT = 16
# PayPal repeats a message for three days, under its first time; the inbox knows the ones that it had.
_REPEATED_FOR = timedelta(days=3)
_ITEMS = "PAYMENT.PAYOUTS-ITEM."
_HEADERS = ("transmission-id", "transmission-time", "transmission-sig", "cert-url", "auth-algo")


class PayPalWebhooks:
    """Reads messages. `certificates` are the addresses below which a certificate may be."""

    def __init__(self, client: PayPalClient, webhook_id: str, *, certificates: Sequence[str] = CERTIFICATES) -> None:
        self._client, self._rail = client, PayPalRail(client)
        self._webhook_id, self._places = webhook_id, tuple(certificates)
        self._keys: dict[str, tuple[RSAPublicKey, datetime, datetime]] = {}

    async def read(self, body: bytes, headers: Mapping[str, str], now: datetime) -> Message:
        """Return what the message is about; what it says of an item is what PayPal says when it is asked.

        `headers` are those of the request, by their names in lower case. Raises RejectedError `too_large`,
        `bad_signature`, `not_now`, `unreadable`, `no_such_item`, and RetryableError where PayPal does not answer.
        """
        check_size(body)
        await self._check(body, {name: headers.get(f"paypal-{name}", "") for name in _HEADERS}, now)
        event_id, kind, item_id = read(body, _told)
        if item_id is None:
            return Message("paypal", event_id, kind)
        item = await self._rail.item(item_id)
        if item is None:
            raise refuse("no_such_item", "PayPal knows no such item")
        return Message("paypal", event_id, kind, _hint(event_id, item))

    async def _check(self, body: bytes, told: Mapping[str, str], now: datetime) -> None:
        if told["auth-algo"] != "SHA256withRSA":
            raise refuse("bad_signature", "it is not signed with SHA256withRSA")
        # The time is signed too: checked first, so that old messages do not make us fetch anything.
        check_time(_instant(told["transmission-time"]), now, _REPEATED_FOR)
        key = await self._key(told["cert-url"], now)
        signed = f"{told['transmission-id']}|{told['transmission-time']}|{self._webhook_id}|{crc32(body)}"
        try:
            key.verify(base64.b64decode(told["transmission-sig"], validate=True), signed.encode(), PKCS1v15(), SHA256())
        except (InvalidSignature, binascii.Error, ValueError):
            raise refuse("bad_signature", "the signature is not PayPal's") from None

    async def _key(self, url: str, now: datetime) -> RSAPublicKey:
        """Return the key at the address: that it is at PayPal's, fetched by TLS, is what makes it PayPal's."""
        place = next((place for place in self._places if url.startswith(place)), None)
        if place is None or not url.isascii() or not url[len(place) :].replace("-", "").isalnum():
            raise refuse("bad_signature", "the certificate is not at PayPal's")
        if url not in self._keys:
            key = await self._fetched(url)
            if len(self._keys) >= _CERTIFICATES_KEPT:
                self._keys.clear()
            self._keys[url] = key
        found, begins, ends = self._keys[url]
        if not begins <= now <= ends:
            raise refuse("bad_signature", "the certificate is not valid now")
        return found

    async def _fetched(self, url: str) -> tuple[RSAPublicKey, datetime, datetime]:
        try:
            certificate = x509.load_pem_x509_certificate(await self._client.fetch(url))
        except ValueError:
            raise refuse("bad_signature", "there is no certificate") from None
        except Exception as error:
            raise RetryableError(f"PayPal's certificate cannot be fetched: {type(error).__name__}") from error
        key = certificate.public_key()
        if not isinstance(key, RSAPublicKey):
            raise refuse("bad_signature", "the certificate has no RSA key")
        return key, certificate.not_valid_before_utc, certificate.not_valid_after_utc


def _told(event: dict[str, Any]) -> tuple[str, str, str | None]:
    """Return the event's id and kind, and the item that it names: all that is taken from the body."""
    event_id, kind = text(event["id"]), text(event["event_type"])
    return event_id, kind, text(event["resource"]["payout_item_id"]) if kind.startswith(_ITEMS) else None


def _hint(event_id: str, item: dict[str, Any]) -> Hint:
    told = item.get("payout_item")
    payout_id = payout_id_of(told.get("sender_item_id")) if isinstance(told, dict) else None
    batch_id = item.get("payout_batch_id")
    return Hint("paypal", event_id, payout_id, batch_id if isinstance(batch_id, str) else None)


def _instant(told: str) -> datetime:
    try:
        found = datetime.fromisoformat(told)
    except ValueError:
        raise refuse("bad_signature", "the signature has no time") from None
    if found.tzinfo is None:
        raise refuse("bad_signature", "the signature's time has no offset")
    return found.astimezone(UTC)
