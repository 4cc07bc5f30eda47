"""One webhook message over HTTP: to nobody but the address that was checked, and never more than was bargained for."""

import asyncio
import socket
import time
from collections.abc import Callable
from datetime import datetime
from errno import EHOSTUNREACH
from types import TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

from ledger.deliveries import Claim, Outcome
from ledger.signatures import signature
from schemas.errors import RejectedError
from schemas.webhook_addresses import forbidden_ip, parse_address

USER_AGENT = "Commission-Ledger-Webhooks/1"
ANSWER_BYTES_MAX = 64 * 1024
EXCERPT_BYTES = 1024
_HEADER_BYTES_MAX = 8 * 1024
_KEEP_ALIVE_S = 30.0
_ERROR_LENGTH_MAX = 300

Checked = Callable[[str], str | None]
"""Returns why nothing may be sent to an IP address, None where it may."""


class ForbiddenAddressError(OSError):
    """The host is, or resolves to, an address that nothing is sent to."""


class Sender:
    """Sends messages; to be entered. `timeout_s` is for all of it: resolving, connecting, sending and the answer."""

    def __init__(self, *, timeout_s: float, allow_private: bool = False, connections_max: int = 256) -> None:
        self._timeout_s, self._allow_private, self._connections_max = timeout_s, allow_private, connections_max
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            limit=self._connections_max,
            keepalive_timeout=_KEEP_ALIVE_S,
            # The host is resolved once per connection, and a socket is made only for an address that was looked at: no
            # name can be one address when it is checked and another one when it is connected to.
            use_dns_cache=False,
            socket_factory=self._socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # An answer that unpacks to gigabytes stays packed.
            auto_decompress=False,
            # No proxy, and no password, from the environment.
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            max_line_size=_HEADER_BYTES_MAX,
            max_field_size=_HEADER_BYTES_MAX,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, message: Claim, now: datetime) -> Outcome:
        """Return what came of sending the message: the answer's status, or why there is none. Never fails."""
        began = time.monotonic()
        try:
            parse_address(message.url, allow_private=self._allow_private)
            status, answer = await asyncio.wait_for(self._post(message, now), self._timeout_s)
        except Exception as error:  # noqa: BLE001 - whatever a receiver does is its outcome, and nobody else's
            return Outcome(_since(began), error=self._told(error))
        return Outcome(_since(began), status, answer)

    async def _post(self, message: Claim, now: datetime) -> tuple[int, str]:
        assert self._session is not None  # noqa: S101 - entered by the caller
        async with self._session.post(
            URL(message.url, encoded=True), data=message.body, headers=headers_of(message, now), allow_redirects=False
        ) as response:
            answer = await _read(response)
            return response.status, answer[:EXCERPT_BYTES].decode("utf-8", "replace").replace("\x00", "\ufffd")

    def _socket(self, address: Any) -> socket.socket:
        """Return a socket for the address. Raises ForbiddenAddressError; the next address of the host is then tried."""
        family, kind, protocol, _, place = address
        if not self._allow_private and (reason := forbidden_ip(str(place[0]))):
            # With a number, or the library keeps the reason to itself.
            raise ForbiddenAddressError(EHOSTUNREACH, f"{place[0]} {reason}")
        return socket.socket(family, kind, protocol)

    def _told(self, error: BaseException) -> str:
        if isinstance(error, TimeoutError):
            return f"no whole answer within {self._timeout_s:g} s"
        if isinstance(error, RejectedError):
            return error.message
        return f"{type(error).__name__}: {error}".replace("\x00", "\ufffd")[:_ERROR_LENGTH_MAX]


def headers_of(message: Claim, now: datetime) -> dict[str, str]:
    """Return the headers of Standard Webhooks: signed by each secret that is valid now."""
    timestamp_s = int(now.timestamp())
    signed = (signature(secret, message.delivery_id, timestamp_s, message.body) for secret in message.secrets)
    return {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": message.delivery_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(signed),
    }


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the answer's beginning. Whoever has more to say is not listened to: its connection is not used again."""
    answer = bytearray()
    async for chunk in response.content.iter_any():
        answer += chunk
        if len(answer) > ANSWER_BYTES_MAX:
            response.close()
            break
    return bytes(answer)


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
