"""The demo issuer's addresses: discovery, keys, the one-click page, tokens. They answer 404 outside demo mode."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from app.errors import NotFoundError
from app.identity.demo_issuer import DemoIssuer
from app.web.dependencies import Wired
from app.web.templating import page

router = APIRouter(prefix="/demo-issuer", include_in_schema=False)


async def _issuer(services: Wired) -> DemoIssuer:
    if services.identity.demo is None:
        raise NotFoundError
    return services.identity.demo


Issuer = Annotated[DemoIssuer, Depends(_issuer)]


@router.get("/.well-known/openid-configuration")
async def discovery(issuer: Issuer) -> dict[str, Any]:
    """OpenID Connect Discovery 1.0."""
    return issuer.discovery()


@router.get("/jwks")
async def jwks(issuer: Issuer) -> dict[str, Any]:
    """The public keys."""
    return issuer.jwks()


@router.get("/authorize")
async def authorize(request: Request, issuer: Issuer) -> Response:
    """One button a person; a `login_hint` that names one goes straight on, since the person was picked on the gateway's own page."""
    query = dict(request.query_params)
    issuer.check_request(query)
    hint = query.get("login_hint", "")
    if hint in issuer.people:
        return _back(issuer, query, hint)
    return page(request, "demo-issuer.html", people=list(issuer.people.values()), query=query)


@router.post("/authorize")
async def choose(request: Request, issuer: Issuer) -> Response:
    """The person picked on the issuer's page."""
    form = {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
    return _back(issuer, form, form.get("person", ""))


@router.post("/token")
async def token(request: Request, issuer: Issuer) -> Response:
    """Code for tokens, once, with the PKCE verifier (RFC 6749 section 4.1.3, RFC 7636 section 4.6)."""
    form = {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
    tokens = issuer.exchange(form)
    headers = {"Cache-Control": "no-store", "Pragma": "no-cache"}
    if tokens is None:
        return JSONResponse({"error": "invalid_grant"}, 400, headers)
    return JSONResponse(tokens, 200, headers)


def _back(issuer: DemoIssuer, query: dict[str, str], person: str) -> Response:
    code = issuer.grant(query, person)
    return RedirectResponse(f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}", 303)
