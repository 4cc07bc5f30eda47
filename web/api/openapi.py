"""OpenAPI 3.1, made of the table of calls: pydantic's JSON Schema is its dialect, so nothing is written twice."""

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from schemas.api import Problem
from web.api.examples import example_of
from web.api.routes import PREFIX, Route
from web.problems import CONTENT_TYPE

Schema = dict[str, Any]
_References = Mapping[tuple[type[BaseModel], str], Schema]

_REF = "#/components/schemas/{model}"
_PATH_PARAMETER = re.compile(r"\{([a-z_]+)[^}]*\}")

_DESCRIPTION = """\
The books of an affiliate program: partners, orders, commissions, balances.

Authenticate with `Authorization: Bearer cl_...`; a key opens the books of one merchant, and what belongs to another is
not found. Money is `{"amount": "10.00", "currency": "USD"}`, instants are RFC 3339 in UTC, days are `YYYY-MM-DD` in the
program's time zone. Errors are RFC 9457 problems with a stable `code`. A POST with an `Idempotency-Key` happens once,
however often it is sent. Reads say in `X-Ledger-Position` which position of the log they reflect; commands say which
they wrote, and `?min_position=` makes a read wait for it.

Each call names the scope that a key needs for it; `admin` includes all others. How many calls a key has left (`r`), and
in how many seconds all of them (`t`), is in `RateLimit`; a key that asks too often gets 429 and `Retry-After`."""

_HEADERS: Schema = {
    "X-Request-Id": {
        "description": "The request's id: the caller's, where it sent a sane one.",
        "schema": {"type": "string"},
    },
    "X-Ledger-Position": {
        "description": "The position that the answer reflects, or that the command wrote; absent: nothing changed.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "Idempotency-Replayed": {
        "description": "`true`: this is the answer that the Idempotency-Key was given before.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "RateLimit": {
        "description": "Calls that the key has left (`r`), and seconds until it has all of them again (`t`).",
        "schema": {"type": "string", "examples": ['"default";r=999;t=1']},
    },
    "RateLimit-Policy": {
        "description": "Calls that a key may make at once (`q`), and seconds in which they come back (`w`).",
        "schema": {"type": "string", "examples": ['"default";q=1000;w=10']},
    },
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string", "pattern": "^[0-9]+$"}},
    "WWW-Authenticate": {"description": "The scheme to use.", "schema": {"type": "string"}},
}

_REQUEST_ID_PARAMETER: Schema = {
    "name": "X-Request-Id",
    "in": "header",
    "required": False,
    "description": "An id of the caller's for the request: 1 to 128 of `A-Z a-z 0-9 . _ : -`; anything else, and none,"
    " gets a new one. It comes back in the answer, stands in our log, and is part of the cause of what it changed.",
    "schema": {"type": "string"},
}
_IDEMPOTENCY_KEY: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes the request happen once, for ever: the same key and body get the first answer again.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$", "examples": ["2f9b1c1e-partner-jane"]},
}

# What every call can be answered with, whatever it does.
_ALWAYS = {
    HTTPStatus.BAD_REQUEST: "What was sent is no HTTP, or no JSON, that can be read.",
    HTTPStatus.UNAUTHORIZED: "There is no key, or one that is not (or no longer) valid.",
    HTTPStatus.FORBIDDEN: "The key may not do this: it lacks the call's scope.",
    HTTPStatus.REQUEST_URI_TOO_LONG: "The address is too long.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The request is well formed and says what cannot be; `errors` names the fields.",
    HTTPStatus.TOO_MANY_REQUESTS: "The key asks too often, or too many wrong keys came from the address.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "A header is too long, or there are too many.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "An error of ours; the request id finds it in our log.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Busy, or the database is away, or the read models are not there yet: try again.",
}
_WITH_BODY = {
    HTTPStatus.REQUEST_TIMEOUT: "The body did not arrive in time.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is not of a type that the call takes.",
}
_NOT_FOUND = {HTTPStatus.NOT_FOUND: "There is no such thing, or it is another merchant's: the two look the same."}
_CONFLICT = {
    HTTPStatus.CONFLICT: "It contradicts what is on the books; a move that is not possible names those that are."
}
_PROBLEMS = dict(sorted((_ALWAYS | _WITH_BODY | _NOT_FOUND | _CONFLICT).items()))


def document(routes: Sequence[Route], version: str) -> Schema:
    """Return the OpenAPI document of the calls."""
    schemas, definitions = _schemas(routes)
    paths: dict[str, Schema] = {}
    for route in routes:
        item = paths.setdefault(PREFIX + pattern(route.path), {})
        item[route.method.lower()] = _operation(route, schemas, definitions)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Commission Ledger",
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "responses": {status.name.lower(): _problem(status, schemas) for status in _PROBLEMS},
            "headers": _HEADERS,
            "parameters": {"request_id": _REQUEST_ID_PARAMETER, "idempotency_key": _IDEMPOTENCY_KEY},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "bearerFormat": "cl_<key id>_<secret>"}},
        },
    }


