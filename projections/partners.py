"""Partners, their rates and codes, told once more in Python, for `verify`."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ledger.events import (
    CouponAssigned,
    CouponRateChanged,
    CouponRevoked,
    Event,
    PartnerApproved,
    PartnerBanned,
    PartnerEvent,
    PartnerPaused,
    PartnerRegistered,
    PartnerReinstated,
    PartnerRejected,
    RateChanged,
)

COLUMNS = ("first_position", "registered_at", "changed_at", "standing_at", "standing")
KEY = ("merchant_id", "partner_id")
RATE_COLUMNS = ("bps", "amount_minor", "type")
RATE_KEY = ("merchant_id", "partner_id", "effective_at", "position")
COUPON_COLUMNS = ("assigned_at", "revoked_at", "partner_id")
COUPON_KEY = ("merchant_id", "code", "position")
COUPON_RATE_COLUMNS = ("effective_at", "bps", "amount_minor", "type")
COUPON_RATE_KEY = COUPON_KEY

_STANDING_AFTER: dict[type[Event], str] = {
    PartnerApproved: "approved",
    PartnerRejected: "rejected",
    PartnerPaused: "paused",
    PartnerReinstated: "approved",
    PartnerBanned: "banned",
}


@dataclass
class Partners:
    """The partners that the events taken so far make: the rows of four tables. Events come stream by stream."""

    partners: dict[tuple[Any, ...], list[Any]] = field(default_factory=dict)
    rates: dict[tuple[Any, ...], list[Any]] = field(default_factory=dict)
    coupons: dict[tuple[Any, ...], list[Any]] = field(default_factory=dict)
    coupon_rates: dict[tuple[Any, ...], list[Any]] = field(default_factory=dict)
    _changed: dict[tuple[str, str], datetime] = field(default_factory=dict)

    def take(self, event: Event, position: int) -> None:
        """Take one event of a partner's or a coupon code's stream; others are none of this."""
        if not isinstance(event, PartnerEvent):
            return
        key = (event.merchant_id, event.partner_id)
        self._changed[key] = max(self._changed.get(key, event.recorded_at), event.recorded_at)
        if isinstance(event, PartnerRegistered):
            self.partners[key] = [position, event.occurred_at, None, event.occurred_at, event.standing]
        if isinstance(event, (PartnerRegistered, RateChanged)):
            rate = event.rate
            self.rates[*key, event.occurred_at, position] = [rate.bps, rate.amount_minor, rate.type]
        elif isinstance(event, CouponAssigned):
            self.coupons[event.merchant_id, event.code, position] = [event.occurred_at, None, event.partner_id]
            self._rate_code(event, position)
        elif isinstance(event, CouponRateChanged):
            self._rate_code(event, position)
        elif isinstance(event, CouponRevoked):
            self._revoke(event)
        elif type(event) in _STANDING_AFTER and self.partners[key][3] <= event.occurred_at:
            self.partners[key][3:] = [event.occurred_at, _STANDING_AFTER[type(event)]]

    def _rate_code(self, event: CouponAssigned | CouponRateChanged, position: int) -> None:
        rate = event.rate
        row = [event.occurred_at, rate.bps, rate.amount_minor, rate.type] if rate else [event.occurred_at, 0, 0, None]
        self.coupon_rates[event.merchant_id, event.code, position] = row

    def _revoke(self, event: CouponRevoked) -> None:
        # A code's own stream is in order: the assignment that was taken last is the one that ends.
        last = max(
            position
            for merchant_id, code, position in self.coupons
            if (merchant_id, code) == (event.merchant_id, event.code)
        )
        self.coupons[event.merchant_id, event.code, last][1] = event.occurred_at

    def rows(self) -> dict[tuple[Any, ...], list[Any]]:
        """Return the rows of the table of partners."""
        return {key: [row[0], row[1], self._changed[key], *row[3:]] for key, row in self.partners.items()}
