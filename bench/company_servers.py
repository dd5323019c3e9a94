"""A real PostgreSQL and a real OpenSearch node for a measurement, and settings that lead there; gone when the block ends.

Run by itself it does nothing: `company_ingest.py` and `company_acl.py` use it.
"""

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from app.settings import Settings, load_settings
from bench.made.company import ROOT
from bench.made.passages import corpora
from tests.services.opensearch.nodes import OpenSearchNodes
from tests.services.postgres import Cluster, Server

_SENTENCE = re.compile(r"[A-Z][^.!?#|<>\n]{30,220}[.!?]")
_SETTLED_S = {"fsync": "on", "full_page_writes": "on"}


@dataclass(frozen=True)
class Column:
    """Settings of one installation on real servers, as values and as an environment for its processes."""

    folder: Path
    values: Mapping[str, object]
    index_url: str
    owner: str

    def settings(self, **overrides: object) -> Settings:
        """Settings of a process that does no housekeeping."""
        return load_settings(**{**self.values, "background": False, **overrides})

    @property
    def environment(self) -> dict[str, str]:
        """The same for a child process."""
        given = {
            f"PORTCULLIS_{name.upper()}": value if isinstance(value, str) else json.dumps(value) for name, value in self.values.items()
        }
        return {**given, "PORTCULLIS_DATA": str(self.folder), "PORTCULLIS_BACKGROUND": "false", "OPENBLAS_NUM_THREADS": "1"}

    def rows(self, query: str) -> int:
        """The one number a query gives, asked as the owner of the database."""
        with psycopg.connect(self.owner) as connection:
            row = connection.execute(query).fetchone()
        return 0 if row is None else int(row[0])

    def execute(self, statement: LiteralString) -> None:
        """Run a statement as the owner of the database."""
        with psycopg.connect(self.owner, autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def column(folder: Path, heap: str = "512m") -> Iterator[Column]:
    """Start both servers, with a migrated database; `folder` becomes the data folder of every process, `heap` is what OpenSearch gets."""
    postgres, search = Server.make(_SETTLED_S), OpenSearchNodes.make(heap=heap)
    try:
        postgres.start()
        search.start()
        cluster = Cluster(postgres.url())
        cluster.prepare(ROOT / "migrations")
        name = cluster.fresh()
        values = {
            "data": str(folder),
            "demo": True,
            "database_url": cluster.address(name, "all_in_one"),
            "opensearch_url": list(search.urls),
            "opensearch_replicas": 0,
            "embed_threads": 1,
            "log_level": "ERROR",
        }
        yield Column(folder, values, search.urls[0], cluster.address(name, "postgres"))
    finally:
        search.remove()
        postgres.remove()


@contextmanager
def working(one: Column, number: int) -> Iterator[list[int]]:
    """Run worker processes, ready when each has said so in the log; yields their process numbers."""
    command = [sys.executable, "-c", "from app.cli import main; main()", "worker"]
    started = "SELECT count(*) FROM audit_event WHERE type = 'audit.writer.started'"
    before = one.rows(started)
    processes = [
        subprocess.Popen(command, cwd=ROOT, env={**os.environ, **one.environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - our own worker
        for _ in range(number)
    ]
    try:
        deadline = time.monotonic() + 120
        while one.rows(started) < before + number:
            if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
                message = "a worker did not start"
                raise RuntimeError(message)
            time.sleep(0.1)
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def documents(number: int, seed: int = 7) -> Iterator[tuple[str, bytes]]:
    """(name, Markdown) of made-up documents: two sections of six sentences each from the sample company's own, in chance order."""
    pool = sorted(
        {
            found
            for path in sorted((ROOT / "examples" / "company").rglob("*.md"))
            for found in _SENTENCE.findall(path.read_text(encoding="utf-8"))
        }
    )
    rng = random.Random(seed)
    for one in range(number):
        picked = rng.sample(pool, 12)
        text = f"# Guide {one}\n\n## What holds\n\n{' '.join(picked[:6])}\n\n## How it is done\n\n{' '.join(picked[6:])}\n"
        yield f"guide-{one:06}.md", text.encode()


def pages(number: int) -> Iterator[tuple[str, bytes]]:
    """(name, Markdown) of pages of the shared handbook, spread over it; from the beginning again when there are no more."""
    folder = corpora() / "corpora" / "handbook"
    found = sorted(folder.rglob("*.md"))
    if not found:
        message = f"{folder} holds no pages: set PORTCULLIS_SHARED to the folder with the corpora"
        raise SystemExit(message)
    step = max(1, len(found) // max(1, number))
    for one in range(number):
        yield f"page-{one:06}.md", found[one * step % len(found)].read_bytes()
