"""CloudEvents 1.0: the envelope in which an order event may come.

Structured mode: the value is the envelope and `data` the order event. Binary mode: the attributes are Kafka headers
`ce_id`, `ce_source`, ... and the value is the order event itself. Only the envelope's own rules are checked: the order
event says everything the books need, so `type`, `time` and `subject` are not compared with it.
"""

from collections.abc import Callable, Sequence
from typing import Any

from schemas.errors import Fault, RejectedError

SPEC_VERSION = "1.0"
STRUCTURED = b"application/cloudevents+json"

_REQUIRED = ("id", "source", "type")
_BINARY = frozenset({"ce_specversion", "ce_id", "ce_source", "ce_type"})


def is_structured(headers: Sequence[tuple[str, bytes | None]]) -> bool:
    """Return whether the headers announce an envelope as the value. Raises as `check_headers` does in binary mode."""
    for name, value in headers:
        if name.lower() == "content-type" and value is not None:
            media_type = value.partition(b";")[0].strip().lower()
            if media_type == STRUCTURED:
                return True
    check_headers(headers)
    return False


def check_headers(headers: Sequence[tuple[str, bytes | None]]) -> None:
    """Raise RejectedError with paths like `headers.ce_id` where binary mode's attributes are incomplete or wrong."""
    attributes = {name: value for name, value in headers if name in _BINARY}
    if not attributes:
        return
    decoded = {name.removeprefix("ce_"): (value or b"").decode(errors="replace") for name, value in attributes.items()}
    _refuse(_attribute_faults(decoded, lambda name: f"headers.ce_{name}"))


def is_envelope(value: dict[str, Any]) -> bool:
    """Return whether a JSON object is an envelope: attribute names have no underscore, so it has no `event_id`."""
    return "specversion" in value and ("data" in value or "event_id" not in value)


def unwrap(value: dict[str, Any]) -> dict[str, Any]:
    """Return `data` of a structured envelope; RejectedError names every attribute that is missing or wrong."""
    faults = _attribute_faults(value, lambda name: f"$.{name}")
    data = value.get("data")
    if "data_base64" in value:
        faults.append(Fault("$.data_base64", "binary_data", "send the order event as a JSON object in `data`"))
    elif "data" not in value:
        faults.append(Fault("$.data", "missing", "an envelope without an order event"))
    elif not isinstance(data, dict):
        faults.append(Fault("$.data", "not_an_object", "must be the order event, a JSON object"))
    _refuse(faults)
    return data  # type: ignore[return-value]  # refused above unless it is an object


def _attribute_faults(attributes: dict[str, Any], path: Callable[[str], str]) -> list[Fault]:
    faults = []
    version = attributes.get("specversion")
    if "specversion" not in attributes:
        faults.append(Fault(path("specversion"), "missing", "a CloudEvents attribute that is required"))
    elif version != SPEC_VERSION:
        faults.append(Fault(path("specversion"), "unsupported_version", "only CloudEvents 1.0 is understood"))
    for name in _REQUIRED:
        if name not in attributes:
            faults.append(Fault(path(name), "missing", "a CloudEvents attribute that is required"))
        elif not isinstance(attributes[name], str):
            faults.append(Fault(path(name), "not_a_string", "must be a string"))
        elif not attributes[name]:
            faults.append(Fault(path(name), "too_short", "must not be empty"))
    return faults


def _refuse(faults: list[Fault]) -> None:
    if faults:
        raise RejectedError(faults[0].code, faults[0].message, faults)
