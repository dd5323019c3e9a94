"""The alerts look where the program counts: routes, reasons and states that exist, from the first event on, and no page for a busy day."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.api import ROUTERS
from app.observability import RECHECK_DROPPED
from app.storage import tenant_rows
from app.wiring import Models
from tests.conftest import ROOT, gateway_in
from tests.e2e.test_figures import figures

columns = ("laptop", "company")
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((ROOT / "docs" / "operations" / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}
REASONS = ("absent", "behind", "denied")


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_asks_for_routes_and_reasons_that_are_counted(alert: str) -> None:
    known = {
        "route": {route.path for router in ROUTERS for route in router.routes if hasattr(route, "path")},
        "reason": set(REASONS),
        "status": {"500", "503"},
        "state": {"queued", "failed"},
    }
    known["route"] |= {f"/v1{path}" for path in known["route"]}
    for label, values in re.findall(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"', RULES[alert]["expr"]):
        assert set(values.split("|")) <= known[label], label


def test_hits_that_were_taken_back_are_counted_from_nothing_in_a_fresh_process() -> None:
    show = "from app.observability import REGISTRY; from prometheus_client import generate_latest as show; print(show(REGISTRY).decode())"
    page = subprocess.run([sys.executable, "-c", show], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for reason in REASONS:
        assert f'portcullis_recheck_dropped_total{{reason="{reason}"}} 0.0' in page
    counted = {sample.labels["reason"] for metric in RECHECK_DROPPED.collect() for sample in metric.samples}
    assert counted == set(REASONS), "one that is not made at the start is missing above"


@pytest.mark.parametrize("alert", ["PortcullisFilterAndRefereeDisagree", "PortcullisFails"])
def test_an_alert_on_a_single_event_sees_one_that_was_first_seen_as_one(alert: str) -> None:
    risen, born = RULES[alert]["expr"].split(" or ")
    (series,) = re.findall(r"increase\(([^[]+)\[5m\]\)", risen)
    assert born.strip() == f"sum({series} unless {series} offset 5m) > 0"


async def test_a_gateway_that_is_not_ready_is_counted_where_the_alert_looks(company: Path, models: Models) -> None:
    assert 'route="/readyz",status="503"' in RULES["PortcullisNotReady"]["expr"]
    name = 'portcullis_requests_total{route="/readyz",status="503"}'
    async with gateway_in(company, models, background=False) as gateway:
        before = (await figures(gateway)).get(name, 0.0)
        async with gateway.services.database.write() as tx:
            await tenant_rows.stop(tx, gateway.services.tenant, "somebody has to look")
        assert (await gateway.client.get("/readyz")).status_code == 503
        assert (await figures(gateway))[name] == before + 1


async def test_what_pages_about_the_signer_is_the_age_of_the_oldest_entry(company: Path, models: Models) -> None:
    assert "portcullis_log_unsigned_oldest_seconds" in RULES["PortcullisUnsigned"]["expr"]
    name = "portcullis_log_unsigned_oldest_seconds"
    async with gateway_in(company, models, background=False) as gateway:
        await gateway.services.audit.checkpoint(gateway.services.tenant)
        assert (await figures(gateway))[name] == 0
        for _ in range(2):
            await gateway.post("/v1/search", "engineer", {"query": "leave"})
            await asyncio.sleep(0.3)
        waited = (await figures(gateway))[name]
        assert 0.6 <= waited < 60, "the first search is the oldest"
        await gateway.post("/v1/search", "engineer", {"query": "leave"})
        assert (await figures(gateway))[name] > waited
        await gateway.services.audit.checkpoint(gateway.services.tenant)
        assert (await figures(gateway))[name] == 0
