"""What every engine behind the `PassageIndex` port keeps to. One suite for all of `ENGINES`."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from app.domain.access import Acl, AclMode, Action, ActionRule, Nothing, WholeTenant
from app.domain.content import ChunkId, DocumentId
from app.domain.identity import Principal, TenantId
from app.domain.ports import PassageIndex
from app.domain.search import Candidates, GuardedText, IndexedDocument, IndexQuery, SearchLimits, Vector
from app.errors import ConfigurationError, ConflictError, UpstreamRefusedError
from tests.conformance.engines import (
    AUDITOR,
    CLERK,
    DIM,
    ENGINES,
    EVERYTHING,
    STAFF,
    OpenEngine,
    T,
    chunk,
    documents,
    facts,
    find,
    person,
    publish,
    unit,
    vectors,
)


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest, open_engine: OpenEngine) -> AsyncIterator[PassageIndex]:
    async with open_engine(request.param) as opened:
        yield opened


async def test_a_stored_version_is_found_only_after_it_was_made_live(engine: PassageIndex) -> None:
    await engine.put_version(facts("a"), 1, [chunk("a", "parental leave lasts twelve weeks")])
    assert documents(await find(engine, "parental leave", EVERYTHING)) == set()
    await engine.make_live(DocumentId("a"), 1)
    assert documents(await find(engine, "parental leave", EVERYTHING)) == {"a"}


async def test_a_new_version_replaces_the_old_one_in_one_step(engine: PassageIndex) -> None:
    await publish(engine, facts("a"), "old rule about leave")
    await engine.put_version(facts("a"), 2, [chunk("a", "new rule about leave", version=2)])
    assert {item.version for item in (await find(engine, "leave", EVERYTHING)).items} == {1}
    await engine.make_live(DocumentId("a"), 2)
    assert {item.chunk_id for item in (await find(engine, "leave", EVERYTHING)).items} == {"a.2.0"}
    assert (await find(engine, "old", EVERYTHING)).items == ()


async def test_facts_of_a_waiting_version_do_not_open_the_live_one(engine: PassageIndex) -> None:
    """A more open label for the next version must not publish the text that is still live under the stricter one."""
    await publish(engine, facts("a", sensitivity=3, label="secret"), "merger plan")
    await engine.put_version(facts("a", sensitivity=0, label="public", acl_version=2), 2, [chunk("a", "press release", version=2)])
    assert documents(await find(engine, "merger", person(CLERK, clearance=1))) == set()
    await engine.make_live(DocumentId("a"), 2)
    assert documents(await find(engine, "press", person(CLERK, clearance=1))) == {"a"}


async def test_facts_changed_while_a_version_waits_hold_when_it_goes_live(engine: PassageIndex) -> None:
    await publish(engine, facts("a"), "merger plan")
    await engine.put_version(facts("a"), 2, [chunk("a", "merger plan", version=2)])
    await engine.put_access(facts("a", acl=Acl(AclMode.INHERIT, deny=frozenset({CLERK})), acl_version=2))
    await engine.put_version(facts("a"), 2, [chunk("a", "merger plan", version=2)])
    await engine.make_live(DocumentId("a"), 2)
    assert documents(await find(engine, "merger", person(CLERK))) == set()
    assert documents(await find(engine, "merger", person(AUDITOR))) == {"a"}


async def test_facts_given_with_a_version_hold_from_the_moment_it_goes_live(engine: PassageIndex) -> None:
    """Access may change between storing a version and making it live; facts older than those known change nothing."""
    closed = facts("a", acl=Acl(AclMode.INHERIT, deny=frozenset({CLERK})), acl_version=2)
    await engine.put_version(facts("a"), 1, [chunk("a", "merger plan")])
    await engine.make_live(DocumentId("a"), 1, closed)
    assert documents(await find(engine, "merger", person(CLERK))) == set()
    assert documents(await find(engine, "merger", person(AUDITOR))) == {"a"}
    await engine.put_version(facts("a"), 2, [chunk("a", "merger plan", version=2)])
    await engine.make_live(DocumentId("a"), 2, facts("a"))
    assert documents(await find(engine, "merger", person(CLERK))) == set()
    assert [(one.live_version, one.acl_version) for one in await engine.inventory(T)] == [(2, 2)]


async def test_every_step_may_be_repeated_without_harm(engine: PassageIndex) -> None:
    for _ in range(2):
        await publish(engine, facts("a"), "leave request", "travel request")
    found = await find(engine, "request", EVERYTHING, vector=unit(1)[0])
    assert {item.chunk_id for item in found.items} == {"a.1.0", "a.1.1"}
    assert found.degraded == ()


async def test_removal_is_effective_for_the_next_search(engine: PassageIndex) -> None:
    await publish(engine, facts("a"), "leave request")
    assert documents(await find(engine, "leave", EVERYTHING, vector=unit(0)[0])) == {"a"}
    await engine.remove(T, DocumentId("a"))
    assert documents(await find(engine, "leave", EVERYTHING, vector=unit(0)[0])) == set()
    await engine.remove(T, DocumentId("a"))


async def test_a_vector_that_is_still_being_made_finds_what_a_given_one_finds(engine: PassageIndex) -> None:
    await publish(engine, facts("a"), "leave request", "travel request")
    await publish(engine, facts("b", sensitivity=3, label="secret"), "request for a merger")
    query = IndexQuery("request", unit(1)[0], {})

    async def made(vector: Vector | None) -> Vector | None:
        await asyncio.sleep(0.01)
        return vector

    for read_filter in (EVERYTHING, Nothing(T)):
        expected = await engine.search(query, read_filter)
        for vector, same in ((query.vector, expected), (None, await engine.search(replace(query, vector=None), read_filter))):
            embedding = asyncio.create_task(made(vector))
            found = await engine.search(replace(query, vector=unit(0)[0]), read_filter, embedding)
            assert repr(found) == repr(same)
            await embedding


async def test_a_question_whose_vector_cannot_be_made_fails_and_finds_nothing_less(engine: PassageIndex) -> None:
    await publish(engine, facts("a"), "leave request")

    async def broken() -> Vector | None:
        message = "the model broke"
        raise UpstreamRefusedError(message)

    with pytest.raises(UpstreamRefusedError):
        await engine.search(IndexQuery("request", None, {}), EVERYTHING, asyncio.create_task(broken()))


async def test_a_version_that_was_given_up_goes_alone(engine: PassageIndex) -> None:
    await publish(engine, facts("a"), "leave request")
    await publish(engine, facts("other", tenant="elsewhere"), "leave request")
    for version in (2, 3):
        await engine.put_version(facts("a"), version, [chunk("a", "request withdrawn", version=version)])
    await engine.remove(T, DocumentId("a"), 2)
    await engine.remove(T, DocumentId("a"), 1)
    await engine.remove(TenantId("elsewhere"), DocumentId("a"), 3)
    assert [(one.live_version, one.others) for one in await engine.inventory(T)] == [(1, (3,))]
    assert documents(await find(engine, "leave", EVERYTHING, vector=unit(0)[0])) == {"a"}
    with pytest.raises(ConflictError):
        await engine.make_live(DocumentId("a"), 2)
    await engine.make_live(DocumentId("a"), 3)
    assert {item.version for item in (await find(engine, "withdrawn", EVERYTHING)).items} == {3}


async def test_a_document_added_after_a_removal_does_not_bring_the_removed_text_back(engine: PassageIndex) -> None:
    """A row number given out twice would show the removed document's chunks under the new one's facts."""
    await publish(engine, facts("a"), "dismissal of the treasurer")
    assert documents(await find(engine, "dismissal", EVERYTHING)) == {"a"}
    await engine.remove(T, DocumentId("a"))
    await publish(engine, facts("b"), "canteen menu")
    assert documents(await find(engine, "dismissal", EVERYTHING)) == set()
    assert documents(await find(engine, "canteen", EVERYTHING)) == {"b"}


async def test_a_revocation_is_effective_for_the_next_search_and_so_is_a_grant(engine: PassageIndex) -> None:
    only_clerk = Acl(AclMode.EXPLICIT, allow=frozenset({CLERK}))
    await publish(engine, facts("a", acl=only_clerk), "leave request")
    for number in range(2, 22, 2):
        assert documents(await find(engine, "leave", person(CLERK, STAFF))) == {"a"}
        await engine.put_access(facts("a", acl=Acl(AclMode.EXPLICIT), acl_version=number))
        assert documents(await find(engine, "leave", person(CLERK, STAFF))) == set()
        await engine.put_access(facts("a", acl=only_clerk, acl_version=number + 1))


async def test_facts_that_arrive_late_and_out_of_order_do_not_undo_newer_ones(engine: PassageIndex) -> None:
    await publish(engine, facts("a"), "leave request")
    await engine.put_access(facts("a", acl=Acl(AclMode.INHERIT, deny=frozenset({CLERK})), acl_version=5))
    await engine.put_access(facts("a", acl_version=4))
    assert documents(await find(engine, "leave", person(CLERK))) == set()


async def test_facts_of_an_unknown_document_are_ignored(engine: PassageIndex) -> None:
    await engine.put_access(facts("nobody"))
    assert (await find(engine, "leave", EVERYTHING)).items == ()


async def test_nothing_gives_nothing(engine: PassageIndex) -> None:
    await publish(engine, facts("a"), "leave request")
    found = await find(engine, "leave", Nothing(T), vector=unit(0)[0])
    assert found == Candidates((), {}, ())
    assert await engine.respell("leeve", Nothing(T), {}) == "leeve"


async def test_a_filter_without_rules_or_principals_opens_nothing_explicit(engine: PassageIndex) -> None:
    """An empty principal set once indexed a whole array: every explicit document would have been open to everyone."""
    await publish(engine, facts("a", acl=Acl(AclMode.EXPLICIT, allow=frozenset({CLERK}))), "leave request")
    await publish(engine, facts("b"), "leave request")
    assert documents(await find(engine, "leave", person())) == {"b"}
    assert documents(await find(engine, "leave", person(Principal("user:i|unknown")))) == {"b"}
    assert documents(await find(engine, "leave", person(CLERK, rules=()))) == set()
    assert documents(await find(engine, "leave", person(CLERK, rules=(ActionRule(Action.SEARCH, (), ()),)))) == set()


async def test_a_version_of_another_tenant_cannot_take_over_a_document(engine: PassageIndex) -> None:
    await publish(engine, facts("a"), "leave request")
    with pytest.raises(ConflictError):
        await engine.put_version(facts("a", tenant=TenantId("other")), 2, [chunk("a", "x", version=2)])
    with pytest.raises(ConflictError):
        await engine.put_access(facts("a", tenant=TenantId("other"), acl_version=9))
    assert documents(await find(engine, "leave", WholeTenant(TenantId("other")))) == set()


async def test_a_version_that_is_not_stored_cannot_be_made_live(engine: PassageIndex) -> None:
    await publish(engine, facts("a"), "leave request")
    with pytest.raises(ConflictError):
        await engine.make_live(DocumentId("a"), 7)
    assert documents(await find(engine, "leave", EVERYTHING)) == {"a"}


async def test_vectors_of_another_model_are_refused(engine: PassageIndex) -> None:
    await publish(engine, facts("a"), "leave request")
    item = chunk("b", "travel")
    await engine.put_version(facts("b"), 1, [item])
    with pytest.raises(ConfigurationError):
        await engine.put_vectors(DocumentId("b"), 1, [vectors(item, 1)], "model-b")
    with pytest.raises(ConfigurationError):
        await engine.search(IndexQuery("leave", np.ones(DIM + 1, np.float32), {}), EVERYTHING)


async def test_pending_vectors_are_reported_and_the_words_still_find(engine: PassageIndex) -> None:
    await publish(engine, facts("a"), "leave request")
    await engine.put_version(facts("b"), 1, [chunk("b", "leave calendar")])
    await engine.make_live(DocumentId("b"), 1)
    found = await find(engine, "leave", EVERYTHING, vector=unit(0)[0])
    assert found.degraded == ("vectors",)
    assert {item.document_id: item.cosine is None for item in found.items} == {"a": False, "b": True}


async def test_pending_vectors_nobody_granted_are_not_reported(engine: PassageIndex) -> None:
    """The flag would tell that hidden documents are being ingested."""
    await publish(engine, facts("a"), "leave request")
    await engine.put_version(facts("b", sensitivity=3), 1, [chunk("b", "leave calendar")])
    await engine.make_live(DocumentId("b"), 1)
    assert (await find(engine, "leave", person(CLERK), vector=unit(0)[0])).degraded == ()


async def test_cosines_are_those_of_the_vectors_given(engine: PassageIndex) -> None:
    await publish(engine, facts("a"), "leave", "travel", seed=5)
    question = unit(77)[0]
    found = {item.chunk_id: item for item in (await find(engine, "leave", EVERYTHING, vector=question)).items}
    for n in range(2):
        item = found[ChunkId(f"a.1.{n}")]
        given_vectors = vectors(chunk("a", "", ordinal=n), 5 + n)
        assert item.cosine == pytest.approx(float(given_vectors.chunk @ question), abs=1e-5)
        assert item.sentence_cosines == pytest.approx((given_vectors.context @ question).tolist(), abs=0.02)
        assert item.standalone_cosines == pytest.approx((given_vectors.standalone @ question).tolist(), abs=0.02)


async def test_words_inside_personal_data_match_only_for_viewers_who_see_that_type_there(engine: PassageIndex) -> None:
    names = (GuardedText("PERSON", "Ann Smith"), GuardedText("EMAIL_ADDRESS", "ann@acme.example"))
    await engine.put_version(facts("a"), 1, [chunk("a", "was promoted in May", guarded=names)])
    await engine.make_live(DocumentId("a"), 1)
    sees_names = {("hr", "internal"): frozenset({"PERSON"})}
    elsewhere = {("hr", "secret"): frozenset({"PERSON"}), ("it", "internal"): frozenset({"PERSON"})}
    assert documents(await find(engine, "smith", EVERYTHING, visible={})) == set()
    assert documents(await find(engine, "smith", EVERYTHING, visible=elsewhere)) == set()
    assert documents(await find(engine, "smith", EVERYTHING, visible=sees_names)) == {"a"}
    assert documents(await find(engine, "acme.example", EVERYTHING, visible=sees_names)) == set()
    blind, seeing = [await find(engine, "promoted smith", EVERYTHING, visible=shown) for shown in ({}, sees_names)]
    assert blind.items[0].lexical < seeing.items[0].lexical
    assert blind.term_weights["smith"] > seeing.term_weights["smith"]


async def test_a_hidden_name_is_neither_known_nor_offered_as_a_spelling(engine: PassageIndex) -> None:
    for number in range(3):
        item = chunk(f"d{number}", "was promoted in May", guarded=(GuardedText("PERSON", "Winterbottom"),))
        await engine.put_version(facts(f"d{number}"), 1, [item])
        await engine.make_live(DocumentId(f"d{number}"), 1)
    assert await engine.respell("promotet winterbotom", EVERYTHING, {}) == "promoted winterbotom"
    shown = {("hr", "internal"): frozenset({"PERSON"})}
    assert await engine.respell("promotet winterbotom", EVERYTHING, shown) == "promoted winterbottom"


async def test_spelling_offers_no_word_of_documents_the_asker_may_not_read(engine: PassageIndex) -> None:
    for number in range(3):
        await publish(engine, facts(f"open{number}"), "holiday calendar")
        await publish(engine, facts(f"shut{number}", sensitivity=3), "operation moonlight")
    assert await engine.respell("moonlihgt holidya", person(CLERK, clearance=1), {}) == "moonlihgt holiday"
    assert await engine.respell("moonlihgt holidya", person(CLERK, clearance=3), {}) == "moonlight holiday"


async def test_words_are_stemmed_in_the_language_of_their_document(engine: PassageIndex) -> None:
    await publish(engine, facts("de", language="de"), "Die Erstattung von Reisekosten dauert vier Wochen")
    await publish(engine, facts("fr", language="fr"), "Les demandes de congés sont approuvées par le responsable")
    await publish(engine, facts("en"), "Reimbursements take four weeks")
    assert documents(await find(engine, "Erstattungen", EVERYTHING)) == {"de"}
    assert documents(await find(engine, "demande de congé", EVERYTHING)) == {"fr"}
    assert documents(await find(engine, "reimbursement", EVERYTHING)) == {"en"}


async def test_the_callers_own_limits_only_narrow(engine: PassageIndex) -> None:
    await publish(engine, facts("a"), "leave")
    await publish(engine, facts("b", collection="it", label="public", language="de"), "leave")
    await publish(engine, facts("c", sensitivity=3, updated_at=datetime(2026, 9, 1, tzinfo=UTC)), "leave")

    async def limited(**limits: object) -> set[str]:
        return documents(await find(engine, "leave", person(CLERK), limits=SearchLimits(**limits)))

    assert await limited() == {"a", "b"}
    assert await limited(collections=("it", "none")) == {"b"}
    assert await limited(labels=("internal",)) == {"a"}
    assert await limited(languages=("de",)) == {"b"}
    assert await limited(updated_after=datetime(2026, 6, 1, tzinfo=UTC)) == set()
    assert await limited(collections=("none",)) == set()


async def test_hostile_text_is_stored_and_found_like_any_other(engine: PassageIndex) -> None:
    """NUL bytes, lone surrogates, one line of a megabyte, right-to-left marks and an empty text."""
    line = "x" * 500_000 + " leave " + "y " * 250_000
    texts = ["nul\x00byte leave", "lone \ud800 surrogate leave", line, "\u202eleave\u202c", "", "\n\t "]
    await publish(engine, facts("a"), *texts)
    found = await find(engine, "leave \x00 \udfff " + "z" * 100_000, EVERYTHING, vector=unit(0)[0])
    assert len(found.items) == len(texts)
    assert sum(item.lexical > 0 for item in found.items) == 4
    assert await engine.respell("leeve \ud800 \x00", EVERYTHING, {}) == "leave \ud800 \x00"


async def test_searches_and_writes_at_once_never_show_a_half_written_version(engine: PassageIndex) -> None:
    await publish(engine, facts("a"), *["version one"] * 4)

    async def write() -> None:
        for number in range(2, 12):
            await publish(engine, facts("a"), *[f"version {number}"] * 4, version=number)

    writing = asyncio.create_task(write())
    while not writing.done():
        found = await find(engine, "version", EVERYTHING, vector=unit(0)[0])
        assert len(found.items) == 4
        assert len({item.version for item in found.items}) == 1
        await asyncio.sleep(0)
    await writing
    assert {item.version for item in (await find(engine, "version", EVERYTHING)).items} == {11}


async def test_the_inventory_tells_what_is_live_of_each_document_of_the_tenant(engine: PassageIndex) -> None:
    await engine.put_version(facts("a"), 1, [chunk("a", "leave", ordinal=n) for n in range(3)])
    await engine.put_version(facts("other", tenant="elsewhere"), 1, [chunk("other", "leave")])
    assert await engine.inventory(T) == [IndexedDocument(DocumentId("a"), None, 1, 0, 0, (1,))]
    await engine.make_live(DocumentId("a"), 1)
    assert await engine.inventory(T) == [IndexedDocument(DocumentId("a"), 1, 1, 3, 0)]
    await engine.put_vectors(DocumentId("a"), 1, [vectors(chunk("a", "leave", ordinal=1), 1)], "m")
    await engine.put_access(facts("a", acl_version=2))
    assert await engine.inventory(T) == [IndexedDocument(DocumentId("a"), 1, 2, 3, 1)]
    await engine.remove(T, DocumentId("a"))
    assert await engine.inventory(T) == []


async def test_a_word_longer_than_any_is_searched_for_as_it_stands(engine: PassageIndex) -> None:
    """A server refuses patterns of near words that are as long as a page; the question failed with it."""
    await publish(engine, facts("a"), "leave request " + "x" * 60)
    for length in (47, 48, 49, 60, 4_000):
        text = "x" * length
        assert await engine.respell(text, EVERYTHING, {}) in {text, "x" * 60}
        found = documents(await find(engine, f"leave {text}", EVERYTHING))
        assert found == {"a"}
