"""Errors as RFC 9457 problems: one table from error family to HTTP status. Details never carry what a caller may not see."""

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from app.api.context import TOO_LARGE as BODY_TOO_LARGE
from app.api.context import BodyTooLargeError, request_id_of
from app.errors import (
    AccessDeniedError,
    AuditUnavailableError,
    ConfigurationError,
    ConflictError,
    InvalidInputError,
    LimitExceededError,
    NotAuthenticatedError,
    NotFoundError,
    PolicyInvalidError,
    PortcullisError,
    UnsupportedContentError,
    UpstreamUnavailableError,
)
from app.observability import AUDIT_REFUSED, SIGN_IN_REFUSED, logger

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class ProblemType:
    """How a family of errors looks over HTTP. `meaning` and `remedy` make its page at /problems/{name}."""

    name: str
    status: int
    title: str
    meaning: str
    remedy: str


TYPES: dict[type[PortcullisError], ProblemType] = {
    NotAuthenticatedError: ProblemType(
        "not-authenticated", 401, "Sign in first", "The request carries no valid access token.", "Sign in again and send a fresh token."
    ),
    AccessDeniedError: ProblemType(
        "access-denied", 403, "Not allowed", "The policy in force does not permit this.", "Ask the steward of the collection for access."
    ),
    NotFoundError: ProblemType(
        "not-found", 404, "Nothing here", "Nothing with this id is open to you: it does not exist, or you may not know it.", "Check the id."
    ),
    ConflictError: ProblemType(
        "conflict", 409, "Conflict", "The request contradicts what is there now.", "Read the present state and try again."
    ),
    UnsupportedContentError: ProblemType(
        "unsupported-content",
        422,
        "Content refused",
        "The document cannot be taken in as it is.",
        "Mend what the detail names and hand it in again.",
    ),
    InvalidInputError: ProblemType(
        "invalid-input", 422, "Input not understood", "A part of the request is malformed.", "Mend the parts listed under errors."
    ),
    LimitExceededError: ProblemType(
        "limit-exceeded", 429, "Limit reached", "A size or rate limit was met.", "Send less, or wait and try again."
    ),
    UpstreamUnavailableError: ProblemType(
        "upstream-unavailable", 503, "A part does not answer", "A part that the gateway needs does not answer.", "Try again shortly."
    ),
    AuditUnavailableError: ProblemType(
        "audit-unavailable", 503, "No record, no answer", "The record could not be written, so nothing was released.", "Try again shortly."
    ),
    PolicyInvalidError: ProblemType(
        "policy-invalid",
        422,
        "Policy refused",
        "A policy file is outside what this gateway understands.",
        "Mend the line that the detail names.",
    ),
    ConfigurationError: ProblemType(
        "configuration", 503, "Not configured", "The gateway is not configured for this.", "Run `portcullis doctor`."
    ),
    PortcullisError: ProblemType("internal", 500, "Internal error", "Something went wrong inside.", "Tell your operator the request id."),
}
TOO_LARGE = ProblemType("too-large", 413, "Too large", "The request is larger than this gateway takes.", "Send less.")
NOT_ALLOWED = ProblemType("method-not-allowed", 405, "Not offered", "This address does not take that method.", "See /docs.")
EVERY_TYPE = (*TYPES.values(), TOO_LARGE, NOT_ALLOWED)
_MAX_ERRORS = 20
_MAX_NAME_CHARS = 200
CONTENT_TYPE = "application/problem+json"


def problem_of(error: PortcullisError) -> tuple[ProblemType, dict[str, Any]]:
    """(type, body) of an error; `instance` is added by whoever answers."""
    kind = TYPES[next(family for family in type(error).__mro__ if family in TYPES)]
    if isinstance(error, LimitExceededError) and error.is_size:
        kind = TOO_LARGE
    body: dict[str, Any] = {
        "type": f"/problems/{kind.name}",
        "title": kind.title,
        "status": kind.status,
        # What is wrong with an installation names its paths and indexes: operators find it in the log and by `portcullis doctor`.
        "detail": kind.meaning if isinstance(error, ConfigurationError) else error.detail,
        "code": error.code,
        "retryable": error.retryable,
    }
    if error.decision_id is not None:
        body["decision_id"] = error.decision_id
    if isinstance(error, InvalidInputError):
        body["errors"] = [{"pointer": error.pointer, "detail": error.detail}]
    return kind, body


