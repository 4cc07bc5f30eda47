"""Letters with links that set a password: whom they go to, what they say."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ledger.password_links import INVITATION_AGE, RESET_AGE
from web.mail import Letter

_HOUR_S = 3600
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
    return _letter("invitation.txt", to, program, address, int(INVITATION_AGE.total_seconds() // _HOUR_S))


def reset(to: str, program: str, address: str) -> Letter:
    """Return the letter to somebody who forgot a password."""
    return _letter("reset.txt", to, program, address, int(RESET_AGE.total_seconds() // _HOUR_S))


def _letter(template: str, to: str, program: str, address: str, hours: int) -> Letter:
    """Return the letter that the template makes: its first line is the subject."""
    # Of one line each: nobody's program's name writes lines of a letter.
    name = " ".join(program.split())
    told = _TEMPLATES.get_template(template).render(program=name, address=address, hours=hours)
    subject, _, text = told.strip().partition("\n")
    return Letter(to, subject, text.strip() + "\n")
