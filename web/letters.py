"""Letters: links that set a password, and what was changed about how a partner is paid; what they say."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ledger.password_links import INVITATION_AGE, RESET_AGE
from ledger.payout_details import Details
from web.mail import Letter

_HOUR_S = 3600
_METHODS = {"stripe": "Stripe", "paypal": "PayPal", "bank": "bank transfer", "manual": "hand"}
_TEMPLATES = Environment(  # noqa: S701 - plain text, in which nothing is marked up
    loader=FileSystemLoader(Path(__file__).parent / "templates" / "mail"), undefined=StrictUndefined,
    extensions=["jinja2.ext.i18n"], trim_blocks=True,
)  # fmt: skip
_TEMPLATES.install_null_translations(newstyle=True)  # type: ignore[attr-defined]


def reset_address(public_url: str, token: str) -> str:
    """Return the address at which a user's link sets the password."""
    return f"{public_url.rstrip('/')}/reset/{token}"


def invitation(to: str, program: str, address: str) -> Letter:
    """Return the letter to a new user."""
    return written("invitation.txt", to, program, address=address, hours=_hours(INVITATION_AGE))


def reset(to: str, program: str, address: str) -> Letter:
    """Return the letter to somebody who forgot a password."""
    return written("reset.txt", to, program, address=address, hours=_hours(RESET_AGE))


def payout_details_changed(to: str, program: str, details: Details | None, now: datetime) -> Letter:
    """Return the letter to a partner who is paid in another way from now on (None: in none any more); masked."""
    if details is None:
        return written("payout_details.txt", to, program, method=None)
    usable_at = f"{details.usable_at:%Y-%m-%d %H:%M} UTC" if now < details.usable_at else None
    told = {"method": _METHODS[details.method.method], "address": details.method.address, "usable_at": usable_at}
    return written("payout_details.txt", to, program, **told)


def written(template: str, to: str, program: str, **about: Any) -> Letter:
    """Return the letter that the template makes: its first line is the subject."""
    # Of one line each: nobody's program's name writes lines of a letter.
    lines = {name: " ".join(value.split()) if isinstance(value, str) else value for name, value in about.items()}
    told = _TEMPLATES.get_template(template).render(program=" ".join(program.split()), **lines)
    subject, _, text = told.strip().partition("\n")
    return Letter(to, subject, text.strip() + "\n")


def _hours(age: timedelta) -> int:
    return int(age.total_seconds() // _HOUR_S)
