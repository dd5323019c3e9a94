"""Killed in the middle: what was acknowledged is there after a restart, nothing is half there, the log verifies, a repeat heals.

One test kills a real server process; the others interrupt by other means: a second process, a broken folder, two writers at once.
"""

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.errors import ConfigurationError
from app.settings import DEMO_MARKER
from app.wiring import Models, load_models, open_services
from tests.conftest import ROOT, Gateway, gateway_in, services_noted_in, settings_in
from tests.e2e.attack import finished_job, submit, take_in

columns = ("laptop", "company")
QUESTION = "How much parental leave do I get?"
KILLS = 2


@dataclass
class Server:
    """A server process over a folder."""

    process: subprocess.Popen[bytes]
    url: str

    def kill(self) -> None:
        """As a power cut does: no handler runs."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Server]:
    """`portcullis serve` in a process group of its own; killed at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PORTCULLIS_")}
    environment |= {"PORTCULLIS_DEMO": "true", "PORTCULLIS_DATA": str(folder), "PORTCULLIS_PORT": str(port)}
    environment |= {"PORTCULLIS_LOG_LEVEL": "ERROR", "PORTCULLIS_PUBLIC_URL": "http://127.0.0.1:8080"}
    for name, value in services_noted_in(folder).items():
        environment[f"PORTCULLIS_{name.upper()}"] = value if isinstance(value, str) else json.dumps(value)
    command = [sys.executable, "-c", "from app.cli import main; main()", "serve", "--data", str(folder)]
    process = await asyncio.to_thread(
        subprocess.Popen, command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    server = Server(process, f"http://127.0.0.1:{port}")
    try:
        async with httpx.AsyncClient(base_url=server.url) as client:
            for _ in range(600):
                assert process.poll() is None, process.stderr and process.stderr.read().decode()[-2000:]
                with suppress(httpx.TransportError):
                    if (await client.get("/healthz")).status_code == 200:
                        break
                await asyncio.sleep(0.1)
        yield server
    finally:
        if process.poll() is None:
            server.kill()
        if process.stderr:
            process.stderr.close()


def note(number: int) -> dict[str, Any]:
    """A document whose every sentence says which one it is."""
    text = " ".join(f"The Larkspur allowance number {number} grants {number} tokens, says sentence {line}." for line in range(40))
    return {"title": f"Larkspur {number}", "text": text, "external_id": f"hr/larkspur-{number}"}


async def under_load(server: Server, tokens: dict[str, dict[str, str]], rng: random.Random) -> tuple[list[str], list[dict[str, Any]]]:
    """Documents and answers in flight until the process is killed at a random moment; what was acknowledged."""
    jobs, answers = [], []

    async def hand_in(client: httpx.AsyncClient, number: int) -> None:
        response = await client.post("/v1/collections/hr/documents", json=note(number), headers=tokens["hr-partner"])
        if response.status_code == 202:
            jobs.append(response.json()["document_id"])

    async def ask(client: httpx.AsyncClient) -> None:
        while True:
            response = await client.post("/v1/answers", json={"question": QUESTION}, headers=tokens["engineer"])
            if response.status_code == 200:
                answers.append(response.json())

    async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
        first = rng.randrange(1, 10_000)
        tasks = [asyncio.create_task(hand_in(client, first + n)) for n in range(6)]
        tasks += [asyncio.create_task(ask(client)) for _ in range(3)]
        await asyncio.sleep(rng.uniform(0.4, 2.5))
        server.kill()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return jobs, answers


async def test_what_was_acknowledged_outlives_a_killed_process(company: Path, models: Models) -> None:
    """Killed at random moments with documents and answers in flight; then opened again in this process and asked for everything."""
    rng = random.Random(20261125)
    (company / DEMO_MARKER).write_text('{"public_url": "http://127.0.0.1:8080"}', encoding="utf-8")
    acknowledged = [0, 0]
    for _ in range(KILLS):
        async with gateway_in(company, models) as gateway:
            tokens = {name: gateway.token(name) for name in ("engineer", "hr-partner")}
        async with serving(company) as server:
            documents, answers = await under_load(server, tokens, rng)
        async with gateway_in(company, models) as gateway:
            # As after half a minute: where there may be other workers, nobody knows sooner that this one is dead.
            async with gateway.services.database.write() as tx:
                await tx.connection.exec_driver_sql("UPDATE job SET lease_until = '2020-01-01 00:00:00' WHERE state = 'running'")
            await assert_whole(gateway, documents, answers)
            await replace(gateway.services.generations, longest=timedelta(0)).run(gateway.services.tenant)
            await assert_ended(gateway)
        acknowledged = [acknowledged[0] + len(documents), acknowledged[1] + len(answers)]
    assert all(acknowledged), "nothing was acknowledged before the kills: they prove nothing"


async def test_an_orderly_stop_ends_what_was_begun_and_hands_back_what_was_not(company: Path, models: Models) -> None:
    """SIGTERM under load: each request that was taken gets its whole answer, each stream its end, each document is taken in later."""
    (company / DEMO_MARKER).write_text('{"public_url": "http://127.0.0.1:8080"}', encoding="utf-8")
    async with gateway_in(company, models) as gateway:
        tokens = {name: gateway.token(name) for name in ("engineer", "hr-partner")}
    answers, jobs, ends, refused = [], [], [], 0

    async def ask(client: httpx.AsyncClient, *, streams: bool) -> None:
        nonlocal refused
        while True:
            try:
                response = await client.post("/v1/answers", json={"question": QUESTION, "stream": streams}, headers=tokens["engineer"])
            except httpx.TransportError:
                refused += 1
                return
            assert response.status_code == 200, response.text
            if streams:
                ends.append("event: finished" in response.text)
            else:
                answers.append(response.json())

    async def hand_in(client: httpx.AsyncClient) -> None:
        for number in range(1, 400):
            try:
                response = await client.post("/v1/collections/hr/documents", json=note(number), headers=tokens["hr-partner"])
            except httpx.TransportError:
                return
            assert response.status_code == 202, response.text
            jobs.append(response.json()["document_id"])

    async with serving(company) as server:
        # A connection for each request: one that is kept open may be closed by the server while the next request is on its way.
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=server.url, timeout=30, limits=limits) as client:
            tasks = [asyncio.create_task(ask(client, streams=streams)) for streams in (False, True, False, True)]
            tasks.append(asyncio.create_task(hand_in(client)))
            await asyncio.sleep(3.0)
            server.process.send_signal(signal.SIGTERM)
            await asyncio.gather(*tasks)
        assert await asyncio.to_thread(server.process.wait, 20) in {0, -signal.SIGTERM}
    assert answers
    assert ends
    assert all(ends)
    assert refused == 4
    async with gateway_in(company, models) as gateway:
        await assert_whole(gateway, jobs, answers)
        await assert_ended(gateway)


