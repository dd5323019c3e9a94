"""Door: server-rendered pages. Parses, authenticates, calls one flow, renders. No decision is taken here."""

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from app.web import demo_issuer
from app.web.templating import STATIC


def mount(application: FastAPI) -> None:
    """Add the pages to `application`."""
    application.mount("/static", StaticFiles(directory=STATIC), name="static")
    application.include_router(demo_issuer.router)
