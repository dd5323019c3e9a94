"""Several processes, one installation: what one does, the next request on any other sees; none undoes what another did; none loses work."""

import asyncio
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app.main import create_app
from app.storage import lease_rows, tenant_rows
from app.storage.transaction import Database
from app.wiring import Models, open_services
from app.wiring.background import Leader
from tests.conftest import Gateway, gateway_in, settings_in

columns = ("company",)
QUESTION = {"question": "How much parental leave do I get?"}


def another_revision(folder: Path, target: Path) -> Path:
    """The company's policy, with another digest."""
    shutil.copytree(settings_in(folder).policies, target)
    labels = target / "labels.yaml"
    labels.write_text(labels.read_text(encoding="utf-8") + "\n# another revision\n", encoding="utf-8")
    return target


async def digest(gateway: Gateway) -> str:
    async with gateway.services.database.read() as tx:
        found = (await tx.connection.exec_driver_sql("SELECT digest FROM policy_state")).scalar_one()
    return str(found)


async def test_a_policy_activated_on_one_replica_binds_the_next_request_on_the_other(
    gateway: Gateway, tmp_path: Path, company: Path
) -> None:
    first, second = gateway.replicas
    assert (await gateway.post("/v1/answers", "engineer", QUESTION)).json()["state"] == "answered"
    revised = another_revision(company, tmp_path / "revised")
    before = await digest(gateway)
    await first.activate.run_folder(first.tenant, revised, "system:test")
    assert await digest(gateway) != before
    answers = [(await gateway.post("/v1/search", "engineer", {"query": "leave"})).json() for _ in range(2)]
    assert {one["policy_digest"] for one in answers} == {await digest(gateway)}
    assert second.policy is not first.policy


async def test_a_replica_of_the_last_release_that_restarts_does_not_bring_its_old_policy_back(
    company: Path, models: Models, tmp_path: Path
) -> None:
    new = another_revision(company, tmp_path / "new")
    async with open_services(settings_in(company), models=models) as services:
        old_digest = (await services.activate.run_folder(services.tenant, settings_in(company).policies, "system:test")).digest
    async with open_services(settings_in(company, policies=new), models=models) as services:
        new_digest = (await services.activate.run_folder(services.tenant, new, "system:test")).digest
    assert new_digest != old_digest
    async with open_services(settings_in(company), models=models, is_server=True) as services, services.database.read() as tx:
        assert (await tx.connection.exec_driver_sql("SELECT digest FROM policy_state")).scalar_one() == new_digest


async def test_one_process_keeps_house_and_another_takes_over_when_it_ends(company: Path, models: Models) -> None:
    async with open_services(settings_in(company), models=models) as services:
        first, second = (Leader(services.database, services.tenant, "test") for _ in range(2))
        assert await first.leads()
        assert not await second.leads()
        await first.give_back()
        second._ask_at = 0.0
        assert await second.leads()
        async with services.database.write() as tx:
            await lease_rows.give_back(tx, services.tenant, "test", second._holder)


async def test_a_gateway_that_only_answers_starts_no_work_and_leaves_documents_to_the_worker(company: Path, models: Models) -> None:
    body = {"title": "Quokka", "text": "The quokka allowance is 5 euros.", "external_id": "quokka"}
    async with gateway_in(company, models, background=False) as gateway:
        handed_in = (await gateway.post("/v1/collections/hr/documents", "hr-partner", body)).json()
        await asyncio.sleep(1.0)
        job = (await gateway.get(f"/v1/jobs/{handed_in['job_id']}", "hr-partner")).json()
        assert job["state"] == "queued"
        async with AsyncExitStack() as stack:
            worker = create_app(settings_in(company), models)
            await stack.enter_async_context(worker.router.lifespan_context(worker))
            await gateway.until_job(handed_in["job_id"], "hr-partner", "succeeded")
        found = (await gateway.post("/v1/search", "hr-partner", {"query": "quokka allowance"})).json()
        assert any("quokka" in one["text"] for one in found["passages"])


async def test_gateways_without_the_key_issue_receipts_that_the_signer_makes_provable(company: Path, models: Models) -> None:
    async with open_services(settings_in(company), models=models) as signer:
        key = signer.audit.verifier_key(signer.tenant)
        async with gateway_in(company, models, background=False, verifier_key=key) as gateway:
            answer = (await gateway.post("/v1/answers", "engineer", QUESTION)).json()
            await signer.audit.checkpoint(signer.tenant)
            receipt = await gateway.get(f"/v1/receipts/{answer['receipt']['receipt_id']}", "engineer")
            assert receipt.status_code == 200
            assert (await gateway.client.get("/readyz")).status_code == 200


@pytest.mark.parametrize("state", [True, False])
async def test_a_standstill_stops_every_replica_and_is_said_by_readiness(gateway: Gateway, *, state: bool) -> None:
    tenant, owner = gateway.services.tenant, Database(gateway.services.settings.owner_url)
    async with gateway.replicas[1].database.write() as tx:
        await tenant_rows.stop(tx, tenant, "somebody has to look")
    if not state:
        # Nobody but the owner lets it go on.
        async with owner.write() as tx:
            await tenant_rows.resume(tx, tenant)
    await owner.close()
    for _ in range(2):
        answered = await gateway.post("/v1/answers", "engineer", QUESTION)
        ready = await gateway.client.get("/readyz")
        assert (answered.status_code, ready.status_code) == ((503, 503) if state else (200, 200))


async def test_a_command_that_only_looks_puts_no_policy_in_force(company: Path, models: Models, tmp_path: Path) -> None:
    """As `portcullis audit export` opens an installation: on a machine where another policy folder lies, or none is named."""
    async with open_services(settings_in(company), models=models) as services, services.database.read() as tx:
        before = (await tx.connection.exec_driver_sql("SELECT digest FROM policy_state")).scalar_one()
    other = another_revision(company, tmp_path / "other")
    async with open_services(settings_in(company, policies=other), models=models) as services:
        assert (await services.trail.verify(services.tenant)).is_intact
        async with services.database.read() as tx:
            assert (await tx.connection.exec_driver_sql("SELECT digest FROM policy_state")).scalar_one() == before