def problem_response(request: Request, error: PortcullisError) -> Response:
    """The whole answer to an error; counts and logs what operators need, the reason of a refused sign-in among it."""
    kind, body = problem_of(error)
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, NotAuthenticatedError):
        SIGN_IN_REFUSED.labels(error.reason.partition(":")[0]).inc()
        _log.info("token_refused", reason=error.reason)
        headers["WWW-Authenticate"] = 'Bearer realm="portcullis"'
    if isinstance(error, ConfigurationError):
        _log.error("configuration_wrong", reason=error.detail)
    if isinstance(error, AuditUnavailableError):
        AUDIT_REFUSED.inc()
        _log.error("release_refused_without_record")
    if isinstance(error, LimitExceededError):
        headers["Retry-After"] = str(error.retry_after_s)
    elif error.retryable:
        headers["Retry-After"] = "2"
    body["instance"] = request_id_of(request)
    return Response(orjson.dumps(body), kind.status, headers, CONTENT_TYPE)


def pointer_of(parts: Iterable[str | int]) -> str:
    """A JSON pointer (RFC 6901) to a place of the input. Names in it are the caller's own: shortened, and characters of them only."""
    names = (str(part)[:_MAX_NAME_CHARS].encode("utf-8", "replace").decode() for part in parts)
    return "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)


def _invalid(request: Request, error: RequestValidationError) -> Response:
    """Input that pydantic refused: places and reasons, never the values."""
    kind = TYPES[InvalidInputError]
    errors = [
        {"pointer": pointer_of(part for part in one["loc"] if part != "body"), "detail": one["msg"]} for one in error.errors()[:_MAX_ERRORS]
    ]
    body = {
        "type": f"/problems/{kind.name}",
        "title": kind.title,
        "status": kind.status,
        "detail": "Some parts of the request are not valid.",
        "code": InvalidInputError.code,
        "retryable": False,
        "errors": errors,
        "instance": request_id_of(request),
    }
    return Response(orjson.dumps(body), kind.status, {"Cache-Control": "no-store"}, CONTENT_TYPE)


def _http(request: Request, error: HTTPException) -> Response:
    """Errors of the framework itself, as the same problems."""
    if request.scope.get(BODY_TOO_LARGE):
        return problem_response(request, LimitExceededError("The request is larger than this gateway takes.", is_size=True))
    if error.status_code == NOT_ALLOWED.status:
        body = {"type": f"/problems/{NOT_ALLOWED.name}", "title": NOT_ALLOWED.title, "status": NOT_ALLOWED.status}
        body |= {"detail": NOT_ALLOWED.meaning, "code": "method_not_allowed", "retryable": False, "instance": request_id_of(request)}
        return Response(orjson.dumps(body), NOT_ALLOWED.status, error.headers, CONTENT_TYPE)
    if error.status_code == TYPES[NotFoundError].status:
        return problem_response(request, NotFoundError())
    return problem_response(request, InvalidInputError("The request body is not valid JSON of the expected form."))


def install(app: FastAPI, wants_page: Callable[[Request], bool], page: Callable[[Request, int, str], Response]) -> None:
    """Answer every error of `app` as a problem, and a browser with a page that says the same."""

    def answered(request: Request, error: PortcullisError) -> Response:
        response = problem_response(request, error)
        if not wants_page(request):
            return response
        return _waiting_as_long(page(request, response.status_code, error.detail), response)

    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, PortcullisError)  # noqa: S101 - the registration below says so; this tells the type checker
        return answered(request, error)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
        if wants_page(request):
            return answered(request, InvalidInputError("Some parts of the form are not valid."))
        return _invalid(request, error)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - as above
        if wants_page(request) and error.status_code == TYPES[NotFoundError].status:
            return answered(request, NotFoundError())
        return _http(request, error)

    async def unknown(request: Request, error: Exception) -> Response:
        # Where, never what: the words of an unforeseen error may be those of a question or a passage.
        _log.error("request_failed", kind=type(error).__name__, place=_place(error))
        return answered(request, PortcullisError("Something went wrong inside. Nothing was released."))

    async def too_large(request: Request, error: Exception) -> Response:
        del error
        return answered(request, LimitExceededError("The request is larger than this gateway takes.", is_size=True))

    app.add_exception_handler(BodyTooLargeError, too_large)
    app.add_exception_handler(PortcullisError, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unknown)


def _waiting_as_long(shown: Response, problem: Response) -> Response:
    """The page of a problem, with the problem's advice when to come back."""
    if "retry-after" in problem.headers:
        shown.headers["retry-after"] = problem.headers["retry-after"]
    return shown


def _place(error: BaseException) -> str:
    """File and line where an error came up."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown"