async def assert_ended(gateway: Gateway) -> None:
    """Each generation on record has an end there."""
    query = "SELECT type, count(*) FROM audit_event WHERE type LIKE 'generation%' GROUP BY type"
    async with gateway.services.database.read() as tx:
        rows = await tx.connection.exec_driver_sql(query if gateway.services.database.is_sqlite else query.replace("%", "%%"))
        counts = dict(rows.tuples().all())
    assert counts["generation.started"] == counts.get("generation.completed", 0) + counts.get("generation.aborted", 0)


async def assert_whole(gateway: Gateway, documents: list[str], answers: list[dict[str, Any]]) -> None:
    services = gateway.services
    report = await services.trail.verify(services.tenant)
    assert report.is_intact, report.problems
    await services.audit.check(services.tenant)
    for answer in answers:
        again = (await gateway.get(f"/v1/answers/{answer['answer_id']}", "engineer")).json()
        assert again["answer"] == answer["answer"]
        assert (await gateway.get(f"/v1/receipts/{answer['receipt']['receipt_id']}", "engineer")).status_code == 200
    for document_id in documents:
        for _ in range(600):
            seen = await gateway.get(f"/v1/documents/{document_id}", "hr-partner")
            if seen.status_code == 200:
                break
            await asyncio.sleep(0.05)
        body = seen.json()
        number = int(body["title"].rsplit(" ", 1)[-1])
        assert body["text"].count("tokens, says sentence") == 40, "half a document is served"
        found = (await gateway.post("/v1/search", "engineer", {"query": f"Larkspur allowance number {number}", "top_k": 50})).json()
        assert document_id in {one["document_id"] for one in found["passages"]}
    ready = await gateway.client.get("/readyz")
    assert ready.status_code == 200, ready.text


async def test_of_two_writers_to_one_document_the_later_version_stands_whole(gateway: Gateway) -> None:
    bodies = [{**note(n), "external_id": "hr/contested", "title": f"Version {n}"} for n in range(1, 7)]
    responses = await asyncio.gather(*(gateway.post("/v1/collections/hr/documents", "hr-partner", body) for body in bodies))
    taken = [one.json() for one in responses]
    assert len({one["document_id"] for one in taken}) == 1
    assert sorted(one["version"] for one in taken) == [1, 2, 3, 4, 5, 6]
    for one in taken:
        assert (await finished_job(gateway, "hr-partner", one["job_id"]))["state"] == "succeeded"
    last = max(range(6), key=lambda n: taken[n]["version"])
    seen = (await gateway.get(f"/v1/documents/{taken[0]['document_id']}", "hr-partner")).json()
    assert seen["version"] == 6
    assert seen["title"] == bodies[last]["title"]
    assert seen["text"] == bodies[last]["text"]


