"""A generation whose process was killed ends on record, once, and no other one does."""

from dataclasses import replace
from datetime import timedelta

import orjson
import pytest

from app.answer.question import Question, Started
from app.audit.events import Happening, by_caller
from app.domain.audit import EventType, Reference
from app.domain.identity import Caller
from app.domain.search import SearchLimits
from app.govern import generations
from app.storage.audit_rows import EventQuery
from app.wiring import Services
from tests.conftest import caller_as

columns = ("laptop", "company")


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
    events = [one async for one in services.answer.run(caller, Question("How much parental leave do I get?", SearchLimits()))]
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
