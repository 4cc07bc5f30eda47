"""The readable page at /api/docs: the OpenAPI document as plain HTML, without scripts and without a CDN."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from itertools import chain, groupby, repeat
from typing import Any

Schema = Mapping[str, Any]

_CODE = re.compile(r"`([^`\n]+)`")

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
<a class="skip" href="#calls">To the calls</a>
<header><h1>{title} API</h1><p>{version} · <a href="/api/v1/openapi.json">OpenAPI document</a></p>{description}</header>
<nav aria-label="Calls">{index}</nav>
<main id="calls">{calls}
<section aria-labelledby="problems"><h2 id="problems">Problems</h2>
<p>Every error has the body <a href="#shape-Problem">Problem</a>.</p>{problems}</section>
<section aria-labelledby="headers"><h2 id="headers">Headers</h2>{parameters}{headers}</section>
<section aria-labelledby="shapes"><h2 id="shapes">Shapes</h2>{shapes}</section></main>
</body>
</html>
"""


def render(document: Schema) -> str:
    """Return the page of an OpenAPI document."""
    info, components = document["info"], document["components"]
    calls = list(_calls(document))
    return _PAGE.format(
        title=escape(info["title"]),
        version=escape(info["version"]),
        description=_paragraphs(info["description"]),
        index=_index(calls),
        calls="".join(_call(*call) for call in calls),
        problems=_problems(document, calls),
        parameters=_table_of(components["parameters"].values(), components["parameters"]),
        headers=_table(
            ("Header of answers", "Meaning"), "".join(_header(*each) for each in components["headers"].items())
        ),
        shapes="".join(_shape(name, each) for name, each in sorted(components["schemas"].items())),
    )


def _calls(document: Schema) -> Iterator[tuple[str, str, Schema]]:
    """Yield method, path and operation of each call, tag by tag."""
    for tag in document["tags"]:
        for path, item in document["paths"].items():
            for method, operation in item.items():
                if operation["tags"] == [tag["name"]]:
                    yield method.upper(), path, operation


def _index(calls: list[tuple[str, str, Schema]]) -> str:
    return "".join(_group(tag, list(group)) for tag, group in groupby(calls, key=lambda call: call[2]["tags"][0]))


def _group(tag: str, calls: list[tuple[str, str, Schema]]) -> str:
    items = "".join(
        f'<li><a href="#{escape(operation["operationId"])}">{_address(method, path)}</a></li>'
        for method, path, operation in calls
    )
    return f"<div><h2>{escape(tag.capitalize())}</h2><ul>{items}</ul></div>"


def _call(method: str, path: str, operation: Schema) -> str:
    name = escape(operation["operationId"])
    parts = [
        f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(operation["summary"])}</h2>',
        f"<p>{_address(method, path)}</p>",
        _paragraphs(operation.get("description", "")),
        _parameters(operation["parameters"]),
        _body(operation.get("requestBody")),
        _responses(operation["responses"]),
        "</section>",
    ]
    return "".join(parts)


def _resolved(document: Schema, schema: Schema) -> Schema:
    """Return what a reference means, and anything else as it is."""
    found: Any = document
    for step in schema.get("$ref", "#").split("/")[1:]:
        found = found[step]
    return found if "$ref" in schema else schema


def _parameters(parameters: list[Schema]) -> str:
    """Return the call's own parameters; those of many calls are told once, at the end of the page."""
    own = [each for each in parameters if "$ref" not in each]
    shared = [each["$ref"].rpartition("/")[2] for each in parameters if "$ref" in each]
    links = ", ".join(f'<a href="#parameter-{name}">{name.replace("_", " ")}</a>' for name in map(escape, shared))
    return _table_of(own) + (f"<p>Headers: {links}</p>" if links else "")


def _table_of(parameters: Iterable[Schema], ids: Iterable[str] = ()) -> str:
    rows = "".join(
        f"<tr{place}><th scope=row><code>{escape(each['name'])}</code></th><td>{escape(each['in'])}"
        f"{', required' if each['required'] else ''}</td><td>{_type(each['schema'])}</td>"
        f"<td>{_text(each.get('description', ''))}</td></tr>"
        for each, place in zip(parameters, chain((f' id="parameter-{name}"' for name in ids), repeat("")), strict=False)
    )
    return _table(("Parameter", "In", "Type", "Meaning"), rows) if rows else ""


