"""Records a second: blocks of the log against plain rows with the same durability, in the same run; one JSON line.

Both sides write an entry with six references under synchronous=FULL. The plain side inserts row and references in a transaction of
its own on one connection, without hashing or chain. Run: `python bench/audit_append.py`.
"""

import asyncio
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app.audit.events import Happening, by_system
from app.audit.log import AuditLog
from app.audit.signer import CheckpointSigner
from app.audit.verification import verify_log
from app.domain.audit import AuditEvent, EventType, JsonValue, Reference
from app.domain.identity import TenantId
from app.storage import schema
from app.storage.transaction import Database

ROOT = Path(__file__).resolve().parent.parent
TENANT = TenantId("bench")
ROUNDS = 320


def main() -> None:
    """Measure, print."""
    with tempfile.TemporaryDirectory(prefix="portcullis-bench-") as folder:
        print(json.dumps(asyncio.run(measure(Path(folder)))))


async def measure(folder: Path) -> dict[str, object]:
    """Alternate plain rows and the log at each width, then verify everything that was written."""
    url = f"sqlite+aiosqlite:///{folder / 'portcullis.db'}"
    schema.upgrade(url, ROOT / "migrations")
    database = Database(url)
    log = AuditLog(database, CheckpointSigner(folder / "signer"))
    await log.start(TENANT)
    plain = plain_database(folder / "plain.db")
    widths = []
    for in_flight in (1, 16, 64):
        rows = one_by_one(plain, [event() for _ in range(ROUNDS)])
        blocks, cpu = await through_log(log, in_flight)
        widths.append(
            {
                "in_flight": in_flight,
                "plain_per_s": round(rows),
                "log_per_s": round(blocks),
                "ratio": round(blocks / rows, 2),
                "log_cpu_ms": cpu,
            }
        )
    await log.checkpoint(TENANT)
    started = time.perf_counter()
    report = await verify_log(database, TENANT, log.verifier_key(TENANT), None)
    taken = time.perf_counter() - started
    await database.close()
    plain.close()
    result = {"bench": "audit_append", "widths": widths, "verified_per_s": round(report.entries / taken), "is_intact": report.is_intact}
    return {**result, "load_1min": round(os.getloadavg()[0], 1)}


def event() -> AuditEvent:
    """An entry of a search's size with six references."""
    references = [Reference("document", f"doc_{number:06}") for number in range(6)]
    hits: list[JsonValue] = [{"document": f"doc_{number:06}", "content_sha256": "0" * 64, "rank": number} for number in range(10)]
    return by_system(TENANT, Happening(EventType.RETRIEVAL_EXECUTED, references=references, fields={"hits": hits, "considered": 50}))


def plain_database(path: Path) -> sqlite3.Connection:
    """Open a file with two tables, as durable as the log's."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE entry (idx INTEGER PRIMARY KEY, event_id TEXT UNIQUE, body BLOB)")
    connection.execute("CREATE TABLE ref (kind TEXT, ref TEXT, idx INTEGER, PRIMARY KEY (kind, ref, idx))")
    return connection


def one_by_one(connection: sqlite3.Connection, events: Sequence[AuditEvent]) -> float:
    """Insert each event in its own transaction; events a second."""
    started = time.perf_counter()
    for one in events:
        connection.execute("BEGIN IMMEDIATE")
        body = json.dumps(one.fields).encode()
        row = connection.execute("INSERT INTO entry (event_id, body) VALUES (?, ?)", (one.event_id, body)).lastrowid
        connection.executemany("INSERT INTO ref VALUES (?, ?, ?)", [(each.kind, each.ref, row) for each in one.references])
        connection.execute("COMMIT")
    return len(events) / (time.perf_counter() - started)


async def through_log(log: AuditLog, in_flight: int) -> tuple[float, float]:
    """Record with so many callers at once; events a second, and processor milliseconds an event."""
    waiting = [event() for _ in range(ROUNDS)]
    started, cpu = time.perf_counter(), time.process_time()

    async def caller() -> None:
        while waiting:
            await log.record(waiting.pop())

    await asyncio.gather(*(caller() for _ in range(in_flight)))
    used = (time.process_time() - cpu) / ROUNDS * 1e3
    return ROUNDS / (time.perf_counter() - started), round(used, 2)


if __name__ == "__main__":
    main()
