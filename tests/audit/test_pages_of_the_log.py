"""A log of millions is checked a page at a time: no statement reads it whole, and what is wrong on a later page is found all the same."""

import asyncio
from collections.abc import Awaitable, Callable, Sized
from typing import Any

import pytest

from app.audit import verification
from app.storage import audit_rows
from tests.audit.conftest import Evidence

PAGE = 4
READS = ("entries_from", "event_columns", "blocks")


def sized(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each statement of a check gave, in pages of four."""
    found: list[int] = []

    def watched(read: Callable[..., Awaitable[Sized]]) -> Callable[..., Awaitable[Sized]]:
        async def read_and_note(*arguments: Any) -> Sized:  # noqa: ANN401 - whatever the query takes
            rows = await read(*arguments)
            found.append(len(rows))
            return rows

        return read_and_note

    monkeypatch.setattr(verification, "_PAGE", PAGE)
    for name in READS:
        monkeypatch.setattr(verification.audit_rows, name, watched(getattr(audit_rows, name)))
    return found


async def test_no_statement_of_a_check_reads_more_than_a_page(evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks in one statement took longer than PostgreSQL's limit once there were millions: the log could not be checked any more."""
    for n in range(11):
        await evidence.log.record(evidence.event(n=n))
    found = sized(monkeypatch)
    report = await evidence.verify()
    assert report.is_intact, report.problems
    assert (report.entries, report.blocks) == (11, 11)
    assert max(found) == PAGE


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE audit_block SET root = zeroblob(32) WHERE first = 9", "block at 9"),
        ("DELETE FROM audit_block WHERE first = 8", "block at 9: expected one at 8"),
        ("UPDATE audit_block SET first = -7 WHERE first = 4", "block at -7"),
        ("DELETE FROM audit_block WHERE first = 10", "belong to no block"),
        ("UPDATE audit_event SET actor = 'somebody' WHERE idx = 9", "entry 9"),
    ],
)
async def test_what_is_wrong_on_a_later_page_is_named(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch, statement: str, named: str
) -> None:
    for n in range(11):
        await evidence.log.record(evidence.event(n=n))
    evidence.store.meddle(statement)
    sized(monkeypatch)
    report = await evidence.verify()
    assert any(named in problem for problem in report.problems), report.problems


async def test_a_check_beside_writers_sees_one_moment(evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries, blocks and head are read one after the other: with a snapshot each, what comes in between would look like a fault."""
    for n in range(11):
        await evidence.log.record(evidence.event(n=n))
    sized(monkeypatch)
    done = asyncio.Event()

    async def write() -> None:
        while not done.is_set():
            await evidence.log.record(evidence.event())

    writer = asyncio.create_task(write())
    reports = [await evidence.verify() for _ in range(5)]
    done.set()
    await writer
    assert [problem for report in reports for problem in report.problems] == []
