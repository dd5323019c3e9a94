"""What operators are told: how far queue and signer are, and which hits of the index were taken back for what reason."""

import math
import re
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from app.answer import retrieval
from app.domain.search import AccessFacts
from app.policy.bundle import read_folder
from app.storage import document_rows, schema, tenant_rows
from app.storage.transaction import Database
from app.wiring import Models, open_services
from tests.conftest import ROOT, Gateway, gateway_in, settings_in
from tests.e2e.attack import sample_document
from tests.e2e.test_revocation import DOCUMENT, without_hr

columns = ("laptop", "company")
_QUESTION = {"query": "How much parental leave do I get?", "top_k": 20}


async def figures(gateway: Gateway) -> dict[str, float]:
    """Every sample of the metrics page, by its name with labels."""
    page = (await gateway.client.get("/metrics")).text
    return {name: float(value) for name, value in re.findall(r"^(portcullis_\S+) (\S+)$", page, re.MULTILINE)}


async def taken_back(gateway: Gateway) -> dict[str, float]:
    found = await figures(gateway)
    return {reason: found.get(f'portcullis_recheck_dropped_total{{reason="{reason}"}}', 0.0) for reason in ("absent", "behind", "denied")}


async def risen(gateway: Gateway, before: dict[str, float]) -> set[str]:
    now = await taken_back(gateway)
    return {reason for reason, count in now.items() if count > before[reason]}


async def test_the_queue_the_signer_and_a_standstill_stand_in_the_metrics(company: Path, models: Models) -> None:
    async with gateway_in(company, models, background=False) as gateway:
        services = gateway.services
        await services.audit.checkpoint(services.tenant)
        quiet = await figures(gateway)
        assert quiet['portcullis_queue_jobs{kind="ingest",state="queued"}'] == 0
        assert quiet["portcullis_log_unsigned_entries"] == quiet["portcullis_log_standstill"] == 0
        body = {"title": "Quokka", "text": "The quokka allowance is 5 euros.", "external_id": "quokka"}
        await gateway.post("/v1/collections/hr/documents", "hr-partner", body)
        busy = await figures(gateway)
        assert busy['portcullis_queue_jobs{kind="ingest",state="queued"}'] == 1
        assert 0 < busy['portcullis_queue_oldest_seconds{kind="ingest",state="queued"}'] < 60
        assert busy["portcullis_log_unsigned_entries"] >= 1
        async with services.database.write() as tx:
            await tenant_rows.stop(tx, services.tenant, "somebody has to look")
        assert (await figures(gateway))["portcullis_log_standstill"] == 1
        owner = Database(services.settings.owner_url)
        async with owner.write() as tx:
            await tenant_rows.resume(tx, services.tenant)
        await owner.close()


async def test_figures_nobody_can_read_are_no_numbers(company: Path, models: Models) -> None:
    async with gateway_in(company, models, background=False) as gateway:
        assert (await figures(gateway))["portcullis_log_standstill"] == 0
        owner = gateway.services.settings.owner_url
        change_schema(owner, "ALTER TABLE job RENAME TO jobs_elsewhere")
        found = await figures(gateway)
        change_schema(owner, "ALTER TABLE jobs_elsewhere RENAME TO job")
        assert math.isnan(found["portcullis_log_standstill"])
        assert math.isnan(found["portcullis_log_unsigned_entries"])
        assert not any(name.startswith("portcullis_queue") for name in found)
        assert (await figures(gateway))["portcullis_log_standstill"] == 0


def change_schema(owner: str, statement: str) -> None:
    """As the owner of the database."""
    with closing(schema._engine(owner).connect()) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET ROLE portcullis_owner"))
        connection.execute(text(statement))
        connection.commit()


async def test_a_hit_the_referee_takes_back_alarms_only_where_no_late_change_explains_it(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = gateway.services
    document_id = await sample_document(services, DOCUMENT)
    async with services.database.read() as tx:
        document = await document_rows.get_document(tx, services.tenant, document_id)
    assert document is not None
    denied = {"mode": "inherit", "deny": ["group:sample|engineering"]}
    response = await gateway.client.put(f"/v1/documents/{document_id}/acl", json=denied, headers=gateway.token("hr-partner"))
    assert response.status_code == 200
    # The index is made to say what was true before: as if the change had not arrived there, or somebody had put it back.
    await services.index.put_access(AccessFacts.of(replace(document, acl_version=document.acl_version + 2)))
    before = await taken_back(gateway)
    assert (await gateway.post("/v1/search", "engineer", _QUESTION)).status_code == 200
    assert await risen(gateway, before) == {"behind"}
    monkeypatch.setattr(retrieval, "_BEHIND", timedelta(0))
    before = await taken_back(gateway)
    assert (await gateway.post("/v1/search", "engineer", _QUESTION)).status_code == 200
    assert await risen(gateway, before) == {"denied"}


async def test_a_policy_that_closes_something_raises_no_alarm(
    gateway: Gateway, models: Models, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval, "_BEHIND", timedelta(0))
    for _ in gateway.replicas:
        await gateway.post("/v1/search", "engineer", _QUESTION)
    folder = tmp_path_factory.mktemp("policies")
    for name, content in without_hr(read_folder(ROOT / "policies")).items():
        (folder / name).write_text(content, encoding="utf-8")
    before = await taken_back(gateway)
    async with open_services(settings_in(gateway.services.settings.data, policies=folder), models=models, is_server=True):
        for _ in gateway.replicas:
            found = (await gateway.post("/v1/search", "engineer", _QUESTION)).json()
            assert not any("parental" in one["title"].lower() for one in found["passages"])
    assert not await risen(gateway, before)
