"""Forms that bring a file: the fields in front of it are read at once, the file only when somebody who may has asked.

So whoever has no session, or no token of it, sends a file to nobody.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeVar

from aiohttp import BodyPartReader, MultipartReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import MultiDict, MultiDictProxy

from schemas.errors import RejectedError
from web.api.imports import Upload, received
from web.pages.forms import Form
from web.problems import MalformedError, MediaTypeError, TooLargeError, TooSlowError
from web.services import SERVICES

FIELD = "file"
"""What the file's field is called."""

_KINDS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_FIELDS_MAX = 50
_FIELD_BYTES_MAX = 4_096
_PIECE_BYTES = 1 << 16
_NAME_LENGTH_MAX = 200

_Result = TypeVar("_Result")


class _Incoming(NamedTuple):
    name: str
    part: BodyPartReader


_INCOMING = web.RequestKey("incoming", _Incoming)


async def read_fields(request: web.Request) -> Form:
    """Return the fields that stand in front of the file, which stays unread.

    Raises MediaTypeError for another kind of form, MalformedError, TooLargeError, TooSlowError.
    """
    if request.content_type != "multipart/form-data":
        raise MediaTypeError("unsupported_media_type", "send the form as a browser does")
    fields: MultiDict[str] = MultiDict()
    reader = await _arriving(request, request.multipart)
    while len(fields) < _FIELDS_MAX:
        part = await _arriving(request, reader.next)
        if part is None:
            return Form(MultiDictProxy(fields))
        if isinstance(part, MultipartReader) or part.name is None:
            raise _malformed()
        if part.filename is not None or part.name == FIELD:
            request[_INCOMING] = _Incoming(part.filename or "", part)
            return Form(MultiDictProxy(fields))
        fields.add(part.name, await _text(request, part))
    raise _malformed()


def name_of(request: web.Request) -> str:
    """Return what the file is called; empty: there is none."""
    incoming = request.get(_INCOMING)
    return incoming.name[:_NAME_LENGTH_MAX] if incoming else ""


@asynccontextmanager
async def the_file(request: web.Request) -> AsyncIterator[Upload]:
    """Yield the file of the form, received whole.

    Raises RejectedError `no_file`, `unknown_kind`, TooLargeError, TooSlowError, MalformedError.
    """
    name = name_of(request)
    if not name:
        raise RejectedError.at(f"$.{FIELD}", "no_file", "choose a file")
    kind = next((kind for end, kind in _KINDS.items() if name.lower().endswith(end)), None)
    if kind is None:
        known = ", ".join(_KINDS)
        raise RejectedError.at(f"$.{FIELD}", "unknown_kind", f"save it as CSV or JSON Lines: a file named {known}")
    async with received(kind, _pieces(request), request.app[SERVICES].options) as upload:
        yield upload


async def file_bytes(request: web.Request, bytes_max: int) -> bytes:
    """Return the file of the form.

    Raises RejectedError `no_file`, TooLargeError, TooSlowError, MalformedError.
    """
    if not name_of(request):
        raise RejectedError.at(f"$.{FIELD}", "no_file", "choose a file")
    found = bytearray()
    async for piece in _pieces(request):
        found += piece
        if len(found) > bytes_max:
            raise TooLargeError("body_too_large", f"the file has more than {bytes_max} bytes")
    return bytes(found)


async def _pieces(request: web.Request) -> AsyncIterator[bytes]:
    part = request[_INCOMING].part
    if hdrs.CONTENT_TRANSFER_ENCODING in part.headers or hdrs.CONTENT_ENCODING in part.headers:
        raise _malformed()
    while piece := await _arriving(request, lambda: part.read_chunk(_PIECE_BYTES)):
        yield piece


async def _text(request: web.Request, part: BodyPartReader) -> str:
    value = bytearray()
    while piece := await _arriving(request, lambda: part.read_chunk(_PIECE_BYTES)):
        value += piece
        if len(value) > _FIELD_BYTES_MAX:
            raise TooLargeError("body_too_large", f"a field has more than {_FIELD_BYTES_MAX} bytes")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise _malformed() from None


async def _arriving(request: web.Request, read: Callable[[], Awaitable[_Result]]) -> _Result:
    """Return what is read of the body. Raises TooSlowError, MalformedError."""
    wait_s = request.app[SERVICES].options.body_wait_s
    try:
        async with asyncio.timeout(wait_s):
            return await read()
    except TimeoutError:
        raise TooSlowError("request_timeout", f"nothing arrived for {wait_s:.0f} s") from None
    except (ValueError, AssertionError, HttpProcessingError, web.RequestPayloadError) as error:
        raise _malformed() from error


def _malformed() -> MalformedError:
    return MalformedError("malformed_form", "the form cannot be read")
