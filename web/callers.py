"""Who may stand behind a call: an API key, or a user who is logged in."""

from collections.abc import Collection
from typing import Protocol

from schemas.api import Scope
from schemas.errors import ForbiddenError


class Caller(Protocol):
    """Whose books are open, and what the caller may do with them.

    `means` is what causes of events say of it (`api/<key id>`, `page/<user id>`).
    """

    @property
    def merchant_id(self) -> str:
        """Whose books are open."""

    @property
    def scopes(self) -> frozenset[str]:
        """What the caller may do."""

    @property
    def key_id(self) -> str | None:
        """The API key; None where a user is logged in."""

    @property
    def user_id(self) -> str | None:
        """The user; None where the key is nobody's."""

    @property
    def means(self) -> str:
        """By what the caller came, for the causes of events."""

    def check(self, scope: Scope | None) -> None:
        """Refuse a call that needs another scope: ForbiddenError; None: whoever is known may call."""


def check_scope(scopes: Collection[str], scope: Scope | None, message: str) -> None:
    """Refuse what needs a scope that is not among these: ForbiddenError `scope_missing`, with the message."""
    if scope is not None and scope not in scopes:
        raise ForbiddenError("scope_missing", message)
