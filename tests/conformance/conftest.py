"""Engines and their servers for every suite of this folder."""

from contextlib import AbstractAsyncContextManager

import pytest

from app.domain.ports import PassageIndex
from tests.conformance.engines import OpenEngine, embedded_engine, emptied_engine, opensearch_engine, opensearch_rules


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
