"""Engines and their servers for every suite of this folder."""

import fcntl
import json
import os
from contextlib import AbstractAsyncContextManager

import pytest

from app.domain.ports import PassageIndex
from tests.conformance.engines import OpenEngine, embedded_engine, emptied_engine, opensearch_engine, opensearch_rules
from tests.conftest import missing
from tests.services.opensearch.jars import NotInstalledError, fetch, find_java
from tests.services.opensearch.run import start_for_run


@pytest.fixture(scope="session")
def opensearch(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A real OpenSearch, started once a run; PORTCULLIS_TEST_OPENSEARCH names the address of another one."""
    if given := os.environ.get("PORTCULLIS_TEST_OPENSEARCH"):
        return (given,)
    run = tmp_path_factory.getbasetemp()
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    root, run_pid = (run.parent, os.getppid()) if is_worker else (run, os.getpid())
    with (root / "opensearch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = root / "opensearch.json"
        if state.exists():
            return tuple(json.loads(state.read_text(encoding="utf-8")))
        try:
            fetch(find_java(), is_secured=False)
        except NotInstalledError as error:
            missing(f"no OpenSearch: {error}")
        return start_for_run(state, run_pid)


@pytest.fixture(scope="session")
def open_engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenEngine:
    """Opens an engine by name; the server behind it is started when first asked for."""

    def opened(name: str) -> AbstractAsyncContextManager[PassageIndex]:
        if name == "opensearch":
            return opensearch_engine(opensearch_rules(*request.getfixturevalue("opensearch")))
        return embedded_engine(tmp_path_factory.mktemp("engine"))

    return opened


@pytest.fixture(scope="session")
def reopen_engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenEngine:
    """As `open_engine`, for tests that open hundreds of engines one after the other."""
    rules = opensearch_rules(*request.getfixturevalue("opensearch"), own_index=frozenset({"own"}))

    def opened(name: str) -> AbstractAsyncContextManager[PassageIndex]:
        return emptied_engine(rules) if name == "opensearch" else embedded_engine(tmp_path_factory.mktemp("engine"))

    return opened
