"""What arrives: bodies, query strings and headers, read with limits and refused field by field."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from schemas.api import LIMIT_MAX
from schemas.errors import Fault, RejectedError
from schemas.json_text import FAULTS_MAX, decode, step
from web.problems import MalformedError, MediaTypeError, TooLargeError, TooSlowError

_Model = TypeVar("_Model", bound=BaseModel)

# From this size on parsing takes long enough to be felt by the neighbours on the event loop.
_THREAD_BYTES = 256 * 1024

# Kept for ever, so an API key in the wrong header is refused.
_IDEMPOTENCY_KEY = re.compile(r"(?!.*cl_[0-9a-f]{16}_)[\x21-\x7e]{1,255}", re.ASCII)

# pydantic's names for what is wrong, in our words; what is not here keeps pydantic's name.
_CODES = {
    "extra_forbidden": "unknown_field",
    "string_type": "not_a_string",
    "string_too_short": "too_short",
    "string_too_long": "too_long",
    "string_pattern_mismatch": "malformed",
    "literal_error": "not_one_of",
    "model_type": "wrong_type",
    "model_attributes_type": "wrong_type",
    "dict_type": "wrong_type",
    "list_type": "wrong_type",
    "greater_than_equal": "out_of_range",
    "less_than_equal": "out_of_range",
    "date_from_datetime_parsing": "not_a_date",
    "datetime_from_date_parsing": "not_a_timestamp",
    "datetime_parsing": "not_a_timestamp",
    "date_parsing": "not_a_date",
    "timezone_aware": "timestamp_without_offset",
}


async def read_body(request: web.Request, *, bytes_max: int, wait_s: float) -> bytes:
    """Return the whole body. Raises TooLargeError, TooSlowError, MalformedError (broken off or wrongly encoded)."""
    if (request.content_length or 0) > bytes_max:
        raise _too_large(bytes_max)
    body = bytearray()
    try:
        async with asyncio.timeout(wait_s):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > bytes_max:
                    raise _too_large(bytes_max)
    except TimeoutError:
        raise TooSlowError("request_timeout", f"the body did not arrive within {wait_s:.0f} s") from None
    except (HttpProcessingError, web.RequestPayloadError) as error:
        raise MalformedError("broken_body", "the body ends too early or is not encoded as its headers say") from error
    return bytes(body)


async def parse_body(request: web.Request, model: type[_Model], raw: bytes, *, bytes_max: int) -> _Model:
    """Return the body as `model`. Raises MediaTypeError, MalformedError, RejectedError with the fields at fault."""
    if request.content_type != "application/json":
        raise MediaTypeError("unsupported_media_type", "send the body as `Content-Type: application/json`")
    try:
        value = await asyncio.to_thread(decode, raw, bytes_max=bytes_max) if len(raw) > _THREAD_BYTES else decode(
            raw, bytes_max=bytes_max
        )  # fmt: skip
    except RejectedError as error:
        raise MalformedError(error.code, f"the body cannot be read: {error.message}", error.faults) from None
    return validated(model, value, root="$")


def parse_query(request: web.Request, model: type[_Model]) -> _Model:
    """Return the query string as `model`. Raises RejectedError for unknown, repeated and wrong parameters."""
    query = request.query
    repeated = sorted({name for name in query if len(query.getall(name)) > 1})
    if repeated:
        faults = [Fault(_place("query", (name,)), "repeated", "may be given only once") for name in repeated]
        raise RejectedError("invalid_query", f"given more than once: {', '.join(repeated)}", faults)
    return validated(model, dict(query), root="query")


def check_days(first: date | None, last: date | None) -> None:
    """Refuse a range of days that ends before it begins: RejectedError `bad_range`."""
    if first is not None and last is not None and last < first:
        raise RejectedError.at("query.to", "bad_range", "must not be before `from`")


def ids_of(told: str | None, path: str) -> list[str] | None:
    """Return the ids that stand there with commas between them. Raises RejectedError `too_many`."""
    if told is None:
        return None
    ids = [each for each in told.split(",") if each]
    if len(ids) > LIMIT_MAX:
        raise RejectedError.at(path, "too_many", f"at most {LIMIT_MAX} ids")
    return ids


def idempotency_key(headers: Mapping[str, str]) -> str | None:
    """Return the request's key, None where it has none. Raises RejectedError for one that is no printable ASCII."""
    key = headers.get("Idempotency-Key")
    if key is None or _IDEMPOTENCY_KEY.fullmatch(key):
        return key
    raise RejectedError.at(
        "header.Idempotency-Key", "bad_idempotency_key", "1 to 255 printable ASCII characters without spaces"
    )


def validated(model: type[_Model], value: Any, *, root: str) -> _Model:
    """Return the value as `model`. Raises RejectedError with every field at fault."""
    try:
        return model.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)[:FAULTS_MAX]
        faults = [_fault(detail, root, value) for detail in details]
        fields = ", ".join(dict.fromkeys(fault.path for fault in faults))
        code = "invalid_query" if root == "query" else "invalid_body"
        raise RejectedError(code, f"cannot be accepted because of {fields}", faults) from None


def _fault(detail: ErrorDetails, root: str, value: Any) -> Fault:
    return Fault(_place(root, detail["loc"], value), _CODES.get(detail["type"], detail["type"]), _shown(detail["msg"]))


def _place(root: str, location: Sequence[int | str], value: Any = None) -> str:
    """Return the path of a fault in what was sent, where it is known what was."""
    path, last = root, len(location) - 1
    for number, key in enumerate(location):
        # Of a choice of shapes, the library also names the one that was chosen: that is no member.
        if isinstance(value, dict) and key not in value and number < last:
            continue
        path, value = step(path, key), value.get(key) if isinstance(value, dict) else None
    return path


def _shown(message: str) -> str:
    return message[:1].lower() + message[1:]


def _too_large(bytes_max: int) -> TooLargeError:
    return TooLargeError("body_too_large", f"the body has more than {bytes_max} bytes")
