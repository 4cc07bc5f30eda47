"""OpenAPI 3.1, made of the table of calls: pydantic's JSON Schema is its dialect, so nothing is written twice."""

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from schemas.api import Problem
from web.api.routes import PREFIX, Route
from web.problems import CONTENT_TYPE

Schema = dict[str, Any]
_REF = "#/components/schemas/{model}"
_PATH_PARAMETER = re.compile(r"\{([a-z_]+)[^}]*\}")

_DESCRIPTION = """\
The books of an affiliate program: partners, orders, commissions, balances.

Authenticate with `Authorization: Bearer cl_...`; a key opens the books of one merchant, and what belongs to another is
not found. Money is `{"amount": "10.00", "currency": "USD"}`, instants are RFC 3339 in UTC, days are `YYYY-MM-DD` in the
program's time zone. Errors are RFC 9457 problems with a stable `code`. A POST with an `Idempotency-Key` happens once,
however often it is sent. Reads say in `X-Ledger-Position` which position of the log they reflect; commands say which
they wrote, and `?min_position=` makes a read wait for it."""

_REQUEST_ID: Schema = {
    "description": "The request's id: the caller's, where it sent a sane one.",
    "schema": {"type": "string"},
}
_POSITION: Schema = {
    "description": "The position that the answer reflects, or that the command wrote; absent: nothing changed.",
    "schema": {"type": "string", "pattern": "^[0-9]+$"},
}
_REPLAYED: Schema = {
    "description": "`true`: this is the answer that the Idempotency-Key was given before.",
    "schema": {"type": "string", "enum": ["true"]},
}
_RETRY_AFTER: Schema = {"description": "Seconds.", "schema": {"type": "string", "pattern": "^[0-9]+$"}}
_AUTHENTICATE: Schema = {"description": "The scheme to use.", "schema": {"type": "string"}}

_IDEMPOTENCY_KEY: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes the request happen once, for ever: the same key and body get the first answer again.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$", "examples": ["2f9b1c1e-partner-jane"]},
}


def document(routes: Sequence[Route], version: str) -> Schema:
    """Return the OpenAPI document of the calls."""
    schemas, definitions = _schemas(routes)
    paths: dict[str, Schema] = {}
    for route in routes:
        item = paths.setdefault(PREFIX + pattern(route.path), {})
        item[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Commission Ledger", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "bearerFormat": "cl_<key id>_<secret>"}},
        },
    }


def pattern(path: str) -> str:
    """Return the path with its parameters as OpenAPI writes them, without the expressions that aiohttp wants."""
    return _PATH_PARAMETER.sub(r"{\1}", path)


def _schemas(routes: Iterable[Route]) -> tuple[Mapping[tuple[type[BaseModel], str], Schema], Schema]:
    """Return the reference to each body and answer, and the definitions behind them."""
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(Problem, "serialization"): None}
    for route in routes:
        if route.body:
            wanted[route.body, "validation"] = None
        if route.answer:
            wanted[route.answer, "serialization"] = None
    references, definitions = models_json_schema(list(wanted), by_alias=True, ref_template=_REF)
    return {(model, mode): schema for (model, mode), schema in references.items()}, definitions["$defs"]  # type: ignore[misc]


def _operation(route: Route, schemas: Mapping[tuple[type[BaseModel], str], Schema]) -> Schema:
    operation: Schema = {
        "operationId": route.name,
        "tags": [route.tag],
        "summary": route.summary,
        "parameters": [*_path_parameters(route), *_query_parameters(route.query)],
        "responses": _responses(route, schemas),
    }
    if route.description:
        operation["description"] = route.description
    if route.idempotent_by_key:
        operation["parameters"].append(_IDEMPOTENCY_KEY)
    if route.body:
        content = {"application/json": {"schema": schemas[route.body, "validation"]}}
        operation["requestBody"] = {"required": route.body_required, "content": content}
    return operation


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


def _responses(route: Route, schemas: Mapping[tuple[type[BaseModel], str], Schema]) -> Schema:
    success: Schema = {"description": route.status.phrase, "headers": {"X-Request-Id": _REQUEST_ID}}
    success["headers"]["X-Ledger-Position"] = _POSITION
    if route.idempotent_by_key:
        success["headers"]["Idempotency-Replayed"] = _REPLAYED
    if route.answer:
        success["content"] = {"application/json": {"schema": schemas[route.answer, "serialization"]}}
    problem = schemas[Problem, "serialization"]
    return {str(int(route.status)): success} | {
        str(int(status)): _problem(status, problem) for status in sorted(problems_of(route))
    }


def problems_of(route: Route) -> set[HTTPStatus]:
    """Return the statuses of the problems that the call can answer with."""
    found = {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.SERVICE_UNAVAILABLE,
    }
    if route.body:
        found |= {
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        }
    if not route.reads:
        found.add(HTTPStatus.CONFLICT)
    if "{" in route.path:
        found.add(HTTPStatus.NOT_FOUND)
    return found


def _problem(status: HTTPStatus, schema: Schema) -> Schema:
    headers: dict[str, Schema] = {"X-Request-Id": _REQUEST_ID}
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = _RETRY_AFTER
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = _AUTHENTICATE
    return {"description": status.phrase, "headers": headers, "content": {CONTENT_TYPE: {"schema": schema}}}