async def test_a_changed_document_answers_the_next_question_in_its_new_words(gateway: Gateway) -> None:
    names = {"external_id": "hr/meadow", "title": "Meadow bonus"}
    for euros in ("300", "450"):
        await take_in(gateway, "hr", "hr-partner", text=f"The Meadow bonus is {euros} euros for every employee.", **names)
        found = (await gateway.post("/v1/search", "engineer", {"query": "How high is the Meadow bonus?"})).json()
        text = " ".join(one["text"] for one in found["passages"])
        assert f"{euros} euros" in text
        assert "300 euros for every" not in text or euros == "300"


async def test_searches_go_on_while_documents_come_in(gateway: Gateway) -> None:
    jobs = [await submit(gateway, "hr", "hr-partner", **note(n)) for n in range(1, 7)]
    states = []
    for _ in range(20):
        answer = await gateway.post("/v1/answers", "engineer", {"question": QUESTION})
        states.append((answer.status_code, answer.json().get("state")))
    assert set(states) == {(200, "answered")}
    for job in jobs:
        assert (await finished_job(gateway, "hr-partner", job["job_id"]))["state"] == "succeeded"


async def until_ready(gateway: Gateway, status: int) -> dict[str, Any]:
    for _ in range(200):
        ready = await gateway.client.get("/readyz")
        if ready.status_code == status:
            return dict(ready.json()["checks"])
        await asyncio.sleep(0.05)
    message = f"/readyz never answered {status}"
    raise TimeoutError(message)


@pytest.mark.parametrize("background", [True, False], ids=["all in one", "beside workers"])
async def test_a_broken_policy_folder_leaves_the_old_policy_standing_and_says_so(
    company: Path, models: Models, tmp_path: Path, *, background: bool
) -> None:
    """A gateway beside workers said nothing: it went on under the wider rules of before."""
    folder = tmp_path / "policies"
    shutil.copytree(ROOT / "policies", folder)
    sound = (folder / "rules.csv").read_text(encoding="utf-8")
    async with gateway_in(company, models, policies=folder, background=background) as gateway:
        digest = (await gateway.get("/v1/policy/active", "engineer")).json()["digest"]
        for broken in (sound + "nonsense,row\n", "", sound.replace(",allow,", ",perhaps,", 1), sound + "\x00"):
            (folder / "rules.csv").write_text(broken, encoding="utf-8")
            checks = await until_ready(gateway, 503)
            assert checks["policy"] != "ok"
            assert (await gateway.get("/v1/policy/active", "engineer")).json()["digest"] == digest
            answer = await gateway.post("/v1/answers", "engineer", {"question": QUESTION})
            assert answer.json()["state"] == "answered"
            denied = await gateway.post("/v1/answers", "administrator", {"question": QUESTION})
            assert denied.status_code == 403
            (folder / "rules.csv").write_text(sound, encoding="utf-8")
            assert (await until_ready(gateway, 200))["policy"] == "ok"
        shutil.move(folder, tmp_path / "away")
        await until_ready(gateway, 503)
        assert (await gateway.post("/v1/answers", "engineer", {"question": QUESTION})).json()["state"] == "answered"
        shutil.move(tmp_path / "away", folder)
        await until_ready(gateway, 200)


async def test_a_missing_or_damaged_model_names_the_command_that_mends_it(company: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    with pytest.raises(ConfigurationError, match="make models"):
        await load_models(settings_in(company, models=models))
    models.mkdir()
    shutil.copytree(ROOT / "models" / "embedder", models / "embedder")
    with pytest.raises(ConfigurationError, match="make models"):
        await load_models(settings_in(company, models=models))


async def test_a_folder_that_another_process_serves_is_worked_on_by_one_of_them(company: Path, models: Models) -> None:
    async with gateway_in(company, models) as one, gateway_in(company, models) as other:
        taken = await submit(other, "hr", "hr-partner", **note(1))
        assert (await finished_job(other, "hr-partner", taken["job_id"]))["state"] == "succeeded"
        question = {"question": QUESTION}
        answers = await asyncio.gather(*(side.post("/v1/answers", "engineer", question) for side in (one, other) for _ in range(5)))
        assert {answer.status_code for answer in answers} == {200}
        indexes = [answer.json()["receipt"]["index"] for answer in answers]
        assert len(set(indexes)) == len(indexes)
    async with open_services(settings_in(company), models=models) as services:
        report = await services.trail.verify(services.tenant)
        assert report.is_intact, report.problems
