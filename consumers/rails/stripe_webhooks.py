"""Stripe's webhooks: whether a message is Stripe's own and recent, and what it is about."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import stripe

from consumers.rails.messages import Message, check_size, check_time, payout_id_of, read, refuse, text
from ledger.payout_store import Hint

_PAYMENTS = frozenset(["transfer.created", "transfer.updated", "transfer.reversed"])


class StripeWebhooks:
    """Reads messages. Several secrets are valid at once while one is being replaced by another."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = tuple(secrets)

    def read(self, body: bytes, signature: str | None, now: datetime) -> Message:
        """Return what the message is about; `signature` is its header `Stripe-Signature`.

        Raises RejectedError `too_large`, `bad_signature`, `not_now` (the SDK takes any time in the future),
        `unreadable` (also where it is not UTF-8).
        """
        check_size(body)
        self._check(body, signature)
        check_time(_signed_at(signature), now)
        return read(body, _message)

    def _check(self, body: bytes, signature: str | None) -> None:
        for secret in self._secrets:
            try:
                stripe.WebhookSignature.verify_header(body, signature, secret, tolerance=None)
            except UnicodeDecodeError:
                raise refuse("unreadable", "it is not UTF-8") from None
            except Exception:  # noqa: BLE001, S112 - a header can be malformed in more ways than the SDK has errors for
                continue
            return
        raise refuse("bad_signature", "the signature is not Stripe's")


def _signed_at(signature: str | None) -> datetime:
    stamps = [part[2:] for part in (signature or "").split(",") if part.startswith("t=")]
    try:
        return datetime.fromtimestamp(int(stamps[0]), UTC)
    except (ValueError, OverflowError, OSError, IndexError):
        raise refuse("bad_signature", "the signature has no time") from None


def _message(event: dict[str, Any]) -> Message:
    event_id, kind, told = text(event["id"]), text(event["type"]), event["data"]["object"]
    if kind in _PAYMENTS:
        payout_id = payout_id_of((told.get("metadata") or {}).get("payout_id"))
        return Message("stripe", event_id, kind, Hint("stripe", event_id, payout_id, text(told["id"])))
    if kind == "account.updated":
        return Message("stripe", event_id, kind, account_id=text(told["id"]))
    if kind == "capability.updated":
        return Message("stripe", event_id, kind, account_id=text(told["account"]))
    return Message("stripe", event_id, kind)
