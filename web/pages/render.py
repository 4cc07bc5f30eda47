"""Templates: what they are filled with, how values are shown in them, and the headers of a page."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo

from aiohttp import web
from babel import Locale
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context

from schemas.api import Rate
from schemas.money import Money, to_decimal_string
from web.assets import address_of
from web.pages import formats
from web.pages.raw import visible
from web.pages.sentences import TOLD

_TEMPLATES = Path(__file__).parents[1] / "templates"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Robots-Tag": "noindex, nofollow",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Vary": "Accept-Language, Cookie",
}
"""What every page says beside the headers of every answer."""


class Shown(NamedTuple):
    """What a page answers with: a template, what it is filled with, and the status."""

    template: str
    model: Mapping[str, Any]
    status: int = 200


@pass_context
def _money(context: Context, value: Money) -> str:
    return formats.money(value, _locale(context))


@pass_context
def _minor(context: Context, value: int, currency: str) -> str:
    return formats.money(Money(amount=to_decimal_string(value, currency), currency=currency), _locale(context))


@pass_context
def _amount(context: Context, value: str, currency: str) -> str:
    return formats.money(Money(amount=value, currency=currency), _locale(context))


@pass_context
def _number(context: Context, value: Decimal | int | str) -> str:
    return formats.number(value, _locale(context))


@pass_context
def _percent(context: Context, value: Decimal) -> str:
    return formats.percent(value, _locale(context))


@pass_context
def _rate(context: Context, value: Rate) -> str:
    return formats.rate(value, context["visit"].program.currency, _locale(context))


def _segment(value: str) -> str:
    return quote(value, safe="")


@pass_context
def _day(context: Context, value: date) -> str:
    return formats.day(value, _locale(context))


@pass_context
def _moment(context: Context, value: datetime) -> str:
    zone: ZoneInfo = context["visit"].zone
    return formats.moment(value, _locale(context), zone)


def _locale(context: Context) -> Locale:
    locale: Locale = context["visit"].locale
    return locale


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
    )
    # English is the language of the templates; a catalogue of another would be installed here.
    made.install_null_translations(newstyle=True)  # type: ignore[attr-defined]
    made.filters |= {
        "money": _money, "minor": _minor, "amount": _amount, "number": _number, "percent": _percent, "day": _day,
        "moment": _moment, "machine": formats.machine, "rate": _rate, "segment": _segment,
        "visible": visible,
    }  # fmt: skip
    made.globals |= {"asset": address_of, "TOLD": TOLD}
    return made


ENVIRONMENT = _environment()


async def render(visit: Any, shown: Shown) -> web.Response:
    """Return the page: the template, filled with the model and with `visit`."""
    template = ENVIRONMENT.get_template(shown.template)
    text = template.render(visit=visit, **shown.model)
    refusal = getattr(visit, "refusal", None)
    status = shown.status if refusal is None else refusal.status
    return web.Response(text=text, status=status, content_type="text/html", headers=HEADERS)
