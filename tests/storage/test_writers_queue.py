"""The queue of writers within one process: a turn that comes together with a cancellation goes to neither side for ever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from app.storage.transaction import Database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(f"sqlite+aiosqlite:///{tmp_path / 'queue.db'}")
    yield opened
    await opened.close()


async def test_a_cancellation_that_comes_with_the_turn_to_write_is_not_lost(database: Database) -> None:
    """`asyncio.wait_for` swallowed it (cpython #86296): background work that was told to stop went on, and a shut-down waited for ever."""
    for turns in range(12):
        has_turn, may_end = asyncio.Event(), asyncio.Event()

        async def first(turn: asyncio.Event = has_turn, end: asyncio.Event = may_end) -> None:
            async with database.write():
                turn.set()
                await end.wait()

        async def second() -> None:
            while True:
                async with database.write():
                    pass

        holding = asyncio.create_task(first())
        await has_turn.wait()
        waiting = asyncio.create_task(second())
        await asyncio.sleep(0.01)
        may_end.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()  # at some of these turns of the loop it meets the release that wakes the second writer
        done, _ = await asyncio.wait({waiting}, timeout=2)
        if not done:
            waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        await holding
        assert done, "the cancellation was swallowed"
        async with asyncio.timeout(2), database.write():
            pass
