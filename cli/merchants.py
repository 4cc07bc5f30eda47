"""`merchant`: who runs a program here, and the keys to its books."""

from typing import Annotated, Any, NamedTuple, TypeVar

import typer
from pydantic import BaseModel, ConfigDict, ValidationError

from cli.clock import now
from cli.connection import Books, books
from cli.failures import UsageError
from cli.options import Data, Json
from cli.output import complain, print_json, say
from ledger import keys, logins, merchants, users
from ledger.access import ADMIN, ROLES, SCOPES, Actor
from ledger.application import Ledger
from schemas.api import CurrencyCode, Email, Instant, Name
from schemas.api_access import Scopes
from schemas.order_messages import Slug
from web.letters import reset_address

CAUSE = "cli/merchant-create"
_KEY_CAUSE = "cli/merchant-key"

_Told = TypeVar("_Told", bound=BaseModel)

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", add_completion=False)


class NewMerchant(BaseModel):
    """A merchant as the command line tells of it."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    slug: Slug
    name: Name
    currency: CurrencyCode
    email: Email
    time_zone: str


class NewKey(BaseModel):
    """An API key as the command line tells of it."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    name: Name
    scopes: Scopes
    expires: Instant | None


class Opened(NamedTuple):
    """What opens a new program: its API key, and the link that sets its owner's password."""

    api_key: str
    login_url: str


@app.callback()
def merchant() -> None:
    """Merchants, and the API keys to their books."""


@app.command()
def create(
    *,
    slug: Annotated[str, typer.Option(help="Its id, for ever: lower-case letters, digits and dashes.")],
    name: Annotated[str, typer.Option(help="Its name, for people.")],
    currency: Annotated[str, typer.Option(help="The currency of fixed rates, ISO 4217.")],
    email: Annotated[str, typer.Option(help="Where it can be reached.")],
    time_zone: Annotated[str, typer.Option(help="In which its days begin, an IANA name.")] = "UTC",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Open a merchant's program, and print its API key and the link for its owner's password: both shown this once."""
    told = _checked(NewMerchant, slug=slug, name=name, currency=currency, email=email, time_zone=time_zone)
    with books(data) as found:
        opened = open_program(found, told)
    _show_key(told.slug, opened.api_key, login_url=opened.login_url, as_json=as_json)


@app.command("key")
def make_key(
    *,
    slug: Annotated[str, typer.Option(help="The merchant's id.")],
    name: Annotated[str, typer.Option(help="What the key is for.")] = "another key",
    scopes: Annotated[
        str | None, typer.Option(help=f"Of {', '.join(SCOPES)}, with commas. Left out: all that it can have.")
    ] = None,
    expires: Annotated[str | None, typer.Option(metavar="INSTANT", help="Such as 2027-01-01T00:00:00Z.")] = None,
    user: Annotated[
        str | None, typer.Option(help="Whose key it is: a user's id or e-mail. Left out: nobody's.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Print another API key for a merchant; those it has stay valid."""
    with books(data) as found, found.ledger() as ledger:
        merchants.find(ledger, slug)
        holder = users.find(ledger, slug, user) if user else None
        most = sorted(ROLES[holder.role]) if holder else [ADMIN]
        told = _checked(NewKey, name=name, scopes=scopes.split(",") if scopes else most, expires=expires)
        new = keys.create(
            ledger, merchant_id=slug, name=told.name, scopes=told.scopes, user_id=holder and holder.user_id,
            expires_at=told.expires, now=now(), by=Actor(_KEY_CAUSE),
        )  # fmt: skip
    _show_key(slug, new.token.get_secret_value(), as_json=as_json)


def open_program(found: Books, told: NewMerchant) -> Opened:
    """Register the merchant and return what opens it. Raises ConflictError where there is one of this slug."""
    with found.ledger() as ledger:
        merchants.register(
            ledger, merchant_id=told.slug, name=told.name, currency=told.currency, email=told.email,
            time_zone=told.time_zone, now=now(), cause=CAUSE,
        )  # fmt: skip
        new = keys.create(ledger, merchant_id=told.slug, name="first key", scopes=[ADMIN], now=now(), by=Actor(CAUSE))
        link = login_link(found, ledger, told.slug, told.email, CAUSE)
    return Opened(new.token.get_secret_value(), link)


def login_link(found: Books, ledger: Ledger, merchant_id: str, told: str, cause: str) -> str:
    """Return a link that sets the password of the user with this id or e-mail address; those from before are worthless.

    Raises NotFoundError, ConflictError `user_disabled`.
    """
    user = users.find(ledger, merchant_id, told)
    made = logins.invite(ledger, merchant_id=merchant_id, user_id=user.user_id, now=now(), by=Actor(cause))
    return reset_address(found.public_url, made.token.get_secret_value())


def _checked(model: type[_Told], **told: Any) -> _Told:
    try:
        return model(**told)
    except ValidationError as error:
        faults = (f"--{str(fault['loc'][0]).replace('_', '-')}: {fault['msg']}" for fault in error.errors())
        raise UsageError("; ".join(faults)) from None


def _show_key(merchant_id: str, key: str, *, login_url: str | None = None, as_json: bool) -> None:
    if as_json:
        print_json({"merchant_id": merchant_id, "api_key": key} | ({"login_url": login_url} if login_url else {}))
        return
    say(f"merchant  {merchant_id}")
    say(f"API key   {key}")
    if login_url is not None:
        say(f"log in    {login_url}")
        complain("The link sets the owner's password, once, within 72 hours.")
    complain("The key is not kept: store it now, or make another with `commission-ledger merchant key`.")
