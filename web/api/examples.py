"""Examples of bodies, put together from those that stand beside the members."""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_TEXT = "text"


def example_of(schema: Schema, definitions: Schema) -> Any:
    """Return a value that the schema allows: its own example, else one made of its members' examples.

    Members that may be left out are, unless they have an example of their own.
    """
    if "$ref" in schema:
        return example_of(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if schema.get("examples"):
        return schema["examples"][0]
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return example_of(next(each for each in choices if each.get("type") != "null"), definitions)
    return _of_type(schema, definitions)


def _of_type(schema: Schema, definitions: Schema) -> Any:
    kind = schema.get("type")
    if kind == "object":
        return _object(schema, definitions)
    if kind == "array":
        return [example_of(schema["items"], definitions)]
    if kind in {"integer", "number"}:
        return schema.get("minimum", 0)
    if kind == "boolean":
        return schema.get("default", False)
    return _TEXT


def _object(schema: Schema, definitions: Schema) -> dict[str, Any]:
    required = schema.get("required", ())
    return {
        name: example_of(member, definitions)
        for name, member in schema.get("properties", {}).items()
        if name in required or _has_example(member, definitions)
    }


def _has_example(schema: Schema, definitions: Schema) -> bool:
    if "$ref" in schema:
        return _has_example(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return bool(schema.get("examples")) or any(_has_example(each, definitions) for each in schema.get("anyOf", ()))
