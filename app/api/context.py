"""What every request carries: its id, its limits, its measure. Plain ASGI, so that streams are not buffered."""

import time
from contextlib import suppress

import structlog
from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils import uuid7

from app.observability import REQUEST_SECONDS, REQUESTS, logger

_log = logger(__name__)
TOO_LARGE = "portcullis_too_large"
_MAX_LENGTH_DIGITS = 18
"""Python refuses to read a number of thousands of digits, with an error that would become a 500."""
_DOCUMENT_SUFFIXES = ("/documents", "/documents:batch")
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"content-security-policy", b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"),
)


def request_id_of(request: Request) -> str:
    """The id of this request, as in `X-Request-Id`."""
    return str(request.scope.get("portcullis_request_id", ""))


class RequestContext:
    """Gives each request an id, security headers, a size limit on its body, a metric and one log line."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, max_document_bytes: int) -> None:
        self._app = app
        self._max_body = max_body_bytes
        self._max_document = max_document_bytes + 64 * 1024

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{uuid7()}"
        scope["portcullis_request_id"] = request_id
        started, status = time.perf_counter(), 500
        limit = self._max_document if scope["path"].endswith(_DOCUMENT_SUFFIXES) else self._max_body
        guard = _BodyGuard(scope, receive, limit)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.setdefault("headers", [])
                present = {name.lower() for name, _ in headers}
                headers.append((b"x-request-id", request_id.encode()))
                if scope["path"].startswith("/static/"):
                    present.add(b"cache-control")
                headers += [pair for pair in _HEADERS if pair[0] not in present]
            await send(message)

        with structlog.contextvars.bound_contextvars(request=request_id):
            if guard.is_declared_too_large(scope):
                await _answer(scope, receive, send_with_headers, BodyTooLargeError())
            else:
                try:
                    await self._app(scope, guard.receive, send_with_headers)
                except Exception as error:  # noqa: BLE001 - a door: further out the error's own words would be printed
                    await _answer(scope, receive, send_with_headers, error)
            self._measure(scope, status, time.perf_counter() - started)

    def _measure(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        REQUESTS.labels(route, str(status)).inc()
        REQUEST_SECONDS.labels(route).observe(seconds)
        _log.info("request_answered", route=route, method=scope["method"], status=status, ms=round(seconds * 1000, 1))


class BodyTooLargeError(Exception):
    """The body grew past its limit."""


class _BodyGuard:
    """Counts body bytes as they come, whatever the length header says."""

    def __init__(self, scope: Scope, receive: Receive, limit: int) -> None:
        self._scope = scope
        self._receive = receive
        self._left = limit
        self._limit = limit

    def is_declared_too_large(self, scope: Scope) -> bool:
        """Whether the length header alone is over the limit or no number."""
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        return not declared.isdigit() or len(declared) > _MAX_LENGTH_DIGITS or int(declared) > self._limit

    async def receive(self) -> Message:
        """The next message. Raises BodyTooLargeError past the limit."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                self._scope[TOO_LARGE] = True  # frameworks turn the exception into their own; the answer must still be 413
                raise BodyTooLargeError
        return message


async def _answer(scope: Scope, receive: Receive, send: Send, error: Exception) -> None:
    """Answer an error outside the application as it says, a browser with a page; when an answer is under way already, it just ends.

    What is left of a body that is too large is not read: the connection closes.
    """
    handlers = scope["app"].exception_handlers
    response = await handlers.get(type(error), handlers[Exception])(Request(scope), error)
    if isinstance(error, BodyTooLargeError):
        response.headers["connection"] = "close"
    with suppress(RuntimeError):
        await response(scope, receive, send)
