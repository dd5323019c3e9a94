"""Jinja set-up: autoescaping always on, one way to render a page."""

from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from app.web.rendering import FILTERS

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
_environment = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=select_autoescape(default=True, default_for_string=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(FILTERS)


def page(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:  # noqa: ANN401 - template values
    """A page, never cached: it may hold governed text."""
    content = _environment.get_template(name).render(request=request, status=status, **values)
    return HTMLResponse(content, status, {"Cache-Control": "no-store"})


def fragment(name: str, **values: Any) -> str:  # noqa: ANN401 - template values
    """A part of a page."""
    return _environment.get_template(name).render(**values)
