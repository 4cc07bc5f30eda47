"""Guessing passwords: counted per name in the database (`ledger.lockouts`), per address in each process."""

import asyncio
import hmac

from aiohttp import web

from schemas.errors import RejectedError
from web.limits import Buckets, address_of
from web.problems import TooManyRequestsError
from web.services import WebOptions

# Letters that anybody can make us send to one person: at once, and a second.
_LETTERS, _LETTERS_PER_S = 3, 3 / 3600


class Attempts:
    """What came from an address lately that failed, and who was written to."""

    def __init__(self, options: WebOptions) -> None:
        self._secret = options.secret
        self._failures = Buckets(per_s=options.failures_per_s, burst=options.failures_burst)
        self._letters = Buckets(per_s=_LETTERS_PER_S, burst=_LETTERS)

    def name_of(self, kind: str, *told: str) -> bytes:
        """Return under which name attempts on a password are counted: a keyed hash of whose it would be."""
        return hmac.digest(self._secret, "\n".join(("login", kind, *told)).encode(errors="replace"), "sha256")

    def check(self, request: web.Request) -> None:
        """Refuse, before anything is looked at, an address from which too much failed: TooManyRequestsError."""
        wait_s = self._failures.look(address_of(request.remote), _now_s()).wait_s
        if wait_s:
            raise too_many(wait_s)

    def failed(self, request: web.Request) -> None:
        """Count a failure, or a request for a letter, against the address."""
        self._failures.spend(address_of(request.remote), _now_s())

    def may_write(self, name: bytes) -> bool:
        """Count a letter to somebody; return whether it may be sent, which nobody is told."""
        return self._letters.spend(name.hex(), _now_s()).wait_s == 0


def too_many(wait_s: int) -> RejectedError:
    """Return the refusal of whoever has to wait; the same whoever it is about."""
    return TooManyRequestsError("too_many_attempts", "too many attempts", wait_s)


ATTEMPTS = web.AppKey("attempts", Attempts)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
