"""The reader's choice of light or dark. It is kept in their browser and names nobody; without it pages follow the system."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from app.web.dependencies import Checked, Wired, own_path
from app.web.templating import THEME_COOKIE, theme_of

router = APIRouter(include_in_schema=False)
_A_YEAR_S = 365 * 24 * 3600


@router.post("/theme")
async def choose(
    request: Request,
    services: Wired,
    session: Checked,
    theme: Annotated[str, Form(pattern="^(light|dark)$")],
    next_path: Annotated[str, Form(alias="next", max_length=1_000)] = "/",
) -> Response:
    """Keep the choice; the theme in force chosen again goes back to the system's."""
    del session
    is_script = request.headers.get("hx-request") == "true"
    response = Response(status_code=204) if is_script else RedirectResponse(own_path(next_path), 303)
    if theme == theme_of(request):
        response.delete_cookie(THEME_COOKIE, path="/")
        return response
    is_secure = services.settings.base_url.startswith("https://")
    response.set_cookie(THEME_COOKIE, theme, max_age=_A_YEAR_S, httponly=True, samesite="lax", secure=is_secure, path="/")
    return response