def pattern(path: str) -> str:
    """Return the path with its parameters as OpenAPI writes them, without the expressions that aiohttp wants."""
    return _PATH_PARAMETER.sub(r"{\1}", path)


def _schemas(routes: Iterable[Route]) -> tuple[_References, Schema]:
    """Return the reference to each body and answer, and the definitions behind them."""
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(Problem, "serialization"): None}
    for route in routes:
        if route.body:
            wanted[route.body, "validation"] = None
        if route.answer:
            wanted[route.answer, "serialization"] = None
    references, definitions = models_json_schema(list(wanted), by_alias=True, ref_template=_REF)
    return {(model, mode): schema for (model, mode), schema in references.items()}, definitions["$defs"]  # type: ignore[misc]


def _operation(route: Route, schemas: _References, definitions: Schema) -> Schema:
    operation: Schema = {
        "operationId": route.name,
        "tags": [route.tag],
        "summary": route.summary,
        "description": "\n\n".join(filter(None, (route.description, _scope(route)))),
        "security": [{"key": [route.scope] if route.scope else []}],
        "parameters": [*_path_parameters(route), *_query_parameters(route.query), _parameter("request_id")],
        "responses": _responses(route, schemas),
    }
    if route.idempotent_by_key:
        operation["parameters"].append(_parameter("idempotency_key"))
    if route.body:
        schema = schemas[route.body, "validation"]
        content = {"application/json": {"schema": schema, "example": example_of(schema, definitions)}}
        operation["requestBody"] = {"required": route.body_required, "content": content}
    if route.takes:
        content = {media_type: {"schema": {"type": "string"}} for media_type in route.takes}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _scope(route: Route) -> str:
    if route.scope:
        return f"Scope: `{route.scope}`."
    # A command without one asks for the scope that its body needs, and says so itself.
    return "Any key may make this call." if route.reads else ""


def _parameter(name: str) -> Schema:
    return {"$ref": f"#/components/parameters/{name}"}


def _headers(*names: str) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _path_parameters(route: Route) -> list[Schema]:
    schema = {"type": "string", "minLength": 1, "maxLength": 128}
    return [
        {"name": name, "in": "path", "required": True, "schema": schema} for name in _PATH_PARAMETER.findall(route.path)
    ]


def _query_parameters(model: type[BaseModel]) -> list[Schema]:
    schema = model.model_json_schema(by_alias=True, ref_template=_REF)
    return [_query_parameter(name, each) for name, each in schema.get("properties", {}).items()]


def _query_parameter(name: str, schema: Schema) -> Schema:
    """Return one parameter: given or left out, for null is neither."""
    plain = {key: value for key, value in schema.items() if key not in {"title", "description", "default"}}
    choices = [choice for choice in plain.pop("anyOf", []) if choice != {"type": "null"}]
    if choices:
        plain |= choices[0]
    if schema.get("default") is not None:
        plain["default"] = schema["default"]
    parameter = {"name": name, "in": "query", "required": False, "schema": plain}
    return parameter | ({"description": schema["description"]} if "description" in schema else {})


def _responses(route: Route, schemas: _References) -> Schema:
    headers = ["X-Request-Id", "X-Ledger-Position", "RateLimit", "RateLimit-Policy"]
    if route.idempotent_by_key:
        headers.append("Idempotency-Replayed")
    success: Schema = {"description": route.status.phrase, "headers": _headers(*headers)}
    if route.answer:
        success["content"] = {"application/json": {"schema": schemas[route.answer, "serialization"]}}
    if route.gives:
        success["content"] = {route.gives: {"schema": {"type": "string"}}}
    return {str(int(route.status)): success} | {
        str(int(status)): {"$ref": f"#/components/responses/{status.name.lower()}"}
        for status in sorted(problems_of(route))
    }


def problems_of(route: Route) -> set[HTTPStatus]:
    """Return the statuses of the problems that the call can answer with."""
    found = set(_ALWAYS)
    if route.body or route.takes:
        found |= set(_WITH_BODY)
    if not route.reads:
        found |= set(_CONFLICT)
    if "{" in route.path:
        found |= set(_NOT_FOUND)
    return found


def _problem(status: HTTPStatus, schemas: _References) -> Schema:
    headers = ["X-Request-Id", "RateLimit", "RateLimit-Policy"]
    if status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        headers.append("Retry-After")
    if status is HTTPStatus.UNAUTHORIZED:
        headers.append("WWW-Authenticate")
    content = {CONTENT_TYPE: {"schema": schemas[Problem, "serialization"]}}
    return {"description": _PROBLEMS[status], "headers": _headers(*headers), "content": content}
