"""An index filled for a move: doing it again makes it what is served then, whatever an earlier attempt left in it."""

from contextlib import AsyncExitStack
from pathlib import Path

from app.domain.access import Acl, AclMode
from app.domain.content import DocumentId
from app.index.stored_vectors import read_vectors
from app.ingest.copy_index import CopyIndex
from app.wiring import Models, Services
from app.wiring.indexes import open_index
from tests.conftest import caller_as, settings_in
from tests.e2e.attack import sample_document


async def test_a_second_copy_holds_what_is_served_then_and_nothing_that_was_taken_away(
    services: Services, models: Models, tmp_path: Path
) -> None:
    """After a move that was abandoned the other index still counted withdrawn documents, and old access, until a worker repaired it."""
    (tmp_path / "there").mkdir()
    path, tenant = services.settings.data / "index.db", services.tenant
    async with AsyncExitStack() as stack:
        target = await open_index(settings_in(tmp_path / "there"), models.embedder, stack)
        copy = CopyIndex(services.database, target, lambda name, version: read_vectors(path, name, version))
        first = await copy.run(tenant)
        gone, denied = [DocumentId(await sample_document(services, name)) for name in ("hr/sick-leave", "hr/parental-leave")]
        partner = await caller_as(services, "hr-partner")
        await services.changes.withdraw(partner, gone)
        await services.changes.change_acl(partner, denied, Acl(AclMode.INHERIT, deny=frozenset({"group:sample|engineering"})))
        assert await copy.run(tenant) == first - 1
        held = {one.document_id: one for one in await target.inventory(tenant)}
        assert gone not in held
        assert held == {one.document_id: one for one in await services.index.inventory(tenant)}
