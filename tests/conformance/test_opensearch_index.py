"""What only the OpenSearch engine has: generations, indexes of their own, checks at start, and replies that are not as they should be."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from app.domain.access import Acl, AclMode, Action, ActionRule, Conditions, Nothing, Scope
from app.domain.content import ChunkId, DocumentId
from app.domain.identity import Principal
from app.domain.search import IndexedChunk
from app.errors import ConfigurationError, ConflictError, InvalidInputError, UpstreamUnavailableError
from app.index.opensearch.engine import OpenSearchIndex, open_opensearch_index
from app.index.spelling import MOST_WORDS
from tests.conformance.engines import (
    ANYWHERE,
    CLERK,
    DIM,
    EVERYTHING,
    STAFF,
    T,
    chunk,
    documents,
    facts,
    find,
    opensearch_engine,
    opensearch_rules,
    person,
    publish,
    unit,
    vectors,
)
from tests.conformance.proxy import Json, proxied


@pytest.fixture
async def engine(opensearch: tuple[str, ...]) -> AsyncIterator[OpenSearchIndex]:
    async with opensearch_engine(opensearch_rules(*opensearch)) as opened:
        yield opened


def in_searches(change: Callable[[dict[str, Json]], Json], which: int = -1) -> Callable[[str, Json], Json]:
    """Change one search's reply of each request: the last is by words, the first by vector where it brings hits."""

    def changed(path: str, reply: Json) -> Json:
        if path == "/_msearch":
            change(reply["responses"][which])
        return reply

    return changed


def only_hits(change: Callable[[dict[str, Json]], Json]) -> Callable[[dict[str, Json]], Json]:
    return lambda one: [change(hit) for hit in one["hits"]["hits"]]


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


BROKEN: dict[str, Callable[[str, Json], Json]] = {
    "timed out": in_searches(lambda one: one.update(timed_out=True)),
    "a shard failed": in_searches(lambda one: one["_shards"].update(failed=1)),
    "a shard is missing": in_searches(lambda one: one["_shards"].update(successful=0)),
    "no shard was asked": in_searches(lambda one: one["_shards"].update(total=0, successful=0)),
    "no hits at all": in_searches(lambda one: one.pop("hits")),
    "an error beside the others": in_searches(lambda one: one.update(error={"type": "search_phase_execution_exception"})),
    "hits without fields": in_searches(only_hits(lambda hit: hit.pop("fields"))),
    "a hit without its words": in_searches(only_hits(lambda hit: hit["fields"].pop("bag"))),
    "words that are none": in_searches(only_hits(lambda hit: hit["fields"].update(bag=["bm90IGpzb24"]))),
    "counts that are none": in_searches(only_hits(lambda hit: hit["fields"].update(bag=[_base64('[{"leav":x},[]]')]))),
    "guarded words that are none": in_searches(only_hits(lambda hit: hit["fields"].update(bag=[_base64('[{"leav":1},[[1]]]')]))),
    "a length that is none": in_searches(only_hits(lambda hit: hit["fields"].update(length=["long"]))),
    "two ids": in_searches(only_hits(lambda hit: hit["fields"].update(chunk_id=["a", "b"]))),
    "a vector cut short": in_searches(only_hits(lambda hit: hit["fields"].update(packed=["AAA"])), 0),
    "a vector that is none": in_searches(only_hits(lambda hit: hit["fields"].update(packed=["!"])), 0),
    "a reply too few": lambda path, reply: {"responses": reply["responses"][:-1]} if path == "/_msearch" else reply,
    "no replies": lambda path, reply: {} if path == "/_msearch" else reply,
    "a list": lambda path, reply: [] if path == "/_msearch" else reply,
}


@pytest.mark.parametrize("name", sorted(BROKEN))
async def test_a_reply_that_is_not_whole_is_an_error_and_never_fewer_results(opensearch: tuple[str, ...], name: str) -> None:
    async with proxied(opensearch[0]) as (engine, proxy):
        await publish(engine, facts("a"), "leave request")
        proxy.change = BROKEN[name]
        with pytest.raises(UpstreamUnavailableError):
            await find(engine, "leave", EVERYTHING, vector=unit(9)[0])
        proxy.change = lambda _, reply: reply
        assert documents(await find(engine, "leave", EVERYTHING, vector=unit(9)[0])) == {"a"}


