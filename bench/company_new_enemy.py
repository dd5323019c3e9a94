"""The new enemy: somebody is shut out on one node, then something is published on a second; does a third show it to them? One JSON line.

Three gateways' flows over PostgreSQL and OpenSearch. A trial takes a group out of the policy on the first, then publishes a document to
that group's label on the second (every tenth time by a new version of its text instead), and searches as one of the group on the third.
The control is the third node without the re-check on what is in force: it decides by the rules it saw last, as one does whose watcher is
late. It must fail, or the trials prove nothing. Goal: none in at least 1,000.
Run: `python bench/company_new_enemy.py [--trials N]`.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app.answer.search import SearchPassages, SearchRequest
from app.cli.options import caller_as
from app.cli.seeding import seed
from app.domain.content import DocumentId
from app.domain.identity import Caller, TenantId
from app.domain.search import SearchLimits
from app.ingest.jobs import Submission
from app.policy.book import Basis, PolicyBook
from app.policy.bundle import read_folder
from app.storage.transaction import Transaction
from app.wiring import Services, load_models, open_services
from bench.company_servers import Column, column
from bench.made.company import ROOT

_QUESTION = SearchRequest("What is the zorblat reserve?", SearchLimits(), 50)
_GROUP = "group:sample|all-employees,sample,hr,internal,"
_TEXT_EVERY = 10


class LateBook(PolicyBook):
    """Gives what was in force when it was last told to look."""

    def __init__(self, book: PolicyBook) -> None:
        super().__init__()
        self._book = book
        self._held: Basis | None = None

    async def look(self, tx: Transaction, tenant: TenantId) -> None:
        """Catch up."""
        self._held = await self._book.basis(tx, tenant)

    async def basis(self, tx: Transaction, tenant: TenantId) -> Basis:
        """What was seen last."""
        if self._held is None:
            await self.look(tx, tenant)
        return self._held or await self._book.basis(tx, tenant)

    def last_basis(self, tenant: TenantId) -> Basis | None:  # noqa: ARG002 - the base's
        """As `basis`."""
        return self._held


@dataclass(frozen=True)
class Trials:
    """Three nodes, two policies, one document, who may change it and who is shut out."""

    nodes: tuple[Services, Services, Services]
    open_files: dict[str, str]
    shut_files: dict[str, str]
    steward: Caller
    person: Caller
    document_id: DocumentId

    async def run(self, count: int) -> dict[str, int]:
        """Trials in which the document was shown: by the gateway, and by the control."""
        first, second, third = self.nodes
        late = LateBook(third.policy)
        control = replace(third.search, retrieval=replace(third.search.retrieval, policy=late))
        shown = {"gateway": 0, "control": 0, "never_published": 0}
        for number in range(count):
            is_text = number % _TEXT_EVERY == _TEXT_EVERY - 1
            async with third.database.read() as tx:
                await late.look(tx, third.tenant)
            await first.activate.run(first.tenant, self.shut_files, "system:bench")
            if is_text:
                await self._hand_in(second, number)
            await second.changes.change_label(self.steward, self.document_id, "internal")
            shown["gateway"] += await self._is_shown(third.search)
            shown["control"] += await self._is_shown(control)
            await first.activate.run(first.tenant, self.open_files, "system:bench")
            shown["never_published"] += not await self._is_shown(third.search)
            await second.changes.change_label(self.steward, self.document_id, "confidential")
        return shown

    async def _hand_in(self, node: Services, number: int) -> None:
        await node.submit.run(self.steward, submission(number))
        await node.worker.drain()

    async def _is_shown(self, search: SearchPassages) -> bool:
        found = await search.run(self.person, _QUESTION)
        return self.document_id in {one.document_id for one in found.passages}


def submission(number: int) -> Submission:
    """A version of the document."""
    text = f"# Reserve\n\nThe zorblat reserve is {number} thousand. It is kept apart from every other reserve.\n"
    return Submission("hr", text.encode(), "reserve.md", label="confidential", external_id="bench/reserve")


async def measure(one: Column, count: int) -> dict[str, object]:
    """Seed the sample company, open three nodes over it, try."""
    async with AsyncExitStack() as stack:
        models = await load_models(one.settings())
        stack.callback(models.embedder.close)
        first, second, third = [await stack.enter_async_context(open_services(one.settings(), models=models)) for _ in range(3)]
        await seed(first, is_embedding=True)
        steward, person = await caller_as(first, "hr-partner"), await caller_as(first, "engineer")
        handed_in = await first.submit.run(steward, submission(0))
        await first.worker.drain()
        files = {name: text for name, text in read_folder(ROOT / "policies").items() if not name.startswith("cases/")}
        rules = "".join(line for line in files["rules.csv"].splitlines(keepends=True) if not line.startswith(_GROUP))
        shut = {**files, "rules.csv": rules}
        await first.activate.run(first.tenant, files, "system:bench")
        trials = Trials((first, second, third), files, shut, steward, person, handed_in.document_id)
        shown = await trials.run(count)
        intact = (await first.trail.verify(first.tenant)).is_intact
    return {
        "bench": "company_new_enemy",
        "trials": count,
        "shown_by_the_gateway": shown["gateway"],
        "shown_by_the_control": shown["control"],
        "open_again_but_not_shown": shown["never_published"],
        "log_is_intact": intact,
        "load_1min": round(os.getloadavg()[0], 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=1_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="portcullis-bench-") as folder, column(Path(folder) / "data") as made:
        print(json.dumps(asyncio.run(measure(made, arguments.trials))))
