"""Options that several commands share, and how an installation is opened from the command line."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import orjson
import typer
from uuid_utils import uuid7

from app.domain.identity import Caller
from app.errors import ConfigurationError
from app.identity.subjects import subject_from_claims, with_purpose
from app.observability import configure_logging
from app.settings import DEMO_MARKER, Settings, load_settings
from app.wiring import Services, open_services

DataOption = Annotated[Path | None, typer.Option("--data", help="Data folder of an embedded installation.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
AsOption = Annotated[str | None, typer.Option("--as", help="Sample person to act as (demo installations).")]
PurposeOption = Annotated[str | None, typer.Option("--purpose", help="Declared purpose; one assigned to the person.")]
_Result = TypeVar("_Result")


def settings_for(data: Path | None, **overrides: Any) -> Settings:  # noqa: ANN401 - settings of any type
    """Settings of an installation. A folder that a demo made is opened in demo mode, unless an issuer is named."""
    settings = load_settings(data=data, **overrides)
    marker = settings.data / DEMO_MARKER
    if settings.demo or settings.oidc_issuer or not marker.exists():
        return settings
    address = json.loads(marker.read_text(encoding="utf-8"))["public_url"]
    return load_settings(data=data, **{"demo": True, "public_url": address, **overrides})


def run_with(settings: Settings, work: Callable[[Services], Awaitable[_Result]]) -> _Result:
    """Open the services, do `work`, close them. Puts no policy in force, not even a first one."""

    async def whole() -> _Result:
        async with open_services(settings, may_begin=False) as services:
            return await work(services)

    configure_logging("ERROR")
    return asyncio.run(whole())


async def caller_as(services: Services, name: str | None, purpose: str | None = None) -> Caller:
    """The caller a sample person is, through a real token of the demo issuer. Raises ConfigurationError outside demo mode."""
    demo = services.identity.demo
    if demo is None:
        message = "Acting as a person from the command line needs a demo installation: use the API with a token of your issuer."
        raise ConfigurationError(message)
    if name is None:
        message = f"Say who asks with --as. There are: {', '.join(demo.people)}."
        raise ConfigurationError(message)
    claims = await services.identity.tokens.verify(demo.access_token(name))
    subject = subject_from_claims(claims, services.tenant, services.identity.claims)
    return Caller(with_purpose(subject, purpose), f"cli_{uuid7()}")


def say(as_json: bool, value: Any, text: str) -> None:  # noqa: ANN401 - JSON; the option itself
    """Print a result one way or the other."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode() if as_json else text)


def failure(message: str, status: int = 1) -> typer.Exit:
    """An exit with a message on standard error."""
    typer.echo(f"portcullis: {message}", err=True)
    return typer.Exit(status)
