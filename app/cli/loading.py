"""The command `ingest`: a file or a folder into a collection, resumable, with a report of what was refused and why."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from app.cli.options import AsOption, DataOption, JsonOption, caller_as, failure, run_with, say, settings_for
from app.domain.access import Acl, acl_from_json
from app.domain.content import DocumentState
from app.domain.identity import Caller
from app.errors import InvalidInputError, LimitExceededError
from app.ingest.jobs import Submission
from app.storage import collection_rows, document_rows, job_rows
from app.storage.job_rows import JobState
from app.wiring import Services

KNOWN = frozenset({".md", ".markdown", ".html", ".htm", ".txt", ".pdf", ".docx", ".csv", ".tsv", ".json"})
_POLL_S = 0.2


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ingest")(ingest)


@dataclass(slots=True)
class LoadReport:
    """What became of each file, by its path below the folder."""

    taken: int = 0
    unchanged: int = 0
    pruned: int = 0
    skipped: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What to load where, and how it is labelled."""

    root: Path
    files: tuple[Path, ...]
    collection: str
    label: str | None
    acl: Acl | None
    is_pruning: bool


def ingest(
    path: Annotated[Path, typer.Argument(help="A file or a folder.")],
    collection: Annotated[str, typer.Option(help="Collection to add to.")],
    label: Annotated[str | None, typer.Option(help="Label; omitted: the collection's default.")] = None,
    acl: Annotated[Path | None, typer.Option(help='JSON file {"mode": "explicit", "allow": [...], "deny": [...]}.')] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Withdraw documents whose file vanished.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Also wait until every vector is there.")] = False,
    person: AsOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take in a file or a folder. Doing it again updates what changed.

    Example: portcullis ingest ./handbook --collection handbook --wait
    """
    if not path.exists():
        raise failure(f"{path} does not exist", 2)
    root = path if path.is_dir() else path.parent
    report = LoadReport()
    files = tuple(_files(path, root, report))
    plan = LoadPlan(root, files, collection, label, _read_acl(acl), prune)

    async def work(services: Services) -> None:
        caller = await caller_as(services, person or await default_person(services, collection))
        await load(services, caller, plan, report, is_waiting=wait)

    run_with(settings_for(data), work)
    lines = [f"refused  {name}: {reason}" for name, reason in report.refused.items()]
    lines.append(
        f"{report.taken} taken in, {report.unchanged} unchanged, {report.pruned} withdrawn, "
        f"{len(report.refused)} refused, {len(report.skipped)} of other kinds left out."
    )
    value = {
        "taken": report.taken,
        "unchanged": report.unchanged,
        "pruned": report.pruned,
        "refused": report.refused,
        "skipped": report.skipped,
    }
    say(as_json, value, "\n".join(lines))
    if report.refused and not report.taken and not report.unchanged:
        raise typer.Exit(1)


async def default_person(services: Services, collection: str) -> str | None:
    """The collection's steward, when that is a sample person."""
    async with services.database.read() as tx:
        found = await collection_rows.get_collection(tx, services.tenant, collection)
    demo = services.identity.demo
    return found.steward if found and demo and found.steward in demo.people else None


async def load(services: Services, caller: Caller, plan: LoadPlan, report: LoadReport, *, is_waiting: bool) -> None:
    """Submit every file and work until each is live or refused, with `is_waiting` until its vectors are there too."""
    jobs: dict[str, str] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("Taking in", total=len(plan.files))
        for file in plan.files:
            name = file.relative_to(plan.root).as_posix()
            try:
                await _submit(services, caller, plan, name, jobs, report)
            except (InvalidInputError, LimitExceededError) as error:
                report.refused[name] = error.detail
            await _work(services, is_waiting=False)
            progress.advance(bar)
        await _settle(services, jobs, report)
        if is_waiting:
            bar = progress.add_task("Embedding", total=None)
            await _work(services, is_waiting=True)
    if plan.is_pruning:
        await _prune(services, caller, plan, report)


async def _submit(services: Services, caller: Caller, plan: LoadPlan, name: str, jobs: dict[str, str], report: LoadReport) -> None:
    content = await asyncio.to_thread((plan.root / name).read_bytes)
    if len(content) > services.settings.max_document_bytes:
        message = f"larger than {services.settings.max_document_bytes} bytes"
        raise LimitExceededError(message, is_size=True)
    if await _is_unchanged(services, plan, name, content):
        report.unchanged += 1
        return
    submission = Submission(
        plan.collection, content, name.rsplit("/", 1)[-1], label=plan.label, acl=plan.acl, source_uri=name, external_id=name
    )
    jobs[name] = (await services.submit.run(caller, submission)).job_id


async def _is_unchanged(services: Services, plan: LoadPlan, name: str, content: bytes) -> bool:
    async with services.database.read() as tx:
        known = await document_rows.find_external(tx, services.tenant, plan.collection, name)
        if known is None or known[0].live_version is None or known[0].state is not DocumentState.LIVE:
            return False
        version = await document_rows.get_version(tx, known[0].document_id, known[0].live_version)
    if plan.label not in {None, known[0].label} or plan.acl not in {None, known[0].acl}:
        return False
    return version is not None and version.content_sha256 == sha256(content).hexdigest()


async def _work(services: Services, *, is_waiting: bool) -> None:
    """Help with the queue: one ingest at a time while files come in, everything at the end."""
    while await services.worker.run_once(only_ingest=not is_waiting):
        pass


async def _settle(services: Services, jobs: dict[str, str], report: LoadReport) -> None:
    """Wait until every job has ended; another process may be working on some of them."""
    waiting = dict(jobs)
    while waiting:
        for name, job_id in list(waiting.items()):
            async with services.database.read() as tx:
                job = await job_rows.get(tx, services.tenant, job_id)
            if job is None or job.state in {JobState.QUEUED, JobState.RUNNING}:
                continue
            del waiting[name]
            if job.state is JobState.SUCCEEDED:
                report.taken += 1
            else:
                report.refused[name] = job.error or "failed"
        if waiting:
            await _work(services, is_waiting=False)
            await asyncio.sleep(_POLL_S)


async def _prune(services: Services, caller: Caller, plan: LoadPlan, report: LoadReport) -> None:
    present = {file.relative_to(plan.root).as_posix() for file in plan.files}
    after = None
    while True:
        async with services.database.read() as tx:
            page = await document_rows.list_documents(tx, services.tenant, plan.collection, after, 200)
        if not page:
            return
        after = page[-1].document_id
        for one in page:
            if one.state is not DocumentState.WITHDRAWN and one.external_id not in present and one.source_uri == one.external_id:
                await services.changes.withdraw(caller, one.document_id)
                report.pruned += 1


def _files(path: Path, root: Path, report: LoadReport) -> Iterator[Path]:
    found = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    for one in found:
        if one.suffix.lower() in KNOWN:
            yield one
        else:
            report.skipped.append(one.relative_to(root).as_posix())


def _read_acl(path: Path | None) -> Acl | None:
    if path is None:
        return None
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return acl_from_json({"allow": [], "deny": [], **value})
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path} is no ACL file: expected mode, allow and deny"
        raise failure(message, 2) from error
