"""The demo: a merchant with partners, so that there is something to see before the first storefront is connected."""

import secrets
from datetime import timedelta
from typing import NamedTuple

from cli.clock import now
from cli.connection import Books
from cli.data_folder import DataFolder
from ledger import keys, logins, merchants, partners, users
from ledger.access import ADMIN, Actor
from ledger.application import Ledger
from ledger.events import Rate
from ledger.passwords import Passwords
from ledger.terms import Terms
from schemas.errors import ConflictError

MERCHANT_ID = "demo"
EMAIL = "demo@shop.example"
CAUSE = "cli/demo"
HISTORY = timedelta(days=60)
"""How far back the demo's orders go, so that its charts have something to show."""

_TERMS = Terms(approval="after_days", hold_days=14)
_KEY = "demo.key"
_PASSWORD = "demo.password"  # noqa: S105 - the name of a file
_PASSWORD_BYTES = 12


class DemoPartner(NamedTuple):
    """A partner of the demo. `weight` is how often its code is used, among the others'."""

    name: str
    email: str
    code: str
    rate: Rate
    weight: int
    standing: str = "approved"


PARTNERS = (
    DemoPartner("Jane Doe", "jane@partners.example", "JANE10", Rate(type="percentage", bps=1_000), 5),
    DemoPartner("Omar Haddad", "omar@partners.example", "OMAR15", Rate(type="percentage", bps=1_500), 4),
    DemoPartner("Lea Keller", "lea@partners.example", "LEA-5", Rate(type="fixed", amount_minor=500), 2),
    DemoPartner("Kofi Mensah", "kofi@partners.example", "KOFI", Rate(type="percentage", bps=750), 2),
    DemoPartner("Ana Souza", "ana@partners.example", "ANA20", Rate(type="percentage", bps=2_000), 1, "applied"),
)


class Demo(NamedTuple):
    """The demo's API key, its owner's first password, and whether its merchant was opened just now."""

    api_key: str
    is_new: bool
    password: str


def prepare(found: Books, folder: DataFolder) -> Demo:
    """Open the demo merchant with its partners where it is missing, and return its API key, which the folder keeps."""
    with found.ledger() as ledger:
        is_new = _open_program(ledger)
        for partner in PARTNERS:
            _register(ledger, partner)
        key = folder.kept(_KEY)
        if key is None:
            new = keys.create(
                ledger, merchant_id=MERCHANT_ID, name="demo", scopes=[ADMIN], now=now(), by=Actor(CAUSE)
            )  # fmt: skip
            key = new.token.get_secret_value()
            folder.keep(_KEY, key)
        password = folder.kept(_PASSWORD) or _set_password(ledger, folder)
    return Demo(key, is_new, password)


def _set_password(ledger: Ledger, folder: DataFolder) -> str:
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    owner = users.find(ledger, MERCHANT_ID, EMAIL)
    logins.put_password(
        ledger, MERCHANT_ID, owner.user_id, Passwords().hash(password), now=now(), by=Actor(CAUSE)
    )  # fmt: skip
    folder.keep(_PASSWORD, password)
    return password


def _open_program(ledger: Ledger) -> bool:
    try:
        merchants.register(
            ledger, merchant_id=MERCHANT_ID, name="Demo Shop", currency="USD", email=EMAIL, terms=_TERMS,
            now=now(), cause=CAUSE,
        )  # fmt: skip
    except ConflictError:
        return False
    return True


def _register(ledger: Ledger, partner: DemoPartner) -> None:
    try:
        partners.register(
            ledger, merchant_id=MERCHANT_ID, name=partner.name, email=partner.email, rate=partner.rate,
            coupon_code=partner.code, standing=partner.standing, now=now(), cause=CAUSE,
        )  # fmt: skip
    except ConflictError:
        return  # from an earlier start, perhaps changed since: it is the user's now
