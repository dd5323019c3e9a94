"""Jinja set-up: autoescaping always on, one way to render a page."""

from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from app.web.rendering import FILTERS

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
THEME_COOKIE = "portcullis_theme"
THEMES = ("light", "dark")
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
    address = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    frame = {"theme": theme_of(request), "here": address if request.method == "GET" else "/"}
    content = _environment.get_template(name).render(status=status, **frame, **values)
    return HTMLResponse(content, status, {"Cache-Control": "no-store"})


def theme_of(request: Request) -> str:
    """The theme this browser's reader chose: `light`, `dark`, or empty to follow the system's."""
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else ""


def fragment(name: str, **values: Any) -> str:  # noqa: ANN401 - template values
    """A part of a page."""
    return _environment.get_template(name).render(**values)
