"""The re-check reads the rows of what was found and nothing else, however many documents there are; of another tenant it finds none."""

import pytest

from app.domain.content import ChunkId
from app.domain.identity import TenantId
from app.storage import passage_rows, schema
from tests.conformance.stores import Store

N = 4_000
NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 4000)"
DOCUMENTS = """INSERT INTO document NUMBERS SELECT 'doc_' || n, 'sample', 'hr', 'e' || n, 't', 'live', 1, 1, 'internal', 1, 'inherit', '[]',
    '[]', 1, 'en', '', NULL, '2026-11-25 00:00:00+00:00', '2026-11-25 00:00:00+00:00' FROM numbers"""
CHUNKS = "INSERT INTO chunk NUMBERS SELECT 'c' || n, 'doc_' || n, 1, 0, 'x', '[]', '[]', '[]', '[]', '[]', 0 FROM numbers"
ASKED = [ChunkId(f"c{number}") for number in range(1, N, N // 50)]


@pytest.fixture
async def filled(store: Store) -> Store:
    store.meddle(*(statement.replace("NUMBERS", NUMBERS) for statement in (DOCUMENTS, CHUNKS)))
    schema.analyze(store.url("deployer"))
    return store


async def test_chunks_of_another_tenant_are_absent(filled: Store) -> None:
    async with filled.opened() as database, database.read() as tx:
        found = await passage_rows.live_resources(tx, TenantId("sample"), ASKED)
        assert set(found) == set(ASKED)
        assert await passage_rows.live_resources(tx, TenantId("other"), ASKED) == {}


async def test_it_walks_no_documents(filled: Store) -> None:
    asked = passage_rows._asked(ASKED)
    async with filled.opened() as database, database.read() as tx:
        statement = passage_rows._RESOURCES.params(**asked).compile(
            dialect=tx.connection.dialect, compile_kwargs={"render_postcompile": True}
        )
        how = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)" if filled.is_postgres else "EXPLAIN QUERY PLAN"
        values = statement.params if filled.is_postgres else tuple(statement.params[name] for name in statement.positiontup or ())
        plan = (await tx.connection.exec_driver_sql(f"{how} {statement}", values)).all()
    if filled.is_postgres:
        whole = plan[0][0][0]["Plan"]
        assert whole["Actual Rows"] == len(ASKED)
        assert whole["Shared Hit Blocks"] + whole["Shared Read Blocks"] < 20 * len(ASKED)
    else:
        indexes = [f"INDEX sqlite_autoindex_{table}_1" for table in ("chunk", "document")]
        assert [row[3].split(" USING ")[1].split(" (")[0] for row in plan] == indexes
