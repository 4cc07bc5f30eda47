"""What the API shows to the holder of a key, read to the last page, in the shape of the oracle's `Books`.

Amounts are read here by themselves: a service that misplaces a decimal point must not be read by the same mistake.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from tests.support.oracle import OUTCOMES
from tests.support.oracle_reading import EXPONENTS
from tests.support.service import Client, Service

BALANCES = ("pending", "approved", "held", "in_payout", "paid")
Money = Mapping[str, str]
Table = dict[tuple, dict[str, Any]]


def minor(money: Money) -> int:
    """Return `{"amount": "10.00", "currency": "USD"}` in minor units. Raises AssertionError for other decimals."""
    whole, _, fraction = money["amount"].partition(".")
    assert len(fraction) == EXPONENTS[money["currency"]], f"not the decimals of its currency: {money}"
    return int(whole + fraction)


def balances(client: Client, merchant_id: str) -> Table:
    """Return what `GET /balances` shows, per merchant, partner and currency."""
    return {
        (merchant_id, row["partner_id"], row["currency"]): {
            name: minor(row[name]) for name in (*BALANCES, "clawed_back", "payable")
        }
        for row in client.rows("/balances")
    }


def commissions(client: Client, merchant_id: str, **query: object) -> Table:
    """Return what `GET /commissions` shows, per merchant and order."""
    return {
        (merchant_id, row["order_id"]): {
            "state": row["status"],
            "reason": row["reason"],
            "partner_id": row["partner_id"],
            "currency": row["commission"]["currency"],
            "total_minor": minor(row["total"]),
            "refunded_minor": minor(row["refunded"]),
            "commission_minor": minor(row["commission"]),
            "clawed_back_minor": minor(row["clawed_back"]),
        }
        for row in client.rows("/commissions", **query)
    }


def balances_of(shown: Table) -> Table:
    """Return the balances that a list of commissions adds up to."""
    sums: defaultdict[tuple, dict[str, int]]
    sums = defaultdict(lambda: dict.fromkeys((*BALANCES, "clawed_back", "payable"), 0))
    for (merchant_id, _), row in shown.items():
        balance = sums[merchant_id, row["partner_id"], row["currency"]]
        if row["state"] in BALANCES:
            balance[row["state"]] += row["commission_minor"]
        balance["clawed_back"] += row["clawed_back_minor"]
        balance["payable"] = balance["approved"] + balance["clawed_back"]
    return dict(sums)


def customers(client: Client, merchant_id: str) -> Table:
    """Return what `GET /customers` shows, per merchant, customer and currency."""
    return {
        (merchant_id, row["id"], bought["currency"]): {
            "orders": bought["orders"],
            "gross": minor(bought["gross"]),
            "refunded": minor(bought["refunded"]),
            "net": minor(bought["net"]),
        }
        for row in client.rows("/customers")
        for bought in row["revenue"]
    }


def revenue(
    client: Client,
    merchant_id: str,
    partner_ids: Iterable[str | None],
    currencies: Iterable[str],
    days: tuple[str, str],
) -> Table:
    """Return what `GET /metrics` shows, per merchant, partner (None: of all), currency and day; totals are checked."""
    table: Table = {}
    for partner_id in partner_ids:
        for currency in currencies:
            query = {"currency": currency, "from_": days[0], "to": days[1]}
            told = client.get("/metrics", interval="day", **query | ({"partner_id": partner_id} if partner_id else {}))
            figures = {point["from"]: _figures(point) for point in told["series"]}
            sums = {name: sum(row[name] for row in figures.values()) for name in _figures(told["totals"])}
            assert _figures(told["totals"]) == sums, (
                f"the totals of {partner_id} in {query} are not the sums of its days"
            )
            table |= {(merchant_id, partner_id, currency, day): row for day, row in figures.items()}
    return table


def positions(client: Client, topic: str) -> Table:
    """Return what `GET /intake` shows of the topic, per cluster, topic and partition."""
    rows = [row for row in client.get("/intake")["data"] if row["topic"] == topic]
    table = {
        (cluster(row["source"]), row["topic"], row["partition"]): {
            "position": row["position"],
            "consumed": row["consumed"],
            **{name: row["outcomes"][name] for name in OUTCOMES},
        }
        for row in rows
    }
    assert len(table) == len(rows), f"a partition that was read as two different logs: {rows}"
    return table


def dead_letters(service: Service) -> list[tuple[str, str, int, int, str]]:
    """Return every dead letter as the operator sees it: those that name no merchant are nobody's in the API."""
    told = service.cli("dead-letters", "list", "--status", "all", "--limit", "1000000", "--json")
    rows = [json.loads(line) for line in told.splitlines()]
    return [(cluster(row["source"]), row["topic"], row["partition"], row["position"], row["code"]) for row in rows]


def cluster(source: str) -> str:
    """Return the cluster's id, which a source begins with; then comes the topic's."""
    return source.partition("/")[0]


def earned(client: Client, currency: str, days: tuple[str, str]) -> int:
    """Return what `GET /metrics` shows as earned, less all that was taken back, in minor units."""
    told = client.get("/metrics", interval="month", currency=currency, from_=days[0], to=days[1])
    return minor(told["totals"]["commissions"]["earned"])


def _figures(told: Mapping[str, Any]) -> dict[str, int]:
    gross, refunded = minor(told["revenue"]["gross"]), minor(told["revenue"]["refunded"])
    assert minor(told["revenue"]["net"]) == gross - refunded
    return {"gross": gross, "refunded": refunded, "conversions": told["conversions"]}
