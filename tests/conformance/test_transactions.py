"""What every database behind `Database` keeps to: one order of writes across processes, snapshots, nothing half done, text as it was."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.content import Collection
from app.domain.identity import SubjectId, TenantId
from app.errors import InvalidInputError, UpstreamRefusedError, UpstreamUnavailableError
from app.storage import collection_rows, lease_rows, people_rows, policy_rows, tenant_rows
from app.storage.people_rows import IdempotencyKey, LoginAttempt
from app.storage.transaction import Database, Transaction
from tests.conformance.stores import Store

T = TenantId("sample")
NOW = datetime(2026, 11, 25, 12, 0, 0, 123456, tzinfo=UTC)


async def _bundle(tx: Transaction, digest: str = "sha256:1") -> None:
    await policy_rows.put_bundle(tx, T, digest, {"a": "b"}, NOW)


async def _count_up(database: Database, times: int) -> None:
    """Read, think, write: what is lost as soon as two such transactions overlap."""
    for _ in range(times):
        async with database.write() as tx:
            active = await policy_rows.active(tx, T)
            assert active is not None
            await asyncio.sleep(0)
            await policy_rows.activate(tx, T, policy_rows.ActivePolicy(active.epoch + 1, active.digest, NOW, "a", "b"))


async def test_no_update_is_lost_between_processes(store: Store) -> None:
    async with store.opened() as first, store.opened() as second:
        async with first.write() as tx:
            await _bundle(tx)
            await policy_rows.activate(tx, T, policy_rows.ActivePolicy(0, "sha256:1", NOW, "a", "b"))
        await asyncio.gather(*(_count_up(database, 10) for database in (first, second) for _ in range(3)))
        async with second.read() as tx:
            active = await policy_rows.active(tx, T)
        assert active is not None
        assert active.epoch == 60


async def test_a_read_sees_one_moment_whatever_is_committed_meanwhile(store: Store) -> None:
    async with store.opened() as database, store.opened() as other:
        async with database.read() as tx:
            assert await policy_rows.active(tx, T) is None
            async with other.write() as writing:
                await _bundle(writing)
                await policy_rows.activate(writing, T, policy_rows.ActivePolicy(1, "sha256:1", NOW, "a", "b"))
            assert await policy_rows.active(tx, T) is None
        async with database.read() as tx:
            assert await policy_rows.active(tx, T) is not None


async def test_a_failed_block_leaves_nothing_behind_and_a_cancelled_one_neither(store: Store) -> None:
    async with store.opened() as database:

        async def half(error: BaseException) -> None:
            async with database.write() as tx:
                await _bundle(tx)
                raise error

        with pytest.raises(RuntimeError):
            await half(RuntimeError())
        with pytest.raises(asyncio.CancelledError):
            await half(asyncio.CancelledError())
        async with database.write() as tx:
            await _bundle(tx)
        assert store.column("SELECT digest FROM policy_bundle") == ["sha256:1"]


async def test_whoever_waits_too_long_for_the_turn_is_told_and_the_next_one_gets_it(store: Store) -> None:
    """Readiness does not wait: where appends take no turn, a long writer is no reason to be taken out of service."""
    async with store.opened() as database, store.opened() as other:
        async with other.write() as tx:
            await _bundle(tx)
            with pytest.raises(UpstreamUnavailableError):
                async with database.write():
                    pass
            if store.is_postgres:
                await database.check()
        async with database.write():
            pass
        await database.check()


async def test_an_append_waits_for_no_turn_where_rows_can_be_locked(store: Store) -> None:
    """An answer's record must not wait for a worker that stores a long document."""
    async with store.opened() as database, store.opened() as other, other.write() as tx:
        await _bundle(tx)
        if store.is_postgres:
            async with asyncio.timeout(1), database.append() as appending:
                await _bundle(appending, "sha256:2")
        else:
            with pytest.raises(UpstreamUnavailableError):
                async with database.append():
                    pass


