"""How much a caller may ask: token buckets per key, and per address for keys that are not valid.

In memory and per process: several web processes have buckets of their own each, so that together they let as many times
more pass. That is enough against a client that runs wild, which is what they are for, and costs no round trip.
"""

import asyncio
import ipaddress
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import sha256
from math import ceil
from typing import NamedTuple, Protocol, TypeVar

from aiohttp import web

from schemas.errors import UnauthorizedError
from web.problems import TooManyRequestsError
from web.services import WebOptions

# Of each kind; the one that was used longest ago is forgotten first. A bucket takes some 200 bytes.
_KEPT_MAX = 10_000
# What one customer of an IPv6 provider has at least.
_IPV6_PREFIX_BITS = 64


class Quota(NamedTuple):
    """What is left in a bucket: calls, seconds until it is full, and seconds to wait for the next call (0: none)."""

    remaining: int
    full_in_s: int
    wait_s: int


class Buckets:
    """Token buckets by name: `burst` calls at once, `per_s` a second in the long run."""

    def __init__(self, *, per_s: float, burst: int, kept_max: int = _KEPT_MAX) -> None:
        self._per_s, self._burst, self._kept_max = per_s, burst, kept_max
        # What was spent and not refilled yet, and as of when.
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many buckets are remembered; those that are not are full."""
        return len(self._spent)

    def spend(self, name: str, now_s: float) -> Quota:
        """Take one from the bucket and return what is left; where there is a `wait_s`, nothing was there to take."""
        spent = self._spent_by(name, now_s)
        if spent + 1 > self._burst:
            return self._quota(spent)
        self._spent[name] = spent + 1, now_s
        self._spent.move_to_end(name)
        if len(self._spent) > self._kept_max:
            self._spent.popitem(last=False)
        return self._quota(spent + 1)._replace(wait_s=0)

    def look(self, name: str, now_s: float) -> Quota:
        """Return what is left, and take nothing."""
        return self._quota(self._spent_by(name, now_s))

    def _spent_by(self, name: str, now_s: float) -> float:
        spent, at_s = self._spent.get(name, (0.0, now_s))
        return max(spent - (now_s - at_s) * self._per_s, 0.0)

    def _quota(self, spent: float) -> Quota:
        missing = max(spent + 1 - self._burst, 0.0)
        return Quota(int(self._burst - spent), ceil(spent / self._per_s), ceil(missing / self._per_s))


class _Identified(Protocol):
    @property
    def key_id(self) -> str: ...


_Key = TypeVar("_Key", bound=_Identified)


class Limits:
    """Lets calls in, or tells them when to come back."""

    def __init__(self, options: WebOptions) -> None:
        self._keys = Buckets(per_s=options.rate_per_s, burst=options.rate_burst)
        self._failures = Buckets(per_s=options.failures_per_s, burst=options.failures_burst)
        # Hashes of credentials that were good. Behind a proxy all callers have one address: whoever guesses there must
        # not lock the others out.
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self._policy = f'"default";q={options.rate_burst};w={ceil(options.rate_burst / options.rate_per_s)}'

    async def admit(self, request: web.Request, find: Callable[[], Awaitable[_Key]]) -> _Key:
        """Return the key that `find` finds, and take one call from its bucket.

        Raises UnauthorizedError as `find` does, and TooManyRequestsError: `too_many_requests` where the key's bucket is
        empty, `too_many_failures` (and nothing is looked up) where too many wrong keys came from the address.
        """
        credentials = request.headers.get("Authorization")
        if credentials is None:
            return await find()
        now_s = asyncio.get_running_loop().time()
        digest = sha256(credentials.encode(errors="surrogateescape")).digest()
        if digest not in self._good:
            self._check(address_of(request.remote), now_s)
        try:
            key = await find()
        except UnauthorizedError:
            self._good.pop(digest, None)
            self._failures.spend(address_of(request.remote), now_s)
            raise
        self._remember(digest)
        request[_QUOTA] = quota = self._keys.spend(key.key_id, now_s)
        if quota.wait_s:
            raise TooManyRequestsError("too_many_requests", "this key asks too often", quota.wait_s)
        return key

    def headers(self, request: web.BaseRequest) -> dict[str, str]:
        """Return the `RateLimit` headers of the request's key, none where it came without a valid one."""
        quota = request.get(_QUOTA)
        if quota is None:
            return {}
        state = f'"default";r={quota.remaining};t={quota.full_in_s}'
        return {"RateLimit-Policy": self._policy, "RateLimit": state}

    def _check(self, address: str, now_s: float) -> None:
        wait_s = self._failures.look(address, now_s).wait_s
        if wait_s:
            raise TooManyRequestsError("too_many_failures", "too many keys from here were not valid", wait_s)

    def _remember(self, digest: bytes) -> None:
        self._good[digest] = None
        self._good.move_to_end(digest)
        if len(self._good) > _KEPT_MAX:
            self._good.popitem(last=False)


LIMITS = web.AppKey("limits", Limits)
_QUOTA = web.RequestKey("quota", Quota)


def address_of(remote: str | None) -> str:
    """Return under which name failures from an address are counted: IPv6 by /64, of which everybody has many."""
    try:
        address = ipaddress.ip_address((remote or "").partition("%")[0])
    except ValueError:
        return ""
    if address.version == 4:  # noqa: PLR2004 - IPv4
        return str(address)
    return str(ipaddress.ip_network((address, _IPV6_PREFIX_BITS), strict=False))
