"""Pages of signing in and out: the code flow with the configured issuer, a session cookie at its end."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from app.errors import NotAuthenticatedError
from app.identity.logout import read_logout
from app.identity.sign_in import keep_attempt, take_attempt
from app.web.dependencies import COOKIE, Checked, Wired, own_path
from app.web.templating import page

router = APIRouter(include_in_schema=False)
_STATE_COOKIE = "portcullis_sign_in"
_STATE_LIVES_S = 600


@router.get("/sign-in")
async def sign_in(request: Request, services: Wired, next_path: Annotated[str, Query(alias="next")] = "/") -> Response:
    """The sign-in page, with one button a sample person in demo mode."""
    demo = services.identity.demo
    people = list(demo.people.values()) if demo else []
    return page(request, "sign-in.html", viewer=None, company=services.settings.company, people=people, next_path=own_path(next_path))


@router.get("/sign-in/start")
async def start(
    services: Wired,
    next_path: Annotated[str, Query(alias="next")] = "/",
    person: Annotated[str | None, Query(alias="as", max_length=100)] = None,
) -> Response:
    """Off to the issuer. In demo mode the person picked here is passed on as a hint."""
    hint = person if services.identity.demo else None
    url, state, attempt = await services.identity.sign_in.begin(services.tenant, _callback(services), own_path(next_path), hint)
    async with services.database.write() as tx:
        await keep_attempt(tx, attempt)
    response = RedirectResponse(url, 303)
    response.set_cookie(
        _STATE_COOKIE, state, max_age=_STATE_LIVES_S, httponly=True, samesite="lax", secure=_is_secure(services), path="/auth"
    )
    return response


@router.get("/auth/callback")
async def callback(request: Request, services: Wired, code: str = "", state: str = "") -> Response:
    """Back from the issuer: the state must be the one this browser left with."""
    try:
        if not state or request.cookies.get(_STATE_COOKIE) != state:
            reason = "state_differs"
            raise NotAuthenticatedError(reason)
        async with services.database.write() as tx:
            attempt = await take_attempt(tx, services.tenant, state)
        claims = await services.identity.sign_in.finish(attempt, _callback(services), code)
        secret, _ = await services.sign_ins.open(claims, str(request.scope["portcullis_request_id"]))
    except NotAuthenticatedError as error:
        await services.sign_ins.refused(services.tenant, error.reason)
        raise
    response = RedirectResponse(attempt.next_path if attempt else "/", 303)
    response.delete_cookie(_STATE_COOKIE, path="/auth")
    response.set_cookie(COOKIE, secret, httponly=True, samesite="lax", secure=_is_secure(services), path="/")
    return response


@router.post("/sign-out")
async def sign_out(request: Request, services: Wired, session: Checked) -> Response:
    """End the session, here and in the database."""
    await services.sign_ins.end(session, str(request.scope["portcullis_request_id"]))
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(COOKIE, path="/")
    return response


@router.post("/auth/back-channel-logout")
async def back_channel_logout(services: Wired, logout_token: Annotated[str, Form()] = "") -> Response:
    """The issuer says that somebody's sessions are over (OpenID Connect Back-Channel Logout 1.0): every replica forgets them."""
    headers = {"Cache-Control": "no-store"}
    try:
        logout = await read_logout(services.identity.logouts, logout_token)
    except NotAuthenticatedError as error:
        await services.sign_ins.refused(services.tenant, f"logout: {error.reason}")
        return JSONResponse({"error": "invalid_request"}, 400, headers)
    await services.sign_ins.ended_by_issuer(services.tenant, logout)
    return Response(status_code=200, headers=headers)


def _callback(services: Wired) -> str:
    return f"{services.settings.base_url}/auth/callback"


def _is_secure(services: Wired) -> bool:
    return services.settings.base_url.startswith("https://")
