"""Errors as HTTP answers: RFC 9457 problem+json, always, and never a stack trace or SQL in it."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import psycopg
import psycopg_pool
import structlog
from aiohttp import web

from schemas.api import FieldError, Problem
from schemas.errors import (
    ConflictError,
    Fault,
    ForbiddenError,
    IllegalMoveError,
    NotFoundError,
    RejectedError,
    RetryableError,
    UnauthorizedError,
)

CONTENT_TYPE = "application/problem+json"
_RETRY_AFTER_S = "1"

_log = structlog.get_logger(__name__)


class MalformedError(RejectedError):
    """The request is no JSON that can be read."""


class TooLargeError(RejectedError):
    """The body is larger than the call takes."""


class MediaTypeError(RejectedError):
    """The body is not JSON by its own account."""


class TooSlowError(RejectedError):
    """The body did not arrive in time."""


class TooManyRequestsError(RejectedError):
    """The caller has asked too often, and may come back in so many seconds."""

    def __init__(self, code: str, message: str, wait_s: int) -> None:
        super().__init__(code, f"{message}; come back in {wait_s} s")
        self.wait_s = wait_s


class NotYetError(RetryableError):
    """The read models have not reached the position that the caller waits for."""


_STATUS: tuple[tuple[type[RejectedError], HTTPStatus], ...] = (
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (ConflictError, HTTPStatus.CONFLICT),
    (UnauthorizedError, HTTPStatus.UNAUTHORIZED),
    (ForbiddenError, HTTPStatus.FORBIDDEN),
    (MalformedError, HTTPStatus.BAD_REQUEST),
    (TooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (MediaTypeError, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (TooSlowError, HTTPStatus.REQUEST_TIMEOUT),
    (TooManyRequestsError, HTTPStatus.TOO_MANY_REQUESTS),
    (RejectedError, HTTPStatus.UNPROCESSABLE_ENTITY),
)
_BUSY = (
    RetryableError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg_pool.PoolTimeout,
    psycopg_pool.TooManyRequests,
    psycopg_pool.PoolClosed,
    # The read models are made by the projector, which may not have begun.
    psycopg.errors.UndefinedTable,
    psycopg.errors.InvalidSchemaName,
)


def answer_error(error: Exception, request_id: str) -> web.Response:
    """Return the problem that tells of the error; what we did not expect is logged and says no more than that."""
    if isinstance(error, web.HTTPException):
        return _of_http(error, request_id)
    if isinstance(error, RejectedError):
        return _of_rejection(error, request_id)
    if isinstance(error, NotYetError):
        return _retry_later("not_yet", str(error), request_id)
    if isinstance(error, _BUSY):
        _log.warning("busy", request_id=request_id, error=str(error))
        return _retry_later("busy", "the service is busy or its database is away; try again", request_id)
    if isinstance(error, asyncio.CancelledError):  # pragma: no cover - not an Exception; here so that nobody adds it
        raise error
    _log.error("unexpected error", request_id=request_id, exc_info=error)
    detail = "something went wrong on our side; the request id finds it in our log"
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", detail, request_id)


def status_of(error: RejectedError) -> HTTPStatus:
    """Return the status that an answer has which tells of the error."""
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def problem(
    status: HTTPStatus,
    code: str,
    detail: str,
    request_id: str,
    *,
    faults: tuple[Fault, ...] = (),
    members: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Return a problem+json answer."""
    body = Problem(
        type=f"urn:commission-ledger:problem:{code}",
        title=status.phrase,
        status=status,
        detail=detail,
        code=code,
        request_id=request_id,
        errors=[FieldError(path=fault.path, code=fault.code, message=fault.message) for fault in faults] or None,
        **(members or {}),
    )
    text = body.model_dump_json(exclude_none=True)
    return web.Response(text=text, status=status, content_type=CONTENT_TYPE, headers=headers)


def _retry_later(code: str, detail: str, request_id: str) -> web.Response:
    headers = {"Retry-After": _RETRY_AFTER_S}
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, code, detail, request_id, headers=headers)


def _of_rejection(error: RejectedError, request_id: str) -> web.Response:
    status = status_of(error)
    members = {"state": error.state, "legal": list(error.legal)} if isinstance(error, IllegalMoveError) else None
    headers: dict[str, str] = {}
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="commission-ledger"'
    if isinstance(error, TooManyRequestsError):
        headers["Retry-After"] = str(error.wait_s)
    return problem(status, error.code, error.message, request_id, faults=error.faults, members=members, headers=headers)


def _of_http(error: web.HTTPException, request_id: str) -> web.Response:
    """Return the framework's own refusals (no such route, method not allowed) in our words."""
    status = HTTPStatus(error.status)
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    details = {
        HTTPStatus.NOT_FOUND: "there is nothing at this address",
        HTTPStatus.METHOD_NOT_ALLOWED: "this address does not take that method",
    }
    detail = details.get(status, error.reason or status.phrase)
    return problem(status, status.name.lower(), detail, request_id, headers=headers)
