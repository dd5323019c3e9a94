"""RebuildIndex: a new index beside the one that serves, filled from the register, compared with it, and swapped in for all at once."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from app.domain.content import DocumentId
from app.domain.identity import TenantId
from app.domain.ports import PassageIndex
from app.domain.search import IndexedDocument
from app.errors import ConfigurationError, ConflictError
from app.ingest.alignment import AlignDocument
from app.storage import document_rows
from app.storage.document_rows import Standing
from app.storage.transaction import Database

_PASSES = 10
"""Documents change while they are copied; each pass copies what changed during the one before, and takes a fraction of its time."""


class Generations(Protocol):
    """An engine's generations. From `begin` to `drop_other` every write of the index goes to both."""

    async def begin(self, tenant: TenantId) -> int:
        """Make the new one, or take up the one that was begun."""

    async def held(self, tenant: TenantId, generation: int) -> list[IndexedDocument]:
        """What a generation holds."""

    async def serving(self, tenant: TenantId) -> list[IndexedDocument]:
        """What the one holds that serves."""

    async def copy_vectors(self, tenant: TenantId, document_id: DocumentId, version: int) -> None:
        """Take the vectors of a version over from the one that serves, to chunks that have none."""

    async def swap(self, tenant: TenantId) -> None:
        """Let the new one serve."""

    async def drop_other(self, tenant: TenantId) -> bool:
        """Delete the one that no longer serves. Raises ConfigurationError, with nothing deleted, while the new one does not serve yet."""

    async def abandon(self, tenant: TenantId) -> bool:
        """Delete the one that was begun and does not serve. Raises ConfigurationError, with nothing deleted, when it serves."""


@dataclass(frozen=True)
class RebuildIndex:
    """Builds an index anew while the old one serves. Powers: the register, the index, its generations."""

    database: Database
    index: PassageIndex
    generations: Generations

    async def run(self, tenant: TenantId, note: Callable[[int, int], None]) -> int:
        """Build, compare, swap; returns how many documents the new index serves. The old one is kept until `confirm`.

        `note` hears of (documents done, documents in all). It may be stopped and run again: what was copied stays. Raises
        ConfigurationError, with the old index still serving, when the new one does not come out as the register has it.
        """
        generation = await self.generations.begin(tenant)
        for _ in range(_PASSES):
            standing, todo, extra = await self._compare(tenant, generation)
            if not todo and not extra:
                await self.generations.swap(tenant)
                # What went live after the comparison was made live where it was served from.
                _, late, gone = await self._compare(tenant, generation)
                await self._copy_all(tenant, [*late, *gone], lambda _: None)
                return len(standing)
            total, before = len(standing), len(standing) - len(todo)
            await self._copy_all(tenant, [*todo, *extra], lambda done, before=before, total=total: note(min(before + done, total), total))  # type: ignore[misc]  # mypy cannot infer defaults
        message = f"The new index does not come out as the register has it: {todo[:3] or extra[:3]}. The old one still serves."
        raise ConfigurationError(message)

    async def confirm(self, tenant: TenantId) -> bool:
        """Delete the index that no longer serves; False when there is none.

        Raises ConfigurationError, with nothing deleted, while the new one is not finished.
        """
        return await self.generations.drop_other(tenant)

    async def abandon(self, tenant: TenantId) -> bool:
        """Give a rebuild up that was begun: delete what there is of the new index; False when there is nothing.

        Raises ConfigurationError, with nothing deleted, when the new one serves.
        """
        return await self.generations.abandon(tenant)

    async def _compare(
        self, tenant: TenantId, generation: int
    ) -> tuple[dict[DocumentId, Standing], list[DocumentId], Sequence[DocumentId]]:
        """(documents that are to be served, those of them that are not yet as they should be, those that should not be there).

        What changes meanwhile is written to both generations: it may be as the register had it before or has it after. Where something
        always changes, there would be no end otherwise.
        """
        before = await self._wanted(tenant)
        held = {one.document_id: one for one in await self.generations.held(tenant, generation)}
        serving = {one.document_id: one for one in await self.generations.serving(tenant)}
        wanted = await self._wanted(tenant)
        todo = [
            name
            for name, one in wanted.items()
            if not any(_is_right(then, held.get(name), serving.get(name)) for then in (one, before.get(name, one)))
        ]
        known = wanted.keys() | before.keys()
        return wanted, todo, [name for name, one in held.items() if name not in known and (one.live_version is not None or one.chunks)]

    async def _wanted(self, tenant: TenantId) -> dict[DocumentId, Standing]:
        """How the documents stand that are to be served now."""
        async with self.database.read() as tx:
            standing = await document_rows.standings(tx, tenant)
        now = datetime.now(UTC)
        return {name: one for name, one in standing.items() if one.is_served_at(now)}

    async def _copy_all(self, tenant: TenantId, document_ids: Sequence[DocumentId], note: Callable[[int], None]) -> None:
        for done, document_id in enumerate(document_ids):
            note(done)
            # Should it not come out right, the next pass tries again and the last one names it.
            with contextlib.suppress(LookupError, ConflictError):
                await self._copy(tenant, document_id)

    async def _copy(self, tenant: TenantId, document_id: DocumentId) -> None:
        document = await AlignDocument(self.database, self.index).run(tenant, document_id)
        if document is not None and document.live_version is not None:
            await self.generations.copy_vectors(tenant, document_id, document.live_version)


def _is_right(wanted: Standing, held: IndexedDocument | None, serving: IndexedDocument | None) -> bool:
    """Whether a document is in the new index as the register has it, with no fewer vectors than the old one has."""
    if held is None or held.live_version != wanted.live_version or held.acl_version < wanted.acl_version:
        return False
    has_vectors = serving is None or held.vectors >= serving.vectors
    return held.chunks == wanted.chunks and has_vectors
