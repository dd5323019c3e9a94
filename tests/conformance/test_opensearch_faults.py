"""Three real nodes, and what happens to them: a search is right or refused, never shorter, and no acknowledged write is lost."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from app.domain.content import DocumentId
from app.domain.search import AccessFacts
from app.errors import UpstreamUnavailableError
from app.index.opensearch.engine import OpenSearchIndex
from tests.conformance.engines import (
    CLERK,
    EVERYTHING,
    T,
    documents,
    facts,
    find,
    opensearch_engine,
    opensearch_rules,
    person,
    publish,
    unit,
)
from tests.conftest import missing
from tests.services.opensearch.jars import NotInstalledError
from tests.services.opensearch.nodes import Node, OpenSearchNodes

pytestmark = pytest.mark.timeout(400)
TIMEOUT_S = 4.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[OpenSearchNodes]:
    """Three nodes of their own; every test leaves them running."""
    try:
        made = OpenSearchNodes.make(3, is_brief=True)
    except NotInstalledError as error:
        missing(f"no OpenSearch: {error}")
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture
async def engine(cluster: OpenSearchNodes) -> AsyncIterator[OpenSearchIndex]:
    """An engine that knows all nodes, its shards on two of them."""
    for node in cluster.nodes:
        node.signal(signal.SIGCONT)
    if gone := [node for node in cluster.nodes if not node.is_running]:
        cluster.start(*gone)
    await until_green(cluster)
    async with opensearch_engine(opensearch_rules(*cluster.urls, replicas=1, timeout_s=TIMEOUT_S)) as opened:
        yield opened
        await until_green(cluster)


async def until_green(cluster: OpenSearchNodes) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError):
            index = next(n for n, node in enumerate(cluster.nodes) if node.is_running)
            health = cluster.call("GET", "/_cluster/health", node=index)
            if health["status"] == "green" and health["number_of_nodes"] == 3:
                return
        await asyncio.sleep(0.2)
    pytest.fail("the cluster does not get green again")


def holder(cluster: OpenSearchNodes, index: str, *, primary: bool = True) -> Node:
    """The node that holds a copy of an index."""
    rows = cluster.call("GET", f"/_cat/shards/{index}?format=json", node=next(n for n, one in enumerate(cluster.nodes) if one.is_running))
    name = next(row["node"] for row in rows if (row["prirep"] == "p") == primary and row["state"] == "STARTED")
    return next(node for node in cluster.nodes if node.name == name)


async def publish_patiently(engine: OpenSearchIndex, given: AccessFacts, text: str) -> None:
    """As a worker does: again, from the first step, until the engine took it."""
    for _ in range(60):
        with contextlib.suppress(UpstreamUnavailableError):
            await publish(engine, given, text)
            return
        await asyncio.sleep(0.5)
    pytest.fail("a write never came through")


async def answered(engine: OpenSearchIndex, **changes: object) -> set[str] | None:
    """What a search for leave finds as a clerk; `None` when it was refused."""
    try:
        return documents(await find(engine, "leave", person(CLERK), **changes))
    except UpstreamUnavailableError:
        return None


async def eventually(engine: OpenSearchIndex, expected: set[str]) -> None:
    """Until searches are served again; the first that is must be right."""
    for _ in range(200):
        found = await answered(engine)
        if found is not None:
            assert found == expected
            return
        await asyncio.sleep(0.2)
    pytest.fail("searches are refused for ever")


async def test_a_node_killed_under_writes_and_searches_loses_nothing_and_shortens_nothing(
    cluster: OpenSearchNodes, engine: OpenSearchIndex
) -> None:
    await publish(engine, facts("shut", sensitivity=3), "leave of the board")
    acknowledged: set[str] = set()
    served = 0
    is_over = asyncio.Event()

    async def write() -> None:
        number = 0
        while not is_over.is_set():
            await publish_patiently(engine, facts(f"d{number}"), "leave request")
            acknowledged.add(f"d{number}")
            number += 1

    async def search() -> None:
        nonlocal served
        while not is_over.is_set():
            before = set(acknowledged)
            found = await answered(engine, vector=unit(0)[0])
            if found is not None:
                served += 1
                assert before <= found, "a search was served without what had been acknowledged before it"
                assert "shut" not in found
            await asyncio.sleep(0.02)

    work = [asyncio.create_task(write()), asyncio.create_task(search())]
    await asyncio.sleep(3)
    await until_green(cluster)
    victim = holder(cluster, f"{engine.cluster.rules.prefix}-acme-g1")
    victim.signal(signal.SIGKILL)
    before, deadline = len(acknowledged), time.monotonic() + 60
    while len(acknowledged) < before + 5 and time.monotonic() < deadline:  # noqa: ASYNC110 - a test may look again and again
        await asyncio.sleep(0.2)
    assert len(acknowledged) >= before + 5, "writing did not go on without the node"
    await asyncio.to_thread(cluster.start, victim)
    is_over.set()
    await asyncio.gather(*work)
    await until_green(cluster)
    await eventually(engine, acknowledged)
    assert served > 10


async def test_the_whole_cluster_gone_and_back_needs_no_new_gateway(cluster: OpenSearchNodes, engine: OpenSearchIndex) -> None:
    await publish(engine, facts("a"), "leave request")
    for node in cluster.nodes:
        node.signal(signal.SIGKILL)
    with pytest.raises(UpstreamUnavailableError):
        await find(engine, "leave", EVERYTHING)
    with pytest.raises(UpstreamUnavailableError):
        await engine.check()
    with pytest.raises(UpstreamUnavailableError):
        await engine.put_access(facts("a", acl_version=2))
    await asyncio.to_thread(cluster.start)
    await eventually(engine, {"a"})
    await publish_patiently(engine, facts("b"), "leave request")
    assert await answered(engine) == {"a", "b"}


async def test_an_index_without_its_shard_is_refused_and_not_read_as_empty(cluster: OpenSearchNodes) -> None:
    async with opensearch_engine(opensearch_rules(*cluster.urls, replicas=0, timeout_s=TIMEOUT_S)) as engine:
        await publish(engine, facts("a"), "leave request")
        await until_green(cluster)
        victim = holder(cluster, f"{engine.cluster.rules.prefix}-acme-g1")
        victim.signal(signal.SIGKILL)
        for _ in range(20):
            assert await answered(engine) is None
            assert await answered(engine, vector=unit(0)[0]) is None
            await asyncio.sleep(0.1)
        with pytest.raises(UpstreamUnavailableError):
            await engine.inventory(facts("a").tenant)
        with pytest.raises(UpstreamUnavailableError):
            await engine.check()
        await asyncio.to_thread(cluster.start, victim)
        await until_green(cluster)
        assert await answered(engine) == {"a"}


async def test_a_node_that_hangs_delays_searches_but_never_for_longer_than_the_limit(
    cluster: OpenSearchNodes, engine: OpenSearchIndex
) -> None:
    """A stopped process keeps its connections open: nobody is told that it will not answer."""
    for number in range(3):
        await publish(engine, facts(f"d{number}"), "leave request")
    await until_green(cluster)
    victim = holder(cluster, f"{engine.cluster.rules.prefix}-acme-g1", primary=False)
    victim.signal(signal.SIGSTOP)
    try:
        longest = 0.0
        for _ in range(12):
            begun = time.monotonic()
            assert await answered(engine) in (None, {"d0", "d1", "d2"})
            longest = max(longest, time.monotonic() - begun)
        # Two requests a search, each within the limit.
        assert longest < 2 * TIMEOUT_S + 1
    finally:
        victim.signal(signal.SIGCONT)
    await until_green(cluster)
    await eventually(engine, {"d0", "d1", "d2"})


async def test_a_revocation_during_a_failure_is_refused_or_holds(cluster: OpenSearchNodes, engine: OpenSearchIndex) -> None:
    """A writer that is told yes may rely on it, whichever copy the next search reads."""
    await publish(engine, facts("a"), "leave request")
    await until_green(cluster)
    victim = holder(cluster, f"{engine.cluster.rules.prefix}-acme-g1", primary=False)
    victim.signal(signal.SIGKILL)
    is_acknowledged, deadline = False, time.monotonic() + 60
    while not is_acknowledged and time.monotonic() < deadline:
        with contextlib.suppress(UpstreamUnavailableError):
            await engine.put_access(facts("a", sensitivity=3, acl_version=2))
            is_acknowledged = True
        await asyncio.sleep(0.2)
    assert is_acknowledged, "a revocation never came through"
    for _ in range(20):
        assert await answered(engine) in (None, set())
    await asyncio.to_thread(cluster.start, victim)
    await until_green(cluster)
    for _ in range(20):
        assert await answered(engine) == set()
    await engine.remove(T, DocumentId("a"))
