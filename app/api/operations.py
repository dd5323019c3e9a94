"""Routes for operators: process, readiness, metrics, and the pages that explain errors. No sign-in, no content."""

import html
import math
from datetime import datetime
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.api.dependencies import services_of
from app.api.problems import EVERY_TYPE
from app.errors import NotFoundError, PortcullisError
from app.observability import LOG_STANDSTILL, LOG_UNSIGNED, LOG_UNSIGNED_OLDEST_S, QUEUE, QUEUE_OLDEST_S, REGISTRY
from app.wiring import Services

router = APIRouter(tags=["operations"])


@router.get("/healthz")
async def health() -> dict[str, str]:
    """The process runs."""
    return {"status": "ok"}


@router.get("/readyz")
async def ready(request: Request) -> Response:
    """Each dependency by name: `ok`, or why not. 503 when one is not."""
    report = await services_of(request).readiness(is_public=True)
    is_ready = all(value == "ok" for value in report.values())
    body: dict[str, Any] = {"status": "ok" if is_ready else "not_ready", "checks": report}
    return Response(orjson.dumps(body), 200 if is_ready else 503, {"Cache-Control": "no-store"}, "application/json")


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Metrics in Prometheus' text form: counts and durations, never names. Figures of the whole installation are read at each call."""
    await _measure(services_of(request))
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


async def _measure(services: Services) -> None:
    try:
        upkeep = await services.upkeep.run(services.tenant)
    except PortcullisError:
        # Not what it was before: a figure nobody could read is no number.
        for gauge in (QUEUE, QUEUE_OLDEST_S):
            gauge.clear()
        for figure in (LOG_UNSIGNED, LOG_UNSIGNED_OLDEST_S, LOG_STANDSTILL):
            figure.set(math.nan)
        return
    for one in upkeep.queue:
        QUEUE.labels(one.kind.value, one.state.value).set(one.jobs)
        QUEUE_OLDEST_S.labels(one.kind.value, one.state.value).set(_age(upkeep.now, one.oldest))
    LOG_UNSIGNED.set(upkeep.unsigned)
    LOG_UNSIGNED_OLDEST_S.set(_age(upkeep.now, upkeep.unsigned_since))
    LOG_STANDSTILL.set(upkeep.is_at_standstill)


def _age(now: datetime, since: datetime | None) -> float:
    return max(0.0, (now - since).total_seconds()) if since else 0.0


@router.get("/problems/{name}", response_class=HTMLResponse)
async def problem_page(name: str) -> HTMLResponse:
    """What an error means and what to do."""
    kind = next((one for one in EVERY_TYPE if one.name == name), None)
    if kind is None:
        raise NotFoundError
    title, meaning, remedy = html.escape(kind.title), html.escape(kind.meaning), html.escape(kind.remedy)
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{title} · Portcullis</title><link rel="stylesheet" href="/static/tokens.css">'
        '<link rel="stylesheet" href="/static/components.css">'
        f'</head><body><main class="main" id="main"><div class="page"><div class="reading stack"><h1>{title}</h1>'
        f"<p>{meaning}</p><p>{remedy}</p><p>Status {kind.status}, code <code>{html.escape(kind.name)}</code>.</p>"
        "</div></div></main></body></html>"
    )
    return HTMLResponse(page)
