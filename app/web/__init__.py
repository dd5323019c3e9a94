"""Door: server-rendered pages. Parses, authenticates, calls one flow, renders. No decision is taken here."""

from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles

from app.web import asking, demo_issuer, officers, records, reference, signing, themes
from app.web.dependencies import SignInNeededError
from app.web.templating import STATIC, page

ROUTERS = tuple(module.router for module in (signing, themes, asking, records, officers, reference, demo_issuer))
_TITLES = {401: "Sign in first", 403: "Not allowed", 404: "Nothing here", 413: "Too large", 422: "Not understood", 503: "Try again shortly"}


def mount(application: FastAPI) -> None:
    """Add what the pages need beside their routes to `application`."""
    application.mount("/static", StaticFiles(directory=STATIC), name="static")
    application.add_exception_handler(SignInNeededError, _to_sign_in)


def wants_page(request: Request) -> bool:
    """Whether a browser asks for a page rather than a program for JSON."""
    if request.headers.get("hx-request") == "true":
        return True
    is_api = request.url.path.startswith(("/v1/", "/demo-issuer/token", "/readyz", "/healthz", "/metrics", "/openapi"))
    return not is_api and "text/html" in request.headers.get("accept", "")


def problem_page(request: Request, status: int, detail: str) -> Response:
    """An error as a page, with words that are safe to show."""
    request_id = str(request.scope.get("portcullis_request_id", ""))
    title = _TITLES.get(status, "Something went wrong")
    return page(request, "problem.html", status, viewer=None, title=title, detail=detail, request_id=request_id)


async def _to_sign_in(request: Request, error: Exception) -> Response:
    """Send a browser without a session to the sign-in page, and back afterwards when it was only looking."""
    del error
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "") if request.method == "GET" else "/"
    address = f"/sign-in?next={quote(target)}"
    if request.headers.get("hx-request") == "true":
        return Response(status_code=200, headers={"HX-Redirect": address})
    return RedirectResponse(address, 303)
