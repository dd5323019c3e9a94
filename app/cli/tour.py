"""The tour of `demo --once`: one promise a step, each checked on the real thing."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import typer

from app.answer.question import Question
from app.cli.asking import answer_for
from app.cli.options import caller_as
from app.cli.seeding import seed
from app.domain.access import Acl, AclMode
from app.domain.content import Answer, AnswerState, DocumentId
from app.domain.identity import Principal
from app.domain.search import SearchLimits
from app.errors import AccessDeniedError
from app.govern.receipts import receipt_problem
from app.govern.trail import TrailRequest
from app.settings import Settings
from app.storage import document_rows
from app.storage.audit_rows import EventQuery
from app.wiring import Services, open_services

PARENTAL = "How many weeks of paid parental leave do I get?"
SALARY = "What is the salary band for senior engineers?"
CASE_NOTES = "What was agreed in the performance talk about the workload?"
NOWHERE = "What is the airspeed velocity of an unladen swallow?"


@dataclass(frozen=True, slots=True)
class Shown:
    """One step of the tour."""

    title: str
    lines: tuple[str, ...]
    holds: bool


async def tour(settings: Settings, *, as_json: bool) -> bool:
    """Run every step in a fresh folder; returns whether one did not come out as promised."""
    async with open_services(settings) as services:
        await seed(services, is_embedding=True)
        await services.worker.drain()
        steps: tuple[Callable[[Services], Awaitable[Shown]], ...] = (
            _same_question,
            _redaction,
            _refusal,
            _revocation,
            _officer,
            _receipt,
            _log,
        )
        shown = []
        for number, step in enumerate(steps, 1):
            one = await step(services)
            shown.append(one)
            if not as_json:
                _print(number, one)
    failed = [one.title for one in shown if not one.holds]
    if as_json:
        typer.echo(json.dumps({"steps": [{"title": one.title, "lines": one.lines, "holds": one.holds} for one in shown], "failed": failed}))
    else:
        typer.echo("\nEvery step came out as promised." if not failed else f"\nNOT as promised: {', '.join(failed)}")
    return bool(failed)


async def _ask(services: Services, person: str, text: str, purpose: str | None = None) -> Answer:
    return await answer_for(services.answer, await caller_as(services, person, purpose), Question(text, SearchLimits()))


async def _same_question(services: Services) -> Shown:
    lines, states = [], {}
    for person in ("engineer", "hr-partner", "contractor"):
        answer = await _ask(services, person, SALARY)
        collections = sorted({one.collection for one in answer.passages})
        states[person] = {(one.collection, one.label) for one in answer.passages}
        lines.append(f"{person:<12} {answer.state.value:<17} passages from {', '.join(collections) or 'nowhere'}")
    is_inside = ("hr", "confidential") in states["hr-partner"]
    is_shut = not any(label in {"confidential", "secret"} for person in ("engineer", "contractor") for _, label in states[person])
    return Shown(f"The same question by several people: {SALARY}", tuple(lines), is_inside and is_shut)


async def _redaction(services: Services) -> Shown:
    covered = await _ask(services, "works-council", PARENTAL, None)
    name = "hr-partner"
    open_view = await _ask(services, name, CASE_NOTES)
    hr = next((one for one in open_view.passages if one.collection == "hr" and one.label == "confidential"), None)
    lines = [f"works-council reads {sum(len(one.hidden) for one in covered.passages)} hidden spans around: {PARENTAL}"]
    if hr is None:
        return Shown("A redacted and an unredacted view", (*lines, "hr-partner found no HR passage"), holds=False)
    hidden = [span.entity_type for span in hr.hidden]
    lines.append(f"hr-partner reads `{hr.title}` with {len(hidden)} hidden spans")
    masked = await _masked_view(services, hr.document_id)
    lines.append(f"the same text without the right read_pii hides {masked} spans")
    return Shown("A redacted and an unredacted view", tuple(lines), "PERSON" not in hidden and masked > len(hidden))


async def _masked_view(services: Services, document_id: DocumentId) -> int:
    async with services.database.read() as tx:
        document = await document_rows.get_document(tx, services.tenant, document_id)
        snapshot = await services.policy.current(tx, services.tenant)
        version = await document_rows.get_version(tx, document_id, document.live_version or 0) if document else None
    assert version is not None  # noqa: S101 - the document was just shown
    shown = services.documents.redaction.of(snapshot.digest, snapshot.redaction_text).visible_types("strict", False)  # noqa: FBT003 - named in the signature
    return sum(span.entity_type not in shown for span in version.spans)


async def _refusal(services: Services) -> Shown:
    answer = await _ask(services, "engineer", NOWHERE)
    lines = [f"engineer asks: {NOWHERE}", f"{answer.state.value}: {answer.refusal_message or 'closest passages only'}"]
    try:
        await _ask(services, "administrator", PARENTAL)
        denied = False
    except AccessDeniedError as error:
        denied = True
        lines.append(f"administrator asks about parental leave: {error.detail}")
    return Shown("A refusal", tuple(lines), answer.state is not AnswerState.ANSWERED and not answer.text and denied)


async def _revocation(services: Services) -> Shown:
    before = await _ask(services, "engineer", PARENTAL)
    cited = before.citations[0].document_id if before.citations else None
    if cited is None:
        return Shown("A revocation takes effect", ("nothing was cited",), holds=False)
    steward = await caller_as(services, "hr-partner")
    shut = Acl(AclMode.INHERIT, frozenset(), frozenset({Principal("group:sample|engineering")}))
    await services.changes.change_acl(steward, cited, shut)
    after = await _ask(services, "engineer", PARENTAL)
    is_gone = all(one.document_id != cited for one in after.passages)
    reopened = await services.history.answer(await caller_as(services, "engineer"), before.answer_id)
    await services.changes.change_acl(steward, cited, Acl.inherited())
    lines = (
        f"engineer cites {before.citations[0].title}",
        "hr-partner takes the engineering group out",
        f"the very next question: {after.state.value}, that document {'absent' if is_gone else 'STILL THERE'}",
        f"the earlier answer in the history: {'sealed' if reopened.sealed_because else 'STILL OPEN'}",
    )
    return Shown("A revocation takes effect", lines, is_gone and reopened.sealed_because is not None)


async def _officer(services: Services) -> Shown:
    officer = await caller_as(services, "compliance-officer", "audit")
    query = EventQuery(type="generation.completed", limit=5)
    rows = await services.trail.search(officer, TrailRequest(query, "CASE-1", "Tour of the demo"))
    lines = [f"entry {one.index}: {one.event['type']} by {str(one.event['actor']).rsplit('|', 1)[-1]}" for one in rows]
    is_bare = not any(PARENTAL.casefold() in str(one.event).casefold() for one in rows)
    return Shown("The officer searches the log", tuple(lines), bool(rows) and is_bare)


async def _receipt(services: Services) -> Shown:
    answer = await _ask(services, "hr-partner", PARENTAL)
    receipt = await services.receipts.receipt(await caller_as(services, "hr-partner"), answer.receipt.receipt_id)
    holds = receipt_problem(receipt, answer.text) is None
    is_caught = receipt_problem({**receipt, "index": receipt["index"] + 1}) is not None
    lines = (
        f"{answer.receipt.receipt_id} {'holds offline, text and all' if holds else 'DOES NOT HOLD'}",
        f"a changed copy {'is refused' if is_caught else 'PASSES'}",
    )
    return Shown("The receipt verifies", lines, holds and is_caught)


async def _log(services: Services) -> Shown:
    await services.trail.checkpoint(services.tenant)
    report = await services.trail.verify(services.tenant)
    lines = (f"{report.entries} entries in {report.blocks} blocks, checkpoint over {report.checkpoint_size}", *report.problems)
    return Shown("The log verifies", lines, report.is_intact)


def _print(number: int, one: Shown) -> None:
    typer.echo(f"\n{number}. {one.title}")
    for line in one.lines:
        typer.echo(f"   {line}")
    typer.echo(f"   {'as promised' if one.holds else 'NOT AS PROMISED'}")
