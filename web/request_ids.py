"""Every request has an id: the caller's where it is a sane one, else a new one."""

import re
import secrets

from aiohttp import web

HEADER = "X-Request-Id"
_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
# An API key in the wrong header: what is logged and written into events must not hold it.
_SECRET = re.compile(r"cl_[0-9a-f]{16}_", re.ASCII)
_KEY = web.RequestKey("request_id", str)


def request_id_of(request: web.BaseRequest) -> str:
    """Return the request's id, the same one each time."""
    found = request.get(_KEY)
    if found is None:
        sent = request.headers.get(HEADER, "")
        is_sane = _SANE.fullmatch(sent) and not _SECRET.search(sent)
        found = request[_KEY] = sent if is_sane else secrets.token_hex(12)
    return found
