"""What can go wrong between a provider and whoever calls it, at the provider's end of the line."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web

# `before`: it goes wrong although nothing was done. `after`: it was done, and the answer is lost.
When = Literal["before", "after"]
NEVER_S = 3_600
MADE = web.RequestKey("made", str)
"""Of a request: the fault that was made of it."""


@dataclass
class Fault:
    """One fault, for one request: the next one, or (`of`) the next one of this method."""

    kind: str
    when: When = "after"
    status: int = 500
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    of: str | None = None


HTML = b"<!doctype html><title>Bad gateway</title><h1>502</h1>"

FAULTS = {
    "time-out": Fault("silence"),
    "time-out before": Fault("silence", "before"),
    "connection reset": Fault("reset"),
    "connection reset before": Fault("reset", "before"),
    "cut body": Fault("cut"),
    "500": Fault("answer", status=500, body=b'{"error": {"type": "api_error", "message": "sorry"}}'),
    "500 before": Fault("answer", "before", status=500, body=b'{"error": {"type": "api_error", "message": "sorry"}}'),
    "502 in HTML": Fault("answer", status=502, body=HTML, content_type="text/html"),
    "200 in HTML": Fault("answer", status=200, body=HTML, content_type="text/html"),
    "400 in HTML": Fault("answer", "before", status=400, body=HTML, content_type="text/html"),
    "503 without a body": Fault("answer", "before", status=503),
    "200 without a body": Fault("answer", status=200),
    "200 that is a list": Fault("answer", status=200, body=b"[]"),
    "200 that is something else": Fault("answer", status=200, body=b'{"object": "charge", "id": "ch_1"}'),
    "200 that is not UTF-8": Fault("answer", status=200, body=b'{"id": "\xff\xfe"}'),
    "409": Fault("answer", "before", status=409, body=b'{"error": {"code": "idempotency_key_in_use"}, "name": "X"}'),
    "429": Fault("answer", "before", status=429, body=b'{"error": {"code": "lock_timeout"}, "name": "RATE_LIMIT"}'),
    "418": Fault("answer", "before", status=418, body=b'{"error": {"code": "teapot"}, "name": "TEAPOT"}'),
    "400 with an unknown code": Fault(
        "answer", "before", status=400,
        body=b'{"error": {"type": "invalid_request_error", "code": "brand_new"}, "name": "BRAND_NEW", "message": "?",'
        b' "debug_id": "1"}',
    ),
}  # fmt: skip
"""Faults after which nobody knows whether anything was paid, by name."""


def next_fault(faults: deque[Fault], request: web.Request) -> Fault | None:
    """Return the fault that the request meets, used up; None where it meets none."""
    if not faults or faults[0].of not in (None, request.method):
        return None
    return faults.popleft()


async def answer(fault: Fault, request: web.Request, done: Callable[[], Awaitable[web.Response]]) -> web.StreamResponse:
    """Answer as the fault has it, having done what was asked where it is one that comes after."""
    request[MADE] = fault.kind
    real = await done() if fault.when == "after" else None
    if fault.kind == "silence":
        await asyncio.sleep(NEVER_S)
    if fault.kind == "reset":
        return _reset(request)
    if fault.kind == "cut":
        assert real is not None
        return await _cut(request, real)
    return web.Response(status=fault.status, body=fault.body, content_type=fault.content_type, headers=fault.headers)


def _reset(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    found = request.transport.get_extra_info("socket")
    # With no time to linger, closing sends a reset.
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    request.transport.abort()
    return web.Response()


async def _cut(request: web.Request, real: web.Response) -> web.StreamResponse:
    body = real.body
    assert isinstance(body, bytes)
    response = web.StreamResponse(status=real.status, headers={"Content-Length": str(len(body))})
    response.content_type = "application/json"
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    assert request.transport is not None
    request.transport.close()
    return response
