"""Which indexes of a real server are searched and written to, whatever was restored, deleted, cut short or set differently meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.domain.content import DocumentId
from app.errors import ConfigurationError, ConflictError, UpstreamUnavailableError
from app.index.opensearch.chunks import Chunks, Listed, Place
from app.index.opensearch.connection import Operation, path_of
from app.index.opensearch.documents import StoredChunk
from app.index.opensearch.engine import OpenSearchIndex, open_opensearch_index
from app.index.opensearch.heads import Generations, Look
from app.index.opensearch.rebuilding import Rebuilding
from app.index.opensearch.rules import tenant_key
from tests.conformance.engines import (
    CLERK,
    EVERYTHING,
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
from tests.conformance.test_opensearch_remains import count


@pytest.fixture
async def engine(opensearch: tuple[str, ...]) -> AsyncIterator[OpenSearchIndex]:
    async with opensearch_engine(opensearch_rules(*opensearch)) as opened:
        yield opened


async def restored(engine: OpenSearchIndex) -> str:
    """A copy of the serving index under another name, with its alias, as a restored snapshot has it."""
    rules = engine.cluster.rules
    source, copy = rules.index(T, 1), f"{rules.prefix}-restored"
    await engine.cluster.ask("PUT", f"/{source}/_settings", {"index.blocks.write": True})
    settings = {"index.number_of_replicas": 0}
    await engine.cluster.ask("POST", f"/{source}/_clone/{copy}", {"aliases": {rules.alias(T): {}}, "settings": settings})
    await engine.cluster.ask("PUT", f"/{source}/_settings", {"index.blocks.write": None})
    for _ in range(100):
        found = await engine.cluster.ask("GET", f"/{copy}/_count")
        if found and found["_shards"]["successful"] == found["_shards"]["total"]:
            break
        await asyncio.sleep(0.1)
    return copy


async def new_generation(engine: OpenSearchIndex, *names: str) -> None:
    await engine.indexes.begin(T)
    for name in names:
        await publish(engine, facts(name), "leave request")
    await engine.indexes.swap(T)


async def test_a_second_index_behind_the_alias_is_refused_by_all_that_reads(engine: OpenSearchIndex) -> None:
    """A snapshot restored under another name brings its alias: a withdrawn document was found again, and nothing noticed."""
    await publish(engine, facts("a"), "leave request")
    await publish(engine, facts("gone"), "zanzibar leave")
    assert documents(await find(engine, "leave", person(CLERK))) == {"a", "gone"}
    copy = await restored(engine)
    await engine.remove(T, DocumentId("gone"))
    reads = (
        lambda: find(engine, "zanzibar leave", person(CLERK)),
        lambda: engine.respell("zanzibra", person(CLERK), {}),
        engine.check,
        lambda: engine.inventory(T),
        lambda: Rebuilding(engine).begin(T),
        lambda: Rebuilding(engine).drop_other(T),
    )
    for read in reads:
        with capture_logs() as said, pytest.raises(UpstreamUnavailableError, match="not what is on record") as refused:
            await read()
        assert any(one.get("unknown") == [copy] for one in said)
        # Names of indexes hold names of collections, and this text goes to whoever searches.
        assert engine.cluster.rules.prefix not in refused.value.detail
    fresh = OpenSearchIndex(engine.cluster.rules)
    with pytest.raises(UpstreamUnavailableError, match="not what is on record"):
        await fresh.check()
    await fresh.close()
    await engine.cluster.ask("DELETE", f"/{copy}")
    assert documents(await find(engine, "zanzibar leave", person(CLERK))) == {"a"}
    await engine.check()


async def test_a_missing_alias_is_not_ready_and_a_rebuild_mends_it(engine: OpenSearchIndex) -> None:
    await publish(engine, facts("a"), "leave request")
    rules = engine.cluster.rules
    await engine.cluster.ask("POST", "/_aliases", {"actions": [{"remove": {"index": rules.index(T, 1), "alias": rules.alias(T)}}]})
    for read in (engine.check, lambda: engine.inventory(T), lambda: find(engine, "leave", EVERYTHING)):
        with pytest.raises(UpstreamUnavailableError, match=r"not what is on record|missing"):
            await read()
    await new_generation(engine, "a")
    await engine.check()
    assert documents(await find(engine, "leave", EVERYTHING)) == {"a"}


async def test_one_of_two_indexes_lost_is_refused_and_not_read_as_fewer_documents(opensearch: tuple[str, ...]) -> None:
    async with opensearch_engine(opensearch_rules(*opensearch, own_index=frozenset({"board"}))) as engine:
        await publish(engine, facts("a"), "leave request")
        await publish(engine, facts("b", collection="board"), "leave of the board")
        assert documents(await find(engine, "leave", EVERYTHING)) == {"a", "b"}
        await engine.cluster.ask("DELETE", f"/{engine.cluster.rules.index(T, 1, 'board')}")
        for read in (engine.check, lambda: engine.inventory(T), lambda: find(engine, "leave", EVERYTHING)):
            with pytest.raises(UpstreamUnavailableError, match=r"not what is on record|missing"):
                await read()


async def test_another_installations_broken_index_is_none_of_ours(engine: OpenSearchIndex) -> None:
    """Its prefix begins with ours: it made this gateway unready."""
    await publish(engine, facts("a"), "leave request")
    other = f"/{engine.cluster.rules.prefix}-test-heads"
    settings = {"settings": {"index.number_of_replicas": 0, "index.routing.allocation.require._name": "no-such-node"}}
    await engine.cluster.ask("PUT", other, settings, {"wait_for_active_shards": "0"})
    await engine.check()


async def test_a_new_index_that_serves_is_never_built_upon_before_the_old_one_is_gone(engine: OpenSearchIndex) -> None:
    """A second run put the old index back, and --confirm then deleted the new one."""
    await publish(engine, facts("a"), "leave request")
    await new_generation(engine, "a")
    for step in (engine.indexes.begin, engine.indexes.swap):
        with pytest.raises(ConfigurationError, match="rebuild --confirm"):
            await step(T)
    assert await Rebuilding(engine).drop_other(T)
    assert not await Rebuilding(engine).drop_other(T)
    assert documents(await find(engine, "leave", EVERYTHING)) == {"a"}
    assert (await engine.indexes.begin(T)).building == 3


async def test_a_confirmation_after_a_swap_cut_short_deletes_the_old_index(
    engine: OpenSearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alias had moved, the record not: it deleted the index that served."""
    await publish(engine, facts("a"), "leave request")
    await engine.indexes.begin(T)
    await publish(engine, facts("a"), "leave request")

    async def killed(*_: object) -> None:
        message = "killed"
        raise UpstreamUnavailableError(message)

    with monkeypatch.context() as patched:
        patched.setattr(engine.indexes.heads, "put_generations", killed)
        with pytest.raises(UpstreamUnavailableError):
            await engine.indexes.swap(T)
    assert documents(await find(engine, "leave", EVERYTHING)) == {"a"}
    await engine.check()
    assert await Rebuilding(engine).drop_other(T)
    assert documents(await find(engine, "leave", EVERYTHING)) == {"a"}
    assert [one.document_id for one in await engine.inventory(T)] == ["a"]
    assert await engine.indexes.ensure(T) == Generations(2, own={2: ()})


