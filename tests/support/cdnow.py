r"""Real purchases (CDNOW, 1997-98) as order events: a fifth with a coupon code, some refunds, repetitions and garbage.

The whole data set where it can be found (`CDNOW_FILE`, or `../shared/data` beside the repository), else the committed
extract. Order ids come from the line, everything else that is made up comes from the seed. As a program it prints the
lines that `kcat -K '\t'` publishes, or the balances that must come of them:

    python -m tests.support.cdnow --merchant cdnow [--seed 1] [--limit 1000] [--expect]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.support.oracle import Books, Oracle
from tests.support.oracle_program import BEGINNING, Merchant, Partner, Rate, held_by
from tests.support.storefront import Outgoing, lay_out

MERCHANT_ID = "cdnow"
REPOSITORY = Path(__file__).parent.parent.parent
EXTRACT_FILE = REPOSITORY / "tests" / "golden" / "cdnow_extract.txt"
SHARED_FILE = REPOSITORY.parent / "shared" / "data" / "cdnow" / "CDNOW_master.txt"

# What the partners of the demo earn; each holds the code that is its name in upper case and "10".
RATES = {"nina": "10", "raul": "12.5", "mei": "7.25", "otto": "15", "zoe": "20"}


class Purchase(NamedTuple):
    """One line of the data set; `line` is its number, from 1, and `total` is what stands there, in US dollars."""

    line: int
    customer_id: str
    bought_on: datetime
    total: str


def data_file() -> Path:
    """Return the file to read: the one that CDNOW_FILE names, the shared data set, or the committed extract."""
    named = os.environ.get("CDNOW_FILE")
    if named:
        return Path(named)
    return SHARED_FILE if SHARED_FILE.exists() else EXTRACT_FILE


def purchases(path: Path | None = None, limit: int | None = None) -> Iterator[Purchase]:
    """Return the purchases of a file (by default `data_file()`), the first `limit` of them."""
    lines = (path or data_file()).read_text(encoding="ascii").splitlines()[1:]
    for number, line in enumerate(lines[:limit], start=1):
        customer_id, bought_on, _, total = line.split()
        yield Purchase(number, customer_id, datetime.strptime(bought_on, "%Y%m%d").replace(tzinfo=UTC), total)


def program(merchant_id: str = MERCHANT_ID) -> Merchant:
    """Return the program that the orders belong to: five partners with a percentage each, approval by hand."""
    partners = tuple(Partner(name, (Rate(BEGINNING, "percentage", rate),)) for name, rate in RATES.items())
    return Merchant(merchant_id, "USD", partners, {f"{name.upper()}10": held_by(name) for name in RATES})


def messages(bought: Sequence[Purchase], seed: int = 1, merchant_id: str = MERCHANT_ID) -> list[Outgoing]:
    """Return the messages of the purchases in the order of sending; none holds a tab or a line break, none is empty."""
    random = Random(f"cdnow {seed}")
    placed: list[tuple[int, int, Outgoing]] = []
    for number, purchase in enumerate(bought):
        order_id = f"cdnow-{purchase.line}"
        key = f"{merchant_id}/{order_id}".encode()
        for value, delay in _tell(purchase, order_id, merchant_id, random):
            # What came first is sent first where two come to the same place.
            placed.append((number + delay, len(placed), Outgoing(key, value)))
    return [outgoing for _, _, outgoing in sorted(placed)]


def expected(outgoing: Sequence[Outgoing], merchant: Merchant | None = None, partitions: int = 1) -> Books:
    """Return what the books must say of the messages."""
    return Oracle([merchant or program()]).take_all(lay_out(outgoing, partitions)).books()


def _tell(purchase: Purchase, order_id: str, merchant_id: str, random: Random) -> Iterator[tuple[bytes, int]]:
    """Yield what is said of one purchase, and how many purchases later."""
    at = purchase.bought_on + timedelta(seconds=random.randrange(86_400))
    told = {"event_id": f"p-{order_id}", "merchant_id": merchant_id, "order_id": order_id, "occurred_at": _instant(at)}
    placed = {"type": "order.placed", **told, "currency": "USD", "total": purchase.total}
    placed["customer"] = {"id": purchase.customer_id, "email": f"{purchase.customer_id}@customers.example"}
    if random.random() < 0.2:
        placed["coupon_code"] = random.choice([f"{name.upper()}10" for name in RATES] + ["nina10", "NOBODY"])
    refund_in = random.randrange(-50, 500)
    fate = random.random()
    if fate < 0.05 and _cents(purchase) > 1:
        yield _json(_refund(purchase, told, at, random)), max(0, refund_in)
    # A refund that would have been told before its order is told with it, and the order 50 purchases later.
    yield _json(placed), 50 if refund_in < 0 else 0
    if 0.05 <= fate < 0.08:
        yield _json(placed), random.randrange(100)
    elif 0.08 <= fate < 0.09:
        yield _json({"type": "order.cancelled", **told, "event_id": f"x-{order_id}"}), 60
    elif 0.09 <= fate < 0.10:
        yield _garbage(placed, random), 0


def _refund(purchase: Purchase, told: dict, at: datetime, random: Random) -> dict:
    cents = random.choice([_cents(purchase), random.randrange(1, _cents(purchase))])
    amount = f"{cents // 100}.{cents % 100:02d}"
    later = {"event_id": f"r-{told['order_id']}", "occurred_at": _instant(at + timedelta(days=7))}
    return {"type": "order.refunded", **told, **later, "currency": "USD", "refund_id": "r1", "amount": amount}


def _garbage(placed: dict, random: Random) -> bytes:
    told = _json(placed)
    return random.choice(
        [
            told[:-7],
            b"[" + told + b"]",
            b"not JSON at all",
            told[:-1] + b',"x":"\xff"}',
            _json(placed | {"total": "12.345"}),
            _json(placed | {"total": "-1.00"}),
            _json(placed | {"currency": "ZZZ"}),
            _json(placed | {"merchant_id": "nobody"}),
            _json({name: value for name, value in placed.items() if name != "order_id"}),
            # The same order with another total: the first that was told stands.
            _json(placed | {"total": "1234.56"}),
        ]
    )


def _cents(purchase: Purchase) -> int:
    return int(purchase.total.replace(".", ""))


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(told: dict) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode()


def main() -> None:
    """Print the messages as lines for `kcat -K`, or with `--expect` what each partner must have, in minor units."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--merchant", default=MERCHANT_ID)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--expect", action="store_true")
    asked = parser.parse_args()
    outgoing = messages(list(purchases(limit=asked.limit)), asked.seed, asked.merchant)
    if asked.expect:
        books = expected(outgoing, program(asked.merchant))
        counts = {name: sum(row[name] for row in books.intake.values()) for name in next(iter(books.intake.values()))}
        balances = {"/".join(key): row for key, row in books.balances.items()}
        sys.stdout.write(json.dumps({"counts": counts, "balances": balances}, indent=1) + "\n")
        return
    for key, value in outgoing:
        sys.stdout.buffer.write((key or b"") + b"\t" + value + b"\n")


if __name__ == "__main__":
    main()
