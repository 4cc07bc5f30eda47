"""The service under test, driven from outside of its event loop, and what it says in the words of `merchant_model`."""

from itertools import count

from ledger import merchants
from ledger.terms import Terms
from tests.support.keys import key_of

DECIMALS = {"USD": 2, "JPY": 0}


def amount_of(minor, unit):
    """Return minor units as the API writes them."""
    digits = DECIMALS[unit]
    whole, rest = divmod(abs(minor), 10**digits)
    return ("-" if minor < 0 else "") + (f"{whole}.{rest:0{digits}}" if digits else str(whole))


def refusal(answer):
    """Return the code with which a call was refused, None where it was not."""
    return answer.code if answer.status >= 400 else None


def minor_of(money):
    """Return the API's money in minor units."""
    return round(float(money["amount"]) * 10 ** DECIMALS[money["currency"]])


def shown_rate(told):
    """Return a rate as the API takes it."""
    kind, value = told
    return {"type": kind, "value": f"{value / 100:g}" if kind == "percentage" else amount_of(value, "USD")}


class Session:
    """The service under test, once for all examples, driven from outside of its event loop."""

    def __init__(self, runner, api):
        self.runner, self.api = runner, api
        self.numbers = count(1)

    def ask(self, method, path, body=None, **options):
        """Return the answer to a call."""
        return self.runner.run(self.api.ask(method, path, body, **options))

    def open(self, name):
        """Open a program and return its merchant's id; its key is found under that."""
        merchants.register(
            self.api.ledger, merchant_id=name, name=name, currency="USD", email="o@example.com",
            terms=Terms(approval="manual"), now=self.api.now, cause="test",
        )  # fmt: skip
        self.api.keys[name] = key_of(self.api.ledger, name)
        return name


def placed(told):
    """Return an order as the storefront tells it."""
    customer = {"customer": {"id": told["customer"]}} if told["customer"] else {}
    return {
        "type": "order.placed", "order_id": told["order_id"], "occurred_at": told["at"].isoformat(),
        "currency": told["currency"], "total": amount_of(told["total"], told["currency"]), "coupon_code": told["code"],
    } | customer  # fmt: skip


def commission_row(row):
    """Return what the model knows of a row of GET /commissions."""
    amounts = (minor_of(row[name]) for name in ("commission", "clawed_back", "total", "refunded"))
    return (row["partner_id"], row["status"], *amounts)


def quoted(order):
    """Return an id as part of a path."""
    return order.replace("/", "%2F").replace(" ", "%20")