async def test_a_confirmation_cut_short_is_finished_by_the_next(engine: OpenSearchIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old index stayed, with a document that was withdrawn since, and --confirm said that there was none."""
    await publish(engine, facts("a"), "leave request")
    await new_generation(engine, "a")
    ask = engine.cluster.ask

    async def killed(method: str, *rest: object) -> object:
        if method == "DELETE":
            message = "killed"
            raise UpstreamUnavailableError(message)
        return await ask(method, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(engine.cluster, "ask", killed)
        with pytest.raises(UpstreamUnavailableError):
            await Rebuilding(engine).drop_other(T)
    old = engine.cluster.rules.index(T, 1)
    assert await engine.cluster.ask("GET", f"/{old}/_mapping") is not None
    assert await Rebuilding(engine).drop_other(T)
    assert await engine.cluster.ask("GET", f"/{old}/_mapping") is None
    assert documents(await find(engine, "leave", EVERYTHING)) == {"a"}


async def test_a_new_index_is_deleted_by_giving_it_up_alone_and_the_old_one_by_confirming_alone(engine: OpenSearchIndex) -> None:
    """After an interrupted rebuild a confirmation deleted the new index, and said that the old one was gone."""
    await publish(engine, facts("a"), "leave request")
    assert not await Rebuilding(engine).abandon(T)
    begun = await engine.indexes.begin(T)
    with pytest.raises(ConfigurationError, match="Go on with portcullis index rebuild"):
        await Rebuilding(engine).drop_other(T)
    assert await engine.indexes.ensure(T) == begun
    assert await count(engine, engine.cluster.rules.index(T, 2)) == 0
    assert await Rebuilding(engine).abandon(T)
    assert (await engine.indexes.ensure(T)).building is None
    assert await count(engine, engine.cluster.rules.index(T, 1)) == 1
    await new_generation(engine, "a")
    with pytest.raises(ConfigurationError, match="serves already"):
        await Rebuilding(engine).abandon(T)
    assert await Rebuilding(engine).drop_other(T)
    assert documents(await find(engine, "leave", EVERYTHING)) == {"a"}


async def test_a_write_that_comes_after_the_end_of_a_generation_keeps_nobody_from_starting(engine: OpenSearchIndex) -> None:
    """A server that makes indexes by itself made the deleted one anew, without a mapping: the next start was refused."""
    await publish(engine, facts("a"), "leave request")
    await new_generation(engine, "a")
    await engine.indexes.drop_other(T)
    old = engine.cluster.rules.index(T, 1)
    await engine.cluster.write([Operation(old, "a@2#a.2.0", "a", {"tenant": T, "document_id": "a", "words": ["secret"]})])
    await (await open_opensearch_index(engine.cluster.rules)).close()
    assert await Rebuilding(engine).drop_other(T)
    assert await engine.cluster.ask("GET", f"/{old}/_mapping") is None
    third = engine.cluster.rules.index(T, 3)
    await engine.cluster.write([Operation(third, "a@2#a.2.0", "a", {"tenant": T, "document_id": "a", "words": ["secret"]})])
    assert (await engine.indexes.begin(T)).building == 4
    await engine.indexes.swap(T)
    assert await Rebuilding(engine).drop_other(T)
    assert await engine.cluster.ask("GET", f"/{third}/_mapping") is None


@pytest.mark.parametrize(("before", "after"), [((), ("board",)), (("board",), ()), (("board",), ("hr",))])
async def test_another_set_of_collections_with_their_own_index_holds_from_the_next_rebuild_on(
    opensearch: tuple[str, ...], before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    """The changed setting refused all searches, or hid the collection and left its withdrawn words where they were."""
    async with opensearch_engine(opensearch_rules(*opensearch, own_index=frozenset(before))) as first:
        given = [facts("a"), facts("b", collection="board"), facts("c", collection="board")]
        for one in given:
            await publish(first, one, "leave request")
        second = await open_opensearch_index(replace(first.cluster.rules, own_index=frozenset(after)))
        try:
            await second.check()
            await second.remove(T, DocumentId("c"))
            for engine in (first, second):
                assert documents(await find(engine, "leave", EVERYTHING)) == {"a", "b"}
                assert [one.document_id for one in await engine.inventory(T)] == ["a", "b"]
            await second.indexes.begin(T)
            for one in given[:2]:
                await publish(first, one, "leave request")
            await second.indexes.swap(T)
            for engine in (first, second):
                assert documents(await find(engine, "leave", EVERYTHING)) == {"a", "b"}
            await second.indexes.drop_other(T)
            for engine in (first, second):
                await engine.check()
                assert documents(await find(engine, "leave", EVERYTHING)) == {"a", "b"}
            rules = second.cluster.rules
            lies_in = {name: await count(second, rules.index(T, 2, name)) for name in ("", *after)}
            assert lies_in == {"": 2 - len(after), **dict.fromkeys(after, 1)}
        finally:
            await second.close()


async def test_a_lost_index_is_made_anew_by_a_rebuild(engine: OpenSearchIndex) -> None:
    """The error says to rebuild it, and the rebuild could not read what was lost."""
    await publish(engine, facts("a"), "leave request")
    await engine.cluster.ask("DELETE", f"/{engine.cluster.rules.index(T, 1)}")
    rebuilding = Rebuilding(engine)
    assert await rebuilding.begin(T) == 2
    assert [one.chunks for one in await rebuilding.serving(T)] == [0]
    with pytest.raises(UpstreamUnavailableError, match="missing"):
        await find(engine, "leave", EVERYTHING)
    await publish(engine, facts("a"), "leave request")
    await rebuilding.swap(T)
    assert documents(await find(engine, "leave", EVERYTHING)) == {"a"}


async def test_a_record_of_an_earlier_release_is_brought_up_to_date(opensearch: tuple[str, ...]) -> None:
    """It named no collections; each one with an index of its own had an alias of its own."""
    async with opensearch_engine(opensearch_rules(*opensearch, own_index=frozenset({"board"}))) as engine:
        await publish(engine, facts("a"), "leave request")
        await publish(engine, facts("b", collection="board"), "leave of the board")
        rules, own = engine.cluster.rules, engine.cluster.rules.index(T, 1, "board")
        old = {"kind": "tenant", "tenant": T, "state": {"live": 1, "building": None}}
        await engine.cluster.ask("PUT", path_of(rules.heads, "_doc", tenant_key(T)), old, {"refresh": "true"})
        moved = [{"remove": {"index": own, "alias": rules.alias(T)}}, {"add": {"index": own, "alias": rules.alias(T, "board")}}]
        await engine.cluster.ask("POST", "/_aliases", {"actions": moved})
        later = await open_opensearch_index(replace(rules, own_index=frozenset({"board", "another"})))
        try:
            await later.check()
            assert documents(await find(later, "leave", EVERYTHING)) == {"a", "b"}
            assert await later.indexes.ensure(T) == Generations(1, own={1: ("board",)})
        finally:
            await later.close()


async def test_two_that_begin_at_once_build_one_and_the_same(engine: OpenSearchIndex) -> None:
    await publish(engine, facts("a"), "leave request")
    begun = await asyncio.gather(*(engine.indexes.begin(T) for _ in range(2)), return_exceptions=True)
    assert {type(one) for one in begun} <= {Generations, ConflictError}
    assert [one for one in begun if one == await engine.indexes.ensure(T)]


async def test_a_version_stored_before_a_rebuild_goes_live_only_where_searches_go(engine: OpenSearchIndex) -> None:
    """It went live in the old index alone, after the swap: acknowledged, and never found."""
    await publish(engine, facts("a"), "leave request")
    second = [chunk("a", "zanzibar leave", version=2)]
    await engine.put_version(facts("a"), 2, second)
    await new_generation(engine, "a")
    with pytest.raises(ConflictError):
        await engine.make_live(DocumentId("a"), 2)
    await engine.put_version(facts("a"), 2, second)
    await engine.make_live(DocumentId("a"), 2)
    assert {one.version for one in (await find(engine, "leave zanzibar", EVERYTHING)).items} == {2}


async def test_a_change_of_access_reaches_an_index_that_was_begun_during_it(
    engine: OpenSearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(engine, facts("a"), "leave request")
    settle, is_begun = engine._writer._chunks.settle, False

    async def begun_before(place: Place, *rest: Any) -> Look:  # noqa: ANN401 - as the engine's own
        nonlocal is_begun
        if not is_begun:
            is_begun = True
            await new_generation(engine, "a")
        return await settle(place, *rest)

    monkeypatch.setattr(engine._writer._chunks, "settle", begun_before)
    await engine.put_access(facts("a", sensitivity=3, acl_version=2))
    assert documents(await find(engine, "leave", person(CLERK))) == set()


async def test_vectors_are_taken_over_to_chunks_that_have_none_and_over_no_others(engine: OpenSearchIndex) -> None:
    """Work that ended during the copy made vectors that show less: the old ones came back, in both indexes."""
    texts = [chunk("a", "leave request"), chunk("a", "leave of absence", ordinal=1)]
    await publish(engine, facts("a"), "leave request", "leave of absence")
    rebuilding = Rebuilding(engine)
    await rebuilding.begin(T)
    await engine.put_version(facts("a"), 1, texts)
    await engine.make_live(DocumentId("a"), 1)
    await engine.put_vectors(DocumentId("a"), 1, [vectors(texts[0], 70)], "model-a")
    await rebuilding.copy_vectors(T, DocumentId("a"), 1)
    assert await engine.indexes.held(T, 2) == await engine.inventory(T)
    for _ in range(2):
        for one, seed in zip(texts, (70, 1), strict=True):
            found = await find(engine, "leave", EVERYTHING, vector=unit(seed)[0])
            assert {item.chunk_id: round(item.cosine, 4) for item in found.items}[one.chunk_id] == 1.0
        if engine.cluster.rules.index(T, 2) not in await engine.indexes.served(T):
            await rebuilding.swap(T)


async def test_vectors_are_not_taken_over_once_the_words_are_written_anew(engine: OpenSearchIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    await publish(engine, facts("a"), "leave request")
    rebuilding = Rebuilding(engine)
    await rebuilding.begin(T)
    await engine.put_version(facts("a"), 1, [chunk("a", "leave request")])
    stored, n_reads = Chunks.stored, 0

    async def then_changed(self: Chunks, place: Place, listed: list[Listed]) -> list[tuple[Listed, StoredChunk]]:
        nonlocal n_reads
        found = await stored(self, place, listed)
        n_reads += 1
        if n_reads == 1:
            await engine.put_version(facts("a"), 1, [chunk("a", "a guarded request")])
        return found

    monkeypatch.setattr(Chunks, "stored", then_changed)
    await rebuilding.copy_vectors(T, DocumentId("a"), 1)
    monkeypatch.undo()
    await engine.make_live(DocumentId("a"), 1)
    assert [(one.chunks, one.vectors) for one in await engine.indexes.held(T, 2)] == [(1, 0)]


async def test_vectors_of_another_model_are_compared_with_nothing_and_not_taken_over(engine: OpenSearchIndex) -> None:
    """Of the same width, nothing told them apart: questions of the new model were compared with the old model's vectors."""
    await publish(engine, facts("a"), "leave request")
    item = chunk("a", "leave request")
    second = await open_opensearch_index(engine.cluster.rules, model="model-b")
    try:
        found = await find(second, "leave", EVERYTHING, vector=unit(0)[0])
        assert (documents(found), found.degraded) == ({"a"}, ("vectors",))
        assert documents(await find(second, "zanzibar", EVERYTHING, vector=unit(0)[0])) == set()
        with pytest.raises(ConfigurationError, match="rebuild"):
            await second.put_vectors(DocumentId("a"), 1, [vectors(item, 7)], "model-b")
        rebuilding = Rebuilding(second)
        await rebuilding.begin(T)
        await second.put_version(facts("a"), 1, [item])
        await second.make_live(DocumentId("a"), 1)
        await rebuilding.copy_vectors(T, DocumentId("a"), 1)
        assert [one.vectors for one in await second.indexes.held(T, 2)] == [0] == [one.vectors for one in await rebuilding.serving(T)]
        await second.put_vectors(DocumentId("a"), 1, [vectors(item, 7)], "model-b")
        await rebuilding.swap(T)
        await second.put_vectors(DocumentId("a"), 1, [vectors(item, 7)], "model-b")
        third = await open_opensearch_index(engine.cluster.rules, model="model-b")
        found = await find(third, "leave", EVERYTHING, vector=unit(7)[0])
        await third.close()
        assert (round(found.items[0].cosine, 4), found.degraded) == (1.0, ())
    finally:
        await second.close()