def _body(body: Schema | None) -> str:
    if body is None:
        return ""
    need = "required" if body["required"] else "may be left out"
    return "".join(_content(media_type, each, f"Body ({need})") for media_type, each in body["content"].items())


def _content(media_type: str, content: Schema, title: str) -> str:
    type_of = "" if media_type == "application/json" else f" as <code>{escape(media_type)}</code>"
    said = f"<p>{title}: {_type(content['schema'])}{type_of}</p>"
    if not content.get("example"):
        return said
    example = content["example"]
    text = example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
    return f'{said}<pre tabindex="0"><code>{escape(text)}</code></pre>'


def _responses(responses: Schema) -> str:
    """Return what the call answers with; problems are told once, at the end of the page."""
    answers = {status: each for status, each in responses.items() if "$ref" not in each}
    rows = "".join(
        f"<tr><th scope=row>{status}</th><td>{_text(each['description'])}</td><td>{_contents(each)}</td></tr>"
        for status, each in answers.items()
    )
    problems = ", ".join(f'<a href="#problem-{status}">{status}</a>' for status in responses if status not in answers)
    said = f"<p>Problems: {problems}</p>" if problems else ""
    return _table(("Status", "Meaning", "Body"), rows) + said


def _contents(response: Schema) -> str:
    found = [
        _type(each.get("schema", {})) + ("" if "json" in media_type else f" as <code>{escape(media_type)}</code>")
        for media_type, each in response.get("content", {}).items()
    ]
    return ", ".join(found) or "none"


def _problems(document: Schema, calls: list[tuple[str, str, Schema]]) -> str:
    found = {
        status: _resolved(document, each)["description"]
        for _, _, operation in calls
        for status, each in operation["responses"].items()
        if "$ref" in each
    }
    rows = "".join(
        f'<tr id="problem-{status}"><th scope=row>{status}</th><td>{_text(description)}</td></tr>'
        for status, description in sorted(found.items())
    )
    return _table(("Status", "Meaning"), rows)


def _header(name: str, header: Schema) -> str:
    return f"<tr><th scope=row><code>{escape(name)}</code></th><td>{_text(header['description'])}</td></tr>"


def _shape(name: str, schema: Schema) -> str:
    required = schema.get("required", [])
    rows = "".join(
        f"<tr><th scope=row><code>{escape(member)}</code></th><td>{_type(each)}"
        f"{'' if member in required else ', may be left out'}</td><td>{_text(each.get('description', ''))}</td></tr>"
        for member, each in schema.get("properties", {}).items()
    )
    heading = f'<h3 id="shape-{escape(name)}">{escape(name)}</h3>{_paragraphs(schema.get("description", ""))}'
    if rows:
        return heading + _table(("Member", "Type", "Meaning"), rows)
    return f"{heading}<p>{_type({key: schema[key] for key in schema if key != 'description'})}</p>"


def _type(schema: Schema) -> str:
    """Return a short word for a schema, linked where it has a shape of its own."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#shape-{name}">{name}</a>'
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " or ".join(_type(each) for each in choices)
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values:
        return ", ".join(f"<code>{escape(str(each))}</code>" for each in values)
    if schema.get("type") == "array":
        return f"array of {_type(schema.get('items', {}))}{_limits(schema)}"
    return escape(" ".join(filter(None, (str(schema.get("type", "anything")), schema.get("format"))))) + _limits(schema)


def _limits(schema: Schema) -> str:
    words = {
        "minLength": "at least", "maxLength": "at most", "minItems": "at least", "maxItems": "at most",
        "minimum": "from", "maximum": "to", "default": "left out:",
    }  # fmt: skip
    said = [f"{word} {schema[key]}" for key, word in words.items() if schema.get(key) is not None]
    return f" ({escape(', '.join(said))})" if said else ""


def _table(headings: tuple[str, ...], rows: str) -> str:
    head = "".join(f"<th scope=col>{heading}</th>" for heading in headings)
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _address(method: str, path: str) -> str:
    # A long address may break behind each of its steps.
    return f"<code><b>{escape(method)}</b> {escape(path).replace('/', '/<wbr>')}</code>"


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_text(each)}</p>" for each in text.split("\n\n") if each.strip())


def _text(text: str) -> str:
    """Return a text with what stands in backticks as code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))
