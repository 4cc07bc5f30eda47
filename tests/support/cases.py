"""The worked examples of `golden/commission_cases.json`, expanded so that the oracle and the real service can run them.

A case says only what matters to it; here it gets ids, a currency, instants, a merchant, a partner and a coupon code.
Each case is a program of its own (one merchant), so that all of them can be run into one database.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.oracle_program import BEGINNING, Merchant, Partner, Rate, held_by

CASES_FILE = Path(__file__).parent.parent / "golden" / "commission_cases.json"
PLACED_AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
PARTNER_ID = "jane"
CODE = "JANE10"
ORDER_ID = "1001"
MOVES = frozenset({"approve", "pay"})
EXPECTATIONS = frozenset(
    {"commission_minor", "steps_minor", "state", "clawback_minor", "payable_minor", "duplicates", "dead_letter"}
)


class Step(NamedTuple):
    """One thing that happens at `now`: an order event (`event`, its fields; `raw`, its bytes) or a `move`."""

    now: datetime
    event: dict[str, Any] | None
    move: str | None

    @property
    def raw(self) -> bytes:
        """Return the event as the bytes of a message."""
        return json.dumps(self.event).encode()


@dataclass(frozen=True)
class Case:
    """A worked example: the program, what happens, and what must come out."""

    name: str
    merchant: Merchant
    steps: tuple[Step, ...]
    expect: dict[str, Any]

    def differences(self, found: dict[str, Any]) -> list[str]:
        """Return a sentence for each expectation that `found` (the same names) does not meet."""
        return [
            f"{self.name}: {name} is {found.get(name)!r}, should be {value!r}"
            for name, value in self.expect.items()
            if found.get(name) != value
        ]


def cases() -> list[Case]:
    """Return every worked example. Raises ValueError for a case that says something unheard of."""
    return [_case(number, told) for number, told in enumerate(json.loads(CASES_FILE.read_bytes()), start=1)]


def _case(number: int, told: dict[str, Any]) -> Case:
    strange = set(told) - {"name", "rate", "rate_history", "currency", "events", "expect"}
    strange |= set(told["expect"]) - EXPECTATIONS
    if strange:
        raise ValueError(f"the case {told['name']!r} says {sorted(strange)}, which is unheard of")
    partner = Partner(PARTNER_ID, _rates(told))
    merchant = Merchant(f"case-{number}", told["currency"], (partner,), {CODE: held_by(PARTNER_ID)})
    steps = tuple(_step(merchant, place, event) for place, event in enumerate(told["events"]))
    return Case(told["name"], merchant, steps, told["expect"])


def _rates(told: dict[str, Any]) -> tuple[Rate, ...]:
    if "rate" in told:
        return (Rate(BEGINNING, told["rate"]["type"], told["rate"]["value"]),)
    return tuple(Rate(_instant(rate["effective_at"]), rate["type"], rate["value"]) for rate in told["rate_history"])


def _step(merchant: Merchant, place: int, told: dict[str, Any] | str) -> Step:
    later = PLACED_AT + timedelta(hours=place)
    if isinstance(told, str):
        if told not in MOVES:
            raise ValueError(f"the move {told!r} is unheard of")
        return Step(later, None, told)
    event = {key: value for key, value in told.items() if key != "arrives"}
    # Every telling of the order has one instant: cases that tell it twice differ in nothing but what they say.
    at = PLACED_AT if told["type"] == "order.placed" else later
    filled = {
        "event_id": f"e-{place}",
        "merchant_id": merchant.merchant_id,
        "order_id": ORDER_ID,
        "occurred_at": at.isoformat(),
    }
    if told["type"] in {"order.placed", "order.refunded"}:
        filled["currency"] = merchant.currency
    if told["type"] == "order.placed":
        filled |= {"coupon_code": CODE, "customer": {"id": "c-7", "email": "kim@example.com"}}
    arrives = _instant(told["arrives"]) if "arrives" in told else later
    return Step(arrives, filled | event, None)


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
