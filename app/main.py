"""ASGI entry: settings, services, then API and pages mounted on one application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app import api, web
from app.api.context import RequestContext
from app.api.problems import install
from app.observability import configure_logging
from app.settings import Settings, load_settings
from app.wiring import Models, open_services


def create_app(settings: Settings | None = None, models: Models | None = None) -> FastAPI:
    """The gateway as an ASGI application. Services open at start-up and close at shut-down; `models` given are shared."""
    settings = settings or load_settings()

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        configure_logging(settings.log_level)
        async with open_services(settings, is_server=True, models=models) as services:
            application.state.services = services
            yield

    application = FastAPI(
        title="Portcullis",
        version="0.1.0",
        description="A governed knowledge gateway: cited answers from documents a person may read, each one on a tamper-evident record.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    application.add_middleware(RequestContext, max_body_bytes=settings.max_body_bytes, max_document_bytes=settings.max_document_bytes)
    install(application, web.wants_page, web.problem_page)
    for router in (*api.ROUTERS, *web.ROUTERS):
        application.router.routes.extend(router.routes)  # complete as they are: `include_router` builds each anew on the first request
    web.mount(application)
    return application
