"""Every request has an id: the caller's where it is a sane one, else a new one."""

import re
import secrets

from aiohttp import web

HEADER = "X-Request-Id"
_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_KEY = web.RequestKey("request_id", str)


def request_id_of(request: web.Request) -> str:
    """Return the request's id, the same one each time."""
    found = request.get(_KEY)
    if found is None:
        sent = request.headers.get(HEADER, "")
        found = request[_KEY] = sent if _SANE.fullmatch(sent) else secrets.token_hex(12)
    return found
