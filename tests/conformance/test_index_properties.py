"""What an engine finds is exactly what the filter grants, and what it hides moves nothing: for any documents, people and changes."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.access import Acl, AclMode, Action, ActionRule, Conditions, Scope
from app.domain.content import DocumentId
from app.domain.identity import TenantId
from app.domain.ports import PassageIndex
from app.domain.search import AccessFacts, IndexQuery
from tests.conformance.engines import (
    AUDITOR,
    BOARD,
    CLERK,
    ENGINES,
    STAFF,
    OpenEngine,
    T,
    documents,
    facts,
    find,
    person,
    publish,
    unit,
)

PRINCIPALS = st.frozensets(st.sampled_from([CLERK, AUDITOR, STAFF, BOARD]), max_size=3)
SCOPES = st.lists(st.builds(Scope, st.sampled_from(["*", "hr", "it"]), st.sampled_from(["*", "public", "secret"])), max_size=2).map(tuple)
RULES = st.lists(st.builds(ActionRule, st.just(Action.SEARCH), SCOPES, SCOPES), min_size=1, max_size=2).map(tuple)
FILTERS = st.builds(Conditions, st.sampled_from([T, TenantId("other")]), st.integers(0, 3), PRINCIPALS, RULES)
FACTS = st.builds(
    AccessFacts,
    tenant=st.sampled_from([T, T, T, TenantId("other")]),
    document_id=st.just(DocumentId("")),
    collection=st.sampled_from(["hr", "it"]),
    label=st.sampled_from(["public", "secret"]),
    sensitivity=st.integers(0, 3),
    acl=st.builds(Acl, st.sampled_from(AclMode), PRINCIPALS, PRINCIPALS),
    acl_version=st.just(1),
    language=st.sampled_from(["en", "de", ""]),
    updated_at=st.just(datetime(2026, 1, 1, tzinfo=UTC)),
)


def is_granted(item: AccessFacts, asked: Conditions) -> bool:
    """The rule of `Conditions`, written once more in the plainest way."""

    def matches(scope: Scope) -> bool:
        return scope.collection in ("*", item.collection) and scope.label in ("*", item.label)

    within = all(any(map(matches, rule.allowed)) and not any(map(matches, rule.denied)) for rule in asked.rules)
    named = item.acl.mode is AclMode.INHERIT or bool(item.acl.allow & asked.principals)
    cleared = item.tenant == asked.tenant and item.sensitivity <= asked.clearance
    return cleared and within and named and not item.acl.deny & asked.principals


@pytest.mark.parametrize("name", ENGINES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(everyone=st.lists(FACTS, min_size=1, max_size=8), asked=st.lists(FILTERS, min_size=1, max_size=6), later=st.lists(FACTS, max_size=4))
def test_what_is_found_is_exactly_what_the_filter_grants(
    name: str,
    reopen_engine: OpenEngine,
    everyone: list[AccessFacts],
    asked: list[Conditions],
    later: list[AccessFacts],
) -> None:
    async def run() -> None:
        async with reopen_engine(name) as engine:
            current = {f"d{n}": replace(item, document_id=DocumentId(f"d{n}")) for n, item in enumerate(everyone)}
            for n, item in enumerate(current.values()):
                await publish(engine, item, "leave request", seed=n)
            await check(engine, current, asked)
            for n, item in enumerate(later[: len(everyone)]):
                key = f"d{n}"
                current[key] = replace(item, document_id=DocumentId(key), tenant=current[key].tenant, acl_version=2)
                await engine.put_access(current[key])
            await check(engine, current, asked)

    asyncio.run(run())


async def check(engine: PassageIndex, current: dict[str, AccessFacts], asked: list[Conditions]) -> None:
    for read_filter in asked:
        expected = {key for key, item in current.items() if is_granted(item, read_filter)}
        for text, vector in (("leave", None), ("", unit(3)[0]), ("leave", unit(3)[0])):
            assert documents(await find(engine, text, read_filter, vector=vector)) == expected


@pytest.mark.parametrize("name", ENGINES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_twin_corpora_that_differ_in_forbidden_documents_give_the_same_bytes(
    name: str, reopen_engine: OpenEngine, data: st.DataObject
) -> None:
    """BM25 statistics, spelling, ties, counts and rounding are all ways by which hidden text could move what is shown."""
    known = st.sampled_from(["leave", "travel", "budget", "laptop", "holiday", "moonlight", "approval", "weeks", "request", "vendor"])
    words = st.lists(known, min_size=1, max_size=12)
    visible = data.draw(st.lists(words, min_size=1, max_size=6))
    hidden = data.draw(st.lists(st.tuples(st.integers(0, 6), words), min_size=1, max_size=8))
    question = " ".join(data.draw(words)) + " moonlihgt aproval"

    async def outcome(*, with_hidden: bool) -> tuple[object, str]:
        async with reopen_engine(name) as engine:
            for n, text in enumerate(visible):
                for m, (place, secret) in enumerate(hidden):
                    if with_hidden and place == n:
                        how = facts(f"s{m}", sensitivity=3) if m % 2 else facts(f"s{m}", acl=Acl(AclMode.EXPLICIT, frozenset({BOARD})))
                        await publish(engine, replace(how, language="de" if m % 3 else "en"), " ".join(secret), seed=50 + m)
                        await find(engine, "leave", person(CLERK))
                await publish(engine, facts(f"v{n}"), " ".join(text), seed=n % 3)
            asker = person(CLERK, clearance=1)
            found = await engine.search(IndexQuery(question, unit(9)[0], {}, lexical_k=3, vector_k=3), asker)
            spelled = await engine.respell(question, asker, {})
            return found, spelled

    alone, together = asyncio.run(outcome(with_hidden=False)), asyncio.run(outcome(with_hidden=True))
    assert repr(alone) == repr(together)
