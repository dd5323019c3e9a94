"""A generation whose process was killed ends on record, once, and no other one does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import orjson
import pytest

from app.answer import breaking_off
from app.answer.question import Question, Started
from app.audit.events import Happening, by_caller
from app.domain.audit import EventType, Reference
from app.domain.content import Answer
from app.domain.identity import Caller
from app.domain.search import SearchLimits
from app.errors import NotFoundError, OutcomeUnknownError, UpstreamUnavailableError
from app.govern import generations
from app.storage.audit_rows import EventQuery
from app.storage.transaction import Database, Transaction
from app.wiring import Services
from tests.conftest import caller_as

columns = ("laptop", "company")
ASKED = Question("How much parental leave do I get?", SearchLimits())


async def begin(services: Services, caller: Caller, answer: str) -> None:
    """What a killed process leaves."""
    references = (Reference("answer", answer), Reference("conversation", "cnv_1"), Reference("document", "doc_1"))
    fields = {"decision_id": "dec_1", "policy_epoch": 1, "model": "extractive", "model_kind": "extractive", "context": []}
    happening = Happening(EventType.GENERATION_STARTED, policy_digest="digest", references=references, fields=fields)
    await services.audit.record(by_caller(caller, happening))


async def aborted(services: Services) -> list[dict[str, object]]:
    """The records of generations that broke off, newest first."""
    async with services.database.read() as tx:
        found = await services.audit.search(tx, services.tenant, EventQuery(type=EventType.GENERATION_ABORTED.value, limit=50))
    return [orjson.loads(one.leaf) for one in found]


async def test_a_generation_left_behind_is_ended_once_and_one_under_way_is_not(services: Services) -> None:
    caller = await caller_as(services, "engineer")
    events = [one async for one in services.answer.run(caller, ASKED)]
    assert isinstance(events[0], Started)
    before = len(await aborted(services))
    await begin(services, caller, "ans_left")
    # Half an hour is more than any model is given: until then somebody may be writing.
    assert await services.generations.run(services.tenant) is not None
    assert len(await aborted(services)) == before
    due = replace(services.generations, longest=timedelta(0))
    after = await due.run(services.tenant)
    await due.run(services.tenant)
    [ended, *earlier] = await aborted(services)
    assert len(earlier) == before
    assert (ended["actor"], ended["reason_code"], ended["policy_digest"]) == ("system", "interrupted", "digest")
    assert ["answer", "ans_left"] in ended["refs"]
    assert ["document", "doc_1"] in ended["refs"]
    await begin(services, caller, "ans_later")
    await due.run(services.tenant, after)
    assert [one["refs"][0] for one in (await aborted(services))[:2]] == [["answer", "ans_later"], ["answer", "ans_left"]]
    assert (await services.trail.verify(services.tenant)).is_intact


async def test_more_than_fit_in_one_go_are_all_ended(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generations, "_AT_ONCE", 2)
    caller = await caller_as(services, "engineer")
    for number in range(5):
        await begin(services, caller, f"ans_{number}")
    await replace(services.generations, longest=timedelta(0)).run(services.tenant)
    assert {one["refs"][0][1] for one in await aborted(services)} >= {f"ans_{number}" for number in range(5)}


async def ends(services: Services, answer: str) -> list[str]:
    """The ends on record of an answer."""
    kinds = (EventType.GENERATION_COMPLETED, EventType.GENERATION_ABORTED, EventType.ANSWER_WITHHELD)
    async with services.database.read() as tx:
        found = [one for kind in kinds for one in await services.audit.search(tx, services.tenant, EventQuery(type=kind.value, limit=500))]
    leaves = [orjson.loads(one.leaf) for one in found]
    return [one["type"] for one in leaves if ["answer", answer] in one["refs"]]


async def settled() -> None:
    """Wait for the records of generations that broke off."""
    while breaking_off._running:
        await asyncio.wait(set(breaking_off._running))


async def test_a_commit_of_which_nobody_saw_the_end_is_one_end(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server went away while it was told to commit, and had committed: the answer was on record as completed and as aborted."""
    caller, write, answer = await caller_as(services, "engineer"), Database.write, ""

    @asynccontextmanager
    async def lost(database: Database) -> AsyncIterator[Transaction]:
        async with write(database) as tx:
            yield tx
        if answer:
            message = "The database went away at the last moment."
            raise OutcomeUnknownError(message)

    monkeypatch.setattr(Database, "write", lost)

    async def ask() -> None:
        nonlocal answer
        async for event in services.answer.run(caller, ASKED):
            answer = event.answer_id if isinstance(event, Started) else answer

    with pytest.raises(OutcomeUnknownError):
        await ask()
    await settled()
    assert await ends(services, answer) == ["generation.completed"]


async def test_what_is_taken_for_left_behind_while_it_is_under_way_is_not_released(services: Services) -> None:
    """A clock that is ahead, or a machine that slept in the middle of an answer."""
    caller, answer = await caller_as(services, "engineer"), ""

    async def ask() -> None:
        nonlocal answer
        async for event in services.answer.run(caller, ASKED):
            assert not isinstance(event, Answer)
            if isinstance(event, Started):
                answer = event.answer_id
                await replace(services.generations, longest=timedelta(seconds=-1)).run(services.tenant)

    with pytest.raises(UpstreamUnavailableError, match="given up"):
        await ask()
    await settled()
    assert await ends(services, answer) == ["generation.aborted"]


async def test_whoever_leaves_at_whatever_moment_leaves_one_end(services: Services) -> None:
    """Of those who left during the commit, one in twenty left two."""
    caller = await caller_as(services, "engineer")

    async def ask(begun: asyncio.Future[str]) -> None:
        async for event in services.answer.run(caller, ASKED):
            if isinstance(event, Started):
                begun.set_result(event.answer_id)

    for attempt in range(40):
        begun: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(ask(begun))
        answer = await begun
        await asyncio.sleep(attempt * 0.00075)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await settled()
        assert len(await ends(services, answer)) == 1, attempt


async def test_a_conversation_deleted_while_its_answer_is_written_stays_deleted(services: Services) -> None:
    """It was made again for the answer."""
    caller = await caller_as(services, "engineer")
    first = [one async for one in services.answer.run(caller, ASKED)][-1]
    assert isinstance(first, Answer)

    async def ask() -> None:
        async for event in services.answer.run(caller, replace(ASKED, conversation_id=first.conversation_id)):
            if isinstance(event, Started):
                await services.history.delete(caller, first.conversation_id)

    with pytest.raises(NotFoundError):
        await ask()
    with pytest.raises(NotFoundError):
        await services.history.conversation(caller, first.conversation_id)
