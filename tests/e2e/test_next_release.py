"""A rolling upgrade: the schema goes forward under running gateways, both releases serve at once, and one may go back."""

import asyncio
from collections import Counter
from http import HTTPStatus
from pathlib import Path
from uuid import uuid4

from httpx import Response

from app.storage import schema
from app.wiring import Models
from tests.conftest import Gateway, gateway_in, services_noted_in, settings_in
from tests.services.releases import migrations_of_the_next_release

columns = ("company",)
_TRIES = 5
_HANDED_IN = 4
"""Documents at each of two gateways before the work ends."""
_QUESTION = {"question": "How much parental leave do I get?"}


class _Load:
    """People who go on asking, and a steward who goes on handing in documents; told to try again, they do, a few times.

    Six gateways with their workers share one process here, so that a turn to write may be missed for want of processors.
    """

    def __init__(self, gateway: Gateway, name: str) -> None:
        self._gateway, self._name = gateway, name
        self._stopped, self.enough = asyncio.Event(), asyncio.Event()
        self.jobs: list[str] = []
        self.seen: Counter[object] = Counter()

    async def ask(self) -> None:
        while not self._stopped.is_set():
            answer = await self._post("/v1/answers", "engineer", _QUESTION)
            self.seen[(answer.status_code, answer.json().get("state"))] += 1
            found = await self._post("/v1/search", "works-council", {"query": "leave"})
            self.seen[(found.status_code, bool(found.json().get("passages")))] += 1
            await asyncio.sleep(0.2)

    async def hand_in(self) -> None:
        while not self._stopped.is_set():
            name = f"{self._name}-{len(self.jobs)}"
            body = {"title": name, "text": f"The {name} allowance is 5 euros.", "external_id": name}
            taken = await self._post("/v1/collections/hr/documents", "hr-partner", body)
            assert taken.status_code == 202, taken.text
            self.jobs.append(taken.json()["job_id"])
            if len(self.jobs) >= _HANDED_IN:
                self.enough.set()
            await asyncio.sleep(0.5)

    def stop(self) -> None:
        self._stopped.set()

    async def _post(self, path: str, person: str, body: object) -> Response:
        key = {"Idempotency-Key": str(uuid4())}
        for _ in range(_TRIES):
            response = await self._gateway.post(path, person, body, **key)
            if response.status_code != HTTPStatus.SERVICE_UNAVAILABLE or not response.json()["retryable"]:
                break
            await asyncio.sleep(float(response.headers["Retry-After"]))
        return response


async def test_the_schema_goes_forward_under_load_and_both_releases_serve(company: Path, models: Models, tmp_path: Path) -> None:
    newer = migrations_of_the_next_release(tmp_path / "newer")
    owner = str(services_noted_in(company)["database_owner_url"])
    async with gateway_in(company, models) as old:
        load = _Load(old, "old")
        async with asyncio.TaskGroup() as group:
            group.create_task(load.ask())
            group.create_task(load.hand_in())
            await asyncio.sleep(1.0)
            assert (await asyncio.to_thread(schema.upgrade, owner, newer))[1] == "next"
            async with gateway_in(company, models, migrations=newer) as new:
                beside = _Load(new, "new")
                group.create_task(beside.ask())
                group.create_task(beside.hand_in())
                # A process of the older release that has to start again meets the newer schema, and serves.
                async with gateway_in(company, models) as restarted:
                    assert (await restarted.get("/readyz", "engineer")).status_code == 200
                    assert (await restarted.post("/v1/answers", "engineer", _QUESTION)).json()["state"] == "answered"
                await asyncio.gather(load.enough.wait(), beside.enough.wait())
                load.stop()
                beside.stop()
                for job in (*load.jobs, *beside.jobs):
                    await new.until_job(job, "hr-partner", "succeeded")
        assert set(load.seen) == set(beside.seen) == {(200, "answered"), (200, True)}, (load.seen, beside.seen)
        verification = await old.services.trail.verify(old.services.tenant)
        assert verification.is_intact
    schema.check_current(settings_in(company).record_url, newer, ("portcullis_gateway", "portcullis_signer"))
