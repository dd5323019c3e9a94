"""The sample company on real servers: moved there once a run, copied for each test in a fraction of a second."""

import asyncio
import json
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from app.settings import Settings, load_settings
from app.wiring import move_store
from tests.services.postgres import Cluster

_PREFIX = "seeded"


@dataclass(frozen=True)
class SeededServices:
    """Where the moved company lies."""

    postgres: Cluster
    opensearch: tuple[str, ...]
    database: str

    @classmethod
    def moved(cls, settings: Settings, postgres: Cluster, opensearch: tuple[str, ...]) -> "SeededServices":
        """Move the installation of `settings`, as its operator would."""
        made = cls(postgres, opensearch, postgres.fresh())
        target = load_settings(data=settings.data, demo=True, **made._addresses(made.database, _PREFIX))
        asyncio.run(move_store(target, lambda _table, _rows: None, print))
        made._ask("PUT", f"/{_PREFIX}-*/_settings", {"index.blocks.write": True})
        return made

    @contextmanager
    def copied(self) -> Iterator[dict[str, Any]]:
        """Settings that lead to a copy of everything, gone afterwards."""
        database, prefix = self.postgres.fresh(self.database), f"t{uuid.uuid4().hex[:12]}"
        for name in self._ask("GET", f"/{_PREFIX}-*"):
            self._clone(name, name.replace(_PREFIX, prefix, 1))
        yield self._addresses(database, prefix)
        self._ask("DELETE", f"/{prefix}-*")
        self.postgres.drop(database)

    def _clone(self, source: str, target: str) -> None:
        aliases = self._ask("GET", f"/{source}/_alias")[source]["aliases"]
        renamed = {name.replace(_PREFIX, target.split("-", 1)[0], 1): value for name, value in aliases.items()}
        settings = {"index.blocks.write": None, "index.number_of_replicas": 0}
        self._ask("PUT", f"/{source}/_clone/{target}?wait_for_active_shards=1", {"settings": settings, "aliases": renamed})

    def _addresses(self, database: str, prefix: str) -> dict[str, Any]:
        return {
            "database_url": self.postgres.address(database, "all_in_one"),
            "database_owner_url": self.postgres.address(database, "deployer"),
            "opensearch_url": self.opensearch,
            "opensearch_prefix": prefix,
            "opensearch_replicas": 0,
            "opensearch_timeout_s": 20.0,
        }

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        request = urllib.request.Request(self.opensearch[0] + path, None if body is None else json.dumps(body).encode(), method=method)  # noqa: S310 - the test's own server
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
            return dict(json.load(answer))
