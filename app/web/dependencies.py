"""What pages ask for: the services and the session behind the cookie. A form that changes something must carry the session's token."""

from typing import Annotated

from fastapi import Depends, Form, Request

from app.domain.identity import Caller
from app.errors import AccessDeniedError
from app.identity.sessions import Session, is_csrf_token
from app.wiring import Services

COOKIE = "portcullis_session"
_MAX_PATH = 300


class SignInNeededError(Exception):
    """The page needs a session; the browser is sent to the sign-in page and back."""


def services_of(request: Request) -> Services:
    """The services of this process."""
    services = request.app.state.services
    assert isinstance(services, Services)  # noqa: S101 - set in main; this tells the type checker
    return services


Wired = Annotated[Services, Depends(services_of)]


async def session_of(request: Request, services: Wired) -> Session:
    """The session of this browser. Raises SignInNeededError."""
    secret = request.cookies.get(COOKIE, "")
    if secret:
        async with services.database.read() as tx:
            session = await services.identity.sessions.find(tx, secret)
        if session is not None:
            return session
    raise SignInNeededError


Signed = Annotated[Session, Depends(session_of)]


async def checked_form(session: Signed, csrf_token: Annotated[str, Form()] = "") -> Session:
    """The session of a form that carries its token. Raises AccessDeniedError for a form from elsewhere."""
    if not is_csrf_token(session, csrf_token):
        message = "This form is out of date. Open the page again and repeat."
        raise AccessDeniedError(message)
    return session


Checked = Annotated[Session, Depends(checked_form)]


def own_path(path: str) -> str:
    """A path of this gateway; anything that could lead elsewhere becomes the start page."""
    is_own = path.startswith("/") and not path.startswith(("//", "/\\")) and len(path) <= _MAX_PATH and path.isprintable()
    return path if is_own and "\\" not in path else "/"


def caller_of(request: Request, session: Session) -> Caller:
    """The caller behind a page request."""
    return Caller(session.subject, str(request.scope.get("portcullis_request_id", "")))
