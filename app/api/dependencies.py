"""What routes ask for: the services and the caller. A caller comes from the bearer token and from nothing else."""

from typing import Annotated

from fastapi import Depends, Header, Request

from app.api.context import request_id_of
from app.domain.identity import Caller
from app.errors import NotAuthenticatedError
from app.identity.subjects import subject_from_claims
from app.wiring import Services


def services_of(request: Request) -> Services:
    """The services of this process."""
    services = request.app.state.services
    assert isinstance(services, Services)  # noqa: S101 - set in main; this tells the type checker
    return services


Wired = Annotated[Services, Depends(services_of)]


async def bearer_caller(
    request: Request,
    services: Wired,
    authorization: Annotated[str | None, Header(description="`Bearer` and an access token of the issuer.")] = None,
    x_purpose: Annotated[str | None, Header(description="Purpose of this request; one assigned to you.")] = None,
) -> Caller:
    """The caller of this request. Raises NotAuthenticatedError, or AccessDeniedError for a purpose that is not theirs."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        reason = "no_token"
        raise NotAuthenticatedError(reason)
    claims = await services.identity.tokens.verify(token.strip())
    subject = subject_from_claims(claims, services.tenant, services.identity.claims)
    return await services.sign_ins.for_purpose(Caller(subject, request_id_of(request)), x_purpose)


Calling = Annotated[Caller, Depends(bearer_caller)]


async def for_purpose(services: Services, caller: Caller, purpose: str | None) -> Caller:
    """The caller with the purpose of the body, when it names one."""
    return caller if purpose is None else await services.sign_ins.for_purpose(caller, purpose)
