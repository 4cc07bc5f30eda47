"""The readable page at /api/docs: the OpenAPI document as plain HTML, without scripts and without a CDN."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

Schema = Mapping[str, Any]

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title} API</title>
<link rel="stylesheet" href="/api/docs.css">
</head>
<body>
<header><h1>{title} API</h1><p>{version} · <a href="/api/v1/openapi.json">OpenAPI document</a></p>{description}</header>
<nav aria-label="Calls">{index}</nav>
<main>{calls}<h2 id="shapes">Shapes</h2>{shapes}</main>
</body>
</html>
"""


def render(document: Schema) -> str:
    """Return the page of an OpenAPI document."""
    info = document["info"]
    calls = list(_calls(document))
    return _PAGE.format(
        title=escape(info["title"]),
        version=escape(info["version"]),
        description=_paragraphs(info["description"]),
        index=_index(calls),
        calls="".join(_call(*call) for call in calls),
        shapes="".join(_shape(name, each) for name, each in sorted(document["components"]["schemas"].items())),
    )


def _calls(document: Schema) -> Iterator[tuple[str, str, Schema]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def _index(calls: list[tuple[str, str, Schema]]) -> str:
    items = "".join(
        f'<li><a href="#{escape(operation["operationId"])}">{_address(method, path)}</a></li>'
        for method, path, operation in calls
    )
    return f"<ul>{items}</ul>"


def _call(method: str, path: str, operation: Schema) -> str:
    name = escape(operation["operationId"])
    parts = [
        f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(operation["summary"])}</h2>',
        f"<p>{_address(method, path)}</p>",
        _paragraphs(operation.get("description", "")),
        _parameters(operation.get("parameters", [])),
        _body(operation.get("requestBody")),
        _responses(operation["responses"]),
        "</section>",
    ]
    return "".join(parts)


def _parameters(parameters: list[Schema]) -> str:
    if not parameters:
        return ""
    rows = "".join(
        f"<tr><th scope=row><code>{escape(each['name'])}</code></th><td>{escape(each['in'])}"
        f"{', required' if each['required'] else ''}</td><td>{_type(each['schema'])}</td>"
        f"<td>{escape(each.get('description', ''))}</td></tr>"
        for each in parameters
    )
    return _table(("Parameter", "In", "Type", "Meaning"), rows)


def _body(body: Schema | None) -> str:
    if body is None:
        return ""
    need = "required" if body["required"] else "may be left out"
    return f"<p>Body ({need}): {_type(body['content']['application/json']['schema'])}</p>"


def _responses(responses: Schema) -> str:
    rows = "".join(
        f"<tr><th scope=row>{status}</th><td>{escape(each['description'])}</td><td>{_content(each)}</td></tr>"
        for status, each in responses.items()
    )
    return _table(("Status", "Meaning", "Body"), rows)


def _content(response: Schema) -> str:
    return ", ".join(_type(each["schema"]) for each in response.get("content", {}).values()) or "none"


def _shape(name: str, schema: Schema) -> str:
    required = schema.get("required", [])
    rows = "".join(
        f"<tr><th scope=row><code>{escape(member)}</code></th><td>{_type(each)}"
        f"{'' if member in required else ', may be left out'}</td><td>{escape(each.get('description', ''))}</td></tr>"
        for member, each in schema.get("properties", {}).items()
    )
    heading = f'<h3 id="shape-{escape(name)}">{escape(name)}</h3>{_paragraphs(schema.get("description", ""))}'
    return heading + (_table(("Member", "Type", "Meaning"), rows) if rows else "")


def _type(schema: Schema) -> str:
    """Return a short word for a schema, linked where it has a shape of its own."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#shape-{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    if schema.get("type") == "array":
        return f"array of {_type(schema.get('items', {}))}"
    return escape(" ".join(filter(None, (str(schema.get("type", "anything")), schema.get("format"))))) + _limits(schema)


def _limits(schema: Schema) -> str:
    words = {"minLength": "at least", "maxLength": "at most", "minimum": "from", "maximum": "to"}
    said = [f"{word} {schema[key]}" for key, word in words.items() if key in schema]
    return f" ({escape(', '.join(said))})" if said else ""


def _table(headings: tuple[str, ...], rows: str) -> str:
    head = "".join(f"<th scope=col>{heading}</th>" for heading in headings)
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _address(method: str, path: str) -> str:
    return f"<code><b>{escape(method)}</b> {escape(path)}</code>"


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(each)}</p>" for each in text.split("\n\n") if each.strip())