async def test_a_refresh_that_missed_a_copy_is_no_acknowledged_write(opensearch: tuple[str, ...]) -> None:
    def missed(path: str, reply: Json) -> Json:
        return {"_shards": {"total": 2, "successful": 1, "failed": 1}} if path.endswith("/_refresh") else reply

    async with proxied(opensearch[0]) as (engine, proxy):
        await publish(engine, facts("a"), "leave request")
        proxy.change = missed
        with pytest.raises(UpstreamUnavailableError):
            await engine.put_access(facts("a", sensitivity=3, acl_version=2))


async def test_writes_refused_for_load_are_sent_again_and_only_those(opensearch: tuple[str, ...]) -> None:
    refusals = 3

    def busy(path: str, reply: Json) -> Json:
        nonlocal refusals
        if path == "/_bulk" and refusals:
            refusals -= 1
            next(iter(reply["items"][-1].values())).update(status=429, error={"type": "rejected_execution_exception"})
        return reply

    async with proxied(opensearch[0]) as (engine, proxy):
        proxy.change = busy
        await engine.put_version(facts("a"), 1, [chunk("a", "leave", ordinal=n) for n in range(4)])
        sizes = [body.count(b"\n") // 2 for path, body in proxy.requests if path == "/_bulk" and body]
        # Then all anew: what the proxy refused was written, so it looks as if somebody else's lay there.
        assert sizes == [4, 1, 1, 1, 4]
        refusals = 1_000
        with pytest.raises(UpstreamUnavailableError, match="too busy"):
            await engine.put_version(facts("b"), 1, [chunk("b", "leave")])


async def test_no_request_carries_what_a_filter_does_not_reach(opensearch: tuple[str, ...]) -> None:
    """Suggesters, global aggregations, scripts, explanations and profiles know documents the filter does not grant."""
    async with proxied(opensearch[0]) as (engine, proxy):
        await publish(engine, facts("a"), "leave request", "leave of absence")
        proxy.requests.clear()
        await find(engine, "leave", Nothing(T), vector=unit(9)[0])
        await engine.respell("laeve", Nothing(T), {})
        assert proxy.requests == []
        await find(engine, "leave", person(CLERK), vector=unit(9)[0])
        await engine.respell("absnece leeve", person(CLERK), {("hr", "internal"): frozenset({"PERSON"})})
        bodies = [json.loads(line) for _, body in proxy.requests for line in body.splitlines()]
        assert len(bodies) > 6
        names = {name for body in bodies for name in _names(body)}
        assert not names & {
            "suggest",
            "global",
            "script",
            "script_score",
            "explain",
            "profile",
            "significant_terms",
            "min_doc_count",
            "fuzzy",
        }
        searches = [body for body in bodies if "query" in body]
        assert all('{"term": {"tenant": "acme"}}' in json.dumps(body["query"]) for body in searches)
        assert all(body.get("allow_partial_search_results") is False for body in bodies if "index" in body)


def _names(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)


async def test_a_new_generation_takes_over_while_searches_and_writes_go_on(engine: OpenSearchIndex) -> None:
    await publish(engine, facts("a"), "leave request")
    await publish(engine, facts("b"), "leave request")
    is_over = asyncio.Event()
    n_searches = 0

    async def search() -> None:
        nonlocal n_searches
        while not is_over.is_set():
            found = documents(await find(engine, "leave", EVERYTHING, vector=unit(0)[0]))
            assert {"a", "b"} <= found <= {"a", "b", "c"}
            n_searches += 1

    searching = asyncio.create_task(search())
    begun = await engine.indexes.begin(T)
    assert begun.building == 2
    assert await engine.indexes.begin(T) == begun
    await publish(engine, facts("c"), "leave request")
    assert [one.document_id for one in await engine.indexes.held(T, 2)] == ["c"]
    for name in ("a", "b"):
        await publish(engine, facts(name), "leave request")
    assert await engine.indexes.held(T, 2) == await engine.inventory(T)
    await engine.indexes.swap(T)
    await engine.put_access(facts("b", sensitivity=3, acl_version=2))
    assert documents(await find(engine, "leave", person(CLERK))) == {"a", "c"}
    await engine.indexes.drop_other(T)
    is_over.set()
    await searching
    assert n_searches > 3
    assert documents(await find(engine, "leave", EVERYTHING)) == {"a", "b", "c"}
    await engine.remove(T, DocumentId("c"))
    assert [one.document_id for one in await engine.inventory(T)] == ["a", "b"]
    with pytest.raises(ConflictError):
        await engine.indexes.swap(T)


async def test_a_swap_cut_short_can_be_done_again(engine: OpenSearchIndex) -> None:
    """The aliases had moved, the record of it was not written."""
    await publish(engine, facts("a"), "leave request")
    await engine.indexes.begin(T)
    await publish(engine, facts("a"), "leave request")
    found = await engine.indexes.heads.generations(T)
    assert found is not None
    await engine.indexes.swap(T)
    swapped = await engine.indexes.heads.generations(T)
    assert swapped is not None
    await engine.indexes.heads.put_generations(T, found[0], swapped[1])
    await engine.indexes.swap(T)
    await engine.indexes.drop_other(T)
    assert documents(await find(engine, "leave", EVERYTHING)) == {"a"}


async def test_a_lost_index_is_refused_and_not_read_as_empty(engine: OpenSearchIndex) -> None:
    await publish(engine, facts("a"), "leave request")
    await engine.cluster.ask("DELETE", f"/{engine.cluster.rules.index(T, 1)}")
    with pytest.raises(UpstreamUnavailableError, match="missing"):
        await find(engine, "leave", EVERYTHING)
    with pytest.raises(UpstreamUnavailableError):
        await engine.respell("laeve", EVERYTHING, {})
    with pytest.raises(UpstreamUnavailableError):
        await engine.inventory(T)
    with pytest.raises(UpstreamUnavailableError):
        await engine.put_access(facts("a", acl_version=2))


async def test_lost_heads_are_refused_and_not_made_anew_by_a_write(engine: OpenSearchIndex) -> None:
    """The server makes an index for whatever is written into none, with a mapping of its own."""
    await publish(engine, facts("a"), "leave request")
    await engine.cluster.ask("DELETE", f"/{engine.cluster.rules.heads}")
    for write in (publish(engine, facts("b"), "leave"), engine.remove(T, DocumentId("a")), engine.put_access(facts("a", acl_version=2))):
        with pytest.raises(UpstreamUnavailableError, match="missing"):
            await write
    assert await engine.cluster.ask("GET", f"/{engine.cluster.rules.heads}/_mapping") is None


async def test_a_document_moves_with_its_collection_into_an_index_of_its_own(opensearch: tuple[str, ...]) -> None:
    async with opensearch_engine(opensearch_rules(*opensearch, own_index=frozenset({"board"}))) as engine:
        await publish(engine, facts("a"), "leave request", "leave of absence")
        await publish(engine, facts("b", collection="board"), "leave of the board")
        rules = engine.cluster.rules
        assert await _count(engine, rules.index(T, 1)) == 2
        assert await _count(engine, rules.index(T, 1, "board")) == 1
        await engine.put_access(facts("a", collection="board", acl_version=2))
        assert (await _count(engine, rules.index(T, 1)), await _count(engine, rules.index(T, 1, "board"))) == (0, 3)
        assert documents(await find(engine, "leave", EVERYTHING, vector=unit(0)[0])) == {"a", "b"}
        await publish(engine, facts("a", acl_version=3), "leave request", version=2)
        assert (await _count(engine, rules.index(T, 1)), await _count(engine, rules.index(T, 1, "board"))) == (1, 1)
        for name in ("a", "b"):
            await engine.remove(T, DocumentId(name))
        assert await _count(engine, f"{rules.prefix}-acme*") == 0


async def _count(engine: OpenSearchIndex, indexes: str) -> int:
    replies = await engine.cluster.search_many(indexes, [{"size": 0, "track_total_hits": True, "query": {"exists": {"field": "chunk_id"}}}])
    assert replies is not None
    return int(replies[0]["hits"]["total"]["value"])


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_thousands_of_principals_and_scopes_are_matched(engine: OpenSearchIndex) -> None:
    many = frozenset(Principal(f"group:acme|{number}") for number in range(70_000))
    await publish(engine, facts("a", acl=Acl(AclMode.EXPLICIT, frozenset({Principal("group:acme|69999")}))), "leave")
    await publish(engine, facts("b", acl=Acl(AclMode.INHERIT, deny=frozenset({Principal("group:acme|3")}))), "leave")
    await publish(engine, facts("c", acl=Acl(AclMode.EXPLICIT, frozenset({STAFF}))), "leave")
    scopes = tuple(Scope(f"collection{number}", f"label{number}") for number in range(5_000))
    rules = (ActionRule(Action.SEARCH, (*scopes, Scope("hr", "internal")), scopes),)
    assert documents(await find(engine, "leave", Conditions(T, 1, many, rules))) == {"a"}
    assert documents(await find(engine, "leave", Conditions(T, 1, frozenset({STAFF}), ANYWHERE))) == {"b", "c"}


async def test_a_chunk_the_engine_cannot_take_is_named_and_harms_no_other(engine: OpenSearchIndex) -> None:
    """A principal longer than a term may be is refused: left out of the index, a deny would not match."""
    await publish(engine, facts("a"), "leave request")
    await engine.put_version(facts("b", acl=Acl(AclMode.INHERIT, deny=frozenset({Principal("x" * 40_000)}))), 1, [chunk("b", "leave")])
    with pytest.raises(InvalidInputError, match=r"b@1#b\.1\.0"):
        await engine.make_live(DocumentId("b"), 1)
    assert documents(await find(engine, "leave", EVERYTHING)) == {"a"}
    await engine.remove(T, DocumentId("b"))
    assert [one.document_id for one in await engine.inventory(T)] == ["a"]


async def test_what_a_dead_writer_left_is_shown_by_the_inventory_and_mended_by_a_repeat(engine: OpenSearchIndex) -> None:
    """The head says more than the chunks: a writer died between the two."""
    await publish(engine, facts("a"), "leave request")
    await publish(engine, facts("b"), "leave request")
    rules = engine.cluster.rules
    query = {"query": {"term": {"document_id": "a"}}}
    await engine.cluster.refresh(rules.heads)
    await engine.cluster.ask("POST", f"/{rules.index(T, 1)}/_delete_by_query", query, {"refresh": "true"})
    await engine.cluster.ask("POST", f"/{rules.heads}/_delete_by_query", {"query": {"term": {"document_id": "b"}}}, {"refresh": "true"})
    held = {one.document_id: (one.live_version, one.chunks) for one in await engine.inventory(T)}
    assert held == {"a": (1, 0), "b": (None, 1)}
    for name in ("a", "b"):
        await publish(engine, facts(name), "leave request")
    held = {one.document_id: (one.live_version, one.chunks) for one in await engine.inventory(T)}
    assert held == {"a": (1, 1), "b": (1, 1)}


async def test_a_removal_cut_short_serves_nothing_more_once_the_document_is_written_again(engine: OpenSearchIndex) -> None:
    await publish(engine, facts("a"), "dismissal of the treasurer")
    record = await engine.indexes.heads.record(DocumentId("a"))
    assert record is not None

    def removed(head: Json) -> Json:
        return type(head)(head.facts, head.acl_version, None, head.versions, is_removed=True)

    await engine.indexes.heads.change((T, DocumentId("a"), 1), removed)
    await engine.put_version(facts("a"), 2, [chunk("a", "canteen menu", version=2)])
    assert documents(await find(engine, "dismissal", EVERYTHING)) == set()


async def test_an_inventory_of_many_documents_comes_in_pages(engine: OpenSearchIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.index.opensearch.inventory._PAGE", 2)
    names = [f"d{number}" for number in range(5)]
    await asyncio.gather(*(publish(engine, facts(name), "leave", "travel") for name in names))
    assert [(one.document_id, one.chunks, one.vectors) for one in await engine.inventory(T)] == [(name, 2, 2) for name in names]


async def test_a_server_too_old_or_of_another_maker_is_refused_with_the_remedy(opensearch: tuple[str, ...]) -> None:
    for version in (
        {"number": "2.19.1", "distribution": "opensearch"},
        {"number": "8.11.0"},
        {"number": "4.0.0", "distribution": "opensearch"},
    ):

        def aged(path: str, reply: Json, version: dict[str, str] = version) -> Json:
            return {"version": version} if path == "/" else reply

        async with proxied(opensearch[0]) as (engine, proxy):
            proxy.change = aged
            with pytest.raises(ConfigurationError, match="Upgrade the server"):
                await engine.check()
            with pytest.raises(ConfigurationError, match="OpenSearch 3"):
                await open_opensearch_index(engine.cluster.rules)


async def test_an_index_of_another_width_or_format_is_refused_at_start(engine: OpenSearchIndex, opensearch: tuple[str, ...]) -> None:
    await publish(engine, facts("a"), "leave request")
    rules = engine.cluster.rules
    with pytest.raises(ConfigurationError, match="dimensions"):
        await open_opensearch_index(opensearch_rules(*opensearch, prefix=rules.prefix, dim=DIM + 1))
    foreign = f"/{rules.prefix}-foreign-g1"
    await engine.cluster.ask("PUT", f"/{rules.prefix}-staging-acme-g1", {})
    await (await open_opensearch_index(rules)).close()
    await engine.cluster.ask("PUT", foreign, {"mappings": {"properties": {"live": {"type": "keyword"}}}})
    with pytest.raises(ConfigurationError, match="format"):
        await open_opensearch_index(rules)


async def test_a_cluster_that_is_not_there_yet_is_checked_with_the_first_request() -> None:
    opened = await open_opensearch_index(opensearch_rules("http://127.0.0.1:9", timeout_s=1.0))
    with pytest.raises(UpstreamUnavailableError):
        await find(opened, "leave", EVERYTHING)
    await opened.close()


async def test_two_writers_of_one_document_leave_one_of_the_two_states(engine: OpenSearchIndex) -> None:
    """Rights, text and vectors of a document change at once; in the end the chunks are as the head says, all of them."""
    await publish(engine, facts("a"), *["leave request"] * 3)
    chunks = [IndexedChunk(ChunkId(f"a.2.{n}"), "", "leave anew") for n in range(3)]

    async def rewrite() -> None:
        await engine.put_version(facts("a"), 2, chunks)
        await engine.put_vectors(DocumentId("a"), 2, [vectors(item, 5) for item in chunks], "model-a")
        await engine.make_live(DocumentId("a"), 2)

    rights = [engine.put_access(facts("a", acl_version=number, sensitivity=3 if number == 6 else 1)) for number in range(2, 7)]
    await asyncio.gather(rewrite(), *rights)
    found = await find(engine, "leave", person(CLERK, clearance=3), vector=unit(5)[0])
    assert {item.version for item in found.items} == {2}
    assert len(found.items) == 3
    assert documents(await find(engine, "leave", person(CLERK, clearance=1))) == set()
    assert [(one.acl_version, one.chunks, one.vectors) for one in await engine.inventory(T)] == [(6, 3, 3)]


async def test_a_pasted_page_of_unknown_words_costs_no_more_searches_than_words_are_corrected(opensearch: tuple[str, ...]) -> None:
    async with proxied(opensearch[0]) as (engine, proxy):
        for number in range(3):
            await publish(engine, facts(f"d{number}"), "holiday calendar")
        words = [f"{one}{other}zqxv" for one in "bcdfghklmnprstvw" for other in "aeiouyrlnmst"]
        proxy.requests.clear()
        assert await engine.respell(" ".join(["holidya", *words]), EVERYTHING, {}) == " ".join(["holiday", *words])
        searches = sum(body.count(b"\n") // 2 for path, body in proxy.requests if path == "/_msearch")
        assert searches <= 2 * MOST_WORDS


async def test_any_number_of_languages_without_a_stemmer_is_searched(opensearch: tuple[str, ...]) -> None:
    async with proxied(opensearch[0]) as (engine, _):
        await publish(engine, facts("a"), "leave requests")
        for code in ("xx", "yyy", "zz-ZZ"):
            await publish(engine, facts(code, language=code), "leave requests")
        assert documents(await find(engine, "requests", EVERYTHING)) == {"a", "xx", "yyy", "zz-ZZ"}
        assert documents(await find(engine, "request", EVERYTHING)) == {"a"}
