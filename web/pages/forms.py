"""Forms as they arrive: read with limits, nested by the dots in their names, shown again where they are refused."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from aiohttp import web
from multidict import MultiDict, MultiDictProxy

from schemas.errors import Fault, RejectedError
from web.api.bodies import read_body
from web.problems import MalformedError, MediaTypeError, status_of
from web.services import SERVICES

_FIELDS_MAX = 1_000
_DIGITS_MAX = 19
_CONTROLS = ("csrf", "once")


class Form:
    """The fields of one form; what is empty counts as not filled in."""

    def __init__(self, fields: MultiDictProxy[str]) -> None:
        self._fields = fields

    @classmethod
    def empty(cls) -> "Form":
        """Return the form of a page that was only looked at."""
        return cls(MultiDictProxy(MultiDict()))

    def text(self, name: str) -> str | None:
        """Return the field without the space around it, None where it is empty or missing."""
        return self._fields.get(name, "").strip() or None

    def all(self, name: str) -> list[str]:
        """Return every value of the field (boxes that were ticked), in order."""
        return [value for value in self._fields.getall(name, []) if value]

    def has(self, name: str) -> bool:
        """Return whether the form that was sent has the field, filled in or not."""
        return name in self._fields

    def flag(self, name: str) -> bool:
        """Return whether the box was ticked."""
        return bool(self._fields.get(name))

    def body(self, *names: str) -> dict[str, Any]:
        """Return what was filled in as a JSON body: `rate.value` stands in `rate`.

        Of `names` only, where there are any; what is empty is left out.
        """
        made: dict[str, Any] = {}
        for name in dict.fromkeys(self._fields):
            value = None if name in _CONTROLS or (names and name not in names) else self.text(name)
            if value is None:
                continue
            *outer, last = name.split(".")
            place = made
            for step in outer:
                place = place.setdefault(step, {})
            place[last] = value
        return made


class Refusal(NamedTuple):
    """Why a form was refused: the answer's status, what is wrong at all, and what is wrong with which field."""

    status: int
    message: str
    faults: Mapping[str, str]

    @classmethod
    def of(cls, error: RejectedError) -> "Refusal":
        """Return the refusal that the error is."""
        return cls(status_of(error), error.message, faults_by_name(error.faults))


def faults_by_name(faults: Sequence[Fault]) -> dict[str, str]:
    """Return the first fault of each field, by the name that it has in a form: `$.rate.value` is `rate.value`."""
    found: dict[str, str] = {}
    for fault in faults:
        name = fault.path.partition(".")[2] or fault.path
        found.setdefault(name, fault.message)
        # One of several values of a field: `$.tags[1]` stands beside `tags`.
        found.setdefault(name.partition("[")[0], fault.message)
    return found


def whole(text: str | None) -> int | str | None:
    """Return what was typed as the number that it is; what is none stays text, for the API to say so."""
    digits = (text or "").removeprefix("-")
    return int(text or "") if digits.isascii() and digits.isdigit() and len(digits) < _DIGITS_MAX else text


async def read_form(request: web.Request) -> Form:
    """Return the form that the request brings; one without a body is empty.

    Raises MediaTypeError for what is no form, TooLargeError, TooSlowError, MalformedError (no UTF-8, too many fields).
    """
    if request.content_type != "application/x-www-form-urlencoded":
        if request.can_read_body:
            raise MediaTypeError("unsupported_media_type", "send the form as a browser does")
        return Form.empty()
    options = request.app[SERVICES].options
    raw = await read_body(request, bytes_max=options.body_max, wait_s=options.body_wait_s)
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=_FIELDS_MAX
        )
    except ValueError as error:
        raise MalformedError("malformed_form", "the form cannot be read") from error
    return Form(MultiDictProxy(MultiDict(pairs)))


def fits(status: int) -> bool:
    """Return whether a refusal of this status is shown on the form; others are pages of their own."""
    return status in (HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY)
