"""Pages for somebody who is not known (yet): the login, and errors."""

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from zoneinfo import ZoneInfo

from aiohttp import web
from babel import Locale

from web.pages.formats import locale_of
from web.pages.forms import Form, Refusal
from web.services import SERVICES


@dataclass(kw_only=True)
class Stranger:
    """A page for nobody in particular. `csrf` is empty where the page has no form."""

    request: web.Request
    form: Form = field(default_factory=Form.empty)
    refusal: Refusal | None = None
    csrf: str = ""
    once: str = ""
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))

    @cached_property
    def now(self) -> datetime:
        """When the page was asked for."""
        return self.request.app[SERVICES].now()

    @cached_property
    def locale(self) -> Locale:
        """How the visitor writes numbers and days."""
        return locale_of(self.request.headers.get("Accept-Language", ""))
