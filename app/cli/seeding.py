"""Puts the sample company into a fresh installation, through the same flows that anybody's documents take."""

import asyncio
from dataclasses import replace

from rich.console import Console
from rich.progress import Progress

from app.cli.options import caller_as
from app.domain.access import acl_from_json
from app.domain.content import DocumentState
from app.govern.collections import new_collection
from app.ingest.jobs import Submission
from app.sample import SampleDocument, read_company
from app.storage import collection_rows, document_rows
from app.wiring import Services

SEEDER, RULER = "administrator", "policy-steward"


async def seed(services: Services, *, is_embedding: bool) -> int:
    """Make the sample collections and take in every document that is not there yet; returns how many were taken in.

    With `is_embedding` also waits for the vectors; otherwise they follow in the background.
    """
    company = read_company(services.settings.examples)
    caller = await caller_as(services, SEEDER)
    async with services.database.read() as tx:
        known = {one.name for one in await collection_rows.list_collections(tx, services.tenant)}
    missing = [document for document in company.documents if not await _is_present(services, document)]
    in_use = {document.collection for document in company.documents if document not in missing}
    for one in company.collections:
        usual = new_collection(caller.subject, one.name, one.title)
        if one.name not in known:
            made = replace(usual, steward=one.steward, languages=one.languages, retention_days=one.retention_days)
            await services.collections.create(caller, made)
        wanted = {"default_label": one.default_label, "redaction_profile": one.redaction_profile}
        deciding = {name: value for name, value in wanted.items() if value != getattr(usual, name)}
        if deciding and one.name not in in_use:
            # Whoever sets up a collection does not decide who sees what in it.
            await services.collections.update(await caller_as(services, RULER), one.name, deciding)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("Taking in the sample company", total=len(missing))
        for document in missing:
            await services.submit.run(caller, await _submission(document))
            while await services.worker.run_once(only_ingest=not is_embedding):
                pass
            progress.advance(bar)
    return len(missing)


async def _is_present(services: Services, one: SampleDocument) -> bool:
    async with services.database.read() as tx:
        found = await document_rows.find_external(tx, services.tenant, one.collection, one.external_id)
    return found is not None and found[0].state is not DocumentState.PENDING


async def _submission(one: SampleDocument) -> Submission:
    content = await asyncio.to_thread(one.path.read_bytes)
    acl = None if one.acl is None else acl_from_json({"allow": [], "deny": [], **one.acl})
    return Submission(
        collection=one.collection,
        content=content,
        file_name=one.path.name,
        label=one.label,
        acl=acl,
        source_uri=f"{one.collection}/{one.path.name}",
        language=one.language,
        external_id=one.external_id,
    )