@pytest.mark.parametrize(
    "text",
    [
        "nul \x00 in it",
        "escape \U0010fffd itself",
        "\U0010fffd00000a",
        "مرحبا 👩‍👩‍👧 ﷽",
        "'; DROP TABLE job; -- %s %(a)s :b",
        "",
    ],
)
async def test_text_comes_back_as_it_was(store: Store, text: str) -> None:
    """Offsets of personal data and digests are over the text: one character more or less would shift them."""
    value = Collection(T, f"c{text}", text, text, "internal", ("en",), None, "p", "m", NOW)
    attempt = LoginAttempt(T, "state", "nonce", "verifier", text, NOW)
    async with store.opened() as database:
        async with database.write() as tx:
            await collection_rows.put_collection(tx, value)
            await people_rows.put_subject(tx, T, SubjectId("s"), {"text": text}, NOW)
            await people_rows.put_login(tx, attempt, NOW)
        async with database.write() as tx:
            assert await collection_rows.get_collection(tx, T, value.name) == value
            assert await people_rows.get_subject(tx, T, SubjectId("s")) == {"text": text}
            assert await people_rows.take_login(tx, T, "state", NOW) == attempt


async def test_claims_with_half_a_character_come_back_as_they_were(store: Store) -> None:
    claims = {"name": "lone \ud800 and \udfff", "nul": "\x00"}
    async with store.opened() as database:
        async with database.write() as tx:
            await people_rows.put_subject(tx, T, SubjectId("s"), claims, NOW)
        async with database.read() as tx:
            assert await people_rows.get_subject(tx, T, SubjectId("s")) == claims


async def test_of_two_first_uses_of_an_idempotency_key_one_wins(store: Store) -> None:
    key = IdempotencyKey(T, SubjectId("s"), "/v1/answers", "k")
    async with store.opened() as first, store.opened() as second:

        async def claim(database: Database) -> object:
            async with database.write() as tx:
                return await people_rows.claim_key(tx, key, "digest", NOW)

        claims = await asyncio.gather(*(claim(database) for database in (first, second) for _ in range(4)))
    assert sum(one is None for one in claims) == 1


async def test_a_lease_has_one_holder_and_passes_on_when_it_runs_out(store: Store) -> None:
    async with store.opened() as database:

        async def take(holder: str, seconds: float = 30.0) -> bool:
            async with database.write() as tx:
                return await lease_rows.take(tx, T, "housekeeping", holder, timedelta(seconds=seconds))

        assert await take("a")
        assert not await take("b")
        assert await take("a", -1.0)
        assert await take("b")
        assert not await take("a")
        async with database.write() as tx:
            await lease_rows.give_back(tx, T, "housekeeping", "b")
        assert await take("a")


async def test_a_standstill_is_seen_by_every_process(store: Store) -> None:
    async with store.opened() as first, store.opened() as second, store.opened("deployer") as owner:
        async with first.write() as tx:
            await tenant_rows.stop(tx, T, "somebody has to look")
        async with second.read() as tx:
            assert await tenant_rows.standstill(tx, T) == "somebody has to look"
        async with owner.write() as tx:
            await tenant_rows.resume(tx, T)
        async with second.read() as tx:
            assert await tenant_rows.standstill(tx, T) is None


def _collection(name: str = "hr", title: str = "t", days: int | None = None) -> Collection:
    return Collection(T, name, title, "s", "internal", ("en",), days, "p", "m", NOW)


@pytest.mark.parametrize(
    ("value", "fits_sqlite"),
    [
        (_collection(title="half \ud800"), False),
        (_collection(days=2**70), False),
        (_collection(title="x" * 301), True),
        (_collection(name="n" * 201), True),
    ],
)
async def test_a_value_that_fits_nowhere_is_the_callers_to_mend_and_is_never_cut(
    store: Store, value: Collection, *, fits_sqlite: bool
) -> None:
    """It used to read as an outage, to be tried again for ever. SQLite knows no lengths: there the gateway's own limits stand alone."""
    async with store.opened() as database:

        async def put() -> None:
            async with database.write() as tx:
                await collection_rows.put_collection(tx, _collection("before"))
                await collection_rows.put_collection(tx, value)

        if fits_sqlite and not store.is_postgres:
            await put()
            async with database.read() as tx:
                assert await collection_rows.get_collection(tx, T, value.name) == value
            return
        with pytest.raises(InvalidInputError, match="too long"):
            await put()
        async with database.read() as tx:
            assert await collection_rows.list_collections(tx, T) == []


async def test_a_row_that_may_not_be_is_refused_for_good(store: Store) -> None:
    async with store.opened() as database:

        async def twice() -> None:
            async with database.write() as tx:
                for _ in range(2):
                    await people_rows.put_login(tx, LoginAttempt(T, "state", "n", "v", "/", NOW), NOW)

        with pytest.raises(UpstreamRefusedError):
            await twice()
