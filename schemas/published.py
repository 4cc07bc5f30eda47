"""What storefronts read: JSON Schema and AsyncAPI of topic `orders`, generated from the shapes and committed.

`python -m schemas.published` writes the documents beside this file; `--check` writes nothing and fails (exit status 1)
when one of them is stale. `web.published` does the same for OpenAPI.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from schemas.cloud_events import SPEC_VERSION
from schemas.json_text import MESSAGE_BYTES_MAX
from schemas.order_messages import VALIDATORS

FOLDER = Path(__file__).parent
VERSION = "1.0.0"

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ANY_ORDER_EVENT = "OrderEvent"
_ENVELOPE = "OrderEventEnvelope"


def documents() -> dict[Path, str]:
    """Return the text of every published document by the path at which it is committed."""
    built = {
        "json/order_event.json": _standalone(_ANY_ORDER_EVENT),
        "json/order_event_envelope.json": _standalone(_ENVELOPE),
        "asyncapi.json": asyncapi(),
    }
    return {FOLDER / name: json.dumps(document, indent=2) + "\n" for name, document in built.items()}


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of the topic, from the ledger's side: it receives what storefronts send."""
    messages, schemas = _asyncapi_messages(), _schemas("#/components/schemas/")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Commission Ledger: order events",
            "version": VERSION,
            "description": "What a storefront publishes. Unknown fields are ignored; a known field with a wrong value "
            "sends the message to the dead letters, with a code and the path of the field.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "orders": {
                "address": "orders",
                "description": f"The topic (its name is configurable). At most {MESSAGE_BYTES_MAX} bytes a message.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {"receiveOrderEvents": {"action": "receive", "channel": {"$ref": "#/channels/orders"}}},
        "components": {"messages": messages, "schemas": schemas},
    }


def _asyncapi_messages() -> dict[str, Any]:
    messages = {
        kind: {
            "name": kind,
            "title": str(schema["description"]),
            "payload": {"$ref": f"#/components/schemas/{_name_of(kind)}"},
            "bindings": _KEY,
            "examples": [{"payload": example} for example in schema["examples"]],
        }
        for kind in VALIDATORS
        for schema in [_schemas("#/components/schemas/")[_name_of(kind)]]
    }
    messages["cloudevent"] = {
        "name": "cloudevent",
        "title": "Any order event in a CloudEvents 1.0 envelope (structured mode).",
        "contentType": "application/cloudevents+json",
        "payload": {"$ref": f"#/components/schemas/{_ENVELOPE}"},
        "bindings": _KEY,
        "examples": [{"payload": example} for example in _envelope("")["examples"]],
    }
    return messages


_KEY = {
    "kafka": {
        "key": {
            "type": "string",
            "description": "merchant_id + '/' + order_id, so that all events of an order stay in order.",
            "examples": ["acme/1001"],
        }
    }
}


def _standalone(name: str) -> dict[str, Any]:
    """Return one schema as a JSON Schema document that needs no other."""
    schemas = _schemas("#/$defs/")
    top = schemas.pop(name)
    if name == _ANY_ORDER_EVENT:
        schemas.pop(_ENVELOPE)
    return {"$schema": _DIALECT, "title": name, **top, "$defs": schemas}


def _schemas(refs: str) -> dict[str, Any]:
    """Return every schema by its name; references start with `refs`."""
    inputs = [(kind, "validation", adapter) for kind, adapter in VALIDATORS.items()]
    _, generated = TypeAdapter.json_schemas(inputs, ref_template=refs + "{model}")  # type: ignore[arg-type]
    any_event = {
        "description": "One message of the topic: exactly one of these, told apart by `type`.",
        "oneOf": [{"$ref": refs + _name_of(kind)} for kind in VALIDATORS],
    }
    return {_ANY_ORDER_EVENT: any_event, _ENVELOPE: _envelope(refs), **generated["$defs"]}


def _envelope(refs: str) -> dict[str, Any]:
    attribute = {"type": "string", "minLength": 1}
    example = {
        "specversion": SPEC_VERSION,
        "id": "e-3",
        "source": "https://shop.example.com",
        "type": "order.cancelled",
    }
    data = VALIDATORS["order.cancelled"].json_schema()["examples"][0]
    return {
        "description": "CloudEvents 1.0, structured mode; further attributes are allowed and ignored.",
        "type": "object",
        "properties": {
            "specversion": {"const": SPEC_VERSION},
            "id": attribute,
            "source": attribute,
            "type": attribute,
            "data": {"$ref": refs + _ANY_ORDER_EVENT},
            "data_base64": False,
        },
        "required": ["specversion", "id", "source", "type", "data"],
        "examples": [{**example, "data": data}],
    }


def _name_of(kind: str) -> str:
    """Return the name of the schema of a message type: `PlacedMessage` for `order.placed`."""
    return str(VALIDATORS[kind].json_schema()["title"])


def stale(texts: Mapping[Path, str]) -> list[Path]:
    """Return the committed documents that are missing or no longer these texts."""
    return [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]


def main(arguments: Sequence[str], texts: Mapping[Path, str]) -> int:
    """Write the documents, or with `--check` name the stale ones; return the exit status."""
    if "--check" in arguments:
        for path in stale(texts):
            sys.stderr.write(f"stale: {path.relative_to(FOLDER.parent)}; run make schemas\n")
        return 1 if stale(texts) else 0
    for path, text in texts.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(FOLDER.parent)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], documents()))
